//! Alive, ready, and how things stand.

use std::sync::Arc;

use axum::{Json, body::Body, extract::State, http::StatusCode};
use daemon::{body, disk};
use serde::Serialize;
use storage_types::gateway_api::{GatewayStatus, PROBE_BYTES};

use super::refusal::Refusal;
use crate::gateway::Gateway;

/// Why the gateway is not ready, if it is not.
#[derive(Serialize)]
pub struct Readiness {
    ready: bool,
    reasons: Vec<String>,
}

/// `GET /healthz`: the process answers.
pub async fn alive() -> &'static str {
    "ok\n"
}

/// `PUT /v1/probe`: takes up to 256 KiB and keeps nothing. How long they took is for the sender to see.
pub async fn probe(noise: Body) -> Result<StatusCode, Refusal> {
    body::discard(noise, PROBE_BYTES as u64).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /readyz`: 200, or 503 with every reason.
pub async fn ready(State(gateway): State<Arc<Gateway>>) -> (StatusCode, Json<Readiness>) {
    let mut reasons = Vec::new();
    if !gateway.is_rebuilt() {
        reasons.push("the journal is being rebuilt".to_owned());
    }
    if gateway.engine_version().await.is_none() {
        reasons.push("the cold ClickHouse does not answer".to_owned());
    }
    let reserve = gateway.config.limits.min_free_bytes;
    match disk::free_bytes(gateway.spool.root()) {
        Ok(free) if free < reserve => reasons.push(format!("{free} bytes free, {reserve} must stay free")),
        Ok(_) => {}
        Err(error) => reasons.push(format!("the spool's disk: {error}")),
    }
    if let Some(name) = gateway.supervisor.dead() {
        reasons.push(format!("task {name} died"));
    }
    let ready = reasons.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready, reasons }))
}

/// `GET /v1/status`.
pub async fn status(State(gateway): State<Arc<Gateway>>) -> Result<Json<GatewayStatus>, Refusal> {
    Ok(Json(gateway.status().await?))
}
