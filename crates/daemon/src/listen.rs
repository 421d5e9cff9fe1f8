//! The listener of both daemons: bounded in connections, patient but not for ever, drained at the end.
//!
//! | what a caller may keep us waiting for | until |
//! |---|---|
//! | a place among the connections | one is free; meanwhile it waits in the kernel's queue |
//! | the head of a request, the first one or the next | [`Limits::head`] |
//! | a request's body | its handler's deadline, see [`crate::body`] |
//! | taking bytes of its answer | [`Limits::unread`] |
//!
//! How long a request may be worked on is its handler's to say. On `stop` nothing more is accepted,
//! connections without a request are closed and running requests go on, each connection closing behind
//! its own; [`crate::run`] sets the deadline of that. A dropped `serve` drops every connection, and with
//! it what its handler was doing.

use std::{io, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::{Router, body::Body, extract::Request, middleware::map_request};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{connection::Connection, disk, drained};

/// Pause after an accept that failed for want of something (descriptors, memory).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What callers may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections open at once; each costs a descriptor and some kilobytes.
    pub connections: usize,
    /// Longest wait for a request's head, and between two requests.
    pub head: Duration,
    /// Longest time a caller may take no byte of an answer that is there for it.
    pub unread: Duration,
}

impl Default for Limits {
    /// 512 connections leave room among the 1,024 descriptors a process is usually given. 120 s are more
    /// than clients keep idle connections (60 to 90 s), so that it is they who close them, never we while
    /// a request is on its way. 900 s are the longest that an engine is given to take cold rows.
    fn default() -> Self {
        Self { connections: 512, head: Duration::from_secs(120), unread: Duration::from_secs(900) }
    }
}

/// Listens on `address`; with the address that turned out to be, should its port be 0.
///
/// # Errors
/// When the address is not this machine's, or taken.
pub async fn bind(address: SocketAddr) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("listen on service.listen {address}"))?;
    let address = listener.local_addr().context("ask for the own address")?;
    Ok((listener, address))
}

/// Says in the log that connections to `address` are accepted, and in the port file if there is to be one.
///
/// # Errors
/// When the file cannot be written.
pub fn announce(address: SocketAddr, name: &str, port_file: Option<&Path>) -> anyhow::Result<()> {
    if let Some(file) = port_file {
        disk::write_durably(file, format!("{address}\n").as_bytes())
            .with_context(|| format!("write --port-file {}", file.display()))?;
    }
    tracing::info!(%address, name, "listening");
    Ok(())
}

/// Serves `routes` until `stop`, then drains. Bodies that no handler read are read to their end
/// ([`drained`]).
pub async fn serve(listener: TcpListener, routes: Router, limits: Limits, stop: CancellationToken) {
    let routes = routes.layer(map_request(async |request: Request| drained(request).map(Body::new)));
    let places = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    while let Some(accepted) = stop.run_until_cancelled(accept(&listener, &places)).await {
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, place)) => {
                let connection = graceful.watch(connection(stream, routes.clone(), limits));
                connections.spawn(async move {
                    // An error here is a caller that went away or kept us waiting.
                    let _ = connection.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    graceful.shutdown().await;
}

/// The next connection, once there is a place for it.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

type Serving = http1::Connection<TokioIo<Connection>, TowerToHyperService<Router>>;

fn connection(stream: TcpStream, routes: Router, limits: Limits) -> Serving {
    // Answers are streams of small chunks: never wait to fill a packet.
    let _ = stream.set_nodelay(true);
    let stream = Connection::new(stream, limits.unread);
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes))
}

#[cfg(test)]
mod tests;
