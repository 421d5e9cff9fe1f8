//! The HTTP front: from a request to a [`Job`], from its [`Head`] and chunks to a response.
//!
//! Each query takes a slot; when all are taken a request waits a while and is then refused (202). The
//! engine works on threads of its own; this side only moves bytes. When hyper drops a request's future or
//! its response's body, the client is gone: the guard that lives in both kills the statement.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, FromRequest as _, Multipart, Request, State};
use axum::response::Response;
use axum::routing::{any, get};
use axum::{Router, http::StatusCode};
use bytes::Bytes;
use clickhouse_http::server::body::{BodyReader, Piece, Unpacking};
use clickhouse_http::server::flushed::Flushed;
use clickhouse_http::server::{Credentials, Gate, RequestParameters, http_status};
use futures::{Stream, StreamExt as _};
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::cancel::{CancelGuard, Finished};
use crate::confine::Confinement;
use crate::external;
use crate::failure::{Failure, code};
use crate::reply::{CHUNKS, Chunk, Head, Packing, Reply, STALL};
use crate::run::{self, Job, Service};

/// How long a request waits for a slot.
const SLOT_WAIT: Duration = Duration::from_secs(10);
/// Requests that may wait for a slot, per slot.
const WAITING_PER_SLOT: usize = 8;
/// How long a client may send nothing in the middle of a body.
const BODY_STALL: Duration = Duration::from_secs(300);

/// What every request shares.
pub struct Front {
    service: Arc<Service>,
    confinement: Confinement,
    gate: Gate,
    slots: Arc<Semaphore>,
    waiting: AtomicUsize,
    max_waiting: usize,
}

impl Front {
    /// A front before `service` that runs `max_connections` statements at once.
    #[must_use]
    pub fn new(service: Arc<Service>, confinement: Confinement, gate: Gate, max_connections: usize) -> Self {
        Self {
            service,
            confinement,
            gate,
            slots: Arc::new(Semaphore::new(max_connections)),
            waiting: AtomicUsize::new(0),
            max_waiting: max_connections * WAITING_PER_SLOT,
        }
    }

    async fn slot(&self) -> Result<OwnedSemaphorePermit, Failure> {
        let busy = || Failure::new(code::TOO_MANY_SIMULTANEOUS_QUERIES, "Too many simultaneous queries");
        if let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() {
            return Ok(slot);
        }
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.max_waiting {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(busy());
        }
        let slot = tokio::time::timeout(SLOT_WAIT, Arc::clone(&self.slots).acquire_owned()).await;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        slot.ok().and_then(Result::ok).ok_or_else(busy)
    }
}

/// The routes.
pub fn router(front: Arc<Front>) -> Router {
    Router::new()
        .route("/ping", get(|| async { "Ok.\n" }))
        .route("/replicas_status", get(|| async { "Ok.\n" }))
        .route("/", any(serve))
        .fallback(|| async { (StatusCode::NOT_FOUND, "There is no such handle. Use / or /ping.\n") })
        .layer(DefaultBodyLimit::disable())
        .with_state(front)
}

/// The query string of a URL that was too long for its place.
#[derive(Clone)]
pub struct LongQuery(pub String);

async fn serve(State(front): State<Arc<Front>>, request: Request) -> Result<Response, Infallible> {
    let long = request.extensions().get::<LongQuery>().map(|query| query.0.as_str());
    let query_string = long.or_else(|| request.uri().query()).unwrap_or_default();
    let mut parameters = RequestParameters::parse(query_string, request.headers());
    let is_get = matches!(*request.method(), Method::GET | Method::HEAD);
    if is_get && query_string.is_empty() {
        return Ok(Response::new(Body::from("Ok.\n")));
    }
    let query_id = parameters.query_id.take().unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    let mut response = match answer(&front, request, parameters, &query_id).await {
        Ok(response) => response,
        Err(failure) => failed(&failure),
    };
    let common = [
        ("x-clickhouse-query-id", query_id.as_str()),
        ("x-clickhouse-timezone", front.service.engine.timezone()),
        ("x-clickhouse-server-display-name", "clickhouse-embedded"),
    ];
    set_headers(response.headers_mut(), &common);
    Ok(response)
}

