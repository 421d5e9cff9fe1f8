//! JSON bodies, and the answers to what is wrong with them.

use std::sync::Arc;

use axum::{
    extract::{FromRequest, Request},
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
};
use daemon::body::{self, BodyError};
use serde::de::DeserializeOwned;

use super::{ApiError, App};

/// A JSON body of at most `service.max_body_bytes`. Its rejections are [`ApiError`]s: 413
/// `body_too_large`, 415 `not_json`, 400 `bad_json` (the text names the path of the field), 408
/// `body_too_slow`, 400 `broken_body`.
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Arc<App>> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, ApiError> {
        if !is_json(request.headers()) {
            let text = "expected a request with `Content-Type: application/json`";
            return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", text));
        }
        Ok(Self(body::json(request.into_body(), app.max_body_bytes).await?))
    }
}

/// `application/json`, or a type with the suffix `+json` (RFC 6839).
fn is_json(headers: &HeaderMap) -> bool {
    let named = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = named.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let Some(subtype) = media_type.strip_prefix("application/") else { return false };
    subtype == "json" || subtype.ends_with("+json")
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        let (status, code) = match error {
            BodyError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
            BodyError::TooSlow => (StatusCode::REQUEST_TIMEOUT, "body_too_slow"),
            BodyError::Broken(_) => (StatusCode::BAD_REQUEST, "broken_body"),
            BodyError::Invalid(_) => (StatusCode::BAD_REQUEST, "bad_json"),
        };
        let answer = Self::new(status, code, error.to_string());
        // What is left may be more than is read on: then the connection cannot be used again, and the
        // caller must know.
        if matches!(error, BodyError::TooLarge { .. }) {
            answer.header("connection", "close")
        } else {
            answer
        }
    }
}
