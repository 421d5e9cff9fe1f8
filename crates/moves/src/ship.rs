//! Opening a move, and the steps of its batches: encode, send, have proven.
//!
//! What a batch needs next is decided by what the NAS says it holds and by what is spooled, not by how far
//! we think we came. A batch that the NAS refutes is read again from the head under a new id: ids never return.

use std::sync::Arc;

use storage_types::{BatchId, Proof};

use crate::{
    cut::{self, Bucket},
    failure::{StepError, Trouble, Wait},
    mover::{Mover, Task},
    record::{Batch, Move, RowSet, Slice, sum},
    sabotage::{Rule, holds},
    state::{BatchState, MoveState},
    world::{Answer, Commit, Encoded, Head as _, Nas as _, Spool as _, World},
};

/// Pause between two questions about a proof, milliseconds; the NAS's own word may come first.
const PROVING_MS: u64 = 50;
/// A slice that was refuted so often is tried again only slowly, and says so.
const OFTEN_REFUTED: u32 = 3;
const REFUTED_PAUSE_MS: u64 = 300_000;

impl<W: World> Mover<W> {
    /// Fixes which rows the move means, and cuts them into batches.
    pub(crate) async fn open(&self, record: &Move) -> Result<(), StepError> {
        let (world, head) = (&self.world, self.world.head());
        let look = head.look(&record.table).await?;
        let table = Arc::new(look.table);
        // Nothing is read from the head for a NAS that cannot take it.
        world.nas().ensure(&table).await?;
        head.keep_block_numbers(&table).await?;
        let window = record.rows.window;
        let watermark = head.watermark(&table, window).await? + u64::from(!holds(Rule::Watermark));
        let rows = RowSet { window, watermark };
        // Mutations up to the watermark have run, so that those which count later are above it.
        self.settled_changes(&Move { rows, ..record.clone() }).await?;
        let parts = head.parts(&table, rows, false).await?;
        let slices = self.slices(&table, rows).await?;
        let count = sum(&parts).rows;
        if count == 0 && slices.is_empty() {
            let nothing = Some("no rows are left to move".to_owned());
            self.advance(record, [], |m| {
                m.state = MoveState::Withdrawn;
                m.reason = nothing;
            })?;
            return Ok(());
        }
        if slices.iter().map(|slice| slice.rows).sum::<u64>() != count {
            return Err(Wait::passing("the rows of the move change while they are counted", ""));
        }
        let ids = self.batch_ids(slices.len())?;
        let opened = Move { table, place: look.place, rows, parts, opened: true, ..record.clone() };
        let batches = ids.into_iter().zip(slices).map(|(id, slice)| planned(id, &opened, slice, 0).into());
        self.advance(record, batches, |m| {
            *m = Move {
                cancelled: m.cancelled,
                decision: m.decision,
                waiting: m.waiting.take(),
                ..opened.clone()
            };
        })?;
        tracing::info!(move_id = %record.id, table = record.table.logical, rows = count, window = %window,
            "move opened");
        Ok(())
    }

    async fn slices(&self, table: &crate::record::ManagedTable, rows: RowSet) -> Answer<Vec<Slice>> {
        let head = self.world.head();
        let row_bytes = head.row_bytes(table).await?;
        let most = |count| cut::target_rows(count, row_bytes, self.settings.batch_rows);
        let width = cut::bucket_seconds(rows.window);
        let buckets: Vec<Bucket> = self.buckets(table, rows, width, most).await?;
        let most = most(buckets.iter().map(|(_, rows)| rows).sum());
        let mut slices = Vec::new();
        for (range, count) in cut::join(&buckets, most) {
            // A little more than asked for is not worth reading everything once for each class.
            let divisor = if count > most.saturating_mul(2) { cut::divisor(count, most) } else { 1 };
            let classes = match divisor {
                1 => vec![count],
                _ => head.classes(table, RowSet { window: range, ..rows }, divisor).await?,
            };
            slices.extend(cut::by_content(range, &classes, most));
        }
        Ok(slices)
    }

    /// The next step of a batch.
    pub(crate) async fn step_batch(&self, record: &Move, id: BatchId) -> Result<(), StepError> {
        let Some(batch) = self.batches(record.id).into_iter().find(|batch| batch.id == id) else {
            return Ok(());
        };
        match batch.state {
            BatchState::Planned => self.encode(record, batch).await,
            BatchState::Encoded => self.send(record, batch).await,
            BatchState::Sent => self.settle(batch).await,
            BatchState::Proven | BatchState::Published | BatchState::Dropped => Ok(()),
        }
    }

    async fn encode(&self, record: &Move, batch: Batch) -> Result<(), StepError> {
        self.same_head(record).await?;
        let order_by = self.world.nas().ensure(&record.table).await?;
        let Encoded { manifest, read_from } = match self.world.spool().encode(record, &batch, &order_by).await
        {
            Ok(encoded) => encoded,
            // Its rows have left the head since they were counted; what is left is compared before publishing.
            Err(Trouble::NoRows) => {
                self.advance_batch(&batch, [], |b| {
                    b.state = BatchState::Dropped;
                    b.retired = true;
                })?;
                return Ok(());
            }
            Err(trouble) => return Err(trouble.into()),
        };
        self.advance_batch(&batch, [], |b| {
            b.state = BatchState::Encoded;
            b.proof = Some(manifest.proof);
            b.raw_bytes = manifest.raw_bytes;
            b.encoded_bytes = manifest.encoded_bytes;
            b.read_from = read_from;
            b.manifest = Some(Arc::new(manifest));
        })?;
        Ok(())
    }

