//! The model of the NAS: batches by id, what it holds of each, and proof jobs.

use std::collections::BTreeMap;

use moves::{BatchState, Book};
use storage_types::{BatchId, Manifest, Proof, Sender};

use crate::{
    plan::Removal,
    random::Random,
    row::{Row, RowId, proof},
    truth::Event,
};

/// A job that nobody has asked for so long is forgotten, milliseconds.
const FORGOTTEN_MS: u64 = 600_000;

/// How a batch stands on the NAS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NasState {
    /// Announced; chunks are missing.
    Announced,
    /// Its chunks are there.
    Held,
    /// It is being loaded and counted.
    Proving,
    /// Its rows are in the cold table.
    Proven,
    /// Likewise, and they must not be given up.
    Published,
    /// Not read again; its rows may still be there.
    Retired,
    /// Its bytes were wrong, or it was given up before it was proven.
    Spent,
}

/// A batch.
#[derive(Debug, Clone)]
pub struct Copy {
    /// Its manifest.
    pub manifest: Manifest,
    /// See [`NasState`].
    pub state: NasState,
    /// The rows as they came, or as they are in the cold table.
    pub rows: Vec<Row>,
    /// The rows as they were sent.
    pub sent: Vec<Row>,
    /// When its rows in the cold table were damaged.
    pub damaged: Option<Event>,
    /// When it was retired, by uptime.
    pub retired_ms: u64,
}

/// A question for fresh proofs.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its nonce.
    pub nonce: u64,
    /// What was asked for.
    pub batches: Vec<BatchId>,
    /// What was computed, and when.
    pub done: Vec<(BatchId, Option<Proof>, Event)>,
    /// When it was last asked for.
    pub asked_ms: u64,
    /// The answer has come to whoever asked.
    pub delivered: bool,
}

/// The NAS.
#[derive(Debug, Clone, Default)]
pub struct Nas {
    /// Every batch it knows.
    pub batches: BTreeMap<BatchId, Copy>,
    /// Proof jobs.
    pub jobs: Vec<Job>,
    /// Whose batches it takes.
    pub sender: Option<Sender>,
    /// How it stood once.
    pub backup: Option<BTreeMap<BatchId, Copy>>,
    /// What it held before it was put back, in a backup.
    pub lost: BTreeMap<BatchId, Copy>,
    /// It was put back to how it stood once: it may know less than it was told.
    pub restored: bool,
}

impl Nas {
    /// It has everything that it should have.
    pub fn is_whole(&self) -> bool {
        self.lost.is_empty() && self.batches.values().all(|copy| copy.damaged.is_none())
    }

    /// Rows of the cold table that the batches show.
    pub fn read<'a>(&'a self, batches: &'a [BatchId]) -> impl Iterator<Item = &'a Row> {
        batches.iter().filter_map(|id| self.batches.get(id)).flat_map(|copy| match copy.state {
            NasState::Proven | NasState::Published | NasState::Retired => copy.rows.iter(),
            _ => [].iter(),
        })
    }

    /// Copies of a row in batches that queries read, as they were sent; without a book in those that it was told are.
    pub fn visible_copies(&self, book: Option<&Book>, row: RowId) -> Vec<Row> {
        let shown = |id: &BatchId, copy: &Copy| match book {
            Some(book) => book.batch(*id).is_some_and(|batch| batch.state == BatchState::Published),
            None => copy.state == NasState::Published,
        };
        let copies = self.batches.iter().filter(|(id, copy)| shown(id, copy)).map(|(_, copy)| copy);
        copies.flat_map(|copy| copy.sent.iter().filter(|sent| sent.id == row).copied()).collect()
    }

    /// One thing that the NAS does on its own.
    pub fn work(&mut self, random: &mut Random, removal: Removal, uptime_ms: u64, event: Event) {
        let proving = self.batches.values_mut().filter(|copy| copy.state == NasState::Proving);
        for copy in proving {
            if random.percent(50) {
                let found = proof(&copy.rows, copy.manifest.columns.len());
                let right = found == copy.manifest.proof;
                copy.state = if right { NasState::Proven } else { NasState::Spent };
            }
        }
        let batches = &self.batches;
        for job in &mut self.jobs {
            let next = job.batches.iter().find(|id| !job.done.iter().any(|(done, ..)| done == *id)).copied();
            if let Some(id) = next {
                let copy = batches.get(&id);
                let copy = copy.filter(|c| matches!(c.state, NasState::Proven | NasState::Published));
                let found = copy.map(|copy| proof(&copy.rows, copy.manifest.columns.len()));
                job.done.push((id, found, event));
            }
        }
        self.jobs.retain(|job| uptime_ms.saturating_sub(job.asked_ms) < FORGOTTEN_MS);
        let after_ms = match removal {
            Removal::Open => 0,
            Removal::Delayed => 7 * 86_400_000,
            Removal::AppendOnly => return,
        };
        for copy in self.batches.values_mut() {
            if copy.state == NasState::Retired && uptime_ms.saturating_sub(copy.retired_ms) >= after_ms {
                copy.rows.clear();
            }
        }
    }
}
