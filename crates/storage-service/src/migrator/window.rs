//! Step 5 by content: for a window in a coarse partition, and for a partition whose parts were merged.
//!
//! ```text
//! proven (or fencing, some parts dropped)
//!   1. compare head and snapshot row by row; surplus copies of shipped rows go into a delta
//!   2. one transaction: snapshot (and delta) visible, shipped rows hidden in the head by hash; fencing
//!   3. wait until no lease is older than that
//!   4. ALTER TABLE head DELETE WHERE window AND hash IN (snapshot), and wait for it
//!   5. one transaction: nothing hidden; fenced
//! ```
//!
//! Nothing blocks: from 2 on a query sees the same rows whether 4 has not begun, is half done, or is
//! done, so a crash anywhere changes nothing but who deletes. A row that comes late has another hash
//! and is neither hidden nor deleted.
//!
//! The limit: a copy of a shipped row, equal in every column, that is inserted between 1 and the
//! engine's start of 4 is deleted with its twin. The comparison is repeated right before 4 and says so
//! in the log if it ever happens.

use fault_points::{Moment, Step};
use std::time::Duration;

use super::{
    StepError,
    mover::{Mover, StepOutcome, at},
};
use crate::{
    catalog::MoveRecord,
    consistency::SnapshotNote,
    hot::{Comparison, Deletion, Difference},
};
use storage_types::MoveState;

/// Pauses between two looks at a running deletion.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const MAX_PAUSE: Duration = Duration::from_secs(5);

impl Mover {
    /// 1 and 2.
    pub(super) async fn hide(&self, record: &MoveRecord) -> Result<StepOutcome, StepError> {
        self.snapshot_parts(record).await?;
        let difference = self.compare(record).await?;
        if difference.missing > 0 {
            let text = format!(
                "{} shipped rows are no longer in {}: something else deletes or changes them",
                difference.missing,
                record.table.head()
            );
            if record.state == MoveState::Proven {
                return Err(StepError::Failed(text));
            }
            // Parts are dropped already: going on keeps every row visible, stopping here would not.
            tracing::error!(move_id = %record.id, "{text}; their copies in cold stay");
        }
        if difference.surplus > 0 {
            self.keep_surplus(record, difference.surplus).await?;
        }
        at(Step::Fence, Moment::BeforeJournal).await;
        self.catalog.hide_window(record, difference.surplus)?;
        at(Step::Fence, Moment::AfterJournal).await;
        Ok(StepOutcome::Stepped)
    }

    fn dropped(record: &MoveRecord) -> Vec<String> {
        record.fence_parts.iter().filter(|part| part.dropped).map(|part| part.snapshot.clone()).collect()
    }

    /// Batch by batch, so that the engine's memory stays bounded. Equal proofs end it early.
    async fn compare(&self, record: &MoveRecord) -> Result<Difference, StepError> {
        let dropped = Self::dropped(record);
        let (table, snapshot, partition) = (&record.table, record.snapshot(), record.partition_id.as_str());
        if dropped.is_empty() {
            let head = self.hot.proof(table, &table.head(), Some(partition), record.range).await?;
            if Some(head) == record.proof {
                return Ok(Difference::default());
            }
        }
        let mut sum = Difference::default();
        for batch in self.shipped_ranges(record)? {
            let of = Comparison {
                table,
                partition_id: partition,
                range: batch,
                snapshot: &snapshot,
                dropped: &dropped,
            };
            let found = self.hot.difference(of).await?;
            sum.surplus += found.surplus;
            sum.missing += found.missing;
        }
        Ok(sum)
    }

    fn shipped_ranges(&self, record: &MoveRecord) -> Result<Vec<storage_types::TimeRange>, StepError> {
        let mut ranges: Vec<_> = self
            .catalog
            .batches_of(record.id)?
            .into_iter()
            .filter(|batch| batch.state == storage_types::BatchState::Proven)
            .map(|batch| batch.range)
            .collect();
        ranges.sort_unstable_by_key(|range| range.lo);
        Ok(ranges)
    }

    /// Not visible before the transaction of 2, so a half-filled one is simply made anew.
    async fn keep_surplus(&self, record: &MoveRecord, expected: u64) -> Result<(), StepError> {
        let described = self.described(record).await?;
        let delta = record.delta();
        self.hot.create_internal(&delta, &described, &SnapshotNote::of(record).text()).await?;
        let (dropped, snapshot) = (Self::dropped(record), record.snapshot());
        for range in self.shipped_ranges(record)? {
            let of = Comparison {
                table: &record.table,
                partition_id: &record.partition_id,
                range,
                snapshot: &snapshot,
                dropped: &dropped,
            };
            self.hot.fill_delta(of, &delta).await?;
        }
        let kept = self.hot.proof(&record.table, &delta, None, storage_types::TimeRange::ALL).await?.rows;
        if kept != expected {
            return Err(StepError::Retry(format!(
                "{expected} surplus rows were counted, {kept} copied: counting again"
            )));
        }
        Ok(())
    }

    /// 3 to 5.
    pub(super) async fn delete_shipped(&self, record: &MoveRecord) -> Result<StepOutcome, StepError> {
        self.snapshot_parts(record).await?;
        let (table, snapshot) = (&record.table, record.snapshot());
        let version = self.catalog.current().version;
        if !self.catalog.drained(&table.logical, record.range, version, self.config.fence_drain).await {
            let text = format!("queries of {} in {} are still running", table.logical, record.range);
            return Err(StepError::Retry(text));
        }
        let mut pause = FIRST_PAUSE;
        loop {
            match self.hot.deletion(&table.head(), &snapshot).await? {
                Deletion::Done => break,
                Deletion::Running(reason) => {
                    if let Some(reason) = reason {
                        tracing::warn!(move_id = %record.id, reason, "deleting the shipped rows");
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(MAX_PAUSE);
                }
                Deletion::Absent => {
                    if !self.start_deletion(record).await? {
                        break;
                    }
                }
            }
        }
        at(Step::Fence, Moment::AfterEffect).await;
        self.catalog.window_fenced(record)?;
        at(Step::Fence, Moment::AfterResult).await;
        tracing::info!(move_id = %record.id, table = table.logical, late_rows = record.late_rows, "window fenced");
        Ok(StepOutcome::Stepped)
    }

    /// `false` when there is nothing to delete.
    async fn start_deletion(&self, record: &MoveRecord) -> Result<bool, StepError> {
        let (table, snapshot) = (&record.table, record.snapshot());
        let there = self.hot.count_shipped(table, &record.partition_id, record.range, &snapshot).await?;
        if there == 0 {
            return Ok(false);
        }
        let shipped = record.proof.map_or(0, |proof| proof.rows) + record.late_rows;
        if there > shipped && record.state == MoveState::Fencing {
            tracing::error!(move_id = %record.id, copies = there - shipped,
                "copies of shipped rows, equal in every column, came during the fence and are deleted with them");
        }
        self.hot.start_deletion(table, &record.partition_id, record.range, &snapshot).await?;
        Ok(true)
    }
}
