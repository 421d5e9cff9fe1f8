//! Steps 6 to 8: cold becomes the visible copy, is proven once more, and the hot copy is dropped.
//!
//! Publishing is one transaction in the catalog and nothing else; that the gateway is told (so that it
//! refuses to delete the batch) can be repeated and lost. Between publish and reclaim both copies
//! exist and one is seen. Only a proof read back **after** the grace time and after the last query on
//! the hot copy lets the hot copy go; if it ever differs, the move stays `published`, both
//! copies stay, and an error is logged and shown in the migration's report.

use std::time::Duration;

use storage_types::BatchState;

use super::{
    StepError,
    mover::{Mover, Progress, at, now},
};
use crate::{
    catalog::{MoveRecord, internal_table},
    consistency,
};

impl Mover {
    pub(super) async fn publish(&self, record: &MoveRecord) -> Result<Progress, StepError> {
        at("publish", "before_journal").await;
        at("publish", "after_journal").await;
        let version = self.catalog.publish(record, now())?;
        at("publish", "after_effect").await;
        let rows = record.proof.map_or(0, |proof| proof.rows);
        tracing::info!(table = record.table.logical, rows, version, "published");
        if let Err(error) = self.tell_published(record).await {
            tracing::debug!("tell the gateway: {error}; told again before the proof");
        }
        at("publish", "after_result").await;
        Ok(Progress::Stepped)
    }

    async fn tell_published(&self, record: &MoveRecord) -> Result<(), StepError> {
        for batch in self.catalog.batches_of(record.id)? {
            if batch.state == BatchState::Published {
                self.gateway.published(batch.id).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn reprove(&self, record: &MoveRecord) -> Result<Progress, StepError> {
        let (version, at_second) = record
            .published
            .ok_or_else(|| StepError::Failed("published, but it is not known when".into()))?;
        let grace = i64::try_from(self.config.grace.as_secs()).unwrap_or(i64::MAX);
        let left = at_second.saturating_add(grace).saturating_sub(now());
        if left > 0 {
            return Ok(Progress::Wait(Duration::from_secs(left.unsigned_abs())));
        }
        at("reprove", "before_journal").await;
        let logical = &record.table.logical;
        if !self.catalog.drained(logical, record.range, version, self.config.fence_drain).await {
            return Err(StepError::Retry(format!("queries on the hot copy of {logical} are still running")));
        }
        at("reprove", "after_journal").await;
        self.tell_published(record).await?;
        if !fault_points::skips("service.reprove") {
            let batches = self.catalog.batches_of(record.id)?;
            consistency::reprove(&self.gateway, record, &batches).await?;
        }
        at("reprove", "after_effect").await;
        self.catalog.set_move_state(record.id, storage_types::MoveState::Reproven)?;
        at("reprove", "after_result").await;
        Ok(Progress::Stepped)
    }

    pub(super) async fn reclaim(&self, record: &MoveRecord) -> Result<Progress, StepError> {
        at("reclaim", "before_journal").await;
        at("reclaim", "after_journal").await;
        self.hot.drop_internal(&record.snapshot()).await?;
        if let Some(source) = record.source_delta {
            self.hot.drop_internal(&internal_table("_delta", source)).await?;
        }
        at("reclaim", "after_effect").await;
        self.catalog.set_move_state(record.id, storage_types::MoveState::Reclaimed)?;
        for batch in self.catalog.batches_of(record.id)? {
            self.spool.remove(batch.id);
        }
        at("reclaim", "after_result").await;
        Ok(Progress::Over)
    }
}
