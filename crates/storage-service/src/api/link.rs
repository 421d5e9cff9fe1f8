//! The link's limit, by hand.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode};
use storage_config::Timetable;
use storage_types::service_api::LinkLimit;

use super::{ApiError, App, JsonBody};

/// Sets the limit of both directions (204) until it is taken back or the service restarts.
pub async fn limit(
    State(app): State<Arc<App>>,
    JsonBody(body): JsonBody<LinkLimit>,
) -> Result<StatusCode, ApiError> {
    let invalid = |why: String| ApiError::new(StatusCode::BAD_REQUEST, "invalid_limit", why);
    let limits = body.limit.as_deref().map(Timetable::parse_rate).transpose().map_err(invalid)?;
    app.schedule.set(limits);
    Ok(StatusCode::NO_CONTENT)
}
