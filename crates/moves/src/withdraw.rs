//! Giving a move up, or beginning it again: the head is visible in one transaction, then the NAS retires
//! what it has of it.
//!
//! A move is given up only when the head has its rows. Where rows have left the head, the batches are the
//! archive, and the move goes on.

use crate::{
    failure::{StepError, Wait},
    lineage::compare,
    mover::{ANY_BLOCK, Mover},
    receipt::{Elsewhere, HeadWhole},
    record::{Batch, Decision, Move, RowSet, sum},
    state::{BatchState, MoveState},
    world::{Head as _, Journal as _, Nas as _, Spool as _, World},
};

impl<W: World> Mover<W> {
    /// The head becomes visible; the move's batches do not count any more. What comes after that
    /// depends on whether it was cancelled.
    pub(crate) fn again(&self, record: &Move, reason: &str) -> Result<(), StepError> {
        let batches = self.batches(record.id);
        let spooled: Vec<_> =
            batches.iter().filter(|b| b.state != BatchState::Dropped).map(|b| b.id).collect();
        let dropped = batches
            .into_iter()
            .filter(|batch| batch.state != BatchState::Dropped)
            .map(|batch| Batch { state: BatchState::Dropped, manifest: None, ..batch }.into());
        let withdrawing =
            Move { state: MoveState::Withdrawing, reason: Some(reason.to_owned()), ..record.clone() };
        self.commit(std::iter::once(withdrawing.into()).chain(dropped).collect())?;
        for batch in spooled {
            self.world.spool().remove(batch);
        }
        tracing::warn!(move_id = %record.id, table = record.table.logical, reason, "move withdrawn");
        Ok(())
    }

    /// A move that is not published is given up, unless rows of it have left the head.
    pub(crate) async fn cancel_planned(&self, record: &Move) -> Result<(), StepError> {
        if !record.opened {
            let reason = Some("cancelled".to_owned());
            self.commit(vec![Move { state: MoveState::Withdrawn, reason, ..record.clone() }.into()])?;
            return Ok(());
        }
        self.same_head(record).await?;
        let changes = self.settled_changes(record).await?;
        let now = self.world.head().parts(&record.table, record.rows, false).await?;
        if compare(&record.parts, &now, changes.deletes).is_whole() {
            return self.again(record, "cancelled");
        }
        self.refuse_to_cancel(record)
    }

    /// A published one likewise.
    pub(crate) async fn cancel_published(&self, record: &Move) -> Result<(), StepError> {
        self.same_head(record).await?;
        let changes = self.settled_changes(record).await?;
        let now = self.world.head().parts(&record.table, record.rows, true).await?;
        let whole = HeadWhole::from_parts(&record.parts, &now, record.sent, changes.deletes);
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
        self.commit(vec![Move { cancelled: false, ..record.clone() }.into()])?;
        Ok(())
    }

    /// The NAS retires the batches, on the proof that the head has their rows.
    pub(crate) async fn retire(&self, record: &Move) -> Result<(), StepError> {
        let world = &self.world;
        if !world.journal().is_drained(&record.table.logical, record.rows.window, record.changed_in) {
            return Err(Wait::passing("queries that read the batches are still running", ""));
        }
        let mut batches = self.batches(record.id);
        batches.retain(|batch| batch.state == BatchState::Dropped && !batch.retired);
        let ids: Vec<_> = batches.iter().map(|batch| batch.id).collect();
        let kept = record.decision == Some(Decision::KeepHot);
        if batches.iter().any(|batch| batch.proven) && !kept {
            let look = world.head().look(&record.table).await?;
            let rows = if look.place == record.place { record.rows } else { everything(record) };
            let changes = self.settled_changes(record).await?;
            let now = world.head().parts(&record.table, rows, true).await?;
            match HeadWhole::from_parts(&record.parts, &now, record.sent, changes.deletes) {
                Some(whole) => world.nas().retire(&ids, Elsewhere::Head(&whole)).await?,
                None => return self.show_again(record, batches),
            }
        } else if !ids.is_empty() && !kept {
            world.nas().retire(&ids, Elsewhere::NeverProven).await?;
        }
        let retired = batches.into_iter().map(|batch| Batch { retired: true, ..batch }.into());
        self.commit(std::iter::once(after(record).into()).chain(retired).collect())?;
        Ok(())
    }

    /// Rows have left the head while the move was withdrawn: its batches are what is left of them.
    fn show_again(&self, record: &Move, batches: Vec<Batch>) -> Result<(), StepError> {
        let proven: Vec<Batch> = batches.into_iter().filter(|batch| batch.proven).collect();
        let held =
            proven.iter().filter_map(|b| b.proof).fold(storage_types::Proof::default(), |sum, p| sum.plus(p));
        if record.sent != Some(held) {
            let what = "rows have left the head, and not all of them were proven on the NAS";
            return Err(Wait::operator(what, false));
        }
        tracing::warn!(move_id = %record.id, "rows have left the head: the withdrawn batches are visible again");
        let published = Move {
            state: MoveState::Published,
            cancelled: false,
            told: false,
            published_at: self.now(),
            ..record.clone()
        };
        let shown = proven.into_iter().map(|b| Batch { state: BatchState::Published, ..b }.into());
        self.commit(std::iter::once(published.into()).chain(shown).collect())?;
        Ok(())
    }

    /// Another table answers to the head's name. It may be a copy of the old one (`EXCHANGE TABLES` after an
    /// ALTER by copying), or empty.
    pub(crate) async fn compare_heads(&self, record: &Move, what: &str) -> Result<(), StepError> {
        let now = self.world.head().parts(&record.table, everything(record), true).await?;
        let proven = self.all_proven(record).map(|(_, sent)| sent).filter(|sent| sent.rows > 0);
        let nothing_sent = !self.batches(record.id).iter().any(|batch| batch.proven);
        let same = proven.is_some_and(|sent| sent == sum(&now));
        match record.state {
            MoveState::Planned | MoveState::Published if same => self.again(record, what),
            MoveState::Planned if nothing_sent => self.again(record, what),
            MoveState::Published if now.is_empty() => {
                self.commit(vec![Move { state: MoveState::Reclaiming, ..record.clone() }.into()])?;
                Ok(())
            }
            MoveState::Reclaiming if now.is_empty() => self.reclaimed(record),
            state if record.decision == Some(Decision::KeepHot) && state != MoveState::Reclaiming => {
                self.again(record, what)
            }
            state => Err(Wait::operator(
                format!("{what}, and has other rows in the window than were sent"),
                state != MoveState::Planned,
            )),
        }
    }
}

/// Every row of the move's window, whatever its number: of a head that counts from one again.
fn everything(record: &Move) -> RowSet {
    RowSet { watermark: ANY_BLOCK, ..record.rows }
}

/// Where a move goes whose batches are retired.
fn after(record: &Move) -> Move {
    let base = Move { parts: Vec::new(), sent: None, told: false, decision: None, ..record.clone() };
    if record.cancelled || record.decision.is_some() {
        return Move { state: MoveState::Withdrawn, ..base };
    }
    let rows = RowSet { watermark: 0, ..record.rows };
    Move { state: MoveState::Planned, opened: false, rows, waiting: None, ..base }
}
