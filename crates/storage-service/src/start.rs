//! Building the rooms from the configuration, and the life of the process around them.

use std::{
    io::{IsTerminal, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use clickhouse_http::client::{Client, NodeList};
use link::{BearerToken, Peer, Supervisor};
use storage_config::{CloudConfig, LinkMethod, LogFormat};
use storage_service::{
    api::{self, App, LastHeartbeat},
    catalog::Catalog,
    link::{BandwidthMonitor, BandwidthSchedule, LinkMonitor},
    migrator::Migrator,
    router::{Router, cold::Gateway},
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tunnel::Mode;

/// Longest wait for a connection to the hot engine.
const CONNECT: Duration = Duration::from_secs(5);
/// Chunks sent at the same time through the userspace stack, at first.
const USERSPACE_CONNECTIONS: u32 = 8;
/// Longest wait for the tunnel's tasks, once nothing uses it any more.
const TUNNEL_END: Duration = Duration::from_secs(2);
/// Most bytes of an answer that is collected (metadata, proofs; never a caller's rows).
const COLLECTED_BYTES: u64 = 64 << 20;

/// How the process ended.
pub enum End {
    /// Asked to, and everything was drained.
    Clean,
    /// Asked to, but something was still running at the deadline.
    Undrained,
    /// A task died.
    TaskDied,
}

impl End {
    /// See the head of `main.rs`.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::TaskDied => 70,
            Self::Undrained => 75,
        }
    }
}

/// Log lines to stdout; `RUST_LOG` chooses which.
pub fn log(format: LogFormat) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,boringtun=off"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stdout);
    match format {
        LogFormat::Json => lines.json().flatten_event(true).init(),
        LogFormat::Text => lines.with_ansi(std::io::stdout().is_terminal()).init(),
    }
}

/// Builds everything, serves until a signal, drains.
pub async fn run(mut config: CloudConfig, port_file: Option<PathBuf>) -> Result<End> {
    for note in &config.notes {
        tracing::warn!("{note}");
    }
    let service = config.service.clone();
    std::fs::create_dir_all(&service.data_dir)
        .with_context(|| format!("make service.data_dir {}", service.data_dir.display()))?;
    let hot = hot_client(&config)?;
    let listener = TcpListener::bind(service.listen)
        .await
        .with_context(|| format!("listen on service.listen {}", service.listen))?;
    let address = listener.local_addr()?;
    // The tunnel outlives the tasks, so that what they are answering can leave.
    let tunnel = Supervisor::new();
    let remote = config.cold.gateway_url.clone();
    let attached = tunnel::attach(&config.link, remote, address, service.token.is_some(), &tunnel)
        .await
        .context("link")?;
    let mode = match config.cold.method {
        LinkMethod::Vpn => attached.mode(),
        LinkMethod::ReverseProxy => "reverse_proxy".to_owned(),
    };
    tracing::info!(mode, gateway = %attached.remote, "the link to the NAS");
    config.cold.gateway_url = attached.remote.clone();
    if attached.tunnel.as_ref().is_some_and(|tunnel| tunnel.mode() == Mode::Userspace) {
        // One connection of the userspace stack recovers slowly from a loss; many do together.
        config.migration.connections = config.migration.connections.max(USERSPACE_CONNECTIONS);
    }
    let peer = gateway_peer(&config)?;
    let supervisor = Supervisor::new();
    let catalog = Catalog::open(&service.data_dir).context("open the catalog")?;
    let pace = BandwidthSchedule::new(config.migration.bandwidth_limit.clone());
    let tunnelled = attached.tunnel.is_some();
    let monitor = BandwidthMonitor::new(attached.tunnel);
    let migrator =
        Migrator::new(&config, hot.clone(), peer.clone(), Arc::clone(&catalog), &pace, monitor.clone())
            .context("build the migrator")?;
    let link = Arc::new(LinkMonitor::new(peer.clone(), mode, tunnelled, pace.clone(), monitor));
    let gateway = Gateway { peer, pulse: config.cold.timeout, limiter: pace.down().clone() };
    let router = Arc::new(Router::new(
        hot.clone(),
        config.hot.database.clone(),
        gateway,
        Arc::clone(&catalog),
        service.internal_url.clone(),
    ));
    let app = Arc::new(App {
        name: service.name.clone(),
        hot,
        catalog,
        migrator: migrator.clone(),
        pace: pace.clone(),
        metrics: api::metrics::registry(Arc::clone(&link)),
        link: Arc::clone(&link),
        router: Arc::clone(&router),
        heartbeat: LastHeartbeat::default(),
        supervisor: supervisor.clone(),
    });
    let token = service.token.as_ref().map(|token| BearerToken::new(token.expose()));
    let max_body = usize::try_from(service.max_body_bytes).unwrap_or(usize::MAX);
    let routes = api::routes(app, token, max_body);

    let stop = supervisor.token();
    let server = api::listen::serve(listener, routes, stop.clone());
    supervisor.spawn("api", server);
    let (prober, watch) = (Arc::clone(&router), router);
    let (probe_stop, watch_stop) = (stop.clone(), stop.clone());
    supervisor.spawn("hot prober", async move { prober.probe(probe_stop).await });
    supervisor.spawn("query watch", async move { watch.watch(watch_stop).await });
    let (pace_stop, link_stop, yield_stop) = (stop.clone(), stop.clone(), stop.clone());
    let yielding = Arc::clone(&link);
    supervisor.spawn("link monitor", async move { link.run(link_stop).await });
    supervisor.spawn("yielding", async move { yielding.yield_to_others(yield_stop).await });
    supervisor.spawn("bandwidth schedule", async move { pace.run(pace_stop).await });
    supervisor.spawn("migrator", async move { migrator.run(stop).await });
    if let Some(path) = port_file {
        write_port_file(&path, address).with_context(|| format!("write {}", path.display()))?;
    }
    tracing::info!(%address, name = service.name, "listening");
    serve_until_signal(&supervisor, &tunnel, Duration::from_secs(service.drain_seconds)).await
}

