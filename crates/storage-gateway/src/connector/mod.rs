//! Speaks to the service in the cloud: a heartbeat every `heartbeat_interval`, and how each commit
//! ended, in case the answer to the commit was lost.
//!
//! The NAS dials out, so it needs no open port for this. What is owed stands in the journal until
//! the service has acknowledged it; the service being away is said once when it begins and once when
//! it ends. Nothing else in the daemon waits for the cloud.

use std::{sync::Arc, time::Duration};

use link::{BearerToken, Peer, PeerError};
use storage_config::ConnectionConfig;
use storage_types::gateway_api::{Confirmation, Heartbeat};
use tokio_util::sync::CancellationToken;

use crate::{error::GatewayError, gateway::Gateway, ingest};

const HEARTBEAT: &str = "/internal/v1/heartbeat";
const CONFIRMATIONS: &str = "/internal/v1/confirmations";
/// Soonest next attempt after the service did not take something.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs until `cancel`.
pub async fn run(gateway: Arc<Gateway>, cancel: CancellationToken) {
    let connection = &gateway.config.connection;
    let token = connection.token.as_ref().map(|secret| BearerToken::new(secret.expose()));
    let peer = match cloud(connection, token) {
        Ok(peer) => peer,
        Err(error) => {
            tracing::error!(%error, "no connection to the cloud can be prepared");
            cancel.cancelled().await;
            return;
        }
    };
    tokio::select! {
        () = beat(&gateway, &peer) => {}
        () = cancel.cancelled() => {}
    }
}

fn cloud(connection: &ConnectionConfig, token: Option<BearerToken>) -> anyhow::Result<Peer> {
    let pinned = connection.ca_file.as_ref().map(std::fs::read).transpose()?;
    let (url, timeout) = (connection.cloud_url.clone(), connection.timeout);
    Ok(Peer::with_authorities(url, token, timeout, 0, pinned.as_deref())?)
}

async fn beat(gateway: &Gateway, peer: &Peer) {
    gateway.wait_until_rebuilt().await;
    let mut clock = tokio::time::interval(gateway.config.connection.heartbeat_interval.max(PAUSE));
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = clock.tick() => {
                let told = heartbeat(gateway, peer).await;
                note(gateway, peer, told);
            }
            () = gateway.news.notified() => {}
        }
        if let Err(error) = confirm(gateway, peer).await {
            tracing::error!(%error, "confirmations cannot be read");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn heartbeat(gateway: &Gateway, peer: &Peer) -> Result<(), PeerError> {
    match gateway.status().await {
        Ok(status) => {
            let heartbeat = Heartbeat { status, uptime_s: gateway.uptime_s() };
            peer.post_no_content(HEARTBEAT, &heartbeat).await.map(|_| ())
        }
        Err(error) => {
            tracing::error!(%error, "no heartbeat: the gateway does not know its own state");
            Ok(())
        }
    }
}

/// Says once that the cloud went away, and once that it is back; and once that what answers in its
/// place cannot prove to be it, which will not pass by itself.
fn note(gateway: &Gateway, peer: &Peer, told: Result<(), PeerError>) {
    let untrusted = matches!(told, Err(PeerError::Untrusted { .. }));
    let stranger = gateway.set_cloud_untrusted(untrusted) && untrusted;
    let changed = gateway.set_cloud_away(told.is_err());
    match told {
        Err(error) if changed || stranger => tracing::warn!(%error, "the cloud does not answer"),
        Ok(()) if changed => tracing::info!(url = %peer.url(), "the cloud answers again"),
        _ => {}
    }
}

/// Sends what is owed, oldest first, until the service does not take it.
async fn confirm(gateway: &Gateway, peer: &Peer) -> Result<(), GatewayError> {
    let offline = &gateway.config.connection.offline_mode;
    let age = if offline.enabled { offline.max_offline_duration } else { Duration::ZERO };
    while let Some(batch) = gateway.journal.next_confirmation().await? {
        let confirmation = Confirmation { status: ingest::status(gateway, batch).await? };
        match peer.post_no_content(CONFIRMATIONS, &confirmation).await {
            Ok(_) => gateway.journal.confirmed(batch).await?,
            // The service answered and does not want it: it will not want it later either.
            Err(error)
                if error.status().is_some() && !error.is_retryable() && error.status() != Some(401) =>
            {
                tracing::warn!(batch_id = %batch, %error, "the service refuses a confirmation");
                gateway.journal.confirmed(batch).await?;
            }
            Err(error) => {
                note(gateway, peer, Err(error));
                let age_s = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
                let dropped = gateway.journal.expire_confirmations(age_s).await?;
                if dropped > 0 {
                    tracing::warn!(dropped, "confirmations older than max_offline_duration are dropped");
                }
                break;
            }
        }
    }
    Ok(())
}
