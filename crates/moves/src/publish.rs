//! Publishing: one transaction makes the batches visible and hides their rows in the head. Nothing is
//! touched anywhere else.
//!
//! The batches were read one after the other, so the head's parts are looked at once more, all at once. What
//! differs then is judged by where it went ([`crate::lineage`]): rows that a mutation changed are sent again;
//! rows that left with their parts are what the archive is for.

use std::collections::HashMap;

use storage_types::Proof;

use crate::{
    book::Change,
    failure::{StepError, Wait},
    lineage::Difference,
    mover::Mover,
    record::{Batch, Decision, Move, PartLook, PartRows, sum},
    sabotage::{Rule, holds},
    state::{BatchState, MoveState},
    world::{Answer, Changes, Head as _, World},
};

impl<W: World> Mover<W> {
    /// Publishes a move all of whose batches are proven.
    pub(crate) async fn publish(&self, record: &Move) -> Result<(), StepError> {
        self.same_head(record).await?;
        if record.decision == Some(Decision::KeepHot) {
            return self.again(record, "the operator keeps the head");
        }
        let Some((batches, sent)) = self.all_proven(record) else {
            // What was to be decided has settled itself.
            if record.decision.is_some() {
                self.advance(record, [], |m| m.decision = None)?;
            }
            return Ok(());
        };
        let changes = self.settled_changes(record).await?;
        let now = self.last_look(record, &batches, &changes).await?;
        let mut left = false;
        if sum(&now) != sent && holds(Rule::LastLook) {
            let found = record.difference(&now, &changes);
            left = found.gone;
            let unclear = is_unclear(record, found, &changes);
            // A patch that changed them while they were read may have left with them: nobody can know of it.
            if found.gone && is_cut_by_content(&batches) && holds(Rule::Slices) {
                return self.keep_hot(record, "rows that are cut by content have left the head");
            }
            if record.decision != Some(Decision::KeepCold) {
                self.judge(record, found, unclear)?;
            }
        }
        if batches.is_empty() {
            self.advance(record, [], |m| {
                m.state = MoveState::Withdrawn;
                m.reason = Some("its rows have left the head before they were read".to_owned());
            })?;
            return Ok(());
        }
        let (rows, now_s) = (sent.rows, self.now());
        let published = |b| Batch { state: BatchState::Published, read_from: Vec::new(), ..b };
        let shown = batches.into_iter().map(|batch| published(batch).into());
        let mut shown: Vec<Change> = shown.collect();
        if !holds(Rule::OneTransaction) {
            self.advance(record, std::mem::take(&mut shown), |_| ())?;
            return Err(Wait::pause(1));
        }
        let version = self.advance(record, shown, |m| {
            m.state = MoveState::Published;
            m.parts = now;
            m.left = left;
            m.sent = Some(sent);
            m.published_at = now_s;
            m.told = false;
            if record.decision.is_some() {
                m.decision = None;
            }
        })?;
        self.note_looked_after(record.id, changes.latest);
        tracing::info!(move_id = %record.id, table = record.table.logical, rows, version, "published");
        Ok(())
    }

    /// The head's parts with rows of the move, hashed. They are only counted where they are the parts that the
    /// batches were read from: a part never changes. What is changed has another name, unless a lightweight UPDATE
    /// has laid a patch beside it, or a default stands for a column that it has not.
    async fn last_look(&self, record: &Move, batches: &[Batch], changes: &Changes) -> Answer<Vec<PartLook>> {
        let head = self.world.head();
        if (changes.latest == 0 && !changes.defaults) || !holds(Rule::Patches) {
            let counted = head.parts(&record.table, record.rows, false).await?;
            if let Some(looks) = as_read(counted, batches) {
                return Ok(looks);
            }
        }
        head.parts(&record.table, record.rows, true).await
    }

    /// What others did, once nothing of theirs is still under way.
    pub(crate) async fn settled_changes(&self, record: &Move) -> Result<Changes, StepError> {
        let changes = self.world.head().changes(&record.table, record.rows.watermark).await?;
        match &changes.pending {
            Some(_) if !holds(Rule::PendingMutations) => Ok(changes),
            None => Ok(changes),
            Some(command) => {
                let what = format!("a mutation of {} is under way: {command}", record.table.logical);
                Err(Wait::passing(what, "let it finish, or KILL MUTATION"))
            }
        }
    }

    /// `Ok`: the batches may be published all the same.
    fn judge(&self, record: &Move, found: Difference, unclear: bool) -> Result<(), StepError> {
        if unclear {
            let what = "rows of the move have left the head while others were changed: which copy is right cannot be told";
            return Err(Wait::operator(what, false));
        }
        if found.gone {
            return Ok(());
        }
        self.again(record, "its rows were changed while they were sent")?;
        Err(Wait::pause(0))
    }

    /// As if the operator kept the head: what was sent stays on the NAS and is not shown.
    pub(crate) fn keep_hot(&self, record: &Move, reason: &str) -> Result<(), StepError> {
        self.advance(record, [], |m| m.decision = Some(Decision::KeepHot))?;
        self.again(record, reason)
    }
}

/// The parts with the hashes that their rows had when the batches were read; `None`: there are other parts, or
/// other rows in them.
fn as_read(counted: Vec<PartLook>, batches: &[Batch]) -> Option<Vec<PartLook>> {
    let mut read = HashMap::<&str, Proof>::new();
    for batch in batches {
        let by_part = batch.read_from.iter().map(|part| part.proof).sum();
        if batch.proof != Some(by_part) {
            return None;
        }
        for PartRows { part, proof } in &batch.read_from {
            let sum = read.entry(part).or_default();
            *sum = sum.plus(*proof);
        }
    }
    let mut looks = Vec::with_capacity(counted.len());
    for look in counted {
        let proof = read.remove(look.part.as_str()).filter(|proof| proof.rows == look.proof.rows)?;
        looks.push(PartLook { proof, ..look });
    }
    read.is_empty().then_some(looks)
}

/// Rows have left the head, and others were changed. Before publishing, parts are counted and not hashed: an
/// update among what is left is not seen.
fn is_unclear(record: &Move, found: Difference, changes: &Changes) -> bool {
    found.gone && (found.changed || found.grown || changes.latest > record.rows.watermark)
}

/// Rows that are cut by rank have other ranks once some have left, and rows that are cut by their hash are in
/// another class once they are updated: what was read one after the other may miss one, or have it twice.
pub(crate) fn is_cut_by_content(batches: &[Batch]) -> bool {
    batches.iter().any(|batch| batch.slice.class.is_some() || batch.slice.ranks.is_some())
}
