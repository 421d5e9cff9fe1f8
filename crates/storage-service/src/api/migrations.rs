//! Migrations, the catalog and the guard's TTL adoption: thin over the migrator.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use storage_types::{
    MigrationId,
    service_api::{
        AdoptReport, CatalogReport, MigrationAccepted, MigrationReport, MigrationRequest, MoveDecision,
    },
};

use super::{ApiError, App, JsonBody};

/// Starts a migration (202), or says what one would do (200).
pub async fn start(
    State(app): State<Arc<App>>,
    JsonBody(request): JsonBody<MigrationRequest>,
) -> Result<Response, ApiError> {
    if request.dry_run {
        return Ok(Json(app.migrator.dry_run(request).await?).into_response());
    }
    let id = app.migrator.start(request, "api").await?;
    Ok((StatusCode::ACCEPTED, Json(MigrationAccepted { id })).into_response())
}

/// Every migration, newest first.
pub async fn list(State(app): State<Arc<App>>) -> Json<Vec<MigrationReport>> {
    Json(app.migrator.reports())
}

/// One migration.
pub async fn get(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<MigrationReport>, ApiError> {
    let id = migration_id(&id)?;
    app.migrator.report(id).map(Json).ok_or_else(|| unknown(id))
}

/// Cancels: moves whose rows are all in the head are given up, the others are finished.
pub async fn cancel(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    app.migrator.cancel(migration_id(&id)?).await?;
    Ok(StatusCode::ACCEPTED)
}

/// An operator decides about a move that waits for it.
pub async fn decide(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    JsonBody(decision): JsonBody<MoveDecision>,
) -> Result<StatusCode, ApiError> {
    let id = id.parse();
    let id = id.map_err(|error| ApiError::new(StatusCode::BAD_REQUEST, "invalid_id", format!("{error}")))?;
    app.migrator.decide(id, decision.keep)?;
    Ok(StatusCode::ACCEPTED)
}

/// What is visible where.
pub async fn catalog(State(app): State<Arc<App>>) -> Json<CatalogReport> {
    let version = app.catalog.current().version;
    Json(CatalogReport { version, tables: app.migrator.tables() })
}

/// Takes over the TTL of a table.
pub async fn adopt(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Json<AdoptReport>, ApiError> {
    Ok(Json(app.migrator.adopt_ttl(&name).await?))
}

fn migration_id(text: &str) -> Result<MigrationId, ApiError> {
    text.parse().map_err(|error| ApiError::new(StatusCode::BAD_REQUEST, "invalid_id", format!("{error}")))
}

fn unknown(id: MigrationId) -> ApiError {
    ApiError::not_found("unknown_migration", format!("no migration {id}"))
}
