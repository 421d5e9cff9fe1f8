//! The model of the hot server: one table, as plain MergeTree keeps it.
//!
//! Block numbers follow the table of facts of the design: a part that was merged while the table keeps numbers
//! has one for each row, every other part's rows report the part's lowest.

mod background;
mod patches;
mod statements;

pub use background::Changed;
pub use patches::{Patch, Update};
pub use statements::Condition;

use moves::{Place, RowSet, record::PartLook};
use storage_types::MoveId;

use crate::row::{Row, belongs, proof};

/// Seconds of a partition.
pub const PARTITION: i64 = 2 * 86_400;

/// A part.
#[derive(Debug, Clone)]
pub struct Part {
    /// Which partition.
    pub partition: i64,
    /// Lowest block number.
    pub min: u64,
    /// Highest block number.
    pub max: u64,
    /// How often merged.
    pub level: u32,
    /// The latest mutation that was applied; 0: none.
    pub mutation: u64,
    /// It keeps a number for each row.
    pub numbered: bool,
    /// The latest patch that lies beside it.
    pub patch: Option<Patch>,
    /// Its rows.
    pub rows: Vec<Row>,
}

impl Part {
    /// `partition_min_max_level[_mutation]`.
    pub fn name(&self) -> String {
        let Self { partition, min, max, level, mutation, .. } = self;
        match mutation {
            0 => format!("{partition}_{min}_{max}_{level}"),
            _ => format!("{partition}_{min}_{max}_{level}_{mutation}"),
        }
    }

    /// Mutations with a higher number are still to be applied to it.
    pub fn data_version(&self) -> u64 {
        self.mutation.max(self.min)
    }

    /// `_block_number` of one of its rows.
    pub fn number(&self, row: &Row) -> u64 {
        if self.numbered { row.block } else { self.min }
    }

    fn holds(&self, set: RowSet, row: &Row) -> bool {
        belongs(set, row.time, self.number(row))
    }
}

/// What a mutation does to the rows of its condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Adds to the value.
    Update(u32),
    /// Moves the time by so many seconds, round and round within the partition: its key must not change.
    Shift(i64),
    /// Deletes.
    Delete,
    /// Deletes the rows of a move: it is ours.
    DeleteMoved(MoveId, RowSet),
}

/// A mutation.
#[derive(Debug, Clone)]
pub struct Mutation {
    /// From the counter of blocks.
    pub number: u64,
    /// What it does.
    pub effect: Effect,
    /// To which rows.
    pub condition: Condition,
    /// Every part is rewritten.
    pub done: bool,
}

impl Mutation {
    /// Not ours.
    pub fn is_foreign(&self) -> bool {
        !matches!(self.effect, Effect::DeleteMoved(..))
    }
}

/// A table.
#[derive(Debug, Clone, Default)]
pub struct Table {
    /// Its UUID.
    pub uuid: u64,
    /// Active parts.
    pub parts: Vec<Part>,
    /// Detached parts.
    pub detached: Vec<Part>,
    /// Lightweight updates that are still being written.
    pub updates: Vec<Update>,
    /// Mutations that are not forgotten.
    pub mutations: Vec<Mutation>,
    /// The latest number that was given.
    pub counter: u64,
    /// It has begun to count from a lower number.
    pub counts_again: bool,
    /// `remove_empty_parts = 0`.
    pub keeps_empty: bool,
    /// Highest number of the empty parts that are kept.
    pub emptied: u64,
    /// `enable_block_number_column`.
    pub keeps_numbers: bool,
    /// Columns it has.
    pub columns: usize,
}

impl Table {
    /// Which table of which server.
    pub fn place(&self) -> Place {
        Place { server: "hot".into(), table: self.uuid.to_string() }
    }

    /// The next block number.
    pub fn next_number(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    /// Every row with its part.
    pub fn rows(&self) -> impl Iterator<Item = (&Part, &Row)> {
        self.parts.iter().flat_map(|part| part.rows.iter().map(move |row| (part, row)))
    }

    /// The rows of a set, with their parts.
    pub fn rows_of(&self, set: RowSet) -> impl Iterator<Item = (&Part, &Row)> {
        self.rows().filter(move |(part, row)| part.holds(set, row))
    }

    /// The rows of a set.
    pub fn in_set(&self, set: RowSet) -> impl Iterator<Item = &Row> {
        self.rows_of(set).map(|(_, row)| row)
    }

    /// The parts with rows of a set.
    pub fn look(&self, set: RowSet, columns: usize, hashed: bool) -> Vec<PartLook> {
        let mut looks = Vec::new();
        for part in &self.parts {
            let mut found = proof(part.rows.iter().filter(|row| part.holds(set, row)), columns);
            if found.rows == 0 {
                continue;
            }
            if !hashed {
                found.content_hash.0 = 0;
            }
            looks.push(PartLook {
                part: part.name(),
                blocks: (part.min, part.max),
                rows_in_part: part.rows.len() as u64,
                proof: found,
            });
        }
        looks
    }

    /// Highest number that the active parts, their versions, the patches and the mutations have.
    pub fn watermark(&self) -> u64 {
        let patched = |part: &Part| part.patch.map_or(0, |patch| patch.number);
        let parts = self.parts.iter().map(|part| part.max.max(part.data_version()).max(patched(part)));
        parts.chain(self.mutations.iter().map(|m| m.number)).max().unwrap_or(0).max(self.emptied)
    }

    /// A part's rows are gone: an empty one stays behind, where these are kept.
    fn emptied(&mut self, max: u64) {
        if self.keeps_empty {
            self.emptied = self.emptied.max(max);
        }
    }
}
