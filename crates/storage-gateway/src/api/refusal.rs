//! Errors as HTTP answers: one table of status and stable code.
//!
//! The caller sees the error's own text. What is the gateway's fault (journal, disk, engine) is
//! logged as well, here and nowhere else.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use daemon::body::BodyError;
use serde::Serialize;
use storage_types::gateway_api::{BatchStatus, ColdTableState};

use crate::{error::GatewayError, journal::JournalError};

/// Seconds after which a caller that met a limit may ask again.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("2");

/// An error on its way to the caller.
pub struct Refusal(GatewayError);

impl<E: Into<GatewayError>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

/// An `ErrorBody`, together with the batch's status where there is one: both readers find theirs.
#[derive(Serialize)]
struct Body {
    code: &'static str,
    message: String,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    status: Option<BatchStatus>,
}

fn classify(error: &GatewayError) -> (StatusCode, &'static str) {
    use GatewayError as E;
    use StatusCode as S;
    if error.is_full() {
        return (S::INSUFFICIENT_STORAGE, "disk_full");
    }
    match error {
        E::InvalidId(_) => (S::BAD_REQUEST, "invalid_id"),
        E::InvalidSender(_) => (S::BAD_REQUEST, "invalid_sender"),
        E::StaleSender { .. } => (S::CONFLICT, "stale_sender"),
        E::Unclaimed => (S::CONFLICT, "unclaimed"),
        E::ForeignDatabase { .. } => (S::CONFLICT, "foreign_database"),
        E::InvalidBody(_) => (S::BAD_REQUEST, "invalid_body"),
        E::Body(BodyError::Invalid(_)) => (S::BAD_REQUEST, "invalid_body"),
        E::Body(BodyError::TooLarge { .. }) => (S::PAYLOAD_TOO_LARGE, "body_too_large"),
        E::Body(BodyError::TooSlow) => (S::REQUEST_TIMEOUT, "stalled"),
        E::Body(BodyError::Broken(_)) => (S::BAD_REQUEST, "broken_body"),
        E::Stalled { .. } => (S::REQUEST_TIMEOUT, "stalled"),
        E::BrokenBody(_) => (S::BAD_REQUEST, "broken_body"),
        E::InvalidManifest(_) => (S::UNPROCESSABLE_ENTITY, "invalid_manifest"),
        E::ManifestDiffers(_) => (S::CONFLICT, "manifest_differs"),
        E::UnknownBatch(_) => (S::NOT_FOUND, "unknown_batch"),
        E::UnknownTable { .. } => (S::NOT_FOUND, "unknown_table"),
        E::ForbiddenTable(_) => (S::FORBIDDEN, "forbidden_table"),
        E::UnknownChunk { .. } => (S::NOT_FOUND, "unknown_chunk"),
        E::NoSuchPath(_) => (S::NOT_FOUND, "not_found"),
        E::WrongLength { .. } => (S::UNPROCESSABLE_ENTITY, "wrong_length"),
        E::WrongChunkHash { .. } => (S::UNPROCESSABLE_ENTITY, "wrong_chunk_hash"),
        E::Committed(_) => (S::CONFLICT, "committed"),
        E::Aborted(_) => (S::CONFLICT, "aborted"),
        E::Retired(_) => (S::CONFLICT, "retired"),
        E::StillRemoving { .. } => (S::SERVICE_UNAVAILABLE, "still_removing"),
        E::ColdTable(table) => (S::CONFLICT, cold_table(table.state)),
        E::Published(_) => (S::CONFLICT, "published"),
        E::NotProven { .. } => (S::CONFLICT, "not_proven"),
        E::ChunksMissing(_) => (S::CONFLICT, "chunks_missing"),
        E::Refuted(_) => (S::UNPROCESSABLE_ENTITY, "refuted"),
        E::SchemaDiffers { .. } => (S::CONFLICT, "schema_changed"),
        E::UnsuitableTable { .. } => (S::CONFLICT, "unsuitable_table"),
        E::DiskReserve { .. } => (S::INSUFFICIENT_STORAGE, "disk_reserve"),
        E::Busy { .. } => (S::SERVICE_UNAVAILABLE, "busy"),
        E::Starting => (S::SERVICE_UNAVAILABLE, "starting"),
        E::Offline => (S::SERVICE_UNAVAILABLE, "offline"),
        E::ShuttingDown | E::Journal(JournalError::Interrupted) => (S::SERVICE_UNAVAILABLE, "shutting_down"),
        E::RefusedQuery(_) => (S::BAD_REQUEST, "refused_query"),
        E::Statement(error) | E::Engine(error) => engine(error),
        E::EngineAnswer(_) => (S::BAD_GATEWAY, "engine_answer"),
        E::Journal(JournalError::Transition(_)) => (S::CONFLICT, "wrong_state"),
        E::Journal(_) => (S::INTERNAL_SERVER_ERROR, "journal"),
        E::Disk { .. } => (S::INTERNAL_SERVER_ERROR, "disk"),
    }
}

fn cold_table(state: ColdTableState) -> &'static str {
    match state {
        ColdTableState::Ok => "cold_table_ok",
        ColdTableState::Lost => "cold_table_lost",
        ColdTableState::Replaced => "cold_table_replaced",
        ColdTableState::MissingRows => "cold_table_missing_rows",
        ColdTableState::Foreign => "foreign_database",
    }
}

fn engine(error: &clickhouse_http::Error) -> (StatusCode, &'static str) {
    use clickhouse_http::Error as E;
    match error {
        E::Server { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "engine_exception"),
        E::Unreachable { .. } => (StatusCode::SERVICE_UNAVAILABLE, "engine_unreachable"),
        E::Deadline { .. } => (StatusCode::GATEWAY_TIMEOUT, "engine_deadline"),
        E::Unknown { .. } | E::TooLarge { .. } | E::Protocol(_) => (StatusCode::BAD_GATEWAY, "engine_answer"),
    }
}

/// ClickHouse's own code, for callers that know it.
fn exception_code(error: &GatewayError) -> Option<i32> {
    match error {
        GatewayError::Statement(error) | GatewayError::Engine(error) => error.code(),
        _ => None,
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (mut status, code) = classify(&self.0);
        // A statement of the gateway's own that the engine refuses is no fault of the caller's.
        let engine_refused = matches!(self.0, GatewayError::Engine(clickhouse_http::Error::Server { .. }));
        if engine_refused && status != StatusCode::INSUFFICIENT_STORAGE {
            status = StatusCode::BAD_GATEWAY;
        }
        if status.is_server_error() && status != StatusCode::SERVICE_UNAVAILABLE {
            tracing::error!(code, error = %self.0, "request failed");
        }
        let exception = exception_code(&self.0);
        let message = self.0.to_string();
        let batch = match self.0 {
            GatewayError::ChunksMissing(status) | GatewayError::Refuted(status) => Some(*status),
            _ => None,
        };
        let mut response = (status, Json(Body { code, message, status: batch })).into_response();
        let headers = response.headers_mut();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        if status == StatusCode::PAYLOAD_TOO_LARGE {
            // What is left of the body may be more than is read on.
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(code) = exception {
            headers.insert("x-clickhouse-exception-code", HeaderValue::from(code));
        }
        response
    }
}
