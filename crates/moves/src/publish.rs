//! Publishing: one transaction makes the batches visible and hides their rows in the head. Nothing is
//! touched anywhere else.
//!
//! The batches were read one after the other, so the head's rows are looked at once more, all at once. What
//! differs then is judged by where it went ([`crate::lineage`]): rows that a mutation changed are sent again;
//! rows that left with their parts are what the archive is for.

use crate::{
    failure::{StepError, Wait},
    lineage::{Difference, compare},
    mover::Mover,
    record::{Batch, Decision, Move, sum},
    state::{BatchState, MoveState},
    world::{Changes, Head as _, World},
};

impl<W: World> Mover<W> {
    /// Publishes a move all of whose batches are proven.
    pub(crate) async fn publish(&self, record: &Move) -> Result<(), StepError> {
        let Some((batches, sent)) = self.all_proven(record) else { return Ok(()) };
        self.same_head(record).await?;
        let changes = self.settled_changes(record).await?;
        let now = self.world.head().parts(&record.table, record.rows, true).await?;
        if sum(&now) != sent && record.decision != Some(Decision::KeepCold) {
            self.judge(record, compare(&record.parts, &now, changes.deletes), &changes)?;
        }
        if batches.is_empty() {
            let reason = Some("its rows have left the head before they were read".to_owned());
            self.commit(vec![Move { state: MoveState::Withdrawn, reason, ..record.clone() }.into()])?;
            return Ok(());
        }
        let rows = sent.rows;
        let published = Move {
            state: MoveState::Published,
            parts: now,
            sent: Some(sent),
            published_at: self.now(),
            told: false,
            decision: None,
            ..record.clone()
        };
        let shown = batches.into_iter().map(|b| Batch { state: BatchState::Published, ..b }.into());
        let version = self.commit(std::iter::once(published.into()).chain(shown).collect())?;
        self.note_looked_after(record.id, changes.latest);
        tracing::info!(move_id = %record.id, table = record.table.logical, rows, version, "published");
        Ok(())
    }

    /// What others did, once nothing of theirs is still under way.
    pub(crate) async fn settled_changes(&self, record: &Move) -> Result<Changes, StepError> {
        let changes = self.world.head().changes(&record.table, record.rows.watermark).await?;
        match &changes.pending {
            None => Ok(changes),
            Some(command) => {
                let what = format!("a mutation of {} is under way: {command}", record.table.logical);
                Err(Wait::passing(what, "let it finish, or KILL MUTATION"))
            }
        }
    }

    /// `Ok`: the batches may be published all the same.
    fn judge(&self, record: &Move, found: Difference, changes: &Changes) -> Result<(), StepError> {
        // Before publishing, parts are counted and not hashed: an update among what is left is not seen.
        let unclear = found.gone && (found.changed || found.grown || changes.latest > 0);
        if unclear && record.decision != Some(Decision::KeepHot) {
            let what = "rows of the move have left the head while others were changed: which copy is right cannot be told";
            return Err(Wait::operator(what, false));
        }
        if found.gone && !unclear {
            return Ok(());
        }
        self.again(record, "its rows were changed while they were sent")?;
        Err(Wait::pause(0))
    }
}
