//! The second proof: count and hash of every batch, computed afresh in the NAS's live table.

use futures::{StreamExt as _, stream};
use storage_types::BatchState;

use super::{GatewayClient, StepError};
use crate::catalog::{BatchRecord, MoveRecord};

/// Batches asked for at a time: one computes while the answer of another is on its way.
const AT_ONCE: usize = 2;

/// Fails unless every published batch of the move still counts and hashes to what was sent, and all of
/// them together to what was snapshotted.
pub async fn reprove(
    gateway: &GatewayClient,
    record: &MoveRecord,
    batches: &[BatchRecord],
) -> Result<(), StepError> {
    let mut sum = storage_types::Proof::default();
    let published: Vec<_> = batches.iter().filter(|batch| batch.state == BatchState::Published).collect();
    let ids: Vec<_> = published.iter().map(|batch| batch.id).collect();
    let ask = |id| {
        let gateway = gateway.clone();
        async move { gateway.proof(id).await }
    };
    let mut answers = stream::iter(ids).map(ask).buffered(AT_ONCE).zip(stream::iter(published));
    while let Some((found, batch)) = answers.next().await {
        let found = found?;
        if found != batch.proof {
            tracing::error!(batch_id = %batch.id, ?found, expected = ?batch.proof,
                "the cold copy is not what was sent: the hot copy stays");
            return Err(StepError::Failed(format!(
                "batch {}: cold has {} rows with hash {}, {} with {} were sent; the hot copy stays",
                batch.id, found.rows, found.content_hash, batch.proof.rows, batch.proof.content_hash
            )));
        }
        sum = sum.plus(found);
    }
    if record.proof != Some(sum) {
        return Err(StepError::Failed(
            "the published batches do not add up to the snapshot; the hot copy stays".into(),
        ));
    }
    Ok(())
}
