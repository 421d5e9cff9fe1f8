//! The connections below, one rule for all: what the `clickhouse` crate sends and what we send goes over
//! these.
//!
//! **One statement, one connection.** Nothing is sent into a connection that a server may just be closing
//! for its idleness: such a statement would have an unknown outcome. Our engines are near, so a handshake
//! costs little.
//!
//! **An end is an error.** An answer ends by its length or its last chunk. A connection that ends is
//! reported as an error instead, so an answer without either, whose end cannot be told from a cut, fails.
//!
//! **Bounds.** Dialling has a time limit. A connection whose answer is collected carries so many bytes and
//! is then ended, whatever they are: the crate collects the text of a failing answer without a bound. It
//! also ends with the caller, since the crate waits for an insert's answer in a task of its own.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Uri};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{Connected, Connection, HttpConnector},
    },
    rt::{TokioExecutor, TokioIo},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};
use tower_service::Service;

use super::{Error, NodeList};

/// What a connection may carry besides a collected answer: its head, and the lengths of its chunks.
const HEAD_BYTES: u64 = 1 << 20;

/// Dials the nodes of a list.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    dialer: HttpsConnector<HttpConnector>,
    timeout: Duration,
    most_bytes: u64,
    dropped: CancellationToken,
}

impl Connector {
    /// Checks the addresses; nothing is dialled yet.
    pub(super) fn new(list: &NodeList) -> Result<Self, Error> {
        if list.nodes.is_empty() {
            return Err(Error::Protocol("the node list is empty".into()));
        }
        let mut https = false;
        for node in &list.nodes {
            match node.scheme() {
                "http" => {}
                "https" => https = true,
                other => return Err(Error::Protocol(format!("{node}: {other} is neither http nor https"))),
            }
            if node.host_str().is_none() || node.query().is_some() {
                return Err(Error::Protocol(format!("{node}: expected a base URL with a host and no query")));
            }
        }
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(Duration::from_secs(30)));
        let tls = tls(https).map_err(|error| Error::Protocol(format!("TLS: {error}")))?;
        let dialer = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        Ok(Self {
            dialer,
            timeout: list.connect_timeout,
            most_bytes: u64::MAX,
            dropped: CancellationToken::new(),
        })
    }

    /// For one collected answer: its connection ends behind `limit_bytes` of it, and when the guard is dropped.
    pub(super) fn bounded(&self, limit_bytes: u64) -> (Self, DropGuard) {
        let (most_bytes, dropped) = (limit_bytes.saturating_add(HEAD_BYTES), CancellationToken::new());
        let guard = dropped.clone().drop_guard();
        (Self { most_bytes, dropped, ..self.clone() }, guard)
    }

    /// A client that sends bodies of type `B`.
    pub(super) fn client<B>(self) -> Client<Self, B>
    where
        B: hyper::body::Body + Send,
        B::Data: Send,
    {
        Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(self)
    }
}

fn tls(used: bool) -> Result<rustls::ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(if used {
        config.try_with_platform_verifier()?.with_no_client_auth()
    } else {
        // Do not read the system's certificates: a bare container has none.
        config.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()
    })
}

/// Name and password as headers, of which no log shows the value.
///
/// # Errors
/// One of them cannot stand in a header.
pub(super) fn credentials(list: &NodeList) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::new();
    let mut put = |name: &'static str, value: &str| {
        let mut value = HeaderValue::from_bytes(value.as_bytes())
            .map_err(|_| Error::Protocol(format!("{name}: not a header value")))?;
        value.set_sensitive(true);
        headers.insert(name, value);
        Ok::<_, Error>(())
    };
    if !list.user.is_empty() {
        put("x-clickhouse-user", &list.user)?;
    }
    if !list.password.is_empty() {
        put("x-clickhouse-key", list.password.expose())?;
    }
    Ok(headers)
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Wire>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<TokioIo<Wire>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, node: Uri) -> Self::Future {
        let (dialling, timeout) = (self.dialer.call(node), self.timeout);
        let (left_bytes, dropped) = (self.most_bytes, self.dropped.clone());
        Box::pin(async move {
            let late =
                |_| io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {timeout:?}"));
            let dialled = tokio::time::timeout(timeout, dialling).await.map_err(late)?;
            let stream = TokioIo::new(dialled.map_err(io::Error::other)?);
            let dropped = Box::pin(dropped.cancelled_owned());
            Ok(TokioIo::new(Wire { stream, left_bytes, dropped }))
        })
    }
}

/// A connection that ends by the rules above.
pub(super) struct Wire {
    stream: TokioIo<MaybeHttpsStream<TokioIo<TcpStream>>>,
    left_bytes: u64,
    dropped: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.dropped.as_mut().poll(cx).is_ready() {
            return Poll::Ready(ended("nobody waits for the answer"));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        let read = (buf.filled().len() - before) as u64;
        if read == 0 {
            return Poll::Ready(ended("the connection ended"));
        }
        match this.left_bytes.checked_sub(read) {
            Some(left) => this.left_bytes = left,
            None => return Poll::Ready(ended("the answer does not end")),
        }
        Poll::Ready(Ok(()))
    }
}

fn ended(why: &str) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::ConnectionAborted, why))
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

impl Connection for Wire {
    fn connected(&self) -> Connected {
        self.stream.inner().connected()
    }
}