fn set_headers(headers: &mut HeaderMap, pairs: &[(&'static str, &str)]) {
    for (name, value) in pairs {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(*name, value);
        }
    }
}

async fn answer(
    front: &Arc<Front>,
    request: Request,
    mut parameters: RequestParameters,
    query_id: &str,
) -> Result<Response, Failure> {
    let (mut head, body) = request.into_parts();
    let flushed: Flushed = head.extensions.remove().unwrap_or_default();
    let credentials = Credentials::of(&head.headers, &parameters);
    if !front.gate.admits(&credentials) {
        return Err(Failure::new(
            code::AUTHENTICATION_FAILED,
            format!(
                "{}: Authentication failed: password is incorrect, or there is no user with such name",
                credentials.user
            ),
        ));
    }
    let encoding = head.headers.get(CONTENT_ENCODING).and_then(|value| value.to_str().ok());
    let unpacking = Unpacking::of(encoding, parameters.decompress)
        .map_err(|reason| Failure::new(code::UNKNOWN_COMPRESSION_METHOD, reason))?;
    let entry = front.service.registry.enter(query_id)?;
    let (body, external) = if is_multipart(&head.headers) {
        let request = Request::from_parts(head.clone(), body);
        let parts = Multipart::from_request(request, &())
            .await
            .map_err(|error| Failure::new(code::BAD_ARGUMENTS, format!("the multipart body: {error}")))?;
        let folder = &front.service.engine.folders().tmp;
        (Body::empty(), external::spool(parts, folder, &mut parameters).await?)
    } else {
        (body, Vec::new())
    };
    let tables: Vec<String> = external.iter().map(|file| file.table.clone()).collect();
    parameters.sort_out_external(&tables);
    let read_only = read_only(&parameters, matches!(head.method, Method::GET | Method::HEAD))?;
    let packing = packing(&head.headers, &parameters);
    let (pieces, received) = mpsc::channel(2);
    let reader = Box::new(unpacking.reader(BodyReader::new(received)));
    let slot = front.slot().await?;

    let (head_sender, mut head_receiver) = oneshot::channel();
    let (chunk_sender, chunks) = mpsc::channel(CHUNKS);
    let exception_tag: String = uuid::Uuid::new_v4().simple().to_string().chars().take(16).collect();
    let runtime = tokio::runtime::Handle::current();
    let mut reply = Reply::new(head_sender, chunk_sender, packing, exception_tag.clone(), runtime);
    if parameters.wait_end_of_query {
        reply.wait_for_the_end(&front.service.engine.folders().tmp);
    }
    let finished = Finished::default();
    let service = Arc::clone(&front.service);
    let guard = CancelGuard::new(Arc::clone(&service), entry.tag(), finished.clone());
    let job = Job { parameters, body: reader, external, read_only, entry, confinement: front.confinement };
    tokio::task::spawn_blocking(move || {
        let _slot = slot;
        let _finished = finished.on_drop();
        run::run(&service, job, reply);
    });

    let head = tokio::select! {
        biased;
        head = &mut head_receiver => head,
        () = forward(body, pieces) => head_receiver.await,
    };
    let head =
        head.map_err(|_| Failure::new(code::UNKNOWN_EXCEPTION, "the statement ended without an answer"))?;
    Ok(respond(head, chunks, guard, packing, &exception_tag, flushed))
}

/// The level that the request may do: a GET reads only (but may change settings, as in ClickHouse), and
/// `readonly=` narrows further.
fn read_only(parameters: &RequestParameters, is_get: bool) -> Result<u8, Failure> {
    let asked = match parameters.setting("readonly") {
        None | Some("0" | "") => 0,
        Some("1") => 1,
        Some("2") => 2,
        Some(_) => return Err(Failure::new(code::BAD_ARGUMENTS, "readonly is 0, 1 or 2")),
    };
    Ok(if is_get && asked == 0 { 2 } else { asked })
}

fn is_multipart(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.get(..19).is_some_and(|start| start.eq_ignore_ascii_case("multipart/form-data"))
}

fn packing(headers: &HeaderMap, parameters: &RequestParameters) -> Packing {
    if parameters.compress {
        return Packing::Frames;
    }
    let accepted = headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !parameters.http_compression {
        return Packing::Plain;
    }
    let accepts = |name: &str| {
        accepted
            .split(',')
            .filter_map(|part| part.split(';').next())
            .any(|part| part.trim().eq_ignore_ascii_case(name))
    };
    match (accepts("zstd"), accepts("gzip")) {
        (true, _) => Packing::Zstd,
        (false, true) => Packing::Gzip,
        _ => Packing::Plain,
    }
}

/// Moves the body to the engine's thread until it ends, breaks, stalls, or nobody reads on.
async fn forward(body: Body, pieces: mpsc::Sender<Piece>) {
    let mut stream = body.into_data_stream();
    loop {
        let piece = match tokio::time::timeout(BODY_STALL, stream.next()).await {
            Ok(Some(Ok(bytes))) => Piece::Data(bytes),
            Ok(Some(Err(error))) => Piece::Broken(error.to_string()),
            Ok(None) => Piece::End,
            Err(_) => Piece::Broken("the client sent nothing for too long".into()),
        };
        let last = !matches!(piece, Piece::Data(_));
        if pieces.send(piece).await.is_err() || last {
            return;
        }
    }
}

fn failed(failure: &Failure) -> Response {
    let mut response = Response::new(Body::from(format!("{}\n", failure.text)));
    *response.status_mut() = http_status(failure.code);
    set_headers(
        response.headers_mut(),
        &[
            ("x-clickhouse-exception-code", &failure.code.to_string()),
            ("content-type", "text/plain; charset=UTF-8"),
        ],
    );
    response
}

fn respond(
    head: Head,
    chunks: mpsc::Receiver<Chunk>,
    guard: CancelGuard,
    packing: Packing,
    exception_tag: &str,
    flushed: Flushed,
) -> Response {
    if let Some(failure) = &head.failure {
        guard.release();
        return failed(failure);
    }
    let counts = head.counts;
    let summary = format!(
        "{{\"read_rows\":\"{}\",\"read_bytes\":\"{}\",\"written_rows\":\"{}\",\"written_bytes\":\"{}\",\
         \"total_rows_to_read\":\"0\",\"result_rows\":\"0\",\"result_bytes\":\"0\",\"elapsed_ns\":\"0\"}}",
        counts.read_rows, counts.read_bytes, counts.written_rows, counts.written_bytes
    );
    let over = move || guard.release();
    let mut response = Response::new(Body::from_stream(whole_or_cut(chunks, over, flushed)));
    let headers = response.headers_mut();
    set_headers(
        headers,
        &[("x-clickhouse-summary", &summary), ("x-clickhouse-exception-tag", exception_tag)],
    );
    if let Some(format) = &head.format {
        set_headers(headers, &[("x-clickhouse-format", format)]);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type(format)));
    } else {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=UTF-8"));
    }
    match packing {
        Packing::Gzip => drop(headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"))),
        Packing::Zstd => drop(headers.insert(CONTENT_ENCODING, HeaderValue::from_static("zstd"))),
        Packing::Plain | Packing::Frames => {}
    }
    response
}

