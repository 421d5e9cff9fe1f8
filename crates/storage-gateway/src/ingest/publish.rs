//! What the service asks of a proven batch: that it be published, and its proof afresh.

use storage_types::{BatchId, BatchState, Proof};

use super::known;
use crate::{
    cold::{
        ledger::{self, Standing},
        proof,
    },
    error::GatewayError,
    gateway::Gateway,
};

/// The service reads the batch now: it may not be given up any more. Repeatable.
pub async fn publish(gateway: &Gateway, batch: BatchId) -> Result<(), GatewayError> {
    let record = known(gateway, batch).await?;
    match record.state {
        BatchState::Published => return Ok(()),
        BatchState::Proven => {}
        state => return Err(GatewayError::NotProven { batch, state: state.as_str() }),
    }
    // The ledger first: a journal that is lost after this must come back as published.
    ledger::note(&gateway.engine, &record.manifest, Standing::Published).await?;
    gateway.journal.advance(batch, BatchState::Published, None, None).await?;
    Ok(())
}

/// Count and hash of the batch's rows, read from the live table now.
pub async fn fresh_proof(gateway: &Gateway, batch: BatchId) -> Result<Proof, GatewayError> {
    let record = known(gateway, batch).await?;
    match record.state {
        BatchState::Proven | BatchState::Published => {
            let _slot = gateway.proof_slot().await?;
            proof::of_live(&gateway.engine, &record.manifest).await
        }
        state => Err(GatewayError::NotProven { batch, state: state.as_str() }),
    }
}
