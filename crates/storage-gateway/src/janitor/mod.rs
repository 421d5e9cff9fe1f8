//! Keeps the disk in order: removes what belongs to nobody.
//!
//! At start and every hour: batches that were given up and not yet cleared, staging tables of
//! batches that are not being settled, spooled chunks of batches that are finished or unknown, and
//! batches whose sender fell silent for a month. Everything is judged by the journal, which therefore
//! has to be whole first. Removing is repeatable; what fails is tried again next time.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use storage_types::{BatchId, BatchState};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, field::Empty};

use crate::{
    error::GatewayError,
    gateway::Gateway,
    ingest::{self, abort, staging},
};

const INTERVAL: Duration = Duration::from_secs(3_600);
/// Soon again after a failure (the engine may only be starting).
const RETRY: Duration = Duration::from_secs(30);
/// A batch that got no chunk for so long will get none: no sender waits that long.
const ABANDONED: Duration = Duration::from_secs(30 * 86_400);

/// Runs until `cancel`.
pub async fn run(gateway: Arc<Gateway>, cancel: CancellationToken) {
    let tidying = async {
        gateway.wait_until_rebuilt().await;
        loop {
            let pause = match tidy(&gateway).await {
                Ok(()) => INTERVAL,
                Err(error) => {
                    tracing::warn!(%error, "clean-up not finished");
                    RETRY
                }
            };
            tokio::time::sleep(pause).await;
        }
    };
    tokio::select! {
        () = tidying => {}
        () = cancel.cancelled() => {}
    }
}

/// One round.
pub async fn tidy(gateway: &Gateway) -> Result<(), GatewayError> {
    for batch in gateway.journal.unclean(256).await? {
        if let Some(record) = gateway.journal.get(batch).await? {
            abort::clear(gateway, &record.manifest).instrument(ingest::span(&record.manifest)).await?;
            tracing::info!(batch_id = %batch, move_id = %record.manifest.move_id, "cleared what was left of a batch that was given up");
        }
    }
    for leftover in staging::leftovers(&gateway.engine).await? {
        let Some(batch) = leftover.batch else { continue };
        if state(gateway, batch).await? != Some(BatchState::Received) {
            staging::drop_table(&gateway.engine, &leftover.table).await?;
            tracing::info!(batch_id = %batch, table = %leftover.table, "dropped a leftover staging table");
        }
    }
    // A call that came late may have opened a batch that was just finished.
    for batch in gateway.open.ids() {
        if !matches!(state(gateway, batch).await?, Some(BatchState::Sending | BatchState::Received)) {
            gateway.open.close(batch);
        }
    }
    tidy_spool(gateway).await
}

async fn tidy_spool(gateway: &Gateway) -> Result<(), GatewayError> {
    let batches = gateway.spool.batches().map_err(GatewayError::disk("look through the spool"))?;
    for batch in batches {
        match state(gateway, batch).await? {
            Some(BatchState::Received) => {}
            Some(BatchState::Sending) => {
                if age(&gateway.spool.folder(batch)) > ABANDONED {
                    tracing::warn!(batch_id = %batch, "no chunk for a month: giving the batch up");
                    let span = tracing::error_span!("batch", batch_id = %batch, move_id = Empty);
                    abort::delete(gateway, batch).instrument(span).await?;
                }
            }
            _ => {
                let spool = Arc::clone(&gateway.spool);
                daemon::spawn_blocking(move || spool.remove(batch))
                    .await
                    .map_err(|_| GatewayError::ShuttingDown)?
                    .map_err(GatewayError::disk("remove a batch's chunks"))?;
                tracing::info!(batch_id = %batch, "removed spooled chunks that nobody needs");
            }
        }
    }
    Ok(())
}

async fn state(gateway: &Gateway, batch: BatchId) -> Result<Option<BatchState>, GatewayError> {
    Ok(gateway.journal.get(batch).await?.map(|record| record.state))
}

/// Time since a chunk last came into the folder.
fn age(folder: &std::path::Path) -> Duration {
    std::fs::metadata(folder)
        .and_then(|meta| meta.modified())
        .ok()
        .and_then(|modified| SystemTime::now().duration_since(modified).ok())
        .unwrap_or_default()
}
