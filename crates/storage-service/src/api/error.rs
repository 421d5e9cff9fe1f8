//! Errors as callers see them: a status, a stable code, a sentence.
//!
//! A room says which status and code belong to each of its own errors (`status()` and `code()` beside the
//! error); here they become an answer, always of one shape. Logging happens here too, once per failed
//! request.

use axum::{
    Json,
    http::{HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use storage_types::gateway_api::ErrorBody;

use crate::router::QueryError;

/// An error answer: [`ErrorBody`] with a status.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    code: String,
    message: String,
    header: Option<(&'static str, HeaderValue)>,
}

impl ApiError {
    /// `code` is stable and machine-readable; `message` is for people.
    pub fn new(status: StatusCode, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { status, code: code.into(), message: message.into(), header: None }
    }

    /// 404 for something that is asked for by id or name.
    pub fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    /// With one response header; a value that is no header value is left out.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.header = Some((name, value));
        }
        self
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if self.status.is_server_error() {
            tracing::warn!(status = self.status.as_u16(), code = %self.code, "{}", self.message);
        } else {
            tracing::debug!(status = self.status.as_u16(), code = %self.code, "{}", self.message);
        }
        let body = ErrorBody { code: self.code, message: self.message };
        let mut response = (self.status, Json(body)).into_response();
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut answer = Self::new(status, error.code(), error.to_string());
        if let Some(code) = error.engine_code() {
            answer = answer.header("x-clickhouse-exception-code", &code.to_string());
        }
        answer
    }
}

impl From<crate::migrator::MigrationError> for ApiError {
    fn from(error: crate::migrator::MigrationError) -> Self {
        let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self::new(status, error.code(), error.to_string())
    }
}