    async fn send(&self, record: &Move, batch: Batch) -> Result<(), StepError> {
        let (nas, spool) = (self.world.nas(), self.world.spool());
        let Some(manifest) = batch.manifest.clone() else {
            return self.replace(record, batch.id, &Trouble::Spent("its manifest is lost".into()));
        };
        if spool.spooled(batch.id) != Some(manifest.encoded_bytes) && !nas.holds(batch.id).await? {
            return self.replace(record, batch.id, &Trouble::Spent("its spooled bytes are gone".into()));
        }
        let status = nas.announce(&manifest).await?;
        nas.send(record, &manifest, &status).await?;
        self.advance_batch(&batch, [], |b| b.state = BatchState::Sent)?;
        Ok(())
    }

    async fn settle(&self, batch: Batch) -> Result<(), StepError> {
        match self.world.nas().commit(batch.id).await? {
            Commit::Proving(None) => Err(Wait::pause(PROVING_MS)),
            Commit::Proving(Some(why)) => {
                let what = format!("the NAS cannot prove a batch yet: {why}");
                Err(Wait::passing(
                    what,
                    "see to the NAS's ClickHouse and its disk, and what the gateway's log says",
                ))
            }
            Commit::Incomplete(lost) => {
                self.advance_batch(&batch, [], |b| b.state = BatchState::Encoded)?;
                // It had them all when it was asked for the proof: sent at once, they would be lost at once.
                lost.map_or(Ok(()), |why| Err(self.send_again_later(batch.id, &why)))
            }
            Commit::Spent(reason) => Err(Trouble::Spent(reason).into()),
            Commit::Proven(proof) if Some(proof) != batch.proof => {
                Err(Trouble::Spent(format!("the NAS has {} rows of it that hash otherwise", proof.rows))
                    .into())
            }
            Commit::Proven(_) => {
                self.advance_batch(&batch, [], |b| {
                    b.state = BatchState::Proven;
                    b.proven = true;
                    b.manifest = None;
                })?;
                self.world.spool().remove(batch.id);
                self.forget_lost(batch.id);
                let (rows, bytes) = (batch.proof.map_or(0, |proof| proof.rows), batch.encoded_bytes);
                tracing::info!(move_id = %batch.move_id, batch_id = %batch.id, rows, bytes, "batch proven");
                Ok(())
            }
        }
    }

    fn send_again_later(&self, id: BatchId, why: &str) -> StepError {
        StepError::Wait(Wait {
            what: format!("the NAS has lost bytes of a batch, which go again: {why}"),
            help: "see to the disk of the gateway's data_dir, and what its log says".into(),
            pause_ms: self.pause_of_lost(id),
            ..Wait::default()
        })
    }

    /// Gives a batch's id up; its rows go again under a new one.
    pub(crate) fn replace(&self, record: &Move, id: BatchId, trouble: &Trouble) -> Result<(), StepError> {
        let Some(batch) = self.batches(record.id).into_iter().find(|batch| batch.id == id) else {
            return Ok(());
        };
        tracing::warn!(move_id = %record.id, batch_id = %id, reason = %trouble, "batch is sent again under a new id");
        let refuted = batch.refuted.saturating_add(1);
        let fresh = self.batch_ids(1)?;
        let changes = fresh.iter().map(|id| planned(*id, record, batch.slice, refuted).into());
        self.advance_batch(&batch, changes, |b| {
            b.state = BatchState::Dropped;
            b.manifest = None;
        })?;
        self.world.spool().remove(id);
        self.forget_lost(id);
        if refuted < OFTEN_REFUTED {
            return Ok(());
        }
        let wait = Wait {
            what: format!("rows were refused {refuted} times, last: {trouble}"),
            help: "see what the logs of both sides say".into(),
            pause_ms: REFUTED_PAUSE_MS,
            ..Wait::default()
        };
        for id in fresh {
            self.pause(Task::Batch(record.id, id), &wait);
        }
        Err(StepError::Wait(wait))
    }

    /// The batches that are the move's rows now, with their sum; `None` while one is not proven.
    pub(crate) fn all_proven(&self, record: &Move) -> Option<(Vec<Batch>, Proof)> {
        let mut live = self.batches(record.id);
        live.retain(|batch| batch.state != BatchState::Dropped);
        let proven = live.iter().all(|b| matches!(b.state, BatchState::Proven | BatchState::Published));
        let sent = live.iter().filter_map(|batch| batch.proof).sum();
        proven.then_some((live, sent))
    }
}

/// A batch of which nothing is done yet.
pub(crate) fn planned(id: BatchId, record: &Move, slice: Slice, refuted: u32) -> Batch {
    Batch {
        id,
        move_id: record.id,
        logical: record.table.logical.clone(),
        slice,
        proof: None,
        state: BatchState::Planned,
        proven: false,
        raw_bytes: 0,
        encoded_bytes: 0,
        manifest: None,
        read_from: Vec::new(),
        refuted,
        retired: false,
    }
}
