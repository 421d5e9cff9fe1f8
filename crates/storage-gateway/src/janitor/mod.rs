//! Keeps the disk in order: removes what belongs to nobody.
//!
//! At start and every hour: batches that were given up and not yet cleared, rows of retired batches whose
//! time has come, staging tables of batches that are not being settled, spooled chunks of batches that are
//! finished or unknown, and batches whose sender fell silent for a month. Everything is judged by the
//! journal, which therefore has to be whole first. Removing is repeatable; what fails is tried again next
//! time, and holds up nothing else.

use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use storage_types::{BatchId, BatchState};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, field::Empty};

use crate::{
    cold::custody,
    error::GatewayError,
    gateway::Gateway,
    ingest::{self, abort, retire, staging},
};

const INTERVAL: Duration = Duration::from_secs(3_600);
/// Soon again after a failure (the engine may only be starting).
const RETRY: Duration = Duration::from_secs(30);
/// How often the gateway's running time is noted: a crash loses no more.
const NOTE: Duration = Duration::from_secs(600);
/// A batch that got no chunk in so many seconds of running time will get none: no sender waits that long.
const ABANDONED_SECONDS: i64 = 30 * 86_400;

/// Runs until `cancel`.
pub async fn run(gateway: Arc<Gateway>, cancel: CancellationToken) {
    let tidying = async {
        gateway.wait_until_rebuilt().await;
        loop {
            let next = Instant::now() + if tidy(&gateway).await { INTERVAL } else { RETRY };
            wait(&gateway, next).await;
        }
    };
    tokio::select! {
        () = tidying => {}
        () = cancel.cancelled() => {}
    }
}

/// Until `next`, or until something was retired that may go.
async fn wait(gateway: &Gateway, next: Instant) {
    while Instant::now() < next {
        note_running_time(gateway).await;
        tokio::select! {
            () = tokio::time::sleep_until(next.min(Instant::now() + NOTE)) => {}
            () = gateway.tidying.notified() => return,
        }
    }
}

async fn note_running_time(gateway: &Gateway) {
    if let Err(error) = gateway.journal.note_running_seconds(gateway.running.seconds()).await {
        tracing::error!(%error, "how long the gateway has run is not noted");
    }
}

/// One round; `false` when something is to be tried again soon.
pub async fn tidy(gateway: &Gateway) -> bool {
    let mut whole = true;
    let mut note = |what: &str, done: Result<(), GatewayError>| {
        if let Err(error) = done {
            tracing::warn!(%error, "clean-up: {what}");
            whole = false;
        }
    };
    note("cold tables", custody::look(gateway).await.map(drop));
    note("batches that were given up", clear_given_up(gateway).await);
    note("retired batches", retire::remove_due(gateway).await.map(drop));
    note("staging tables", drop_leftovers(gateway).await);
    note("open batches", close_finished(gateway).await);
    note("the spool", tidy_spool(gateway).await);
    note("old proofs", gateway.journal.forget_proofs().await.map(drop).map_err(Into::into));
    note("idle batches", gateway.journal.forget_idle().await.map(drop).map_err(Into::into));
    whole
}

/// Goes on with the next where one cannot be cleared; the first error is the answer.
async fn clear_given_up(gateway: &Gateway) -> Result<(), GatewayError> {
    let mut first = Ok(());
    for batch in gateway.journal.unclean(256).await? {
        let Some(record) = gateway.journal.get(batch).await? else { continue };
        let cleared =
            abort::clear(gateway, &record.manifest).instrument(ingest::span(&record.manifest)).await;
        if cleared.is_ok() {
            tracing::info!(batch_id = %batch, move_id = %record.manifest.move_id, "cleared what was left of a batch that was given up");
        }
        first = first.and(cleared);
    }
    first
}

async fn drop_leftovers(gateway: &Gateway) -> Result<(), GatewayError> {
    let mut first = Ok(());
    for leftover in staging::leftovers(&gateway.engine).await? {
        let Some(batch) = leftover.batch else { continue };
        if state(gateway, batch).await? == Some(BatchState::Received) {
            continue;
        }
        let dropped = staging::drop_table(&gateway.engine, &leftover.table).await;
        if dropped.is_ok() {
            tracing::info!(batch_id = %batch, table = %leftover.table, "dropped a leftover staging table");
        }
        first = first.and(dropped);
    }
    first
}

/// A call that came late may have opened a batch that was just finished.
async fn close_finished(gateway: &Gateway) -> Result<(), GatewayError> {
    for batch in gateway.open.ids() {
        if !matches!(state(gateway, batch).await?, Some(BatchState::Sending | BatchState::Received)) {
            gateway.open.close(batch);
        }
    }
    Ok(())
}

async fn tidy_spool(gateway: &Gateway) -> Result<(), GatewayError> {
    let batches = gateway.spool.batches().map_err(GatewayError::disk("look through the spool"))?;
    let mut first = Ok(());
    for batch in batches {
        first = first.and(match state(gateway, batch).await? {
            Some(BatchState::Received) => Ok(()),
            Some(BatchState::Sending) => give_up_abandoned(gateway, batch).await,
            _ => remove_chunks(gateway, batch).await,
        });
    }
    first
}

async fn give_up_abandoned(gateway: &Gateway, batch: BatchId) -> Result<(), GatewayError> {
    let touched = touched(&gateway.spool.folder(batch));
    let running = gateway.running.seconds();
    if gateway.journal.idle_seconds(batch, touched, running).await? > ABANDONED_SECONDS {
        tracing::warn!(batch_id = %batch, "no chunk for a month: giving the batch up");
        let span = tracing::error_span!("batch", batch_id = %batch, move_id = Empty);
        abort::delete(gateway, batch).instrument(span).await?;
    }
    Ok(())
}

async fn remove_chunks(gateway: &Gateway, batch: BatchId) -> Result<(), GatewayError> {
    let spool = Arc::clone(&gateway.spool);
    daemon::spawn_blocking(move || spool.remove(batch))
        .await
        .map_err(|_| GatewayError::ShuttingDown)?
        .map_err(GatewayError::disk("remove a batch's chunks"))?;
    tracing::info!(batch_id = %batch, "removed spooled chunks that nobody needs");
    Ok(())
}

async fn state(gateway: &Gateway, batch: BatchId) -> Result<Option<BatchState>, GatewayError> {
    Ok(gateway.journal.get(batch).await?.map(|record| record.state))
}

/// When a chunk last came into the folder, as the file system says: only whether it changed counts, never
/// how long ago it is, since the clock may have jumped.
fn touched(folder: &std::path::Path) -> i64 {
    let modified = std::fs::metadata(folder).and_then(|meta| meta.modified()).ok();
    let since = modified.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
