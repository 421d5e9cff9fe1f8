//! The nouns of a move as plain data: what the journal holds and what steps pass around.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use storage_types::{BatchId, Column, Manifest, MigrationId, MoveId, Proof, TimeRange};

use crate::{
    lineage::{Difference, compare},
    sabotage::{Rule, holds},
    state::{BatchState, MoveState},
    world::Changes,
};

/// A managed table as the hot engine described it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManagedTable {
    /// Logical name.
    pub logical: String,
    /// Head, `(database, table)`, unquoted.
    pub head: (String, String),
    /// Cold table, `(database, table)`, unquoted.
    pub cold: (String, String),
    /// The time column, one of `columns`.
    pub time_column: String,
    /// Its ClickHouse type.
    pub time_type: String,
    /// Ordinary columns, in the table's order.
    pub columns: Vec<Column>,
    /// `system.tables.partition_key`.
    pub partition_key: String,
    /// `system.tables.sorting_key` of the head.
    pub sorting_key: String,
    /// ORDER BY in cold.
    pub cold_sorting_key: String,
}

/// A table of one ClickHouse server, by what never changes: a renamed table keeps it, a re-created or
/// exchanged one and another server behind the same address do not have it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Place {
    /// `serverUUID()`.
    pub server: String,
    /// `system.tables.uuid`.
    pub table: String,
}

/// Rows of a head: time in `window` and `_block_number <= watermark`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RowSet {
    /// Whole UTC seconds.
    pub window: TimeRange,
    /// Highest block number that belongs.
    pub watermark: u64,
}

/// Which of a move's rows a batch has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Slice {
    /// Their times.
    pub range: TimeRange,
    /// Where time cannot cut: those whose content hash leaves this residue, `(residue, divisor)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<(u32, u32)>,
    /// Where content cannot cut either (equal rows): so many of them, in the order of their hashes, after
    /// so many others: `(skip, take)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ranks: Option<(u64, u64)>,
    /// How many rows that was when it was cut.
    pub rows: u64,
}

/// What a move waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// In words.
    pub what: String,
    /// Unix seconds.
    pub since: i64,
    /// What would help; empty: time.
    pub help: String,
    /// Only an operator can decide; until then queries of its window are refused if `unsafe_to_read`.
    #[serde(default)]
    pub operator: bool,
    /// Which rows of its window are right is not known.
    #[serde(default)]
    pub unsafe_to_read: bool,
}

/// What an operator decided about a move that cannot decide for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// The head is right: the cold copy becomes invisible, and stays on the NAS.
    KeepHot,
    /// The cold copy is right, whatever the head has of these rows now.
    KeepCold,
}

/// Rows of one part of the head that belong to a row set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartLook {
    /// Name, `partition_min_max_level[_mutation]`.
    pub part: String,
    /// Block numbers the part spans.
    pub blocks: (u64, u64),
    /// Rows of the part, in the row set or not.
    pub rows_in_part: u64,
    /// Count and hash of those in the set; the hash is 0 where only a count was asked for.
    pub proof: Proof,
}

/// Rows of a batch that one part of the head held when they were read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartRows {
    /// Name of the part.
    pub part: String,
    /// Their count and hash.
    pub proof: Proof,
}

