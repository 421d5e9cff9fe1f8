//! Batches: announce, send, commit, prove, publish, give up.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use daemon::body;
use serde::Deserialize;
use storage_types::{
    BatchId, Manifest, Proof,
    gateway_api::{BatchPage, BatchStatus, Batches, MAX_BATCH_PAGE, ProofRequest},
};
use tracing::{Span, field::display};

use super::refusal::Refusal;
use crate::{
    error::GatewayError,
    gateway::Gateway,
    ingest::{
        self, abort, admit,
        chunk::{self, ChunkHead},
        commit::{self, Commit},
        retire,
        spool::MAX_MANIFEST_BYTES,
    },
    proofs::{self, ProofAnswer},
};

type Shared = State<Arc<Gateway>>;

/// The id in a path, once the gateway may be asked about batches at all. The request is logged with it.
fn batch(gateway: &Gateway, id: &str) -> Result<BatchId, GatewayError> {
    let batch: BatchId = id.parse()?;
    Span::current().record("batch_id", display(batch));
    started(gateway)?;
    Ok(batch)
}

fn started(gateway: &Gateway) -> Result<(), GatewayError> {
    if gateway.is_rebuilt() { Ok(()) } else { Err(GatewayError::Starting) }
}

/// `POST /v1/batches`.
pub async fn announce(State(gateway): Shared, manifest: Body) -> Result<Response, Refusal> {
    let manifest: Manifest = body::json(manifest, MAX_MANIFEST_BYTES).await?;
    let span = Span::current();
    span.record("batch_id", display(manifest.batch)).record("move_id", display(manifest.move_id));
    started(&gateway)?;
    let admission = admit::admit(&gateway, manifest).await?;
    let status = if admission.new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(admission.status)).into_response())
}

/// `GET /v1/batches/{id}`.
pub async fn status(State(gateway): Shared, Path(id): Path<String>) -> Result<Json<BatchStatus>, Refusal> {
    let batch = batch(&gateway, &id)?;
    Ok(Json(ingest::status(&gateway, batch).await?))
}

/// `PUT /v1/batches/{id}/chunks/{n}`.
pub async fn chunk(
    State(gateway): Shared,
    Path((id, n)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Refusal> {
    let batch = batch(&gateway, &id)?;
    let n: u32 = n
        .parse()
        .ok()
        .filter(|_| n.bytes().all(|b| b.is_ascii_digit()))
        .ok_or_else(|| storage_types::ids::InvalidId(n.chars().take(40).collect()))?;
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let head = ChunkHead {
        length: text(header::CONTENT_LENGTH).and_then(|length| length.parse().ok()),
        digest: headers.get("content-digest").and_then(|value| value.to_str().ok()),
    };
    chunk::receive(&gateway, batch, n, head, &mut body.into_data_stream()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v1/batches/{id}/commit`.
pub async fn commit(State(gateway): Shared, Path(id): Path<String>) -> Result<Response, Refusal> {
    let batch = batch(&gateway, &id)?;
    Ok(match commit::commit(&gateway, batch).await? {
        Commit::Proving(status) => (StatusCode::ACCEPTED, Json(status)).into_response(),
        Commit::Proven(status) => (StatusCode::OK, Json(status)).into_response(),
    })
}

/// `GET /v1/batches/{id}/proof`.
pub async fn proof(State(gateway): Shared, Path(id): Path<String>) -> Result<Json<Proof>, Refusal> {
    let batch = batch(&gateway, &id)?;
    Ok(Json(ingest::fresh_proof(&gateway, batch).await?))
}

/// `POST /v1/batches/{id}/published`.
pub async fn published(State(gateway): Shared, Path(id): Path<String>) -> Result<StatusCode, Refusal> {
    let batch = batch(&gateway, &id)?;
    retire::publish(&gateway, vec![batch]).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn bulk(gateway: &Gateway, body: Body) -> Result<Vec<BatchId>, GatewayError> {
    started(gateway)?;
    let wanted: Batches = body::json(body, gateway.config.service.max_body_bytes).await?;
    Ok(wanted.batches)
}

/// `POST /v1/batches/published`.
pub async fn publish_all(State(gateway): Shared, wanted: Body) -> Result<StatusCode, Refusal> {
    retire::publish(&gateway, bulk(&gateway, wanted).await?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v1/batches/retire`.
pub async fn retire(State(gateway): Shared, wanted: Body) -> Result<StatusCode, Refusal> {
    retire::retire(&gateway, bulk(&gateway, wanted).await?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v1/batches/unretire`.
pub async fn unretire(State(gateway): Shared, wanted: Body) -> Result<StatusCode, Refusal> {
    retire::unretire(&gateway, bulk(&gateway, wanted).await?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v1/proofs`.
pub async fn proofs(State(gateway): Shared, wanted: Body) -> Result<Response, Refusal> {
    started(&gateway)?;
    let wanted: ProofRequest = body::json(wanted, gateway.config.service.max_body_bytes).await?;
    Ok(match proofs::ask(&gateway, wanted).await? {
        ProofAnswer::Running(progress) => (StatusCode::ACCEPTED, Json(progress)).into_response(),
        ProofAnswer::Done(proofs) => (StatusCode::OK, Json(proofs)).into_response(),
    })
}

/// `DELETE /v1/batches/{id}`.
pub async fn delete(State(gateway): Shared, Path(id): Path<String>) -> Result<StatusCode, Refusal> {
    let batch = batch(&gateway, &id)?;
    abort::delete(&gateway, batch).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What of the list is asked for.
#[derive(Debug, Deserialize)]
pub struct Listed {
    /// Ids above this one; without it, from the oldest.
    after: Option<BatchId>,
    /// At most so many, and at most [`MAX_BATCH_PAGE`].
    #[serde(default = "whole_page")]
    limit: u32,
}

fn whole_page() -> u32 {
    MAX_BATCH_PAGE
}

/// `GET /v1/batches`: one page of the batches in cold tables.
pub async fn list(
    State(gateway): Shared,
    wanted: Result<Query<Listed>, QueryRejection>,
) -> Result<Json<BatchPage>, Refusal> {
    let Query(wanted) = wanted.map_err(|error| GatewayError::InvalidBody(error.body_text()))?;
    started(&gateway)?;
    Ok(Json(gateway.journal.page(wanted.after, wanted.limit).await?))
}
