//! Batches on their way in: admitted, received chunk by chunk, committed, proven, moved live.
//!
//! ```text
//! POST manifest      chunks          commit             count and hash match
//!      ─▶ sending ───────────▶ sending ────▶ received ───────────────────────▶ proven ─▶ published
//!             ╰── DELETE ──────────┴───────────────┴── DELETE, or refuted ──▶ aborted │         │
//!                                                                       retired ◀─────┴─────────╯
//! ```
//!
//! **Consistency.** The journal holds the state; the spool's bytes say which chunks are held; the
//! tables say where the rows are. A change of a batch happens under that batch's `gate`, so a chunk
//! cannot land after the commit, and a delete cannot run into an attach.
//!
//! **Crash.** The journal is written before an effect (a commit is `received` before anything is
//! loaded) and after it (`proven` once the live table was counted and hashed). After a restart every
//! `received` batch is settled again from what the tables hold; see `prover`.
//!
//! **Cancellation.** A dropped upload leaves a `.part` file and nothing else. A dropped commit call
//! changes nothing: proving is a task of its own.

pub mod abort;
pub mod admit;
pub mod attach;
pub mod chunk;
pub mod commit;
mod digest;
pub mod load;
pub mod open_batches;
pub mod prover;
pub mod remove;
pub mod retire;
pub mod settle;
pub mod spool;
pub mod staging;

use storage_types::{BatchId, BatchState, Manifest, Proof, gateway_api::BatchStatus};
use tracing::{Span, field::display};

use crate::{
    cold::{custody, proof},
    error::GatewayError,
    gateway::Gateway,
    journal::BatchRecord,
};

/// The journal's record of a batch that must be known. The request that asks for it is logged with the move
/// from here on: a path names only the batch.
async fn known(gateway: &Gateway, batch: BatchId) -> Result<BatchRecord, GatewayError> {
    let record = gateway.journal.get(batch).await?.ok_or(GatewayError::UnknownBatch(batch))?;
    Span::current().record("move_id", display(record.manifest.move_id));
    Ok(record)
}

/// What is done to a batch outside a request is logged with its ids.
pub fn span(manifest: &Manifest) -> Span {
    tracing::error_span!("batch", batch_id = %manifest.batch, move_id = %manifest.move_id)
}

/// Count and hash of a batch's rows, read from the live table now.
pub async fn fresh_proof(gateway: &Gateway, batch: BatchId) -> Result<Proof, GatewayError> {
    let record = known(gateway, batch).await?;
    let leaves = gateway.journal.stages(vec![batch]).await?.iter().any(|stage| stage.leaves);
    match record.state {
        BatchState::Proven | BatchState::Published | BatchState::Retired if !leaves => {
            let _slot = gateway.proof_slot().await?;
            custody::check(gateway, &proof::live(&record.manifest)).await?;
            proof::of_live(&gateway.engine, &record.manifest).await
        }
        state => Err(GatewayError::NotProven { batch, state: state.as_str() }),
    }
}

/// A batch's status, looked up now.
pub async fn status(gateway: &Gateway, batch: BatchId) -> Result<BatchStatus, GatewayError> {
    status_of(gateway, &known(gateway, batch).await?).await
}

async fn status_of(gateway: &Gateway, record: &BatchRecord) -> Result<BatchStatus, GatewayError> {
    let missing = match record.state {
        BatchState::Sending => gateway.open.open(&record.manifest).missing(&gateway.spool).await?,
        _ => Vec::new(),
    };
    Ok(BatchStatus {
        batch: record.manifest.batch,
        state: record.state,
        missing,
        proof: record.proof,
        error: record.error.clone(),
    })
}
