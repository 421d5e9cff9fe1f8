//! Giving a batch up.
//!
//! That is possible until the batch is published. One that is proven has its rows in the live table: it is
//! retired ([`super::retire`]). For any other the journal says so first, with a mark
//! that rows may still be somewhere; then staging tables, live rows and chunks go; then the mark.
//! After a crash in between the janitor finds the mark and finishes. The id stays known as given
//! up, so that it never returns.

use std::{sync::Arc, time::Duration};

use storage_types::{BatchId, BatchState, Manifest};

use super::{known, remove, retire, staging};
use crate::{
    cold::{
        ledger::{self, Standing},
        proof,
    },
    error::GatewayError,
    gateway::Gateway,
};

/// Longest wait for an attach that must not be interrupted.
const GATE_WAIT: Duration = Duration::from_secs(60);

/// Gives a batch up. Repeatable.
pub async fn delete(gateway: &Gateway, batch: BatchId) -> Result<(), GatewayError> {
    let record = known(gateway, batch).await?;
    match record.state {
        BatchState::Published => return Err(GatewayError::Published(batch)),
        BatchState::Retired => return Ok(()),
        _ => {}
    }
    let open = gateway.open.open(&record.manifest);
    open.give_up.cancel();
    let gate = tokio::time::timeout(GATE_WAIT, open.gate.lock()).await;
    let _gate = gate.map_err(|_| GatewayError::Busy { what: "the batch is being attached", limit: 1 })?;
    let record = known(gateway, batch).await?;
    match record.state {
        BatchState::Published => return Err(GatewayError::Published(batch)),
        BatchState::Retired => return Ok(()),
        BatchState::Proven => {
            gateway.open.close(batch);
            open.turn();
            return retire::retire(gateway, vec![batch]).await;
        }
        BatchState::Aborted => {}
        _ => {
            gateway.journal.give_up(batch).await?;
            tracing::info!("batch given up");
        }
    }
    gateway.open.close(batch);
    open.turn();
    if gateway.journal.get(batch).await?.is_some_and(|record| record.unclean) {
        clear(gateway, &record.manifest).await?;
    }
    Ok(())
}

/// Removes whatever is left of a batch that was given up, then takes its mark off. Repeatable.
pub async fn clear(gateway: &Gateway, manifest: &Arc<Manifest>) -> Result<(), GatewayError> {
    let (engine, batch) = (&gateway.engine, manifest.batch);
    staging::drop_all(engine, &manifest.cold_database, batch).await?;
    // The table itself may be gone: then so are its rows.
    if crate::cold::tables::describe(engine, &proof::live(manifest))
        .await?
        .is_some_and(|f| f.batch_column.is_some())
    {
        ledger::note(engine, manifest, Standing::Aborted).await?;
        remove::take_out(engine, std::slice::from_ref(manifest)).await?;
    }
    let spool = Arc::clone(&gateway.spool);
    daemon::spawn_blocking(move || spool.remove(batch))
        .await
        .map_err(|_| GatewayError::ShuttingDown)?
        .map_err(GatewayError::disk("remove a batch's chunks"))?;
    gateway.journal.mark_clean(batch).await?;
    Ok(())
}
