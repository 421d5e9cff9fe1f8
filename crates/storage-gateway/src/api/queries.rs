//! Whose batches they are, cold tables and cold reads.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use daemon::body;
use storage_types::gateway_api::{Accept, Claim, Claimed, ColdQuery, EnsureTable};

use super::refusal::Refusal;
use crate::{
    cold::{custody, query as cold_query, tables},
    gateway::Gateway,
    identity,
};

/// Headers of the engine that the caller gets too.
const PASSED_ON: [&str; 4] =
    ["content-type", "x-clickhouse-query-id", "x-clickhouse-format", "x-clickhouse-timezone"];

/// `POST /v1/claim`.
pub async fn claim(State(gateway): State<Arc<Gateway>>, wanted: Body) -> Result<Json<Claimed>, Refusal> {
    let wanted: Claim = body::json(wanted, gateway.config.service.max_body_bytes).await?;
    Ok(Json(identity::claim(&gateway, wanted).await?))
}

/// `POST /v1/tables`: answers the table as the engine has it now.
pub async fn ensure_table(
    State(gateway): State<Arc<Gateway>>,
    wanted: Body,
) -> Result<Json<EnsureTable>, Refusal> {
    let wanted: EnsureTable = body::json(wanted, gateway.config.service.max_body_bytes).await?;
    Ok(Json(tables::ensure(&gateway, &wanted).await?))
}

/// `POST /v1/accept`: an operator's word.
pub async fn accept(State(gateway): State<Arc<Gateway>>, wanted: Body) -> Result<StatusCode, Refusal> {
    let wanted: Accept = body::json(wanted, gateway.config.service.max_body_bytes).await?;
    tables::check_name(
        &wanted.database,
        wanted.table.as_deref().unwrap_or("any"),
        &gateway.config.storage.databases,
    )?;
    custody::accept(&gateway, &wanted.database, wanted.table.as_deref()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v1/query`.
pub async fn query(State(gateway): State<Arc<Gateway>>, query: Body) -> Result<Response, Refusal> {
    let query: ColdQuery = body::json(query, gateway.config.service.max_body_bytes).await?;
    let answer = cold_query::run(&gateway, query).await?;
    let mut response = Body::from_stream(answer.body).into_response();
    for name in PASSED_ON {
        if let Some(value) = answer.headers.get(name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    Ok(response)
}
