//! The end of sending: from here on the gateway works alone.
//!
//! A commit is idempotent. The first one that finds every chunk held writes `received` into the
//! journal (the intent) and wakes the prover; every one waits a moment for the outcome, so that the
//! usual sender needs to ask only once, and answers how the batch stands.

use std::time::Duration;

use fault_points::Point;
use storage_types::{BatchId, BatchState, gateway_api::BatchStatus};

use super::{known, open_batches::OpenBatch, status_of};
use crate::{error::GatewayError, gateway::Gateway};

/// How long a commit waits for the proof before it answers "proving".
const WAIT: Duration = Duration::from_secs(2);

/// How a commit was answered.
#[derive(Debug)]
pub enum Commit {
    /// The prover is at it; ask again.
    Proving(BatchStatus),
    /// The rows are live under the batch's id.
    Proven(BatchStatus),
}

/// Commits a batch.
pub async fn commit(gateway: &Gateway, batch: BatchId) -> Result<Commit, GatewayError> {
    let record = known(gateway, batch).await?;
    if matches!(record.state, BatchState::Sending | BatchState::Received) {
        let open = gateway.open.open(&record.manifest);
        let mut turned = open.turned.subscribe();
        if record.state == BatchState::Sending {
            accept(gateway, batch, &open).await?;
        }
        // Whatever it turned to is read from the journal below; a timeout is an answer too.
        let _ = tokio::time::timeout(WAIT, settled(gateway, batch, &mut turned)).await;
    }
    answer(gateway, batch).await
}

async fn accept(gateway: &Gateway, batch: BatchId, open: &OpenBatch) -> Result<(), GatewayError> {
    let _gate = open.gate.lock().await;
    let record = known(gateway, batch).await?;
    if record.state != BatchState::Sending {
        return Ok(());
    }
    let status = status_of(gateway, &record).await?;
    if !status.missing.is_empty() {
        return Err(GatewayError::ChunksMissing(Box::new(status)));
    }
    fault_points::reach(Point::GatewayCommitBeforeJournal).await;
    gateway.journal.advance(batch, BatchState::Received, None, None).await?;
    fault_points::reach(Point::GatewayCommitAfterJournal).await;
    gateway.work.notify_one();
    Ok(())
}

async fn settled(gateway: &Gateway, batch: BatchId, turned: &mut tokio::sync::watch::Receiver<u64>) {
    loop {
        match gateway.journal.get(batch).await {
            Ok(Some(record)) if record.state == BatchState::Received => {}
            _ => return,
        }
        if turned.changed().await.is_err() {
            return;
        }
    }
}

async fn answer(gateway: &Gateway, batch: BatchId) -> Result<Commit, GatewayError> {
    let record = known(gateway, batch).await?;
    let status = status_of(gateway, &record).await?;
    match record.state {
        BatchState::Proven | BatchState::Published => Ok(Commit::Proven(status)),
        BatchState::Aborted if record.refuted => Err(GatewayError::Refuted(Box::new(status))),
        BatchState::Aborted => Err(GatewayError::Aborted(batch)),
        BatchState::Retired => Err(GatewayError::Retired(batch)),
        _ => Ok(Commit::Proving(status)),
    }
}
