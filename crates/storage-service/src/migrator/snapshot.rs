//! Step 1, the snapshot: hard links to the parts that hold the rows, counted by time and cut into
//! batches. (The hash is left to the encoding of each batch, which the snapshot cannot change under.)
//!
//! `ATTACH PARTITION … FROM` takes the head's parts of that moment, atomically, and leaves the head
//! alone. Done twice into one table it doubles, so the table is always made anew first. A window takes
//! the links of its whole partition and means only the rows inside the window.
//!
//! After a crash: the journal says `planned`, the table is dropped and made again. No other effect.

use fault_points::{Moment, Step};
use storage_types::{BatchState, ContentHash, Proof, TimeRange};

use super::{
    StepError, cut,
    mover::{Mover, StepOutcome, at, new_batch_id},
};
use crate::{
    catalog::{BatchRecord, MoveKind, MoveRecord, internal_table},
    consistency::SnapshotNote,
    hot::Slice,
};

impl Mover {
    pub(super) async fn snapshot(&self, record: &MoveRecord) -> Result<StepOutcome, StepError> {
        at(Step::Snapshot, Moment::AfterJournal).await;
        let described = self.described(record).await?;
        let snapshot = record.snapshot();
        let note = SnapshotNote::of(record).text();
        self.hot.create_internal(&snapshot, &described, &note).await?;
        let from = match record.source_delta {
            Some(delta) => internal_table("_delta", delta),
            None => record.table.head(),
        };
        self.hot.attach_partition(&snapshot, &from, &record.partition_id).await?;
        at(Step::Snapshot, Moment::AfterEffect).await;
        let row_bytes = self.hot.row_bytes(&snapshot).await?;
        let most = |rows| cut::target_rows(rows, row_bytes, self.config.batch_rows);
        let slices = self.slices(record, most).await?;
        let rows = cut::whole(&slices);
        if rows == 0 {
            return Err(StepError::Nothing);
        }
        let joined = cut::join(&slices, most(rows));
        let range = joined.iter().fold(TimeRange::new(0, 0), |hull, slice| hull.hull(slice.range));
        let batches: Vec<BatchRecord> = joined.iter().map(|slice| planned(record, slice)).collect();
        // A window keeps the range it was given; a whole partition is as wide as its rows.
        let range = if record.kind == MoveKind::Window { record.range } else { range };
        self.catalog.snapshotted(record, range, &batches)?;
        at(Step::Snapshot, Moment::AfterResult).await;
        tracing::info!(move_id = %record.id, table = record.table.logical, partition = record.partition_id,
            rows, batches = batches.len(), "snapshot taken");
        Ok(StepOutcome::Stepped)
    }

    /// The snapshot's rows by time: a histogram, refined where a bucket is larger than a batch (`most` of
    /// all rows).
    async fn slices(&self, record: &MoveRecord, most: impl Fn(u64) -> u64) -> Result<Vec<Slice>, StepError> {
        let (table, snapshot) = (&record.table, record.snapshot());
        let within = record.window().unwrap_or(TimeRange::ALL);
        let width = cut::bucket_seconds(record.range);
        let mut pending = self.hot.slices(table, &snapshot, within, width).await?;
        pending.reverse();
        let mut pending: Vec<(Slice, i64)> = pending.into_iter().map(|slice| (slice, width)).collect();
        let total = pending.iter().map(|(slice, _)| slice.rows).sum();
        let most = most(total);
        let mut slices = Vec::with_capacity(pending.len());
        while let Some((slice, width)) = pending.pop() {
            match cut::finer(slice.range, width).filter(|_| slice.rows > most) {
                Some(width) => {
                    let finer = self.hot.slices(table, &snapshot, slice.range, width).await?;
                    pending.extend(finer.into_iter().rev().map(|slice| (slice, width)));
                }
                None => slices.push(slice),
            }
        }
        Ok(slices)
    }
}

fn planned(record: &MoveRecord, slice: &Slice) -> BatchRecord {
    BatchRecord {
        id: new_batch_id(),
        move_id: record.id,
        range: slice.range,
        // Hashed when it is encoded.
        proof: Proof { rows: slice.rows, content_hash: ContentHash::default() },
        state: BatchState::Planned,
        raw_bytes: 0,
        encoded_bytes: 0,
        manifest: None,
    }
}
