//! From the book to the view that queries plan from.

use std::{collections::HashMap, sync::Arc};

use clickhouse_sql::TableName;
use hybrid_planner::{CatalogVersion, HiddenRows, TableSnapshot, VisibleBatch};
use moves::{Batch, BatchState, Book, ManagedTable};
use storage_types::BatchId;

use crate::hot::head_of;

/// What queries see of these tables.
pub(super) fn build(book: &Book, tables: &[ManagedTable]) -> CatalogVersion {
    let mut batches: HashMap<&str, Vec<&Arc<Batch>>> = HashMap::new();
    for batch in book.batches() {
        batches.entry(batch.logical.as_str()).or_default().push(batch);
    }
    let tables = tables.iter().map(|table| {
        let of_table = batches.remove(table.logical.as_str()).unwrap_or_default();
        Arc::new(snapshot(book, table, &of_table))
    });
    CatalogVersion { version: book.version, tables: tables.collect() }
}

fn snapshot(book: &Book, table: &ManagedTable, batches: &[&Arc<Batch>]) -> TableSnapshot {
    let visible = batches.iter().filter(|batch| batch.state == BatchState::Published);
    let hidden = book.hiding(&table.logical).map(|record| HiddenRows {
        range: record.rows.window,
        watermark: record.rows.watermark,
        table_id: record.place.table.clone(),
    });
    TableSnapshot {
        logical: table.logical.clone(),
        head: head_of(table),
        cold: TableName::new(&table.cold.0, &table.cold.1),
        columns: table.columns.clone(),
        time_column: table.time_column.clone(),
        hidden: hidden.collect(),
        refused: book.refused(&table.logical),
        batches: visible.map(|batch| VisibleBatch { id: batch.id, range: batch.slice.range }).collect(),
        batch_ids: ranges(batches),
    }
}

/// The visible ids as ranges that no other batch's id lies in. `batches`: all of the table, oldest first.
fn ranges(batches: &[&Arc<Batch>]) -> Vec<(BatchId, BatchId)> {
    let runs = batches.chunk_by(|a, b| is_visible(a) == is_visible(b));
    let visible = runs.filter(|run| run.first().is_some_and(|batch| is_visible(batch)));
    visible.filter_map(|run| Some((run.first()?.id, run.last()?.id))).collect()
}

fn is_visible(batch: &Batch) -> bool {
    batch.state == BatchState::Published
}
