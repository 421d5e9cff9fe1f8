//! Accepting connections: bounded in number, patient but not for ever, and drained at the end.
//!
//! A caller gets `HEAD_WAIT` to send a request's head (and as long between two requests), so that
//! half-open connections do not pile up. Above `MAX_CONNECTIONS` new ones wait in the kernel's
//! queue. On `stop` nothing more is accepted and running requests go on; their connections close
//! behind them. Whoever waits for the drain sets its deadline.

use std::{sync::Arc, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

/// Connections open at once.
const MAX_CONNECTIONS: usize = 1024;
/// Longest wait for a request's head. Longer than clients keep idle connections (60 to 90 s), so that
/// it is they who close them, never we while a request is on its way.
const HEAD_WAIT: Duration = Duration::from_secs(120);
/// Pause after an accept that failed for want of something (descriptors, memory).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `routes` until `stop`, then drains.
pub async fn serve(listener: TcpListener, routes: Router, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = stop.run_until_cancelled(async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        });
        match accepted.await {
            None => break,
            Some((Ok(place), Ok((stream, _)))) => {
                let connection = graceful.watch(connection(stream, routes.clone()));
                connections.spawn(async move {
                    // An error here is a caller that went away.
                    let _ = connection.await;
                    drop(place);
                });
            }
            Some((_, Err(error))) => {
                tracing::warn!("accept: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            // The semaphore is never closed.
            Some((Err(_), _)) => break,
        }
    }
    drop(listener);
    graceful.shutdown().await;
}

type Connection = hyper::server::conn::http1::Connection<TokioIo<TcpStream>, TowerToHyperService<Router>>;

fn connection(stream: TcpStream, routes: Router) -> Connection {
    // Answers are streams of small chunks: never wait to fill a packet.
    let _ = stream.set_nodelay(true);
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes))
}
