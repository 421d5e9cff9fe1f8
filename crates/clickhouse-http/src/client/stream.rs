//! Answers that are handed on as they come, requested by ourselves.
//!
//! The crate's cursor cannot give them. It looks for the tagged tail in one chunk at a time, so a tail that
//! the network cut in two is handed on as rows, and the batch or the answer made of them is short and looks
//! whole. It hands out neither the headers, which the gateway relays, nor the tag that a second look would
//! need. And it sends no external tables.

use std::{convert::Infallible, ops::ControlFlow, vec};

use bytes::Bytes;
use futures::stream;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::{
    Error, Query, ResponseStream,
    query::ExternalTable,
    send::{Attempts, Failure, first_line, unsent_or_lost},
};
use crate::exception::{CODE_HEADER, Exception};

/// Error texts are kept up to this many bytes.
const MAX_ERROR_BYTES: usize = 64 << 10;

/// A request's body: pieces that are not copied into one.
pub(super) type Pieces = StreamBody<stream::Iter<vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>;

pub(super) fn pieces(pieces: Vec<Bytes>) -> Pieces {
    let frames: Vec<_> = pieces.into_iter().map(|piece| Ok(Frame::data(piece))).collect();
    StreamBody::new(stream::iter(frames))
}

/// The answer as a stream. The deadline holds until the first byte, and from then on between two.
pub(super) async fn open(query: Query) -> Result<ResponseStream, Error> {
    let until = Instant::now() + query.deadline;
    let mut attempts = Attempts::new(&query, query.is_idempotent())?;
    while let Some(node) = attempts.next() {
        let outcome = timeout_at(until, ask(&query, &node)).await.unwrap_or(Err(Failure::Late));
        if let ControlFlow::Break(done) = attempts.outcome(outcome) {
            return done;
        }
    }
    Err(attempts.exhausted())
}

async fn ask(query: &Query, node: &Url) -> Result<ResponseStream, Failure> {
    let request = request(query, node).map_err(|error| Failure::Final(Error::Protocol(error.to_string())))?;
    let sent = query.client.inner.http.request(request).await;
    let answer = sent.map_err(|error| unsent_or_lost(&error))?;
    let status = answer.status();
    let code = answer.headers().get(CODE_HEADER).and_then(|v| v.to_str().ok()?.trim().parse().ok());
    if status == StatusCode::OK && code.is_none() {
        if !has_length(answer.headers()) {
            let error = Error::Protocol("the answer has no length and no chunks".into());
            return Err(Failure::Final(error));
        }
        return Ok(ResponseStream::new(answer, node, query.deadline, query.is_idempotent()));
    }
    let text = error_text(answer).await;
    Err(match Exception::from_answer(code, &text) {
        Some(exception) => Failure::Refused(exception),
        None => Failure::Lost(format!("{status}: {}", first_line(&text))),
    })
}

/// Without either, an answer that was cut looks whole.
fn has_length(headers: &http::HeaderMap) -> bool {
    headers.contains_key(header::CONTENT_LENGTH) || headers.contains_key(header::TRANSFER_ENCODING)
}

fn request(query: &Query, node: &Url) -> http::Result<Request<Pieces>> {
    let request = Request::post(query.url(node).as_str());
    let (request, body) = if query.external.is_empty() {
        (request, vec![Bytes::from(query.sql.clone())])
    } else {
        let (kind, body) = multipart(&query.external);
        (request.header(header::CONTENT_TYPE, kind), body)
    };
    let length: usize = body.iter().map(Bytes::len).sum();
    let mut request = request.header(header::CONTENT_LENGTH, length).body(pieces(body))?;
    request.headers_mut().extend(query.client.inner.credentials.clone());
    Ok(request)
}

/// The tables as one form: its content type, and its pieces.
fn multipart(tables: &[ExternalTable]) -> (String, Vec<Bytes>) {
    // Random, so no row can end a table.
    let boundary = uuid::Uuid::new_v4().simple().to_string();
    let mut pieces = Vec::new();
    for ExternalTable { name, bytes, .. } in tables {
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{name}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        );
        pieces.extend([head.into(), bytes.clone(), Bytes::from_static(b"\r\n")]);
    }
    pieces.push(format!("--{boundary}--\r\n").into());
    (format!("multipart/form-data; boundary={boundary}"), pieces)
}

/// What a failing answer says, up to the cap; a connection lost in it ends the text.
async fn error_text(answer: Response<Incoming>) -> String {
    let mut body = answer.into_body();
    let mut text = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        let chunk = frame.into_data().unwrap_or_default();
        let room = MAX_ERROR_BYTES - text.len();
        text.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if text.len() >= MAX_ERROR_BYTES {
            break;
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}
