//! `POST /api/v1/query` and `GET /api/v1/queries/{query_id}`.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::Response,
};
use http_body_util::BodyExt;
use storage_types::service_api::{QueryReport, QueryRequest, headers};

use super::{ApiError, App, JsonBody};
use crate::router::Answer;

/// Answers a query as a stream.
pub async fn post(
    State(app): State<Arc<App>>,
    JsonBody(request): JsonBody<QueryRequest>,
) -> Result<Response, ApiError> {
    let answer = app.router.answer(request).await?;
    Ok(respond(answer))
}

/// How a query went.
pub async fn report(
    State(app): State<Arc<App>>,
    Path(query_id): Path<String>,
) -> Result<Json<QueryReport>, ApiError> {
    let report = app.router.query_report(&query_id);
    report
        .map(Json)
        .ok_or_else(|| ApiError::not_found("unknown_query", "no running or recent query of this id"))
}

fn respond(answer: Answer) -> Response {
    let Answer { content_type, body } = answer;
    let record = Arc::clone(body.record());
    let facts = record.facts();
    let mut headers_out = HeaderMap::new();
    let mut put = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers_out.insert(HeaderName::from_static(name), value);
        }
    };
    put("content-type", &content_type);
    put(headers::ROUTE, facts.route);
    put(headers::PLAN, facts.plan);
    put(headers::CATALOG_VERSION, &facts.catalog_version.to_string());
    put(headers::COVERAGE, "complete");
    put("x-clickhouse-query-id", &facts.query_id);
    let body = if facts.route == "hot" {
        put(headers::LINK_BYTES, "0");
        Body::from_stream(body)
    } else {
        put(header::TRAILER.as_str(), headers::LINK_BYTES);
        let counted = Arc::clone(&record);
        let trailers = async move {
            let value = HeaderValue::from_str(&counted.link_bytes().to_string()).ok()?;
            Some(Ok(HeaderMap::from_iter([(HeaderName::from_static(headers::LINK_BYTES), value)])))
        };
        Body::new(Body::from_stream(body).with_trailers(trailers))
    };
    let mut response = Response::new(body);
    *response.headers_mut() = headers_out;
    response
}
