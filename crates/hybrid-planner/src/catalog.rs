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
/// Its rows are, each exactly once: the head's rows that are in none of the `hidden` sets, and the rows of
/// every [`VisibleBatch`] in cold.
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
    /// Rows of the head that are visible in cold.
    pub hidden: Vec<HiddenRows>,
    /// Windows in which it is not known which copy is right, and why: queries that touch them are refused.
    pub refused: Vec<(TimeRange, String)>,
    /// Visible cold batches.
    pub batches: Vec<VisibleBatch>,
    /// The same as ranges of ids, both ends inside. An id in a range that is no visible batch is no batch of
    /// this table at all.
    pub batch_ids: Vec<(BatchId, BatchId)>,
}

impl TableSnapshot {
    /// The ordinary column of this name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|c| c.name == name)
    }
}

/// Rows of the head that are visible in cold: time in `range` and `_block_number <= watermark`, in one table. Of
/// another that answers to its name, as after `EXCHANGE TABLES`, the condition would leave out other rows: a query
/// that meets it there is not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HiddenRows {
    /// Their times.
    pub range: TimeRange,
    /// Highest block number among them.
    pub watermark: u64,
    /// `system.tables.uuid` of that table.
    pub table_id: String,
}

/// A batch that cold reads may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VisibleBatch {
    /// Value of `_batch`.
    pub id: BatchId,
    /// No row of the batch lies outside.
    pub range: TimeRange,
}
