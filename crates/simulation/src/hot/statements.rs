//! What users and moves ask of the table.

use storage_types::TimeRange;

use super::{Effect, Mutation, PARTITION, Part, Table};
use crate::row::{RESIDUES, Row};

/// Rows that a mutation means.
#[derive(Debug, Clone, Copy)]
pub struct Condition {
    /// Their times.
    pub times: TimeRange,
    /// The residue of their values.
    pub residue: Option<u32>,
}

impl Condition {
    /// Whether it means the row.
    pub fn holds(&self, row: &Row) -> bool {
        self.times.lo <= row.time
            && row.time < self.times.hi
            && self.residue.is_none_or(|residue| row.value % RESIDUES == residue)
    }
}

/// The partition of a time.
pub fn partition(time: i64) -> i64 {
    time.div_euclid(PARTITION)
}

impl Table {
    /// One INSERT: a part for each partition, each with a number of its own.
    pub fn insert(&mut self, rows: &[Row]) {
        let mut partitions: Vec<i64> = rows.iter().map(|row| partition(row.time)).collect();
        partitions.sort_unstable();
        partitions.dedup();
        for wanted in partitions {
            let number = self.next_number();
            let rows = rows.iter().filter(|row| partition(row.time) == wanted).copied().collect();
            self.parts.push(Part {
                partition: wanted,
                min: number,
                max: number,
                level: 0,
                mutation: 0,
                numbered: false,
                patch: None,
                rows,
            });
        }
    }

    /// Files a mutation; parts are rewritten later, one by one.
    pub fn mutate(&mut self, effect: Effect, condition: Condition) -> u64 {
        let number = self.next_number();
        self.mutations.push(Mutation { number, effect, condition, done: false });
        number
    }

    /// The parts of a partition, taken out.
    pub fn take_partition(&mut self, wanted: i64) -> Vec<Part> {
        let (taken, kept): (Vec<Part>, _) =
            std::mem::take(&mut self.parts).into_iter().partition(|part| part.partition == wanted);
        self.parts = kept;
        self.all_emptied(taken)
    }

    /// Every part, taken out.
    pub fn truncate(&mut self) -> Vec<Part> {
        let taken = std::mem::take(&mut self.parts);
        self.all_emptied(taken)
    }

    fn all_emptied(&mut self, taken: Vec<Part>) -> Vec<Part> {
        for part in &taken {
            self.emptied(part.max);
        }
        taken
    }

    /// Parts come in, each under a new number; rows that have one of their own keep it.
    pub fn attach(&mut self, parts: Vec<Part>) {
        for part in parts {
            let number = self.next_number();
            self.parts.push(Part { min: number, max: number, mutation: 0, patch: None, ..part });
        }
    }

    /// DROP PART.
    pub fn drop_part(&mut self, name: &str) -> Option<Part> {
        let at = self.parts.iter().position(|part| part.name() == name)?;
        let part = self.parts.remove(at);
        self.emptied(part.max);
        Some(part)
    }

    /// No number means anything to a move any more.
    pub fn clear_empty_parts(&mut self) {
        self.keeps_empty = false;
        self.emptied = 0;
    }

    /// The server starts again: it counts on from the highest number that it finds.
    pub fn restart(&mut self) {
        self.updates.clear();
        let found = self.watermark();
        self.counts_again |= found < self.counter;
        self.counter = found;
    }
}
