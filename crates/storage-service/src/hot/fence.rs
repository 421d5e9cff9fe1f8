//! Taking rows out of the head: parts by name, or rows by content.
//!
//! `DROP PART` leaves an empty part that covers the dropped one and everything it was merged from, so
//! a part stays dropped through a kill of the engine; it takes nothing that was inserted later, and a
//! part that a merge has swallowed in the meantime is an error (232), never a wrong drop.

use clickhouse_sql::{TableName, quote};
use serde::Deserialize;
use storage_types::TimeRange;

use super::{Hot, HotError, METADATA, ROWS, in_system_table, row_hash, slice_predicate};
use crate::catalog::ManagedTable;

/// `NO_SUCH_DATA_PART`.
const NO_SUCH_PART: i32 = 232;

/// An active part of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct HeadPart {
    /// Its name.
    pub name: String,
    /// `hash_of_all_files`: equal for parts with the same content, file by file.
    pub hash: String,
    /// Rows in it.
    pub rows: u64,
    /// First block number it spans.
    pub min_block: i64,
    /// Last block number it spans.
    pub max_block: i64,
}

/// How a delete by content stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deletion {
    /// Never asked for.
    Absent,
    /// Under way; what it last stumbled over, if anything.
    Running(Option<String>),
    /// Every part is rewritten.
    Done,
}

#[derive(Deserialize)]
struct MutationRow {
    is_done: u8,
    reason: String,
}

impl Hot {
    /// The active parts of a partition that have rows.
    pub async fn parts(&self, table: &TableName, partition_id: &str) -> Result<Vec<HeadPart>, HotError> {
        let sql = format!(
            "SELECT name, hash_of_all_files AS hash, rows, min_block_number AS min_block, \
             max_block_number AS max_block FROM system.parts \
             WHERE {} AND active AND rows > 0 AND partition_id = {} ORDER BY name",
            in_system_table(table),
            quote::string(partition_id)
        );
        self.rows("list the parts", sql, METADATA).await
    }

    /// Drops one part; `false` when there is no active part of that name.
    pub async fn drop_part(&self, table: &TableName, name: &str) -> Result<bool, HotError> {
        let sql = format!(
            "ALTER TABLE {table} DROP PART {} SETTINGS max_partition_size_to_drop = 0, max_table_size_to_drop = 0",
            quote::string(name)
        );
        match self.run("drop a part", sql, ROWS).await {
            Ok(()) => Ok(true),
            Err(error) if error.code() == Some(NO_SUCH_PART) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Starts deleting the head's rows of this partition and window that are, by content, rows of the
    /// snapshot. Returns at once; see [`Hot::deletion`].
    pub async fn start_deletion(
        &self,
        table: &ManagedTable,
        partition_id: &str,
        range: TimeRange,
        snapshot: &TableName,
    ) -> Result<(), HotError> {
        let sql = format!(
            "ALTER TABLE {} DELETE WHERE {} SETTINGS mutations_sync = 0",
            table.head(),
            shipped(table, partition_id, range, snapshot)
        );
        self.run("delete the shipped rows", sql, METADATA).await
    }

    /// How the deletion by this snapshot stands.
    pub async fn deletion(&self, head: &TableName, snapshot: &TableName) -> Result<Deletion, HotError> {
        let sql = format!(
            "SELECT toUInt8(is_done) AS is_done, latest_fail_reason AS reason FROM system.mutations \
             WHERE {} AND position(command, {}) > 0",
            in_system_table(head),
            quote::string(&snapshot.table)
        );
        let found: Vec<MutationRow> = self.rows("look at the deletion", sql, METADATA).await?;
        Ok(match found.iter().find(|row| row.is_done == 0) {
            Some(row) => Deletion::Running((!row.reason.is_empty()).then(|| row.reason.clone())),
            None if found.is_empty() => Deletion::Absent,
            None => Deletion::Done,
        })
    }

    /// Rows of the head that are, by content, rows of the snapshot.
    pub async fn count_shipped(
        &self,
        table: &ManagedTable,
        partition_id: &str,
        range: TimeRange,
        snapshot: &TableName,
    ) -> Result<u64, HotError> {
        #[derive(Deserialize)]
        struct Row {
            n: u64,
        }
        let sql = format!(
            "SELECT count() AS n FROM {} WHERE {}",
            table.head(),
            shipped(table, partition_id, range, snapshot)
        );
        let rows: Vec<Row> = self.rows("count the shipped rows", sql, ROWS).await?;
        Ok(rows.first().map_or(0, |row| row.n))
    }
}

fn shipped(table: &ManagedTable, partition_id: &str, range: TimeRange, snapshot: &TableName) -> String {
    let hash = row_hash(&table.columns);
    let window = slice_predicate(table, range);
    format!(
        "_partition_id = {}{window} AND {hash} IN (SELECT {hash} FROM {snapshot} WHERE 1{window})",
        quote::string(partition_id)
    )
}
