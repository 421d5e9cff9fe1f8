//! Step 5 for a whole partition: its parts are dropped from the head by name.
//!
//! The snapshot was attached from the head's parts, so each of its parts has a twin there with the
//! same `hash_of_all_files`. Dropping exactly the twins removes exactly the shipped rows: a row that
//! came later is in another part, stays, and is moved by a later migration. Nothing has to be compared
//! row by row, nothing late has to be carried back, and no crash can double a row, which
//! `MOVE PARTITION` does not promise.
//!
//! ```text
//! proven ─▶ match parts ─▶ journal: fencing + the parts' names (the gate closes)
//!        ─▶ drain older leases ─▶ drop part, note it, … ─▶ fenced: the snapshot is visible (gate opens)
//!                  └ timeout: back to proven, later again
//! ```
//!
//! **A part may be merged** with others, late ones perhaps, before it is dropped. Its name is then gone
//! and the rows are in a part that must not be dropped. From any such state, also with some parts
//! dropped already, [`Mover::hide`] goes on by content: snapshot visible, its rows hidden in the head
//! by hash, then deleted.
//!
//! **After a crash** the journal says `fencing`, and so the gate is closed from the moment the catalog is
//! open. Each part is looked for: active under its name and hash → drop it; covered by a larger part
//! with rows → merged; else → it was dropped. Only the part in flight when the crash came is judged by
//! that look alone, the others are noted.

use super::{
    StepError,
    mover::{Mover, StepOutcome, at},
};
use crate::{
    catalog::{FencePart, MoveRecord},
    hot::HeadPart,
};
use fault_points::{Moment, Point, Skip, Step};

/// Where a part of the head has gone.
enum Whereabouts {
    /// Active.
    There,
    /// Its rows are in a larger part.
    Merged,
    /// Dropped.
    Gone,
}

impl Mover {
    pub(super) async fn fence_partition(&self, record: &MoveRecord) -> Result<StepOutcome, StepError> {
        let head = self.hot.parts(&record.table.head(), &record.partition_id).await?;
        let snapshot = self.snapshot_parts(record).await?;
        let Some(parts) = twins(&head, &snapshot) else {
            tracing::info!(move_id = %record.id, "parts were merged since the snapshot: fencing by content");
            return self.hide(record).await;
        };
        at(Step::Fence, Moment::BeforeJournal).await;
        let version = self.catalog.begin_fence(record, &parts)?;
        at(Step::Fence, Moment::AfterJournal).await;
        let logical = &record.table.logical;
        if !self.catalog.drained(logical, record.range, version, self.config.fence_drain).await {
            self.catalog.give_up_fence(record)?;
            return Err(StepError::Retry(format!(
                "queries of {logical} in {} are still running",
                record.range
            )));
        }
        Ok(StepOutcome::Stepped)
    }

    /// Drops what is still there. The gate is closed, older leases were drained.
    pub(super) async fn drop_parts(&self, record: &MoveRecord) -> Result<StepOutcome, StepError> {
        self.snapshot_parts(record).await?;
        let head = record.table.head();
        if fault_points::skips(Skip::ServiceFenceCompare) {
            return self.drop_everything(record).await;
        }
        let mut parts = record.fence_parts.clone();
        for index in 0..parts.len() {
            if parts[index].dropped {
                continue;
            }
            let dropped = match self.whereabouts(record, &parts[index]).await? {
                Whereabouts::There => self.hot.drop_part(&head, &parts[index].head).await?,
                Whereabouts::Gone => true,
                Whereabouts::Merged => false,
            };
            if !dropped {
                tracing::info!(move_id = %record.id, part = parts[index].head, "part was merged: fencing by content");
                let record = MoveRecord { fence_parts: parts, ..record.clone() };
                return self.hide(&record).await;
            }
            parts[index].dropped = true;
            self.catalog.set_fence_parts(record.id, &parts)?;
            fault_points::reach(Point::MoveFencePartDropped).await;
        }
        self.fenced(record).await
    }

