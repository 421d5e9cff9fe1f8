//! What a query may see: one version of the catalog, as plain data.
//!
//! The planner never asks anybody what exists. It is handed a snapshot and plans against it; the
//! caller keeps the snapshot leased until the plan's query has ended, so nothing the plan names is
//! dropped under it.

use std::sync::Arc;

use clickhouse_sql::TableName;
use storage_types::{BatchId, Column, TimeRange};

/// One version of the catalog.
#[derive(Debug, Clone, Default)]
pub struct CatalogVersion {
    /// Its version.
    pub version: u64,
    /// Every managed table.
    pub tables: Vec<Arc<TableSnapshot>>,
}

/// What is visible of one logical table.
///
/// Its rows are, each exactly once: the head's rows that no [`Hide`] covers, the rows of every
/// [`HotPart`] (inside its window), and the rows of every [`VisibleBatch`] in cold.
#[derive(Debug, Clone)]
pub struct TableSnapshot {
    /// Logical name, as callers write it.
    pub logical: String,
    /// The user's own table on the hot engine.
    pub head: TableName,
    /// The table on the cold engine; it has a `_batch UInt64` column besides `columns`.
    pub cold: TableName,
    /// The head's ordinary columns, in the table's order.
    pub columns: Vec<Column>,
    /// Name of the time column; one of `columns`.
    pub time_column: String,
    /// Visible snapshot, fence and delta tables.
    pub hot_parts: Vec<HotPart>,
    /// Rows of the head that are visible elsewhere.
    pub hides: Vec<Hide>,
    /// Visible cold batches.
    pub batches: Vec<VisibleBatch>,
}

impl TableSnapshot {
    /// The ordinary column of this name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|c| c.name == name)
    }
}

/// A visible hot table beside the head, with the head's columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HotPart {
    /// Where it is.
    pub table: TableName,
    /// No visible row lies outside.
    pub range: TimeRange,
    /// When `Some`: only rows whose time is inside are visible.
    pub window: Option<TimeRange>,
}

/// Head rows that are visible elsewhere: those in `range` (and in `partition_id`) whose
/// `sipHash128(tuple(all columns))` is the hash of a row of `snapshot`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hide {
    /// Time range of the hidden rows.
    pub range: TimeRange,
    /// ClickHouse partition id; `None`: any.
    pub partition_id: Option<String>,
    /// Table whose rows are hidden in the head; has the head's columns.
    pub snapshot: TableName,
}

/// A batch that cold reads may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VisibleBatch {
    /// Value of `_batch`.
    pub id: BatchId,
    /// No row of the batch lies outside.
    pub range: TimeRange,
}
