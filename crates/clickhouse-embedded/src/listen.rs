//! Accepting connections, saying where, and stopping in order.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::cli::Options;

/// Bytes of a request's line and headers: a URL may have 1 MiB.
const MAX_HEAD_BYTES: usize = 2 << 20;
/// How long a client may take to send a request's head.
const HEAD_WAIT: Duration = Duration::from_secs(30);
/// How long running statements may go on after a stop was asked for.
const DRAIN: Duration = Duration::from_secs(10);
/// Connections open at once.
const MAX_OPEN: usize = 1024;

/// Listens until SIGTERM or SIGINT, then drains.
///
/// # Errors
/// When the address cannot be had, or the port file not be written.
pub async fn run(options: &Options, router: Router) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listener = TcpListener::bind(options.listen)
        .await
        .with_context(|| format!("cannot listen on {}", options.listen))?;
    announce(&listener, options.port_file.as_deref())?;
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
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone()));
    let connection = graceful.watch(connection);
    connections.spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection ended early");
        }
    });
}

/// Prints the address as a JSON line, and writes it to `port_file` by rename.
fn announce(listener: &TcpListener, port_file: Option<&Path>) -> anyhow::Result<()> {
    let address = listener.local_addr()?;
    if let Some(file) = port_file {
        let fresh = file.with_extension("tmp");
        std::fs::write(&fresh, format!("{address}\n"))
            .with_context(|| format!("--port-file {}", file.display()))?;
        std::fs::rename(&fresh, file).with_context(|| format!("--port-file {}", file.display()))?;
    }
    let line = serde_json::json!({
        "event": "listening", "url": format!("http://{address}"), "port": address.port(), "pid": std::process::id(),
    });
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).context("cannot print the address")?;
    tracing::info!(%address, "listening");
    Ok(())
}
