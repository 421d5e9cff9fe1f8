//! Health, status, and what the gateway tells us of itself.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Json, extract::State, http::StatusCode};
use parking_lot::Mutex;
use storage_types::{
    gateway_api::{Confirmation, Heartbeat},
    service_api::ServiceStatus,
};

use super::{ApiError, App, JsonBody};

/// Longest wait for the hot engine when readiness is asked.
const READY_WAIT: Duration = Duration::from_secs(2);

/// The gateway's last heartbeat, in memory.
#[derive(Debug, Default)]
pub struct LastHeartbeat(Mutex<Option<(Instant, Heartbeat)>>);

impl LastHeartbeat {
    fn set(&self, heartbeat: Heartbeat) {
        *self.0.lock() = Some((Instant::now(), heartbeat));
    }

    fn get(&self) -> Option<(Duration, Heartbeat)> {
        let last = self.0.lock();
        last.as_ref().map(|(at, heartbeat)| (at.elapsed(), heartbeat.clone()))
    }
}

/// The process lives.
pub async fn healthz() -> &'static str {
    "ok\n"
}

/// Queries can be answered: the hot engine answers and every task lives. The NAS is not needed.
pub async fn readyz(State(app): State<Arc<App>>) -> Result<&'static str, ApiError> {
    let not_ready = |why: String| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", why);
    if let Some(task) = app.supervisor.dead() {
        return Err(not_ready(format!("task {task} has died")));
    }
    match tokio::time::timeout(READY_WAIT, app.hot.ping()).await {
        Ok(Ok(())) => Ok("ready\n"),
        Ok(Err(error)) => Err(not_ready(format!("hot ClickHouse: {error}"))),
        Err(_) => Err(not_ready(format!("hot ClickHouse does not answer within {} s", READY_WAIT.as_secs()))),
    }
}

/// How the service and what it knows of the others stand.
pub async fn status(State(app): State<Arc<App>>) -> Json<ServiceStatus> {
    let heartbeat = app.heartbeat.get();
    Json(ServiceStatus {
        name: app.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        catalog_version: app.catalog.current().version,
        hot_nodes: app.hot.nodes().into_iter().map(|n| (n.url.to_string(), n.healthy)).collect(),
        gateway_heard_s: heartbeat.as_ref().map(|(ago, _)| ago.as_secs()),
        gateway: heartbeat.map(|(_, heartbeat)| heartbeat.status),
        next_migration: app.migrator.next_scheduled(),
        link: Some(app.link.status()),
    })
}

/// The gateway lives.
pub async fn heartbeat(State(app): State<Arc<App>>, JsonBody(body): JsonBody<Heartbeat>) -> StatusCode {
    app.heartbeat.set(body);
    StatusCode::NO_CONTENT
}

/// How a commit ended.
pub async fn confirmation(State(app): State<Arc<App>>, JsonBody(body): JsonBody<Confirmation>) -> StatusCode {
    app.migrator.confirm(body);
    StatusCode::NO_CONTENT
}