/// The bytes of `chunks`: to their end, then `over` is called; or, when they stop before it, up to an error,
/// which closes the connection behind what was said.
fn whole_or_cut(
    chunks: mpsc::Receiver<Chunk>,
    over: impl FnOnce() + Send + 'static,
    flushed: Flushed,
) -> impl Stream<Item = std::io::Result<Bytes>> + Send {
    futures::stream::unfold((chunks, over, flushed), |(mut chunks, over, flushed)| async move {
        match chunks.recv().await {
            Some(Chunk::Data(bytes)) => Some((Ok(bytes), (chunks, over, flushed))),
            Some(Chunk::End) => {
                over();
                None
            }
            None => {
                // As long as for one chunk, for all that hyper holds (2 MiB).
                let _ = tokio::time::timeout(STALL, flushed.next()).await;
                Some((Err(std::io::Error::other("the answer was cut")), (chunks, over, flushed)))
            }
        }
    })
}

fn content_type(format: &str) -> &'static str {
    match format {
        "JSON" | "JSONCompact" | "JSONStrings" | "JSONColumns" => "application/json; charset=UTF-8",
        "CSV" | "CSVWithNames" | "CSVWithNamesAndTypes" => "text/csv; charset=UTF-8; header=absent",
        "JSONEachRow" | "JSONCompactEachRow" => "application/x-ndjson; charset=UTF-8",
        "XML" => "application/xml; charset=UTF-8",
        "Native"
        | "RowBinary"
        | "RowBinaryWithNames"
        | "RowBinaryWithNamesAndTypes"
        | "Parquet"
        | "Arrow"
        | "ArrowStream"
        | "ORC"
        | "Avro" => "application/octet-stream",
        name if name.starts_with("TabSeparated") || name.starts_with("TSV") => {
            "text/tab-separated-values; charset=UTF-8"
        }
        _ => "text/plain; charset=UTF-8",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_an_end_is_an_end() {
        for whole in [true, false] {
            let (sender, chunks) = mpsc::channel(CHUNKS);
            sender.try_send(Chunk::Data(Bytes::from_static(b"1"))).unwrap();
            if whole {
                sender.try_send(Chunk::End).unwrap();
            }
            drop(sender);
            let (told, mut over) = oneshot::channel();
            let stream = whole_or_cut(chunks, move || told.send(()).unwrap(), Flushed::default());
            let pieces: Vec<_> = stream.take(3).collect().await;
            assert_eq!(pieces.iter().filter(|piece| piece.is_ok()).count(), 1);
            assert_eq!((pieces.len() == 1, over.try_recv().is_ok()), (whole, whole));
        }
    }
}
