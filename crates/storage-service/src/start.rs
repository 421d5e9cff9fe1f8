//! Building the rooms from the configuration and starting their tasks. `daemon::run` does the rest: it
//! waits for the end and drains. It starts, and serves health and status, whether or not the hot engine
//! and the NAS are there.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use clickhouse_http::client::{Client, NodeList};
use daemon::{Tasks, listen};
use link::{BearerToken, Peer};
use storage_config::{CloudConfig, LinkMethod};
use supervisor::Supervisor;
use tunnel::Mode;

use crate::{
    accounts::QueryClients,
    api::{self, App, LastHeartbeat},
    catalog::Catalog,
    link::{BandwidthMonitor, BandwidthSchedule, LinkMonitor},
    migrator::Migrator,
    router::{Router, cold::Gateway},
};

/// Longest wait for a connection to the hot engine.
const CONNECT: Duration = Duration::from_secs(5);
/// Chunks sent at the same time through the userspace stack, at first.
const USERSPACE_CONNECTIONS: u32 = 8;
/// Most bytes of an answer that is collected (metadata, proofs; never a caller's rows).
const COLLECTED_BYTES: u64 = 64 << 20;

/// Starts everything. `port_file`: where the address listened on is written.
///
/// # Errors
/// When the address is taken, the tunnel cannot be opened, or the data folder cannot be used.
pub async fn start(mut config: CloudConfig, port_file: Option<PathBuf>) -> Result<Tasks> {
    for note in &config.notes {
        tracing::warn!("{note}");
    }
    let service = config.service.clone();
    let catalog = Catalog::open(&service.data_dir)?;
    let hot = hot_client(&config)?;
    let clients = QueryClients::new(&config, &hot)?;
    let (listener, address) = listen::bind(service.listen).await?;
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
    let work = Supervisor::new();
    let schedule = BandwidthSchedule::new(config.migration.bandwidth_limit.clone());
    let tunnelled = attached.tunnel.is_some();
    let monitor = BandwidthMonitor::new(attached.tunnel);
    let migrator =
        Migrator::new(&config, hot.clone(), peer.clone(), Arc::clone(&catalog), &schedule, monitor.clone())
            .context("build the migrator")?;
    let link = Arc::new(LinkMonitor::new(peer.clone(), mode, tunnelled, schedule.clone(), monitor));
    let gateway = Gateway { peer, pulse: config.cold.timeout, limiter: schedule.down().clone() };
    let router = Arc::new(Router::new(
        clients.clone(),
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
        schedule: schedule.clone(),
        metrics: api::metrics::registry(Arc::clone(&link)),
        link: Arc::clone(&link),
        router: Arc::clone(&router),
        heartbeat: LastHeartbeat::default(),
        supervisor: work.clone(),
        max_body_bytes: service.max_body_bytes,
    });
    let token = service.token.as_ref().map(|token| BearerToken::new(token.expose()));
    let routes = api::routes(app, token);

    let stop = work.token();
    work.spawn("api", listen::serve(listener, routes, listen::Limits::default(), stop.clone()));
    let (prober, watch) = (Arc::clone(&router), router);
    let (probe_stop, watch_stop) = (stop.clone(), stop.clone());
    work.spawn("hot prober", async move { prober.probe(probe_stop).await });
    work.spawn("query watch", async move { watch.watch(watch_stop).await });
    let (schedule_stop, link_stop, yield_stop) = (stop.clone(), stop.clone(), stop.clone());
    let yielding = Arc::clone(&link);
    work.spawn("link monitor", async move { link.run(link_stop).await });
    work.spawn("yielding", async move { yielding.yield_to_others(yield_stop).await });
    work.spawn("bandwidth schedule", async move { schedule.run(schedule_stop).await });
    clients.check(&config, &work);
    work.spawn("migrator", async move { migrator.run(stop).await });
    listen::announce(address, &service.name, port_file.as_deref())?;
    Ok(Tasks { work, tunnel })
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
