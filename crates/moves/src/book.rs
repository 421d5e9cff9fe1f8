//! The book: every move that is not over and every batch, in memory, as the journal holds them.
//!
//! It changes by [`Change`]s only, all of a transaction at once, each checked against the tables of
//! transitions. What queries see follows from it and nothing else:
//!
//! - a batch is visible in cold when its state is `published`;
//! - the head is read without the rows of every move that is `published` or `reclaiming`;
//! - queries of a window are refused while its move cannot say which copy is right.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use storage_types::{BatchId, MoveId, TimeRange, lifecycle::IllegalTransition};

use crate::{
    record::{Batch, Move, Place, RowSet},
    sabotage::{Rule, holds},
    state::BatchState,
};

/// One change of the book.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// A new move, or a move in its next state.
    Move(Box<Move>),
    /// A new batch, or a batch in its next state.
    Batch(Box<Batch>),
}

impl From<Move> for Change {
    fn from(record: Move) -> Self {
        Self::Move(Box::new(record))
    }
}

impl From<Batch> for Change {
    fn from(batch: Batch) -> Self {
        Self::Batch(Box::new(batch))
    }
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Book {
    /// Raised by every change of what queries see.
    pub version: u64,
    moves: BTreeMap<MoveId, Arc<Move>>,
    batches: BTreeMap<BatchId, Arc<Batch>>,
    by_move: BTreeSet<(MoveId, BatchId)>,
    /// The largest id that was ever a batch's.
    last_batch: u64,
}

impl Book {
    /// An empty one.
    pub fn new(version: u64, last_batch: u64) -> Self {
        Self { version, last_batch, ..Self::default() }
    }

    /// The move, unless it is over.
    pub fn get(&self, id: MoveId) -> Option<&Arc<Move>> {
        self.moves.get(&id)
    }

    /// Every move that is not over, oldest first.
    pub fn open_moves(&self) -> impl Iterator<Item = &Arc<Move>> {
        self.moves.values()
    }

    /// The batch.
    pub fn batch(&self, id: BatchId) -> Option<&Arc<Batch>> {
        self.batches.get(&id)
    }

    /// Every batch, oldest first.
    pub fn batches(&self) -> impl Iterator<Item = &Arc<Batch>> {
        self.batches.values()
    }

    /// The batches of a move, oldest first.
    pub fn batches_of(&self, id: MoveId) -> impl Iterator<Item = &Arc<Batch>> {
        let first = BatchId::from_u64(0).map(|zero| (id, zero));
        let last = BatchId::from_u64(i64::MAX as u64).map(|last| (id, last));
        let span = first.zip(last).map(|(first, last)| self.by_move.range(first..=last));
        span.into_iter().flatten().filter_map(|(_, batch)| self.batches.get(batch))
    }

    /// A batch id above all others, near `unix_ms`: a range of ids that is visible stays closed to later ones,
    /// also when the clock goes back.
    pub fn fresh_batch_id(&self, unix_ms: u64, random: u64, taken: u64) -> Option<BatchId> {
        let wanted = BatchId::from_parts(unix_ms, (random & 0xf_ffff) as u32).get();
        if !holds(Rule::MonotonicIds) {
            return BatchId::from_u64(wanted.saturating_add(taken));
        }
        BatchId::from_u64(wanted.max(self.last_batch.saturating_add(1)).saturating_add(taken))
    }

    /// The moves whose rows queries must not read in the head. Which rows are meant is known for the head in the
    /// move's place only: where another answers to the name, a query that meets them has to be refused.
    pub fn hiding(&self, logical: &str) -> impl Iterator<Item = &Arc<Move>> {
        self.moves.values().filter(move |m| m.table.logical == logical && m.state.hides())
    }

    /// Windows of a table that queries are refused in, and why.
    pub fn refused(&self, logical: &str) -> Vec<(TimeRange, String)> {
        let of_table = self.moves.values().filter(|m| m.table.logical == logical);
        of_table
            .filter_map(|m| {
                let waiting = m.waiting.as_ref().filter(|waiting| waiting.unsafe_to_read)?;
                Some((m.rows.window, waiting.to_string()))
            })
            .collect()
    }

    /// What the change makes of the book must be allowed.
    ///
    /// # Errors
    /// A state that may not follow; nothing is changed then.
    pub fn check(&self, changes: &[Change]) -> Result<(), IllegalTransition> {
        for change in changes {
            match change {
                // One that is new may be in any state: it was found again after a loss.
                Change::Move(new) => {
                    if let Some(old) = self.moves.get(&new.id) {
                        old.state.advance(new.state)?;
                    }
                }
                Change::Batch(new) => {
                    if let Some(old) = self.batches.get(&new.id) {
                        old.state.advance(new.state)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether queries see the changes.
    pub fn is_seen(&self, changes: &[Change]) -> bool {
        let batch_seen = |state: Option<BatchState>| state == Some(BatchState::Published);
        changes.iter().any(|change| match change {
            Change::Move(new) => seen_of(self.moves.get(&new.id).map(AsRef::as_ref)) != seen_of(Some(new)),
            Change::Batch(new) => {
                batch_seen(self.batches.get(&new.id).map(|b| b.state)) != batch_seen(Some(new.state))
            }
        })
    }

    /// Puts the version that the changes will be in force with into the moves whose visibility they change.
    pub fn stamp(&self, changes: &mut [Change], version: u64) {
        for change in changes {
            if let Change::Move(new) = change {
                let old = self.moves.get(&new.id);
                if old.map(|old| old.state.is_visible_in_cold()) != Some(new.state.is_visible_in_cold()) {
                    new.changed_in = version;
                }
            }
        }
    }

    /// Applies changes that were checked and written. `version`: in force from now on.
    pub fn apply(&mut self, changes: Vec<Change>, version: u64) {
        self.version = version;
        for change in changes {
            match change {
                Change::Move(new) if new.state.is_over() => {
                    self.moves.remove(&new.id);
                }
                Change::Move(new) => {
                    self.moves.insert(new.id, Arc::from(new));
                }
                Change::Batch(new) => {
                    self.last_batch = self.last_batch.max(new.id.get());
                    self.by_move.insert((new.move_id, new.id));
                    self.batches.insert(new.id, Arc::from(new));
                }
            }
        }
    }
}

/// What queries see of a move: whether its rows are hidden, which these are, in which head, and whether their
/// window is refused.
fn seen_of(record: Option<&Move>) -> Option<(bool, RowSet, &Place, bool)> {
    let m = record?;
    let refused = m.waiting.as_ref().is_some_and(|waiting| waiting.unsafe_to_read);
    (m.state.hides() || refused).then_some((m.state.hides(), m.rows, &m.place, refused))
}
