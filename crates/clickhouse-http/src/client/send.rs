//! Sending: which node next, what a failure means, and how long to wait.
//!
//! The rule that everything here serves: once a statement that is not idempotent may have reached a
//! server, it is never sent again, and anything but a clear answer is [`Error::Unknown`].

use std::{pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{Stream, StreamExt, stream::BoxStream};
use http::StatusCode;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until, timeout_at};
use url::Url;

use super::{Error, NodeId, Query, ResponseStream, Summary, error::chain};
use crate::exception::{CODE_HEADER, Exception};

/// Error texts are kept up to this many bytes.
const MAX_ERROR_BYTES: usize = 64 << 10;

/// Runs a statement whose answer is looked at chunk by chunk, all within its deadline.
pub(super) async fn collected<F>(query: Query, mut each: F) -> Result<(Summary, ()), Error>
where
    F: FnMut(&[u8]) -> Result<(), Error>,
{
    let until = Instant::now() + query.deadline;
    let idempotent = query.is_idempotent();
    let mut answer = send(&query, &Payload::Sql, &Clock::fixed(until)).await?;
    let summary = answer.summary();
    let node = answer.node_url().to_string();
    let drain = async {
        while let Some(chunk) = answer.next().await {
            each(&chunk?)?;
        }
        Ok(())
    };
    match timeout_at(until, drain).await {
        Ok(done) => done.map(|()| (summary, ())),
        Err(_) => Err(late(idempotent, node, query.deadline)),
    }
}

/// The same, collected up to the client's cap.
pub(super) async fn collected_bytes(query: Query) -> Result<(Summary, Vec<u8>), Error> {
    let limit_bytes = query.client.inner.list.max_response_bytes;
    let mut bytes = Vec::new();
    let (summary, ()) = collected(query, |chunk| {
        if (bytes.len() + chunk.len()) as u64 > limit_bytes {
            return Err(Error::TooLarge { limit_bytes });
        }
        bytes.extend_from_slice(chunk);
        Ok(())
    })
    .await?;
    Ok((summary, bytes))
}

/// The answer as a stream; the deadline holds between two bytes.
pub(super) async fn stream(query: Query) -> Result<ResponseStream, Error> {
    let clock = Clock::fixed(Instant::now() + query.deadline);
    send(&query, &Payload::Sql, &clock).await
}

/// Streams `body` in; the deadline holds between two chunks of it, and then until the answer.
pub(super) async fn insert<S>(query: Query, body: S) -> Result<Summary, Error>
where
    S: Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static,
{
    let mut query = query;
    query.external.clear();
    let body = Payload::Body(Arc::new(Mutex::new(Some(body.boxed()))));
    let clock = Clock::new(query.deadline);
    let mut answer = send(&query, &body, &clock).await?;
    let summary = answer.summary();
    while let Some(chunk) = answer.next().await {
        chunk?;
    }
    Ok(summary)
}

/// What the request carries.
enum Payload {
    /// The SQL as body, or in the URL beside external tables.
    Sql,
    /// The SQL in the URL and a stream that can be taken once: while it is still here, no server has
    /// seen a byte of it.
    Body(Arc<Mutex<Option<BoxStream<'static, std::io::Result<Bytes>>>>>),
}

/// When to stop waiting for the headers: a limit that each chunk of a request body pushes away.
struct Clock {
    until: Arc<Mutex<Instant>>,
    limit: Duration,
}

impl Clock {
    fn new(limit: Duration) -> Self {
        Self { until: Arc::new(Mutex::new(Instant::now() + limit)), limit }
    }

    fn fixed(until: Instant) -> Self {
        Self { until: Arc::new(Mutex::new(until)), limit: until - Instant::now() }
    }

    fn until(&self) -> Instant {
        *self.until.lock()
    }

    /// A function that pushes the limit away.
    fn toucher(&self) -> impl Fn() + Send + 'static {
        let (until, limit) = (Arc::clone(&self.until), self.limit);
        move || *until.lock() = Instant::now() + limit
    }

    /// `None` when the time ran out.
    async fn wait<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        loop {
            let until = self.until();
            tokio::select! {
                biased;
                done = &mut future => return Some(done),
                () = sleep_until(until) => if self.until() <= until { return None },
            }
        }
    }
}

/// How one attempt ended.
enum Attempt {
    Answered(Box<ResponseStream>),
    /// Not sent: the next node may have it.
    NotSent(String),
    /// Sent, and the connection was lost before an answer.
    Lost(String),
    /// Sent, and something between us and ClickHouse answered in its place.
    Failed(Error),
}

