//! `GET /internal/v1/cold/{ticket}`: the cold stream that the hot engine's `url()` reads.
//!
//! No bearer token: the ticket is the authorisation (see [`crate::router::tickets`]). A stream that
//! breaks off ends the response without its last chunk, so that the hot engine's query fails.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};

use super::{ApiError, App};

const NATIVE: (header::HeaderName, &str) = (header::CONTENT_TYPE, "application/octet-stream");

/// Streams the rows; the ticket is spent.
pub async fn get(State(app): State<Arc<App>>, Path(ticket): Path<String>) -> Result<Response, ApiError> {
    let read = ticket.parse().ok().and_then(|t| app.router.tickets().redeem(t)).ok_or_else(gone)?;
    read.record_ids();
    let stream = read.stream().await?;
    Ok(([NATIVE], Body::from_stream(stream)).into_response())
}

/// Whether the ticket is good; it is not spent.
pub async fn head(State(app): State<Arc<App>>, Path(ticket): Path<String>) -> StatusCode {
    match ticket.parse() {
        Ok(ticket) if app.router.tickets().is_good(ticket) => StatusCode::OK,
        _ => StatusCode::GONE,
    }
}

fn gone() -> ApiError {
    ApiError::new(StatusCode::GONE, "ticket_spent", "this ticket is spent, revoked, or never was")
}
