//! Giving a move up, or beginning it again: the head is visible in one transaction, then the NAS retires
//! what it has of it.
//!
//! A move is given up only when the head has its rows. Where rows have left the head, the batches are the
//! archive, and the move goes on.

use std::collections::HashMap;

use crate::{
    adapt::everything,
    book::Change,
    failure::{StepError, Wait},
    mover::Mover,
    receipt::{Elsewhere, HeadWhole},
    record::{Batch, Decision, Move, RowSet, Slice},
    sabotage::{Rule, holds},
    ship,
    state::{BatchState, MoveState},
    world::{Head as _, Journal as _, Nas as _, Spool as _, World},
};

impl<W: World> Mover<W> {
    /// The head becomes visible; the move's batches do not count any more. What comes after that
    /// depends on whether it was cancelled.
    pub(crate) fn again(&self, record: &Move, reason: &str) -> Result<(), StepError> {
        let mut batches = self.batches(record.id);
        batches.retain(|batch| batch.state != BatchState::Dropped && holds(Rule::WithdrawHides));
        let spooled: Vec<_> = batches.iter().map(|b| b.id).collect();
        let dropped =
            batches.into_iter().map(|b| Batch { state: BatchState::Dropped, manifest: None, ..b }.into());
        self.advance(record, dropped, |m| {
            m.state = MoveState::Withdrawing;
            m.reason = Some(reason.to_owned());
        })?;
        for batch in spooled {
            self.world.spool().remove(batch);
        }
        tracing::warn!(move_id = %record.id, table = record.table.logical, reason, "move withdrawn");
        Ok(())
    }

    /// A move that is not published is given up, unless rows of it have left the head.
    pub(crate) async fn cancel_planned(&self, record: &Move) -> Result<(), StepError> {
        if !record.opened {
            self.advance(record, [], |m| {
                m.state = MoveState::Withdrawn;
                m.reason = Some("cancelled".to_owned());
            })?;
            return Ok(());
        }
        self.same_head(record).await?;
        let changes = self.settled_changes(record).await?;
        let now = self.world.head().parts(&record.table, record.rows, false).await?;
        if record.difference(&now, &changes).is_whole() {
            return self.again(record, "cancelled");
        }
        self.refuse_to_cancel(record)
    }

    /// A published one likewise.
    pub(crate) async fn cancel_published(&self, record: &Move) -> Result<(), StepError> {
        self.same_head(record).await?;
        let changes = self.settled_changes(record).await?;
        let now = self.world.head().parts(&record.table, record.rows, true).await?;
        let whole = HeadWhole::from_parts(record, &now, &changes);
        match whole {
            Some(_) => self.again(record, "cancelled"),
            None if record.decision == Some(Decision::KeepHot) => {
                self.again(record, "the operator keeps the head")
            }
            None => self.refuse_to_cancel(record),
        }
    }

    fn refuse_to_cancel(&self, record: &Move) -> Result<(), StepError> {
        tracing::warn!(move_id = %record.id, table = record.table.logical,
            "rows of the move have left the head: it is finished, not cancelled");
        self.advance(record, [], |m| m.cancelled = false)?;
        Ok(())
    }

    /// The NAS retires the batches, on the proof that the head has their rows.
    pub(crate) async fn retire(&self, record: &Move) -> Result<(), StepError> {
        let world = &self.world;
        let drained =
            world.journal().is_drained(&record.table.logical, record.rows.window, record.changed_in);
        if !drained && holds(Rule::LeasesOfBatches) {
            return Err(Wait::passing("queries that read the batches are still running", ""));
        }
        let mut batches = self.batches(record.id);
        batches.retain(|batch| batch.state == BatchState::Dropped && !batch.retired);
        let (proven, unproven): (Vec<_>, Vec<_>) = batches.iter().partition(|batch| batch.proven);
        let ids = |batches: &[&Batch]| -> Vec<_> { batches.iter().map(|batch| batch.id).collect() };
        let kept = record.decision == Some(Decision::KeepHot);
        if !proven.is_empty() && !kept {
            match self.head_has(record, &proven).await? {
                Some(whole) => {
                    // An older catalog would ask the NAS for what it will not have.
                    self.witness(record).await?;
                    world.nas().retire(&ids(&proven), Elsewhere::Head(&whole)).await?;
                }
                None => return self.resume(record, &batches).await,
            }
        }
        if !unproven.is_empty() {
            world.nas().retire(&ids(&unproven), Elsewhere::NeverProven).await?;
        }
        let retired = batches.into_iter().map(|batch| Batch { retired: true, ..batch }.into());
        self.advance(record, retired, |m| *m = after(m))?;
        Ok(())
    }

    async fn head_has(&self, record: &Move, proven: &[&Batch]) -> Result<Option<HeadWhole>, StepError> {
        let head = self.world.head();
        let look = head.look(&record.table).await?;
        // With columns gone rows are counted only.
        let hashed = record.table.columns.iter().all(|column| look.table.columns.contains(column));
        if look.is_head_of(record) {
            let changes = self.settled_changes(record).await?;
            let now = head.parts(&record.table, record.rows, hashed).await?;
            return Ok(HeadWhole::from_parts(record, &now, &changes));
        }
        if !hashed {
            let what = "another table answers to the head's name, without columns that the batches have";
            return Err(Wait::passing(what, "bring back the columns that the move was opened with"));
        }
        let now = head.parts(&record.table, everything(record), true).await?;
        let sent = proven.iter().filter_map(|batch| batch.proof).sum();
        Ok(HeadWhole::from_another(sent, &now))
    }

    /// Rows have left the head while the move was withdrawn: its batches are what is left of them. It goes
    /// on where it was; slices that were not proven are sent again, and so are those that the NAS has retired by
    /// now (its answer was lost, when the head still had them).
    async fn resume(&self, record: &Move, batches: &[Batch]) -> Result<(), StepError> {
        tracing::warn!(move_id = %record.id, "rows have left the head: the withdrawn move goes on");
        let mut slices: Vec<(Slice, Option<&Batch>)> = Vec::new();
        let mut at = HashMap::new();
        let mut changes: Vec<Change> = Vec::new();
        for batch in batches {
            let n = *at.entry(batch.slice).or_insert(slices.len());
            if n == slices.len() {
                slices.push((batch.slice, None));
            }
            if !batch.proven {
                continue;
            }
            match slices.get_mut(n) {
                Some((_, best @ None)) if self.world.nas().holds(batch.id).await? => *best = Some(batch),
                // What it once proved is not to be retired as never proven.
                _ => changes.push(Batch { retired: true, ..batch.clone() }.into()),
            }
        }
        let mut fresh = self.batch_ids(slices.len())?.into_iter();
        changes.extend(slices.into_iter().filter_map(|(slice, best)| match best {
            Some(batch) => Some(Batch { state: BatchState::Proven, ..batch.clone() }.into()),
            None => fresh.next().map(|id| ship::planned(id, record, slice, 0).into()),
        }));
        self.advance(record, changes, |m| {
            m.state = MoveState::Planned;
            m.cancelled = false;
        })?;
        Ok(())
    }
}

/// Where a move goes whose batches are retired.
fn after(record: &Move) -> Move {
    let base = Move {
        parts: Vec::new(),
        left: false,
        grown_to: Vec::new(),
        sent: None,
        told: false,
        decision: None,
        ..record.clone()
    };
    if record.cancelled || record.decision.is_some() {
        return Move { state: MoveState::Withdrawn, ..base };
    }
    let rows = RowSet { watermark: 0, ..record.rows };
    Move { state: MoveState::Planned, opened: false, rows, waiting: None, ..base }
}