async fn send(query: &Query, payload: &Payload, clock: &Clock) -> Result<ResponseStream, Error> {
    let nodes = &query.client.inner.nodes;
    let order = match query.node {
        Some(node) if !nodes.contains(node) => {
            return Err(Error::Protocol(format!("node {} is not in the list", node.0)));
        }
        Some(node) => vec![node],
        None => nodes.order(),
    };
    // A read over a kept-alive connection that the server had just closed gets one more try there.
    let again = query.is_idempotent() && matches!(payload, Payload::Sql);
    let mut last = Error::Protocol("the node list is empty".into());
    for node in order {
        let url = nodes.url(node);
        let mut attempt = attempt(query, payload, clock, node, &url).await;
        if let (Ok(Attempt::Lost(_)), true) = (&attempt, again) {
            attempt = self::attempt(query, payload, clock, node, &url).await;
        }
        let lost = match attempt {
            Err(Late) => {
                nodes.mark_suspect(node);
                return Err(late(query.is_idempotent(), url.to_string(), query.deadline));
            }
            Ok(Attempt::Answered(answer)) => {
                if query.node.is_none() {
                    nodes.mark_answered(node);
                } else {
                    nodes.mark_alive(node);
                }
                return Ok(*answer);
            }
            Ok(Attempt::Failed(error)) => return Err(error),
            Ok(Attempt::NotSent(reason)) => {
                nodes.mark_dead(node, &reason);
                last = Error::Unreachable { node: url.to_string(), reason };
                continue;
            }
            Ok(Attempt::Lost(reason)) => reason,
        };
        nodes.mark_dead(node, &lost);
        if !again {
            return Err(Error::Unknown { node: url.to_string(), reason: lost });
        }
        last = Error::Unreachable { node: url.to_string(), reason: lost };
    }
    Err(last)
}

/// The clock ran out.
struct Late;

fn late(idempotent: bool, node: String, waited: Duration) -> Error {
    let waited_ms = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
    if idempotent {
        Error::Deadline { node, waited_ms }
    } else {
        Error::Unknown { node, reason: format!("no answer within {waited_ms} ms") }
    }
}

async fn attempt(
    query: &Query,
    payload: &Payload,
    clock: &Clock,
    node: NodeId,
    base: &Url,
) -> Result<Attempt, Late> {
    let request = match request(query, payload, clock, base) {
        Ok(request) => request,
        Err(error) => return Ok(Attempt::Failed(error)),
    };
    let answer = match clock.wait(request.send()).await {
        None => return Err(Late),
        // Refused, unresolved, no TLS: the statement itself has not left.
        Some(Err(error)) if error.is_connect() => return Ok(Attempt::NotSent(chain(&error))),
        Some(Err(error)) if error.is_builder() => {
            return Ok(Attempt::Failed(Error::Protocol(chain(&error))));
        }
        Some(Err(error)) => return Ok(Attempt::Lost(chain(&error))),
        Some(Ok(answer)) => answer,
    };
    let status = answer.status();
    let code = answer.headers().get(CODE_HEADER).and_then(|v| v.to_str().ok()?.trim().parse().ok());
    if status == StatusCode::OK && code.is_none() {
        if !has_length(answer.headers()) {
            return Ok(Attempt::Failed(Error::Protocol("the answer has no length and no chunks".into())));
        }
        let idle = query.deadline;
        let stream = ResponseStream::new(answer, node, base, idle, query.is_idempotent());
        return Ok(Attempt::Answered(Box::new(stream)));
    }
    let Some(text) = clock.wait(error_text(answer)).await else { return Err(Late) };
    Ok(match Exception::from_answer(code, &text) {
        Some(exception) => {
            query.client.inner.nodes.mark_alive(node);
            Attempt::Failed(exception.into())
        }
        // A proxy's 502 to 504, or a server that is going down.
        None if status.is_server_error() => Attempt::Lost(format!("{status}: {}", first_line(&text))),
        None => Attempt::Failed(Error::Protocol(format!("{status}: {}", first_line(&text)))),
    })
}

/// Without either, an answer that was cut looks whole.
fn has_length(headers: &http::HeaderMap) -> bool {
    headers.contains_key(http::header::CONTENT_LENGTH)
        || headers.contains_key(http::header::TRANSFER_ENCODING)
}

fn request(
    query: &Query,
    payload: &Payload,
    clock: &Clock,
    base: &Url,
) -> Result<reqwest::RequestBuilder, Error> {
    let http = &query.client.inner.http;
    match payload {
        Payload::Sql if query.external.is_empty() => {
            Ok(http.post(query.url(base, false)).body(query.sql.clone()))
        }
        Payload::Sql => {
            let mut form = reqwest::multipart::Form::new();
            for table in &query.external {
                let length = table.bytes.len() as u64;
                let part = reqwest::multipart::Part::stream_with_length(table.bytes.clone(), length);
                form = form.part(table.name.clone(), part.file_name(table.name.clone()));
            }
            Ok(http.post(query.url(base, true)).multipart(form))
        }
        Payload::Body(body) => {
            let (body, touch) = (Arc::clone(body), clock.toucher());
            // Taken at the first poll, so a refused connection leaves it for the next node.
            let stream = futures::stream::once(async move {
                let taken = body.lock().take();
                taken.unwrap_or_else(|| {
                    futures::stream::once(async { Err(std::io::Error::other("the body was already sent")) })
                        .boxed()
                })
            })
            .flatten()
            .inspect(move |_| touch());
            Ok(http.post(query.url(base, true)).body(reqwest::Body::wrap_stream(stream)))
        }
    }
}

/// What a failing answer says, up to the cap; a connection lost in it ends the text.
async fn error_text(mut answer: reqwest::Response) -> String {
    let mut text = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        let room = MAX_ERROR_BYTES - text.len();
        text.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if text.len() >= MAX_ERROR_BYTES {
            break;
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

fn first_line(text: &str) -> String {
    text.trim().lines().next().unwrap_or_default().chars().take(200).collect()
}
