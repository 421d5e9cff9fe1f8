//! Moving one set of rows: the steps of a move, each from looking at the tables to writing down what
//! was found or done. [`Mover::step`] selects the step by the move's state; the loop in
//! [`super::drive`] applies it again and again.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use fault_points::{Moment, Point, Step};
use link::RateLimiter;
use storage_config::{MigrationConfig, TableConfig};
use storage_types::{BatchId, MigrationId, MoveId, MoveState};
use tokio::sync::{Notify, Semaphore};

use super::{GatewayClient, Spool, StepError};
use crate::{
    catalog::{Catalog, MoveKind, MoveRecord},
    hot::{Described, Hot},
    link::{AdaptiveConcurrency, BandwidthMonitor},
};

/// Everything a step needs. One per process.
pub(super) struct Mover {
    pub(super) catalog: Arc<Catalog>,
    pub(super) hot: Hot,
    pub(super) gateway: GatewayClient,
    pub(super) spool: Spool,
    pub(super) config: MigrationConfig,
    pub(super) tables: Vec<TableConfig>,
    pub(super) retention_days: u32,
    pub(super) limiter: RateLimiter,
    /// How the line is.
    pub(super) monitor: BandwidthMonitor,
    /// How many chunks are sent at a time.
    pub(super) parallel: parking_lot::Mutex<AdaptiveConcurrency>,
    /// When the clock of `parallel` started.
    pub(super) started: Instant,
    /// One batch is encoded at a time.
    pub(super) encoder: Semaphore,
    /// One batch's chunks are begun at a time (over several connections).
    pub(super) sender: Semaphore,
    /// The gateway has told us of a batch that ended.
    pub(super) confirmed: Notify,
}

/// Whether a step has more to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum StepOutcome {
    /// The state has changed; there is a next step.
    Stepped,
    /// Nothing to do before this many seconds have passed.
    Wait(Duration),
    /// The move is at its end.
    Over,
}

/// Folder of the spool inside the data folder.
pub(super) fn spool_dir(data_dir: &std::path::Path) -> PathBuf {
    data_dir.join("spool")
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Seconds since 1970.
pub(super) fn now() -> i64 {
    i64::try_from(now_ms() / 1000).unwrap_or(i64::MAX)
}

pub(super) fn new_batch_id() -> BatchId {
    BatchId::from_parts(now_ms(), rand::random())
}

pub(super) fn new_move_id() -> MoveId {
    MoveId::from_parts(now_ms(), rand::random())
}

pub(super) fn new_migration_id() -> MigrationId {
    MigrationId::from_parts(now_ms(), rand::random())
}

/// A fault point of a step.
pub(super) async fn at(step: Step, moment: Moment) {
    fault_points::reach(Point::of_move(step, moment)).await;
}

impl Mover {
    /// The next step of a move.
    pub(super) async fn step(&self, record: &MoveRecord) -> Result<StepOutcome, StepError> {
        match (record.state, record.kind) {
            (MoveState::Planned, _) => self.snapshot(record).await,
            (MoveState::Snapshotted | MoveState::Sending, _) => self.ship(record).await,
            (MoveState::Proven, MoveKind::Partition) => self.fence_partition(record).await,
            (MoveState::Proven, MoveKind::Window) => self.hide(record).await,
            (MoveState::Proven, MoveKind::Delta) => self.fence_delta(record).await,
            (MoveState::Fencing, MoveKind::Partition) => self.drop_parts(record).await,
            (MoveState::Fencing, MoveKind::Window) => self.delete_shipped(record).await,
            (MoveState::Fencing, MoveKind::Delta) => self.fence_delta(record).await,
            (MoveState::Fenced, _) => self.publish(record).await,
            (MoveState::Published, _) => self.reprove(record).await,
            (MoveState::Reproven, _) => self.reclaim(record).await,
            (MoveState::Reclaimed | MoveState::Aborted, _) => Ok(StepOutcome::Over),
        }
    }

    /// The head as it is now, which must still be what the move was planned for.
    pub(super) async fn described(&self, record: &MoveRecord) -> Result<Described, StepError> {
        let name = &record.table.logical;
        let config =
            self.tables.iter().find(|table| table.logical == *name).ok_or_else(|| {
                StepError::Failed(format!("table {name} is no longer in the configuration"))
            })?;
        let described = self.hot.describe(config).await?.map_err(StepError::Failed)?;
        if described.table != record.table {
            return Err(StepError::Failed(format!(
                "the schema of {name} has changed since the move was planned"
            )));
        }
        Ok(described)
    }

    /// Gives a move up, with what it left on either side. Only before the fence.
    pub(super) async fn abort(&self, record: &MoveRecord, reason: &str) -> Result<(), StepError> {
        let batches = self.catalog.batches_of(record.id)?;
        self.catalog.abort_move(record.id, reason)?;
        tracing::warn!(table = record.table.logical, reason, "move aborted");
        for batch in &batches {
            self.spool.remove(batch.id);
            // Best effort: what stays behind is swept when the next migration begins.
            if let Err(error) = self.gateway.delete(batch.id).await {
                tracing::debug!(batch_id = %batch.id, "delete from the gateway: {error}");
            }
        }
        if let Err(error) = self.hot.drop_internal(&record.snapshot()).await {
            tracing::debug!("drop the snapshot: {error}");
        }
        if let Err(error) = self.hot.drop_internal(&record.delta()).await {
            tracing::debug!("drop the delta: {error}");
        }
        Ok(())
    }
}