    async fn fenced(&self, record: &MoveRecord) -> Result<StepOutcome, StepError> {
        at(Step::Fence, Moment::AfterEffect).await;
        self.catalog.partition_fenced(record)?;
        at(Step::Fence, Moment::AfterResult).await;
        tracing::info!(move_id = %record.id, table = record.table.logical, "partition fenced");
        Ok(StepOutcome::Stepped)
    }

    /// What a fence without a comparison would be. Reached only when a test asks for it, to see the
    /// oracle notice.
    async fn drop_everything(&self, record: &MoveRecord) -> Result<StepOutcome, StepError> {
        let head = record.table.head();
        for part in self.hot.parts(&head, &record.partition_id).await? {
            self.hot.drop_part(&head, &part.name).await?;
        }
        self.fenced(record).await
    }

    async fn whereabouts(&self, record: &MoveRecord, part: &FencePart) -> Result<Whereabouts, StepError> {
        let now = self.hot.parts(&record.table.head(), &record.partition_id).await?;
        if now.iter().any(|other| other.name == part.head && other.hash == part.hash) {
            return Ok(Whereabouts::There);
        }
        let covered = now.iter().any(|o| o.min_block <= part.blocks.0 && part.blocks.1 <= o.max_block);
        Ok(if covered { Whereabouts::Merged } else { Whereabouts::Gone })
    }

    /// The snapshot's parts, which must still be all there: on another node, or after a loss of the
    /// internal database, nothing may be concluded from what the head has or has not.
    pub(super) async fn snapshot_parts(&self, record: &MoveRecord) -> Result<Vec<HeadPart>, StepError> {
        let parts = self.hot.parts(&record.snapshot(), &record.partition_id).await?;
        let rows: u64 = parts.iter().map(|part| part.rows).sum();
        let expected = record.proof.map_or(u64::MAX, |proof| proof.rows);
        if rows < expected {
            return Err(StepError::Failed(format!(
                "snapshot {} has {rows} rows, {expected} were shipped from it",
                record.snapshot()
            )));
        }
        Ok(parts)
    }

    /// A delta is out of the head already.
    pub(super) async fn fence_delta(&self, record: &MoveRecord) -> Result<StepOutcome, StepError> {
        at(Step::Fence, Moment::BeforeJournal).await;
        self.catalog.delta_fenced(record.id)?;
        at(Step::Fence, Moment::AfterResult).await;
        Ok(StepOutcome::Stepped)
    }
}

/// For each part of the snapshot its twin in the head; `None` when one has none.
fn twins(head: &[HeadPart], snapshot: &[HeadPart]) -> Option<Vec<FencePart>> {
    let mut free: Vec<&HeadPart> = head.iter().collect();
    snapshot
        .iter()
        .map(|part| {
            let at = free.iter().position(|other| other.hash == part.hash && other.rows == part.rows)?;
            let twin = free.swap_remove(at);
            Some(FencePart {
                head: twin.name.clone(),
                snapshot: part.name.clone(),
                hash: twin.hash.clone(),
                blocks: (twin.min_block, twin.max_block),
                dropped: false,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str, hash: &str) -> HeadPart {
        HeadPart { name: name.into(), hash: hash.into(), rows: 1, min_block: 1, max_block: 1 }
    }

    #[test]
    fn every_shipped_part_needs_a_twin_of_its_own() {
        let head = [part("h1", "a"), part("h2", "a"), part("late", "b")];
        let found = twins(&head, &[part("s1", "a"), part("s2", "a")]).unwrap();
        let mut names: Vec<_> = found.iter().map(|p| p.head.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["h1", "h2"]);
        assert_eq!(twins(&head, &[part("s1", "a"), part("s2", "a"), part("s3", "a")]), None);
        assert_eq!(twins(&head, &[part("s1", "merged away")]), None);
    }
}
