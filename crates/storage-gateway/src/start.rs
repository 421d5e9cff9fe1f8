//! Building the rooms from the configuration and starting their tasks. `daemon::run` does the rest: it
//! waits for the end and drains.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use clickhouse_http::query_account::{self, Calls, Wanted};
use daemon::{Tasks, listen};
use storage_config::{LinkMethod, NasConfig};
use supervisor::Supervisor;
use tokio_util::sync::CancellationToken;

use crate::{api, connector, gateway::Gateway, ingest::prover, janitor, journal::rebuild};

/// How often an engine that was found dead is asked again.
const PROBE: Duration = Duration::from_secs(2);

/// Starts everything. `port_file`: where the address listened on is written.
///
/// # Errors
/// When the address is taken, the tunnel cannot be opened, or the data folder cannot be used.
pub async fn start(mut config: NasConfig, port_file: Option<PathBuf>) -> anyhow::Result<Tasks> {
    for note in &config.notes {
        tracing::warn!("{note}");
    }
    let (listener, address) = listen::bind(config.service.listen).await?;
    let tunnel = Supervisor::new();
    let (remote, guarded) = (config.connection.cloud_url.clone(), config.service.token.is_some());
    let attached = tunnel::attach(&config.link, remote, address, guarded, &tunnel).await.context("link")?;
    let mode = match config.connection.method {
        LinkMethod::Vpn => attached.mode(),
        LinkMethod::ReverseProxy => "reverse_proxy".to_owned(),
    };
    tracing::info!(mode, service = %attached.remote, "the link to the cloud");
    config.connection.cloud_url = attached.remote;
    let gateway = Gateway::open(config).await?;
    let work = gateway.supervisor.clone();

    let stop = work.token();
    work.spawn("rebuild", until_stopped(rebuild::run(Arc::clone(&gateway), stop.clone()), stop.clone()));
    work.spawn("prover", prover::run(Arc::clone(&gateway), stop.clone()));
    work.spawn("connector", connector::run(Arc::clone(&gateway), stop.clone()));
    work.spawn("janitor", janitor::run(Arc::clone(&gateway), stop.clone()));
    let storage = &gateway.config.storage;
    if let Some(account) = &storage.query_account {
        let wanted = Wanted {
            account: account.user.clone(),
            databases: storage.databases.clone(),
            calls: Calls::Nowhere,
        };
        let (reader, check_stop) = (gateway.reader.clone(), stop.clone());
        work.spawn_brief(async move {
            check_stop.run_until_cancelled(query_account::report(reader, wanted)).await;
        });
    } else {
        tracing::warn!("no storage.query_user: cold queries run as {}, which may write", storage.user);
    }
    work.spawn("probe", probe(Arc::clone(&gateway), stop.clone()));
    let routes = api::router(Arc::clone(&gateway));
    work.spawn("api", listen::serve(listener, routes, listen::Limits::default(), stop));
    listen::announce(address, &gateway.config.service.name, port_file.as_deref())?;
    Ok(Tasks { work, tunnel })
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
