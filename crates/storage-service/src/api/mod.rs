//! The HTTP API: routes, who may call them, and what is rejected before it reaches a handler.
//!
//! Everything but health and the cold tickets asks for the bearer token (when one is configured;
//! without one the service listens on loopback only). Bodies are limited, every error is an
//! [`ErrorBody`](storage_types::gateway_api::ErrorBody) with a stable code. Handlers hold no state of
//! their own: a request that is dropped drops what it was doing.

mod body;
mod cold;
mod error;
mod link;
pub mod metrics;
mod migrations;
mod query;
mod status;

use std::sync::Arc;

use ::link::BearerToken;
use axum::{
    Router,
    extract::Request,
    http::{Method, StatusCode, Uri},
    middleware::{Next, from_fn},
    response::Response,
    routing::{get, post, put},
};
use clickhouse_http::client::Client;
use supervisor::Supervisor;
use tracing::{Instrument as _, field::Empty};

pub use body::JsonBody;
pub use error::ApiError;
pub use status::LastHeartbeat;

use crate::{
    catalog::Catalog,
    link::{BandwidthSchedule, LinkMonitor},
    migrator::Migrator,
    router,
};

/// What the handlers reach.
pub struct App {
    /// `service.name`.
    pub name: String,
    /// The hot engine.
    pub hot: Client,
    /// What is visible where.
    pub catalog: Arc<Catalog>,
    /// Moves rows.
    pub migrator: Migrator,
    /// The limits of the link.
    pub schedule: BandwidthSchedule,
    /// Answers queries.
    pub router: Arc<router::Router>,
    /// Monitors the link to the NAS.
    pub link: Arc<LinkMonitor>,
    /// What Prometheus scrapes.
    pub metrics: prometheus_client::registry::Registry,
    /// The gateway's last word.
    pub heartbeat: LastHeartbeat,
    /// Knows of tasks that died.
    pub supervisor: Supervisor,
    /// Longest request body.
    pub max_body_bytes: u64,
}

/// Each request is logged with the ids that its handler finds in it.
async fn in_span(request: Request, next: Next) -> Response {
    let span = tracing::error_span!("request", query_id = Empty, cold_read = Empty, batch_id = Empty);
    next.run(request).instrument(span).await
}

/// Every route. `token`: what callers must present.
pub fn routes(app: Arc<App>, token: Option<BearerToken>) -> Router {
    let mut guarded = Router::new()
        .route("/api/v1/query", post(query::post))
        .route("/api/v1/queries/{query_id}", get(query::report))
        .route("/api/v1/migrations", post(migrations::start).get(migrations::list))
        .route("/api/v1/migrations/{id}", get(migrations::get).delete(migrations::cancel))
        .route("/api/v1/moves/{id}/decision", post(migrations::decide))
        .route("/api/v1/catalog", get(migrations::catalog))
        .route("/api/v1/status", get(status::status))
        .route("/metrics", get(metrics::metrics))
        .route("/api/v1/link/limit", put(link::limit))
        .route("/api/v1/tables/{name}/adopt", post(migrations::adopt))
        .route("/internal/v1/heartbeat", post(status::heartbeat))
        .route("/internal/v1/confirmations", post(status::confirmation));
    if let Some(token) = token {
        guarded = guarded.route_layer(daemon::bearer::require_bearer(token));
    }
    let open = Router::new()
        .route("/internal/v1/cold/{ticket}", get(cold::get).head(cold::head))
        .route("/healthz", get(status::healthz))
        .route("/readyz", get(status::readyz));
    let all = guarded.merge(open).fallback(unknown_route).method_not_allowed_fallback(wrong_method);
    all.layer(from_fn(in_span)).with_state(app)
}

async fn unknown_route(uri: Uri) -> ApiError {
    ApiError::not_found("unknown_route", format!("nothing is at {}", uri.path()))
}

async fn wrong_method(method: Method, uri: Uri) -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "wrong_method",
        format!("{method} is not for {}", uri.path()),
    )
}