async fn serve_until_signal(supervisor: &Supervisor, tunnel: &Supervisor, drain: Duration) -> Result<End> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let died = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        task = supervisor.died() => Some(task),
        task = tunnel.died() => Some(task),
    };
    if let Some(task) = &died {
        tracing::error!("task {task} has died: the process ends so that it is started afresh");
    } else {
        tracing::info!("shutting down");
    }
    supervisor.shutdown();
    let drained = supervisor.wait(drain).await;
    tunnel.shutdown();
    tunnel.wait(TUNNEL_END).await;
    Ok(match (died, drained) {
        (Some(_), _) => End::TaskDied,
        (None, true) => End::Clean,
        (None, false) => {
            tracing::warn!("not drained within {} s", drain.as_secs());
            End::Undrained
        }
    })
}

fn hot_client(config: &CloudConfig) -> Result<Client> {
    let hot = &config.hot;
    Client::new(NodeList {
        nodes: hot.nodes.clone(),
        user: hot.user.clone(),
        password: hot.password.clone().unwrap_or_default(),
        database: Some(hot.database.clone()),
        connect_timeout: CONNECT,
        max_response_bytes: COLLECTED_BYTES,
    })
    .context("hot_storage.nodes")
}

fn gateway_peer(config: &CloudConfig) -> Result<Peer> {
    let cold = &config.cold;
    let token = cold.token.as_ref().map(|token| BearerToken::new(token.expose()));
    let pinned = cold.ca_file.as_ref().map(std::fs::read).transpose().context("read connection.ca_file")?;
    let (url, timeout) = (cold.gateway_url.clone(), cold.timeout);
    Peer::with_authorities(url, token, timeout, cold.retry_attempts, pinned.as_deref())
        .context("cold_storage_proxy.connection")
}

fn write_port_file(path: &Path, address: SocketAddr) -> std::io::Result<()> {
    let draft = path.with_extension("tmp");
    let mut file = std::fs::File::create(&draft)?;
    writeln!(file, "{address}")?;
    file.sync_all()?;
    std::fs::rename(&draft, path)
}
