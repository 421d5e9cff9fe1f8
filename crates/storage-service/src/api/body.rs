//! Reading JSON bodies: within the size limit, and with errors that name the field.

use std::time::Duration;

use axum::{
    Json,
    extract::{FromRequest, Request, rejection::JsonRejection},
    http::StatusCode,
};
use serde::de::DeserializeOwned;

use super::ApiError;

/// Code of a body over the limit.
const TOO_LARGE: &str = "body_too_large";
/// Longest wait for a body.
const BODY_WAIT: Duration = Duration::from_secs(30);

/// A JSON body; its rejections are [`ApiError`]s: 413 `body_too_large`, 415 `not_json`, 400 `bad_json`
/// (the text names the path of the field).
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        match tokio::time::timeout(BODY_WAIT, Json::<T>::from_request(request, state)).await {
            Ok(Ok(Json(value))) => Ok(Self(value)),
            Ok(Err(rejection)) => Err(rejected(&rejection)),
            Err(_) => Err(ApiError::new(
                StatusCode::REQUEST_TIMEOUT,
                "body_too_slow",
                format!("the body did not arrive within {} s", BODY_WAIT.as_secs()),
            )),
        }
    }
}

fn rejected(rejection: &JsonRejection) -> ApiError {
    let (status, code) = match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => (StatusCode::PAYLOAD_TOO_LARGE, TOO_LARGE),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json"),
        _ => (StatusCode::BAD_REQUEST, "bad_json"),
    };
    let error = ApiError::new(status, code, rejection.body_text());
    // What is left may be more than is read on: then the connection cannot be used again, and the caller must
    // know.
    if code == TOO_LARGE { error.header("connection", "close") } else { error }
}
