//! The HTTP interface: paths and bodies as `storage_types::gateway_api` lists them.
//!
//! Handlers turn a request into a call of the rooms behind, and an error into its status and code
//! (one table, `refusal`). They hold no state. Everything but health asks for the bearer token
//! before anything of the request is used.

mod batches;
mod health;
mod queries;
mod refusal;

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{Method, Uri},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse as _, Response},
    routing::{delete, get, post, put},
};
use daemon::bearer::require_bearer;
use link::BearerToken;
use tracing::{Instrument as _, field::Empty};

use crate::{error::GatewayError, gateway::Gateway, identity};
use refusal::Refusal;

/// Each request is logged with the ids that its handler finds in it.
async fn in_span(request: Request, next: Next) -> Response {
    let span = tracing::error_span!("request", query_id = Empty, move_id = Empty, batch_id = Empty);
    next.run(request).instrument(span).await
}

/// Lets through what the sender in force sends, and keeps it in force until the answer is there. Chunks
/// are the exception: one may take minutes, and lands only in a batch that takes chunks.
async fn from_sender(State(gateway): State<Arc<Gateway>>, request: Request, next: Next) -> Response {
    if !gateway.is_rebuilt() {
        return Refusal::from(GatewayError::Starting).into_response();
    }
    match gateway.identity.admit(identity::header(request.headers())).await {
        Ok(admitted) if request.method() == Method::PUT => {
            drop(admitted);
            next.run(request).await
        }
        Ok(_admitted) => next.run(request).await,
        Err(error) => Refusal::from(error).into_response(),
    }
}

/// The whole interface.
pub fn router(gateway: Arc<Gateway>) -> Router {
    let token = gateway.config.service.token.as_ref().map(|secret| BearerToken::new(secret.expose()));
    let sender = from_fn_with_state(Arc::clone(&gateway), from_sender);
    let changing = Router::new()
        .route("/v1/tables", post(queries::ensure_table))
        .route("/v1/batches", post(batches::announce))
        .route("/v1/batches/published", post(batches::publish_all))
        .route("/v1/batches/retire", post(batches::retire))
        .route("/v1/batches/unretire", post(batches::unretire))
        .route("/v1/batches/{id}", delete(batches::delete))
        .route("/v1/batches/{id}/chunks/{n}", put(batches::chunk))
        .route("/v1/batches/{id}/commit", post(batches::commit))
        .route("/v1/batches/{id}/published", post(batches::published))
        .route_layer(sender);
    let mut guarded = Router::new()
        .route("/v1/claim", post(queries::claim))
        .route("/v1/query", post(queries::query))
        .route("/v1/proofs", post(batches::proofs))
        .route("/v1/accept", post(queries::accept))
        .route("/v1/status", get(health::status))
        .route("/v1/probe", put(health::probe))
        .route("/v1/batches", get(batches::list))
        .route("/v1/batches/{id}", get(batches::status))
        .route("/v1/batches/{id}/proof", get(batches::proof))
        .merge(changing)
        .fallback(nowhere)
        // Each handler caps its own body: a chunk by its manifest, all others by `daemon::body`.
        .layer(DefaultBodyLimit::disable());
    if let Some(token) = token {
        guarded = guarded.layer(require_bearer(token));
    }
    Router::new()
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .merge(guarded)
        .layer(from_fn(in_span))
        .with_state(gateway)
}

/// A path that is none of ours. One that climbs (`..`) was meant to be an id.
async fn nowhere(uri: Uri) -> Refusal {
    let path: String = uri.path().chars().take(200).collect();
    if path.starts_with("/v1/batches/") && path.split('/').any(|part| part == "..") {
        return GatewayError::InvalidId(storage_types::ids::InvalidId(path)).into();
    }
    GatewayError::NoSuchPath(path).into()
}
