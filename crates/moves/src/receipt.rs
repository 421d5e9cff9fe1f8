//! Proofs that rows are in another place, as values.
//!
//! What deletes rows of the head takes a [`Deletable`], what retires batches of the NAS an [`Elsewhere`].
//! Both are made only in this module, from looks that were just taken, and can neither be stored nor copied:
//! nothing is dropped on the word of an earlier acknowledgement.

use storage_types::{BatchId, Proof};

use crate::{
    lineage::{Difference, is_rest},
    record::{Batch, Move, PartLook, sum},
    sabotage::{Rule, holds},
    state::MoveState,
    world::Changes,
};

/// The NAS has, counted and hashed just now, exactly the rows that were sent.
#[derive(Debug)]
pub struct ColdWhole {
    proof: Proof,
}

impl ColdWhole {
    /// From the answers of a fresh proof; `Err`: what is wrong with which batch.
    ///
    /// # Errors
    /// A batch that was not answered for, or has other rows than were sent.
    pub fn from_proofs(batches: &[&Batch], found: &[(BatchId, Proof)]) -> Result<Self, String> {
        let mut whole = Proof::default();
        for batch in batches {
            let Some(sent) = batch.proof else { return Err(format!("batch {} was never encoded", batch.id)) };
            match found.iter().find(|(id, _)| *id == batch.id) {
                Some((_, proof)) if *proof == sent => whole = whole.plus(sent),
                Some((_, proof)) => {
                    return Err(format!(
                        "batch {}: cold has {} rows with hash {}, {} with {} were sent",
                        batch.id, proof.rows, proof.content_hash, sent.rows, sent.content_hash
                    ));
                }
                None => return Err(format!("batch {}: the NAS did not count it", batch.id)),
            }
        }
        Ok(Self { proof: whole })
    }

    /// Count and hash of all of it.
    pub fn proof(&self) -> Proof {
        self.proof
    }
}

/// The head has, counted and hashed just now, every row that the batches have, or newer versions of them.
#[derive(Debug)]
pub struct HeadWhole(());

impl HeadWhole {
    /// From the parts with rows of the move of the head that it was opened on, as they are now. `None`: rows
    /// may be missing.
    pub fn from_parts(record: &Move, now: &[PartLook], changes: &Changes) -> Option<Self> {
        let whole = record.difference(now, changes).is_whole() || !holds(Rule::HeadWhole);
        whole.then_some(Self(()))
    }

    /// From another head, which has nothing but the rows in `now` in the window: whether its parts come from
    /// those of the old one cannot be told, only that they have the same content as what was sent.
    pub fn from_another(sent: Proof, now: &[PartLook]) -> Option<Self> {
        (sum(now) == sent || !holds(Rule::AnotherHead)).then_some(Self(()))
    }
}

/// Where the rows of batches that are to be retired are.
#[derive(Debug)]
pub enum Elsewhere<'a> {
    /// In the head.
    Head(&'a HeadWhole),
    /// In other batches.
    Cold(&'a ColdWhole),
    /// Nowhere else has to have them: the NAS never proved these batches, so they are no copy of anything.
    NeverProven,
}

/// Rows of the head that cold has as well.
#[derive(Debug)]
pub struct Deletable<'a> {
    record: &'a Move,
    whole_parts: Vec<String>,
    others: bool,
}

impl<'a> Deletable<'a> {
    /// From both looks. `now`: the head's parts with rows of the move, hashed just now. `Err`: the head has
    /// other rows among them than were sent. A move that is being reclaimed may have lost some already: what is left
    /// has to be rows that were there when its deletion began.
    ///
    /// # Errors
    /// See above.
    pub fn new(
        record: &'a Move,
        cold: &ColdWhole,
        now: &[PartLook],
        changes: &Changes,
    ) -> Result<Self, Difference> {
        if record.sent != Some(cold.proof) {
            return Err(Difference { changed: true, gone: true, grown: true });
        }
        let mut found = record.difference(now, changes);
        if record.state == MoveState::Reclaiming {
            found.grown |=
                found != Difference::NONE && !is_rest(&record.parts, now, !record.table.time_is_fixed());
            found.changed = false;
        }
        let spoils = found.grown || found.changed;
        if spoils && holds(Rule::HeadLook) { Err(found) } else { Ok(Self::of(record, now)) }
    }

    fn of(record: &'a Move, now: &[PartLook]) -> Self {
        let (whole, others): (Vec<_>, Vec<_>) =
            now.iter().partition(|part| part.rows_in_part == part.proof.rows || !holds(Rule::WholeParts));
        let whole_parts = whole.into_iter().map(|part| part.part.clone()).collect();
        Self { record, whole_parts, others: !others.is_empty() }
    }

    /// The move.
    pub fn record(&self) -> &Move {
        self.record
    }

    /// Parts that hold nothing else: to be dropped by name, which a merge or a mutation since the look makes
    /// fail.
    pub fn whole_parts(&self) -> &[String] {
        &self.whole_parts
    }

    /// Whether other parts hold rows of it too: to be deleted by their condition.
    pub fn others(&self) -> bool {
        self.others
    }
}
