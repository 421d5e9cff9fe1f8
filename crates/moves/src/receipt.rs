//! Proofs that rows are in another place, as values.
//!
//! What deletes rows of the head takes a [`Deletable`], what retires batches of the NAS an [`Elsewhere`].
//! Both are made only in this module, from looks that were just taken, and can neither be stored nor copied:
//! nothing is dropped on the word of an earlier acknowledgement.

use storage_types::{BatchId, Proof};

use crate::{
    lineage::{Difference, compare},
    record::{Batch, Move, PartLook, sum},
    state::MoveState,
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
    /// From the head's parts as they were (`then`: when the move was opened or published) and are.
    /// `sent`: what the batches have. `None`: rows may be missing in the head.
    pub fn from_parts(
        then: &[PartLook],
        now: &[PartLook],
        sent: Option<Proof>,
        deletes: bool,
    ) -> Option<Self> {
        let whole = sent.is_some_and(|sent| sum(now) == sent) || compare(then, now, deletes).is_whole();
        whole.then_some(Self(()))
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
    /// other rows among them than were sent. A move that is being reclaimed may have lost some already, and what
    /// others changed of its hidden rows since then is not asked; rows that were added to them are.
    ///
    /// # Errors
    /// See above.
    pub fn new(
        record: &'a Move,
        cold: &ColdWhole,
        now: &[PartLook],
        deletes: bool,
    ) -> Result<Self, Difference> {
        if record.sent != Some(cold.proof) {
            return Err(Difference { changed: true, gone: true, grown: true });
        }
        let found =
            if sum(now) == cold.proof { Difference::NONE } else { compare(&record.parts, now, deletes) };
        let spoils = found.grown || (found.changed && record.state != MoveState::Reclaiming);
        if spoils { Err(found) } else { Ok(Self::of(record, now)) }
    }

    /// The operator has said that cold is right whatever the head has.
    pub fn by_decision(record: &'a Move, cold: &ColdWhole, now: &[PartLook]) -> Option<Self> {
        let _whole = cold;
        (record.decision == Some(crate::record::Decision::KeepCold)).then(|| Self::of(record, now))
    }

    fn of(record: &'a Move, now: &[PartLook]) -> Self {
        let (whole, others): (Vec<_>, Vec<_>) =
            now.iter().partition(|part| part.rows_in_part == part.proof.rows);
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
