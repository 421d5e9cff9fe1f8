//! Who may call a daemon: a bearer token on every route it guards.

use axum::{
    Json,
    extract::{Request, State},
    http::{StatusCode, header},
    middleware::{self, FromFnLayer, Next},
    response::{IntoResponse as _, Response},
};
use futures::{FutureExt as _, future::BoxFuture};
use link::BearerToken;
use storage_types::gateway_api::ErrorBody;

/// The type of [`check`] as a plain function, so that the layer has a name.
type Check = fn(State<BearerToken>, Request, Next) -> BoxFuture<'static, Response>;

/// A layer that answers 401 (`unauthorized`, RFC 6750) to requests that do not present `token`.
pub fn require_bearer(token: BearerToken) -> FromFnLayer<Check, BearerToken, (State<BearerToken>, Request)> {
    middleware::from_fn_with_state(token, check as Check)
}

fn check(State(token): State<BearerToken>, request: Request, next: Next) -> BoxFuture<'static, Response> {
    let presented = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if token.matches(presented) {
        return next.run(request).boxed();
    }
    let body = ErrorBody {
        code: "unauthorized".into(),
        message: "the Authorization header must present this daemon's bearer token".into(),
    };
    let refusal = (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], Json(body));
    std::future::ready(refusal.into_response()).boxed()
}
