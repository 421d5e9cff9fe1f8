//! Accepting connections, saying where, and stopping in order.

use std::convert::Infallible;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axum::Router;
use axum::response::Response;
use clickhouse_http::server::drained;
use clickhouse_http::server::flushed::{Flushed, FlushedWriter};
use clickhouse_http::server::long_url::{Answering, Conversation, LongUrlReader};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::http::LongQuery;
use crate::run::Service;

/// Bytes of a request's line and headers: a URL may have 1 MiB.
const MAX_HEAD_BYTES: usize = 2 << 20;
/// How long a client may take to send a request's head.
const HEAD_WAIT: Duration = Duration::from_secs(30);
/// How long running statements may go on after a stop was asked for.
const DRAIN: Duration = Duration::from_secs(10);
/// Connections open at once.
const MAX_OPEN: usize = 1024;

/// Writes the port file, outside the walls that the rest of the process works in.
pub struct Herald {
    address: mpsc::Sender<SocketAddr>,
    writer: JoinHandle<std::io::Result<()>>,
}

impl Herald {
    /// Starts the writer's thread; it waits for the address and ends.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(file: Option<PathBuf>) -> std::io::Result<Self> {
        let file = file.map(std::path::absolute).transpose()?;
        let (address, receiver) = mpsc::channel::<SocketAddr>();
        let writer = std::thread::Builder::new().name("port-file".into()).spawn(move || {
            let (Some(file), Ok(address)) = (file, receiver.recv()) else { return Ok(()) };
            let fresh = file.with_extension("fresh");
            std::fs::write(&fresh, format!("{address}\n"))?;
            std::fs::rename(&fresh, &file)
        })?;
        Ok(Self { address, writer })
    }

    /// Tells the world: the port file, by rename, then a JSON line on stdout.
    fn announce(self, address: SocketAddr) -> anyhow::Result<()> {
        let _ = self.address.send(address);
        match self.writer.join() {
            Ok(written) => written.context("--port-file")?,
            Err(_) => anyhow::bail!("--port-file: its writer failed"),
        }
        let line = serde_json::json!({
            "event": "listening", "url": format!("http://{address}"), "port": address.port(),
            "pid": std::process::id(),
        });
        let mut out = std::io::stdout().lock();
        writeln!(out, "{line}").and_then(|()| out.flush()).context("cannot print the address")?;
        tracing::info!(%address, "listening");
        Ok(())
    }
}

/// Listens until SIGTERM or SIGINT, then drains.
///
/// # Errors
/// When the address cannot be had, or the port file not be written.
pub async fn run(
    address: SocketAddr,
    herald: Herald,
    router: Router,
    service: &Service,
) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    herald.announce(listener.local_addr()?)?;
    let mut expiry = tokio::time::interval(Duration::from_secs(1));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < MAX_OPEN => match accepted {
                Ok((stream, _)) => connect(&mut connections, &graceful, stream, &router),
                Err(error) => {
                    // Out of descriptors, mostly: wait for some to be closed.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next() => {}
            _ = expiry.tick() => service.sessions.expire(Instant::now()),
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    tracing::info!("stopping");
    drop(listener);
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::warn!(open = connections.len(), "statements still running are killed");
    }
    // Dropping a connection drops its request or its answer, which kills its statement.
    connections.shutdown().await;
    Ok(())
}

fn connect(connections: &mut JoinSet<()>, graceful: &GracefulShutdown, stream: TcpStream, router: &Router) {
    let _ = stream.set_nodelay(true);
    let secret = uuid::Uuid::new_v4().simple().to_string();
    let Ok(conversation) = Conversation::new(&secret) else { return };
    let flushed = Flushed::default();
    let (reader, writer) = stream.into_split();
    let reader = LongUrlReader::new(reader, conversation.clone());
    let stream = tokio::io::join(reader, FlushedWriter::new(writer, flushed.clone()));
    let service = Conversing { router: router.clone(), conversation, flushed };
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let connection = graceful.watch(connection);
    connections.spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection ended early");
        }
    });
}

/// The routes, for one connection: puts a long URL's query string back, and says when a request is over.
struct Conversing {
    router: Router,
    conversation: Conversation,
    flushed: Flushed,
}

impl hyper::service::Service<hyper::Request<Incoming>> for Conversing {
    type Response = Response<Held<axum::body::Body>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, mut request: hyper::Request<Incoming>) -> Self::Future {
        let answering = Arc::new(self.conversation.next_request());
        if let Some(query) = self.conversation.take_query(request.headers_mut()) {
            request.extensions_mut().insert(LongQuery(query));
        }
        request.extensions_mut().insert(self.flushed.clone());
        let request = drained(request.map(|body| Held { body, _answering: Arc::clone(&answering) }));
        let answer = TowerToHyperService::new(self.router.clone()).call(request);
        Box::pin(async move {
            let response = answer.await?;
            Ok(response.map(|body| Held { body, _answering: answering }))
        })
    }
}

/// A request's or an answer's body: once both are dropped, the next request may be looked at.
struct Held<B> {
    body: B,
    _answering: Arc<Answering>,
}

impl<B: Body + Unpin> Body for Held<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