/// A move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// Its id.
    pub id: MoveId,
    /// The migration that asked for it.
    pub migration: MigrationId,
    /// The table as it was when the move was opened.
    #[serde(with = "shared")]
    pub table: Arc<ManagedTable>,
    /// Which table of which server its rows are in; known once the move is opened.
    pub place: Place,
    /// Which rows it means; the watermark is 0 until the move is opened.
    pub rows: RowSet,
    /// Where it stands.
    pub state: MoveState,
    /// Rows when it was planned.
    pub planned_rows: u64,
    /// The head's parts with rows of it: counted when it was opened, hashed when it was published
    /// and when their deletion began.
    #[serde(default)]
    pub parts: Vec<PartLook>,
    /// Rows that were read for it had left the head before `parts` was taken: their batches are all that is
    /// left of them, and what the head has is never whole.
    #[serde(default)]
    pub left: bool,
    /// The head's columns where they are more than `table` has, and that is settled.
    #[serde(default)]
    pub grown_to: Vec<Column>,
    /// The move was opened: `place`, the watermark and its batches are there.
    #[serde(default)]
    pub opened: bool,
    /// Catalog version in which what queries see of it changed last.
    #[serde(default)]
    pub changed_in: u64,
    /// Catalog version in which the head's rows began to be deleted; 0: they were not.
    #[serde(default)]
    pub deleted_in: u64,
    /// Unix seconds of its publishing.
    #[serde(default)]
    pub published_at: i64,
    /// Unix seconds when the head's rows were found deleted; 0: they were not.
    #[serde(default)]
    pub reclaimed_at: i64,
    /// What its batches count and hash to, once all of them are proven.
    #[serde(default)]
    pub sent: Option<Proof>,
    /// The gateway knows that its batches are published.
    #[serde(default)]
    pub told: bool,
    /// Somebody wants it given up.
    #[serde(default)]
    pub cancelled: bool,
    /// Somebody decided.
    #[serde(default)]
    pub decision: Option<Decision>,
    /// What it waits for.
    #[serde(default)]
    pub waiting: Option<Waiting>,
    /// Why it was withdrawn.
    #[serde(default)]
    pub reason: Option<String>,
}

/// A batch of a move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// Its id: the value of `_batch`.
    pub id: BatchId,
    /// Its move.
    pub move_id: MoveId,
    /// Logical table.
    pub logical: String,
    /// Which rows.
    pub slice: Slice,
    /// What they count and hash to, once encoded.
    #[serde(default)]
    pub proof: Option<Proof>,
    /// Where it stands.
    pub state: BatchState,
    /// The NAS has proven it, whatever became of it since.
    #[serde(default)]
    pub proven: bool,
    /// Uncompressed size, once encoded.
    #[serde(default)]
    pub raw_bytes: u64,
    /// Encoded size, once encoded.
    #[serde(default)]
    pub encoded_bytes: u64,
    /// Its manifest, from encoded to proven.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "shared_option")]
    pub manifest: Option<Arc<Manifest>>,
    /// The head's parts that it was read from, until it is published; empty: not told apart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub read_from: Vec<PartRows>,
    /// How many batches of this slice the NAS has refuted before.
    #[serde(default)]
    pub refuted: u32,
    /// Dropped, and the NAS has said that it will not be read again.
    #[serde(default)]
    pub retired: bool,
}

impl ManagedTable {
    /// No update can change a row's time: ClickHouse refuses those of columns of the keys.
    pub fn time_is_fixed(&self) -> bool {
        let names = |key: &str| {
            let other = |c: char| !(c.is_alphanumeric() || c == '_');
            key.split(other).any(|name| name == self.time_column)
        };
        names(&self.sorting_key) || names(&self.partition_key)
    }
}

impl Move {
    /// What became of its rows, from the head's parts as they are now; see [`compare`].
    pub fn difference(&self, now: &[PartLook], changes: &Changes) -> Difference {
        if self.sent == Some(sum(now)) {
            return Difference::NONE;
        }
        let found = compare(&self.parts, now, changes, !self.table.time_is_fixed());
        let gone = found.gone || (self.left && holds(Rule::Left));
        Difference { gone, grown: found.grown && holds(Rule::Grown), ..found }
    }

    /// Text by which the head's own deletion of this move is found among its mutations.
    pub fn marker(&self) -> String {
        format!("storage-service move {}", self.id)
    }
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if self.help.is_empty() { Ok(()) } else { write!(f, " ({})", self.help) }
    }
}

/// A shared value is journalled as the value.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<T: Serialize, S: Serializer>(value: &Arc<T>, s: S) -> Result<S::Ok, S::Error> {
        value.as_ref().serialize(s)
    }

    pub fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(d: D) -> Result<Arc<T>, D::Error> {
        T::deserialize(d).map(Arc::new)
    }
}

/// Likewise where there may be none.
mod shared_option {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<T: Serialize, S: Serializer>(value: &Option<Arc<T>>, s: S) -> Result<S::Ok, S::Error> {
        value.as_deref().serialize(s)
    }

    pub fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        d: D,
    ) -> Result<Option<Arc<T>>, D::Error> {
        Option::<T>::deserialize(d).map(|value| value.map(Arc::new))
    }
}

/// Sum of the parts' proofs.
pub fn sum(parts: &[PartLook]) -> Proof {
    parts.iter().map(|part| part.proof).sum()
}
