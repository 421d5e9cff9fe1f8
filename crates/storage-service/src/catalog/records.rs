//! The rows of the catalog as plain data.

use clickhouse_sql::TableName;
use serde::{Deserialize, Serialize};
use storage_types::{
    BatchId, BatchState, Column, Manifest, MigrationId, MoveId, MoveState, Proof, TimeRange,
    service_api::FenceKind,
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

impl ManagedTable {
    /// The head.
    pub fn head(&self) -> TableName {
        TableName::new(&self.head.0, &self.head.1)
    }

    /// The cold table.
    pub fn cold(&self) -> TableName {
        TableName::new(&self.cold.0, &self.cold.1)
    }
}

/// What a move takes, and so how the hot copy of its rows is set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MoveKind {
    /// All of a partition: its parts are dropped by name.
    Partition,
    /// A window in a partition, or a partition whose parts were merged with late rows: a delete of
    /// exactly the shipped rows.
    Window,
    /// A delta left over by an earlier move: already set aside.
    Delta,
}

impl MoveKind {
    /// As in the journal.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Partition => "partition",
            Self::Window => "window",
            Self::Delta => "delta",
        }
    }

    /// From the journal.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Partition, Self::Window, Self::Delta].into_iter().find(|kind| kind.as_str() == text)
    }

    /// As reports show it.
    pub const fn fence(self) -> FenceKind {
        match self {
            Self::Partition => FenceKind::Partition,
            Self::Window => FenceKind::Window,
            Self::Delta => FenceKind::Delta,
        }
    }
}

/// A part of the head that a fence drops, and its twin in the snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FencePart {
    /// Name in the head.
    pub head: String,
    /// Name in the snapshot.
    pub snapshot: String,
    /// `system.parts.hash_of_all_files`, the same on both sides.
    pub hash: String,
    /// Block numbers it spans in the head.
    pub blocks: (i64, i64),
    /// The head's engine said it is gone.
    pub dropped: bool,
}

/// A move.
#[derive(Debug, Clone)]
pub struct MoveRecord {
    /// Its id.
    pub id: MoveId,
    /// The migration that asked for it.
    pub migration: MigrationId,
    /// What it takes.
    pub kind: MoveKind,
    /// ClickHouse partition id.
    pub partition_id: String,
    /// The partition's value, for people.
    pub partition: String,
    /// Its rows' times are in this range; for a window, exactly the rows of this range are meant.
    pub range: TimeRange,
    /// The move whose delta this one takes (kind `delta`).
    pub source_delta: Option<MoveId>,
    /// Where it stands.
    pub state: MoveState,
    /// The table as it was when the move was planned.
    pub table: ManagedTable,
    /// How many they are, once snapshotted; 0 before.
    pub rows: u64,
    /// Count and hash of its rows, once every batch is proven.
    pub proof: Option<Proof>,
    /// Rows of the delta it left.
    pub late_rows: u64,
    /// Parts to drop, written with the intent to fence.
    pub fence_parts: Vec<FencePart>,
    /// Catalog version and second in which it was published.
    pub published: Option<(u64, i64)>,
    /// Why it was aborted or last failed.
    pub error: Option<String>,
}

impl MoveRecord {
    /// The snapshot: hard links to the parts that held its rows.
    pub fn snapshot(&self) -> TableName {
        internal_table("_snap", self.id)
    }

    /// Surplus copies of shipped rows, kept apart because the fence deletes by content.
    pub fn delta(&self) -> TableName {
        internal_table("_delta", self.id)
    }

    /// Only rows in this window of the snapshot belong to the move.
    pub fn window(&self) -> Option<TimeRange> {
        (self.kind == MoveKind::Window).then_some(self.range)
    }
}

/// Database of the tables the service keeps beside the user's own.
pub const INTERNAL_DATABASE: &str = "storage_internal";

/// `storage_internal.{prefix}_{move}`.
pub fn internal_table(prefix: &str, id: MoveId) -> TableName {
    TableName::new(INTERNAL_DATABASE, format!("{prefix}_{id}"))
}

/// A batch.
#[derive(Debug, Clone)]
pub struct BatchRecord {
    /// Its id.
    pub id: BatchId,
    /// Its move.
    pub move_id: MoveId,
    /// Its rows' times are in this range; exactly the move's rows of this range are meant.
    pub range: TimeRange,
    /// What they count to in the snapshot, and hash to once encoded (0 before).
    pub proof: Proof,
    /// Where it stands on our side.
    pub state: BatchState,
    /// Uncompressed size, once encoded.
    pub raw_bytes: u64,
    /// Encoded size, once encoded.
    pub encoded_bytes: u64,
    /// Its manifest, once encoded.
    pub manifest: Option<Manifest>,
}

/// A delta that is still hot.
#[derive(Debug, Clone)]
pub struct DeltaRecord {
    /// The move that left it.
    pub left_by: MoveId,
    /// Its partition.
    pub partition_id: String,
    /// Its rows' times are in this range.
    pub range: TimeRange,
    /// How many they are.
    pub rows: u64,
}
