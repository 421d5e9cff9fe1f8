//! Steps 6 to 8: cold becomes the visible copy, is proven once more, and the hot copy is dropped.
//!
//! Publishing is one transaction in the catalog and nothing else; that the gateway is told (so that it
//! refuses to delete the batch) can be repeated and lost. Between publish and reclaim both copies
//! exist and one is seen. Only a proof read back **after** the grace time and after the last query on
//! the hot copy lets the hot copy go; if it ever differs, the move stays `published`, both
//! copies stay, and an error is logged and shown in the migration's report.

use fault_points::{Moment, Skip, Step};
use std::time::Duration;

use storage_types::BatchState;

use super::{
    StepError,
    mover::{Mover, StepOutcome, at, now},
    reprove::reprove,
};
use crate::catalog::{MoveRecord, internal_table};

impl Mover {
    pub(super) async fn publish(&self, record: &MoveRecord) -> Result<StepOutcome, StepError> {
        at(Step::Publish, Moment::BeforeJournal).await;
        at(Step::Publish, Moment::AfterJournal).await;
        let version = self.catalog.publish(record, now())?;
        at(Step::Publish, Moment::AfterEffect).await;
        let rows = record.proof.map_or(0, |proof| proof.rows);
        tracing::info!(table = record.table.logical, rows, version, "published");
        if let Err(error) = self.tell_published(record).await {
            tracing::debug!("tell the gateway: {error}; told again before the proof");
        }
        at(Step::Publish, Moment::AfterResult).await;
        Ok(StepOutcome::Stepped)
    }

    async fn tell_published(&self, record: &MoveRecord) -> Result<(), StepError> {
        for batch in self.catalog.batches_of(record.id)? {
            if batch.state == BatchState::Published {
                self.gateway.published(batch.id).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn reprove(&self, record: &MoveRecord) -> Result<StepOutcome, StepError> {
        let (version, at_second) = record
            .published
            .ok_or_else(|| StepError::Failed("published, but it is not known when".into()))?;
        let grace = i64::try_from(self.config.grace.as_secs()).unwrap_or(i64::MAX);
        let left = at_second.saturating_add(grace).saturating_sub(now());
        if left > 0 {
            return Ok(StepOutcome::Wait(Duration::from_secs(left.unsigned_abs())));
        }
        at(Step::Reprove, Moment::BeforeJournal).await;
        let logical = &record.table.logical;
        if !self.catalog.drained(logical, record.range, version, self.config.fence_drain).await {
            return Err(StepError::Retry(format!("queries on the hot copy of {logical} are still running")));
        }
        at(Step::Reprove, Moment::AfterJournal).await;
        self.tell_published(record).await?;
        if !fault_points::skips(Skip::ServiceReprove) {
            let batches = self.catalog.batches_of(record.id)?;
            reprove(&self.gateway, record, &batches).await?;
        }
        at(Step::Reprove, Moment::AfterEffect).await;
        self.catalog.set_move_state(record.id, storage_types::MoveState::Reproven)?;
        at(Step::Reprove, Moment::AfterResult).await;
        Ok(StepOutcome::Stepped)
    }

    pub(super) async fn reclaim(&self, record: &MoveRecord) -> Result<StepOutcome, StepError> {
        at(Step::Reclaim, Moment::BeforeJournal).await;
        at(Step::Reclaim, Moment::AfterJournal).await;
        self.hot.drop_internal(&record.snapshot()).await?;
        if let Some(source) = record.source_delta {
            self.hot.drop_internal(&internal_table("_delta", source)).await?;
        }
        at(Step::Reclaim, Moment::AfterEffect).await;
        self.catalog.set_move_state(record.id, storage_types::MoveState::Reclaimed)?;
        for batch in self.catalog.batches_of(record.id)? {
            self.spool.remove(batch.id);
        }
        at(Step::Reclaim, Moment::AfterResult).await;
        Ok(StepOutcome::Over)
    }
}
