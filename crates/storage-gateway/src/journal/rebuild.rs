//! Filling a fresh journal from what is left: the ledger beside the rows, and the spool.
//!
//! What was proven, published or given up comes back as that. What was only being attached comes
//! back as `received`, and the prover finds out by looking at the live table. A batch of which there
//! are only chunks comes back as `sending`: its sender commits it again. Until all this is done the
//! daemon answers `starting` to everything that needs the journal.
//!
//! Each step only inserts what is not there, so a crash on the way is followed by doing it again.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use storage_types::{BatchState, Manifest};
use tokio_util::sync::CancellationToken;

use crate::{
    cold::{
        TableName,
        ledger::{self, LedgerEntry, Standing},
        proof,
    },
    error::GatewayError,
    gateway::Gateway,
    identity,
    journal::FoundBatch,
};

const PAUSE: Duration = Duration::from_secs(2);

/// Makes sure the journal is whole, however long the engine takes to answer; then lets the daemon in.
pub async fn run(gateway: Arc<Gateway>, cancel: CancellationToken) {
    let filled = async {
        let mut said = false;
        let expected = loop {
            match once(&gateway).await {
                Ok(expected) => break expected,
                Err(error) if said => tracing::debug!(%error, "the journal cannot be rebuilt yet"),
                Err(error) => tracing::warn!(%error, "the journal cannot be rebuilt yet"),
            }
            said = true;
            tokio::time::sleep(PAUSE).await;
        };
        gateway.set_rebuilt();
        gateway.work.notify_one();
        gateway.news.notify_one();
        // For the log: it may take long, and nothing waits for it.
        for (table, batches) in expected {
            if let Err(error) = compare_rows(&gateway, &table, batches).await {
                tracing::warn!(%error, %table, "the rows of its batches were not counted");
            }
        }
    };
    tokio::select! {
        () = filled => {}
        () = cancel.cancelled() => {}
    }
}

/// Rows per batch that tables should have.
type Expected = HashMap<TableName, BTreeMap<u64, u64>>;

/// Answers what was found in the ledger; nothing when the journal was whole.
async fn once(gateway: &Gateway) -> Result<Expected, GatewayError> {
    let lost = !gateway.journal.is_rebuilt().await?;
    identity::establish(gateway, lost).await?;
    let mut expected = Expected::new();
    if lost {
        for database in ledger::databases(&gateway.engine).await? {
            from_ledger(gateway, &database, &mut expected).await?;
        }
        from_spool(gateway).await?;
        gateway.journal.mark_rebuilt().await?;
    }
    gateway.open.restore(&gateway.journal).await?;
    Ok(expected)
}

async fn from_ledger(gateway: &Gateway, database: &str, expected: &mut Expected) -> Result<(), GatewayError> {
    let mut after = 0;
    loop {
        let page = ledger::page(&gateway.engine, database, after).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = last.batch.get();
        let mut found = Vec::with_capacity(page.len());
        for LedgerEntry { batch, standing, was_published, manifest } in page {
            let Some(manifest) = manifest else {
                tracing::error!(batch_id = %batch, database, "the ledger's manifest of a batch cannot be read: its rows are nobody's");
                continue;
            };
            let (state, turns) = match standing {
                Standing::Attaching => (BatchState::Received, 0),
                Standing::Proven => (BatchState::Proven, 0),
                Standing::BackToProven { turns } => (BatchState::Proven, turns),
                Standing::Published => (BatchState::Published, 0),
                Standing::BackToPublished { turns } => (BatchState::Published, turns),
                Standing::Aborted => (BatchState::Aborted, 0),
                Standing::Retired { turns } => (BatchState::Retired, turns),
                Standing::Removed => (BatchState::Retired, 1),
            };
            let proof =
                (!matches!(state, BatchState::Received | BatchState::Aborted)).then_some(manifest.proof);
            let leaves = standing == Standing::Removed;
            if proof.is_some() && !leaves {
                let rows = expected.entry(proof::live(&manifest)).or_default();
                rows.insert(batch.get(), manifest.proof.rows);
            }
            let before = if was_published { BatchState::Published } else { BatchState::Proven };
            let retired_from = (state == BatchState::Retired).then_some(before);
            found.push(FoundBatch { manifest, state, proof, retired_from, turns, leaves });
        }
        let written = gateway.journal.restore(found, gateway.running.seconds()).await?;
        tracing::info!(database, batches = written, "journal: batches found in the ledger");
    }
}

async fn from_spool(gateway: &Gateway) -> Result<(), GatewayError> {
    let spool = Arc::clone(&gateway.spool);
    let manifests: Vec<Manifest> = daemon::spawn_blocking(move || {
        Ok(spool.batches()?.into_iter().filter_map(|batch| spool.manifest(batch)).collect())
    })
    .await
    .map_err(|_| GatewayError::ShuttingDown)?
    .map_err(GatewayError::disk("look through the spool"))?;
    for manifest in manifests {
        let batch = manifest.batch;
        if let Err(error) = manifest.check(gateway.config.limits.max_batch_raw_bytes) {
            tracing::warn!(batch_id = %batch, move_id = %manifest.move_id, %error, "a spooled manifest is not believed");
        } else if gateway.journal.insert(Arc::new(manifest), BatchState::Sending, None).await? {
            tracing::info!(batch_id = %batch, "journal: batch found in the spool");
        }
    }
    Ok(())
}

/// Says which proven batches no longer have the rows they should, and which rows nobody knows.
/// Neither is mended here: the service reads proofs afresh before it relies on them.
async fn compare_rows(
    gateway: &Gateway,
    table: &TableName,
    mut expected: BTreeMap<u64, u64>,
) -> Result<(), GatewayError> {
    let mut after = 0;
    loop {
        let page = ledger::rows_per_batch(&gateway.engine, table, after).await?;
        let Some((last, _)) = page.last() else { break };
        after = *last;
        for (batch, rows) in page {
            match expected.remove(&batch) {
                Some(proven) if proven == rows => {}
                Some(proven) => {
                    tracing::error!(batch_id = batch, %table, rows, proven, "a proven batch has other rows now")
                }
                None => tracing::warn!(batch_id = batch, %table, rows, "rows of a batch that is not proven"),
            }
        }
    }
    for (batch, proven) in expected {
        tracing::error!(batch_id = batch, %table, rows = 0, proven, "a proven batch has lost its rows");
    }
    Ok(())
}
