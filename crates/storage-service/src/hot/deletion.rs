//! Deleting the rows of a set from the head: started, looked for, given up, by a marker in the statement.
//!
//! A lightweight DELETE rewrites one mask and links the columns' files, whatever their size. On a table with
//! projections ClickHouse refuses it, unless told to rebuild or drop them: there the rows go by ALTER TABLE …
//! DELETE, which rewrites the parts that hold them, with their projections.
//!
//! The marker stands in the condition as `ignore('storage-service move ID') = 0`, which is true for every row,
//! and in `system.mutations.command`, which is where a deletion is looked for after a lost answer or a crash.
//! Started twice it deletes nothing twice: the rows are gone.

use clickhouse_sql::{TableName, quote};
use moves::{ManagedTable, RowSet, world::Deletion};
use serde::Deserialize;

use super::{Hot, HotError, METADATA, head_of, in_system_table, predicate};

/// What every deletion of ours has in its command, before its marker.
pub(super) const OURS: &str = "ignore('storage-service move ";

#[derive(Deserialize)]
struct MutationRow {
    id: String,
    number: u64,
    is_done: u8,
    reason: String,
}

/// Letters, digits and `-`: what stays as it is when the engine prints the statement.
fn condition(marker: &str) -> Result<String, HotError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if marker.is_empty() || !marker.chars().all(plain) {
        let reason = format!("{marker:?} is no marker");
        return Err(HotError::Unexpected { what: "mark a deletion", reason });
    }
    Ok(format!("{OURS}{marker}') = 0"))
}

impl Hot {
    /// Starts deleting the rows and returns at once; [`Hot::deletion_of`] tells how it stands. `marker`: letters,
    /// digits and `-`, another one for every deletion.
    pub async fn delete_rows(
        &self,
        table: &ManagedTable,
        rows: &RowSet,
        marker: &str,
    ) -> Result<(), HotError> {
        let head = head_of(table);
        let condition = format!("{} AND {}", predicate(table, rows), condition(marker)?);
        let sql = if self.has_projections(&head).await? {
            format!("ALTER TABLE {head} DELETE WHERE {condition} SETTINGS mutations_sync = 0")
        } else {
            // Neither by patch parts, which are no mutations and cannot be looked for.
            format!(
                "DELETE FROM {head} WHERE {condition} SETTINGS mutations_sync = 0, lightweight_deletes_sync = 0, \
                 lightweight_delete_mode = 'alter_update'"
            )
        };
        self.run("delete rows of the head", sql, METADATA).await
    }

    async fn has_projections(&self, table: &TableName) -> Result<bool, HotError> {
        #[derive(Deserialize)]
        struct Row {
            n: u64,
        }
        let sql = format!("SELECT count() AS n FROM system.projections WHERE {}", in_system_table(table));
        let rows: Vec<Row> = self.rows("look for projections", sql, METADATA).await?;
        Ok(rows.first().is_some_and(|row| row.n > 0))
    }

    /// How the deletion with this marker stands. `Absent` also when it was done so long ago that the engine has
    /// forgotten it (`finished_mutations_to_keep`, 100).
    pub async fn deletion_of(&self, head: &TableName, marker: &str) -> Result<Deletion, HotError> {
        let found = self.mutations_of(head, marker).await?;
        Ok(match found.iter().find(|row| row.is_done == 0) {
            Some(row) => Deletion::Running((!row.reason.is_empty()).then(|| row.reason.clone())),
            None if found.is_empty() => Deletion::Absent,
            None => Deletion::Done,
        })
    }

    /// The deletion's number, of the same count as the numbers of inserts and of other mutations: what has a lower
    /// one was asked for before it. The lowest when it was started more than once.
    pub async fn mutation_number(&self, head: &TableName, marker: &str) -> Result<Option<u64>, HotError> {
        Ok(self.mutations_of(head, marker).await?.first().map(|row| row.number))
    }

    /// Gives the deletion up where it is not done. Parts that it has rewritten stay so.
    pub async fn kill_deletion(&self, head: &TableName, marker: &str) -> Result<(), HotError> {
        for row in self.mutations_of(head, marker).await?.iter().filter(|row| row.is_done == 0) {
            let sql = format!(
                "KILL MUTATION WHERE {} AND mutation_id = {} SYNC",
                in_system_table(head),
                quote::string(&row.id)
            );
            self.run("give up a deletion", sql, METADATA).await?;
        }
        Ok(())
    }

    /// At most a hundred, in the order of their numbers.
    async fn mutations_of(&self, head: &TableName, marker: &str) -> Result<Vec<MutationRow>, HotError> {
        let sql = format!(
            "SELECT mutation_id AS id, toUInt64(block_numbers.number[1]) AS number, toUInt8(is_done) AS is_done, \
             latest_fail_reason AS reason FROM system.mutations WHERE {} AND position(command, {}) > 0 \
             ORDER BY number LIMIT 100",
            in_system_table(head),
            quote::string(&condition(marker)?)
        );
        self.rows("look at the deletion", sql, METADATA).await
    }
}
