//! Batches that nobody reads any more: retired by their sender, removed by the rule of the NAS.
//!
//! The sender says that a batch is not to be read any more; whether and when its rows go is decided here
//! (`storage.archive`), so that a cloud host in wrong hands cannot destroy the archive:
//!
//! | rule | the rows of a retired batch |
//! |---|---|
//! | `append_only` | stay |
//! | `delayed N d` | go when the gateway has run for so many days since |
//! | `open` | go at once |
//!
//! **Crash.** The ledger first, then the journal: a journal that is lost in between must not bring back as
//! live what was retired. A removal is noted in both before the first row goes; after that the batch is not
//! counted on and cannot be taken back.

use std::{collections::BTreeMap, sync::Arc};

use storage_config::Archive;
use storage_types::{BatchId, BatchState, gateway_api::MAX_BATCH_PAGE};

use super::remove;
use crate::{
    cold::{
        custody,
        ledger::{self, Standing},
        proof, tables,
    },
    error::GatewayError,
    gateway::Gateway,
    journal::{JournalError, Stage},
};

/// Batches removed with one statement.
const REMOVED_TOGETHER: u32 = 100;
/// A batch that was retired and taken back so often stays as it is: its ledger entries are numbered.
const MOST_TURNS: u8 = 200;

/// The service reads these batches now. Repeatable; all or none.
pub async fn publish(gateway: &Gateway, batches: Vec<BatchId>) -> Result<(), GatewayError> {
    turn(gateway, batches, |stage| match stage.state {
        BatchState::Published => Some(None),
        BatchState::Proven => Some(Some((BatchState::Published, Standing::Published))),
        _ => None,
    })
    .await
}

/// Nobody reads these batches any more. Repeatable; all or none.
pub async fn retire(gateway: &Gateway, batches: Vec<BatchId>) -> Result<(), GatewayError> {
    turn(gateway, batches, |stage| match stage.state {
        BatchState::Retired => Some(None),
        BatchState::Proven | BatchState::Published => {
            Some(Some((BatchState::Retired, Standing::Retired { turns: stage.turns + 1 })))
        }
        _ => None,
    })
    .await?;
    if gateway.config.storage.archive == Archive::Open {
        gateway.tidying.notify_one();
    }
    Ok(())
}

/// These batches are what they were before they were retired. Repeatable; all or none.
pub async fn unretire(gateway: &Gateway, batches: Vec<BatchId>) -> Result<(), GatewayError> {
    turn(gateway, batches, |stage| match (stage.state, stage.retired_from) {
        (BatchState::Proven | BatchState::Published, _) => Some(None),
        (BatchState::Retired, Some(BatchState::Proven)) if !stage.leaves => {
            Some(Some((BatchState::Proven, Standing::BackToProven { turns: stage.turns + 1 })))
        }
        (BatchState::Retired, Some(BatchState::Published)) if !stage.leaves => {
            Some(Some((BatchState::Published, Standing::BackToPublished { turns: stage.turns + 1 })))
        }
        _ => None,
    })
    .await
}

/// One change of many batches. `plan`: where a batch goes; `Some(None)` when it is there, `None` when
/// that is not possible.
async fn turn(
    gateway: &Gateway,
    batches: Vec<BatchId>,
    plan: impl Fn(&Stage) -> Option<Option<(BatchState, Standing)>>,
) -> Result<(), GatewayError> {
    if batches.len() > MAX_BATCH_PAGE as usize {
        return Err(GatewayError::InvalidBody(format!("more than {MAX_BATCH_PAGE} batches")));
    }
    let _turn = gateway.retiring.lock().await;
    let stages = gateway.journal.stages(batches).await.map_err(|error| match error {
        JournalError::Unknown(batch) => GatewayError::UnknownBatch(batch),
        other => other.into(),
    })?;
    let mut notes: BTreeMap<&str, Vec<(BatchId, Standing)>> = BTreeMap::new();
    let mut turns: BTreeMap<&str, (BatchState, Vec<BatchId>)> = BTreeMap::new();
    for stage in &stages {
        let refused = || match stage.state {
            BatchState::Retired => GatewayError::Retired(stage.batch),
            state => GatewayError::NotProven { batch: stage.batch, state: state.as_str() },
        };
        let Some((state, standing)) = plan(stage).ok_or_else(refused)? else { continue };
        if stage.turns >= MOST_TURNS {
            return Err(GatewayError::Busy {
                what: "retired and taken back too often",
                limit: MOST_TURNS.into(),
            });
        }
        notes.entry(stage.database.as_str()).or_default().push((stage.batch, standing));
        turns.entry(state.as_str()).or_insert_with(|| (state, Vec::new())).1.push(stage.batch);
    }
    for (database, notes) in notes {
        ledger::note_all(&gateway.engine, database, &notes).await?;
    }
    for (state, batches) in turns.into_values() {
        let count = batches.len();
        gateway.journal.turn_all(batches, state, gateway.running.seconds()).await?;
        tracing::info!(%state, batches = count, "batches changed");
    }
    Ok(())
}

/// Removes the rows of retired batches whose time has come; answers how many batches went.
pub async fn remove_due(gateway: &Gateway) -> Result<usize, GatewayError> {
    let mut removed = 0;
    loop {
        let until = match gateway.config.storage.archive {
            // What was begun under another rule is finished.
            Archive::AppendOnly => None,
            Archive::Delayed { days } => Some(gateway.running.seconds() - i64::from(days) * 86_400),
            Archive::Open => Some(i64::MAX),
        };
        let due = {
            let _turn = gateway.retiring.lock().await;
            let due = gateway.journal.removable(until, REMOVED_TOGETHER).await?;
            gateway.journal.set_removal(due.clone(), false).await?;
            due
        };
        if due.is_empty() {
            return Ok(removed);
        }
        removed += due.len();
        remove_all(gateway, due).await?;
    }
}

async fn remove_all(gateway: &Gateway, batches: Vec<BatchId>) -> Result<(), GatewayError> {
    let mut by_table = BTreeMap::new();
    for batch in batches {
        if let Some(record) = gateway.journal.get(batch).await? {
            let table = proof::live(&record.manifest).to_string();
            by_table.entry(table).or_insert_with(Vec::new).push(record.manifest);
        }
    }
    for manifests in by_table.into_values() {
        let ids: Vec<BatchId> = manifests.iter().map(|manifest| manifest.batch).collect();
        let Some(first) = manifests.first().map(Arc::clone) else { continue };
        let table = proof::live(&first);
        custody::check(gateway, &table).await?;
        if tables::describe(&gateway.engine, &table).await?.is_some() {
            let notes: Vec<_> = ids.iter().map(|id| (*id, Standing::Removed)).collect();
            ledger::note_all(&gateway.engine, &first.cold_database, &notes).await?;
            remove::take_out(&gateway.engine, &manifests).await?;
        }
        gateway.journal.set_removal(ids, true).await?;
    }
    Ok(())
}
