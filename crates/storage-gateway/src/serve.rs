//! The daemon from start to end: its tasks, its listener, its shutdown.
//!
//! Order of the end: stop listening and tell every task, let running requests finish until
//! `drain_seconds`, then leave; whatever was cut off is begun again after the next start.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use link::Supervisor;
use storage_config::{LinkMethod, NasConfig};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use crate::{api, connector, gateway::Gateway, ingest::prover, journal::rebuild, optimizer};

/// How often an engine that was found dead is asked again.
const PROBE: Duration = Duration::from_secs(2);
/// Longest wait for the tunnel's tasks, once nothing uses it any more.
const TUNNEL_END: Duration = Duration::from_secs(2);

/// How the daemon ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Asked to, everything drained.
    Clean,
    /// Asked to, but something did not end in time.
    Undrained,
    /// A task died.
    Died(&'static str),
}

/// Runs the daemon until a signal or the death of a task.
pub async fn run(mut config: NasConfig) -> anyhow::Result<Exit> {
    for note in &config.notes {
        tracing::warn!("{note}");
    }
    let drain = Duration::from_secs(config.service.drain_seconds);
    let listen = config.service.listen;
    let listener = TcpListener::bind(listen).await.with_context(|| format!("listen on {listen}"))?;
    let address = listener.local_addr().context("ask for the own address")?;
    // The tunnel outlives the tasks, so that what they are answering can leave.
    let tunnel = Supervisor::new();
    let (remote, guarded) = (config.connection.cloud_url.clone(), config.service.token.is_some());
    let attached = tunnel::attach(&config.link, remote, address, guarded, &tunnel).await.context("link")?;
    let mode = match config.connection.method {
        LinkMethod::Vpn => attached.mode(),
        LinkMethod::ReverseProxy => "reverse_proxy".to_owned(),
    };
    tracing::info!(mode, service = %attached.remote, "the link to the cloud");
    config.connection.cloud_url = attached.remote;
    let gateway = Gateway::open(config)?;
    let supervisor = gateway.supervisor.clone();
    let mut terminate = signal(SignalKind::terminate()).context("listen to SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen to SIGINT")?;

    let stop = supervisor.token();
    supervisor
        .spawn("rebuild", until_stopped(rebuild::run(Arc::clone(&gateway), stop.clone()), stop.clone()));
    supervisor.spawn("prover", prover::run(Arc::clone(&gateway), stop.clone()));
    supervisor.spawn("connector", connector::run(Arc::clone(&gateway), stop.clone()));
    supervisor.spawn("optimizer", optimizer::run(Arc::clone(&gateway), stop.clone()));
    supervisor.spawn("probe", probe(Arc::clone(&gateway), stop.clone()));
    supervisor.spawn("http", http(listener, Arc::clone(&gateway), stop));
    tracing::info!(%address, name = gateway.config.service.name, "storage-gateway listens");

    let died = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        name = supervisor.died() => Some(name),
        name = tunnel.died() => Some(name),
    };
    tracing::info!(drain_s = drain.as_secs(), "shutting down");
    supervisor.shutdown();
    let drained = supervisor.wait(drain).await;
    tunnel.shutdown();
    tunnel.wait(TUNNEL_END).await;
    Ok(match died {
        Some(name) => Exit::Died(name),
        None if drained => Exit::Clean,
        None => Exit::Undrained,
    })
}

/// A task whose work ends by itself stays until it is asked to go: ending early would be a death.
async fn until_stopped(work: impl Future<Output = ()>, stop: CancellationToken) {
    work.await;
    stop.cancelled().await;
}

async fn probe(gateway: Arc<Gateway>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(PROBE) => gateway.engine.probe().await,
            () = stop.cancelled() => return,
        }
    }
}

async fn http(listener: TcpListener, gateway: Arc<Gateway>, stop: CancellationToken) {
    let served =
        axum::serve(listener, api::router(gateway)).with_graceful_shutdown(stop.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(%error, "the listener failed");
    }
}
