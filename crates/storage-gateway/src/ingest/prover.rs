//! The one loop that settles committed batches, oldest first, one at a time: the engine sorts and
//! hashes with all its cores for each, and memory stays that of one.
//!
//! A batch that failed waits longer after each attempt while others go on. The queue is the journal,
//! so nothing is lost with this process and nothing piles up in memory.

use std::{collections::HashMap, time::Duration};

use storage_types::{BatchId, BatchState};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::{open_batches::OpenBatch, settle, settle::SettleOutcome, staging};
use crate::{error::GatewayError, gateway::Gateway};

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// Bytes that the engine took this often for no rows are none.
const REFUSALS: u32 = 3;

struct Pause {
    attempts: u32,
    refusals: u32,
    until: Instant,
}

/// Runs until `cancel`. An attempt under way is dropped then; it is begun again after the restart.
pub async fn run(gateway: std::sync::Arc<Gateway>, cancel: CancellationToken) {
    let mut pauses: HashMap<BatchId, Pause> = HashMap::new();
    let mut rest = FIRST_PAUSE;
    loop {
        let step = async {
            gateway.wait_until_rebuilt().await;
            if let Err(error) = step(&gateway, &mut pauses).await {
                tracing::error!(%error, again_in_ms = rest.as_millis(), "the prover cannot go on; trying again");
                tokio::time::sleep(rest).await;
                rest = (rest * 2).min(LONGEST_PAUSE);
            } else {
                rest = FIRST_PAUSE;
            }
        };
        tokio::select! {
            () = step => {}
            () = cancel.cancelled() => return,
        }
    }
}

/// Settles the oldest batch that is due, or waits for one.
async fn step(gateway: &Gateway, pauses: &mut HashMap<BatchId, Pause>) -> Result<(), GatewayError> {
    let ids = gateway.journal.ids_in(&[BatchState::Received], 1_024).await?;
    pauses.retain(|batch, _| ids.contains(batch));
    let now = Instant::now();
    let due = ids.iter().copied().find(|batch| pauses.get(batch).is_none_or(|pause| pause.until <= now));
    let Some(batch) = due else {
        let next = pauses.values().map(|pause| pause.until).min().unwrap_or(now + LONGEST_PAUSE * 4);
        tokio::select! {
            () = gateway.work.notified() => {}
            () = tokio::time::sleep_until(next) => {}
        }
        return Ok(());
    };
    let Some(record) = gateway.journal.get(batch).await? else { return Ok(()) };
    let open = gateway.open.open(&record.manifest);
    let started = Instant::now();
    let settled = async {
        let ending = settle::settle(gateway, &open).await;
        conclude(gateway, &open, ending, pauses, started).await
    };
    settled.instrument(super::span(&open.manifest)).await?;
    open.turn();
    Ok(())
}

async fn conclude(
    gateway: &Gateway,
    open: &OpenBatch,
    ending: SettleOutcome,
    pauses: &mut HashMap<BatchId, Pause>,
    started: Instant,
) -> Result<(), GatewayError> {
    let batch = open.manifest.batch;
    match ending {
        // Ended by somebody else; or a delete asked it to stop and then failed: then it goes on.
        SettleOutcome::Gone => {
            gateway.open.close(batch);
            if gateway.journal.get(batch).await?.is_some_and(|record| record.state == BatchState::Received) {
                pause(gateway, batch, pauses, "interrupted".into(), 0).await?;
            }
        }
        SettleOutcome::Proven => {
            let ms = started.elapsed().as_millis();
            tracing::info!(rows = open.manifest.proof.rows, ms, "batch proven");
            end(gateway, open).await?;
        }
        SettleOutcome::Refuted(reason) => refute(gateway, open, reason).await?,
        SettleOutcome::Incomplete(reason) => {
            tracing::warn!(reason, "chunks are not what they were: asking for them again");
            gateway.journal.advance(batch, BatchState::Sending, None, Some(reason)).await?;
            open.turn();
        }
        SettleOutcome::NoRows(reason) => {
            let refusals = pauses.get(&batch).map_or(0, |pause| pause.refusals) + 1;
            if refusals >= REFUSALS {
                refute(gateway, open, reason).await?;
            } else {
                pause(gateway, batch, pauses, reason, 1).await?;
            }
        }
        SettleOutcome::Later(reason) => pause(gateway, batch, pauses, reason, 0).await?,
    }
    Ok(())
}

async fn refute(gateway: &Gateway, open: &OpenBatch, reason: String) -> Result<(), GatewayError> {
    tracing::error!(reason, "batch refuted: its bytes are not what its manifest says");
    gateway.journal.refute(open.manifest.batch, reason).await?;
    end(gateway, open).await
}

/// Tells the service and clears away what the batch no longer needs. What is left behind by a
/// failure here is found by the janitor.
async fn end(gateway: &Gateway, open: &OpenBatch) -> Result<(), GatewayError> {
    let manifest = &open.manifest;
    gateway.news.notify_one();
    open.turn();
    gateway.open.close(manifest.batch);
    if let Err(error) = staging::drop_all(&gateway.engine, &manifest.cold_database, manifest.batch).await {
        tracing::warn!(%error, "a staging table stays until the next clean-up");
    }
    let (spool, batch) = (std::sync::Arc::clone(&gateway.spool), manifest.batch);
    let removed = daemon::spawn_blocking(move || spool.remove(batch)).await;
    if let Ok(Err(error)) = removed {
        tracing::warn!(%error, "spooled chunks stay until the next clean-up");
    }
    Ok(())
}

async fn pause(
    gateway: &Gateway,
    batch: BatchId,
    pauses: &mut HashMap<BatchId, Pause>,
    reason: String,
    refusals: u32,
) -> Result<(), GatewayError> {
    let now = Instant::now();
    let pause = pauses.entry(batch).or_insert(Pause { attempts: 0, refusals: 0, until: now });
    let wait = FIRST_PAUSE.saturating_mul(1 << pause.attempts.min(10)).min(LONGEST_PAUSE);
    pause.attempts = pause.attempts.saturating_add(1);
    pause.refusals += refusals;
    pause.until = now + wait;
    tracing::warn!(reason, again_in_ms = wait.as_millis(), "batch not proven yet");
    gateway.journal.note_error(batch, reason).await?;
    Ok(())
}
