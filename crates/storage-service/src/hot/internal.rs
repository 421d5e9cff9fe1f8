//! The tables the service keeps beside the user's own: snapshots and deltas, in a database of its own.
//!
//! An internal table has the head's columns, keys and indexes (or parts could not be attached), but
//! never its TTL, which would delete rows that nobody else holds, and no merges: the parts of a
//! snapshot keep their names and checksums, by which the fence recognises their twins in the head.

use clickhouse_sql::{TableName, quote};
use serde::Deserialize;

use super::{Described, Hot, HotError, METADATA, ROWS, in_system_table};
use crate::catalog::INTERNAL_DATABASE;

/// Settings of every internal table, over the head's own.
const SETTINGS: [(&str, &str); 4] = [
    ("fsync_after_insert", "1"),
    ("fsync_part_directory", "1"),
    ("max_bytes_to_merge_at_max_space_in_pool", "1"),
    ("max_bytes_to_merge_at_min_space_in_pool", "1"),
];

/// A table of [`INTERNAL_DATABASE`].
#[derive(Debug, Clone, Deserialize)]
pub struct InternalTable {
    /// Its name.
    pub name: String,
    /// What we wrote about it when it was made.
    pub comment: String,
}

fn create_sql(name: &TableName, described: &Described, comment: &str) -> String {
    let mut settings: Vec<(String, String)> = described.engine.settings.clone();
    settings.retain(|(name, _)| SETTINGS.iter().all(|(ours, _)| ours != name));
    settings.extend(SETTINGS.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    let settings: Vec<String> = settings.iter().map(|(name, value)| format!("{name} = {value}")).collect();
    format!(
        "CREATE TABLE {name} AS {} ENGINE = {} SETTINGS {} COMMENT {}",
        described.table.head(),
        described.engine.keys,
        settings.join(", "),
        quote::string(comment)
    )
}

impl Hot {
    /// Makes an empty internal table like the head, dropping an older one of that name. Verifies that
    /// it has no TTL before anything can be put into it.
    pub async fn create_internal(
        &self,
        name: &TableName,
        described: &Described,
        comment: &str,
    ) -> Result<(), HotError> {
        const WHAT: &str = "create an internal table";
        self.run(WHAT, format!("CREATE DATABASE IF NOT EXISTS {INTERNAL_DATABASE}"), METADATA).await?;
        self.drop_internal(name).await?;
        self.run(WHAT, create_sql(name, described, comment), METADATA).await?;
        #[derive(Deserialize)]
        struct Row {
            engine_full: String,
        }
        let sql = format!(
            "SELECT engine_full FROM system.tables WHERE database = {} AND name = {}",
            quote::string(&name.database),
            quote::string(&name.table)
        );
        let rows: Vec<Row> = self.rows(WHAT, sql, METADATA).await?;
        let text = rows.first().map(|row| row.engine_full.as_str()).unwrap_or_default();
        let without_ttl = super::EngineText::parse(text).is_ok_and(|engine| engine.ttl.is_none());
        if text.is_empty() || !without_ttl {
            return Err(HotError::Unexpected { what: WHAT, reason: format!("{name} came out as {text:?}") });
        }
        Ok(())
    }

    /// Drops an internal table if it is there, whatever its size.
    pub async fn drop_internal(&self, name: &TableName) -> Result<(), HotError> {
        if name.database != INTERNAL_DATABASE {
            let reason = format!("{name} is not ours to drop");
            return Err(HotError::Unexpected { what: "drop an internal table", reason });
        }
        let sql = format!(
            "DROP TABLE IF EXISTS {name} SYNC SETTINGS max_table_size_to_drop = 0, max_partition_size_to_drop = 0"
        );
        self.run("drop an internal table", sql, ROWS).await
    }

    /// Hard links to the parts of one partition of `from`. `to` must be fresh: twice doubles.
    pub async fn attach_partition(
        &self,
        to: &TableName,
        from: &TableName,
        partition_id: &str,
    ) -> Result<(), HotError> {
        let sql = format!("ALTER TABLE {to} ATTACH PARTITION ID {} FROM {from}", quote::string(partition_id));
        self.run("take the snapshot", sql, ROWS).await
    }

    /// The internal tables there are; none when there is no such database.
    pub async fn internal_tables(&self) -> Result<Vec<InternalTable>, HotError> {
        let sql = format!(
            "SELECT name, comment FROM system.tables WHERE database = {} ORDER BY name",
            quote::string(INTERNAL_DATABASE)
        );
        self.rows("list the internal tables", sql, METADATA).await
    }

    /// Whether a move was ever made on this engine.
    pub async fn has_internal_database(&self) -> Result<bool, HotError> {
        #[derive(Deserialize)]
        struct Row {
            n: u64,
        }
        let sql = format!(
            "SELECT count() AS n FROM system.databases WHERE name = {}",
            quote::string(INTERNAL_DATABASE)
        );
        let rows: Vec<Row> = self.rows("look for the internal database", sql, METADATA).await?;
        Ok(rows.first().is_some_and(|row| row.n > 0))
    }

    /// Whether a mutation of the head is under way (or stuck): its rows are about to change.
    pub async fn is_mutating(&self, head: &TableName) -> Result<bool, HotError> {
        #[derive(Deserialize)]
        struct Row {
            n: u64,
        }
        let sql = format!(
            "SELECT count() AS n FROM system.mutations WHERE {} AND NOT is_done",
            in_system_table(head)
        );
        let rows: Vec<Row> = self.rows("look for mutations", sql, METADATA).await?;
        Ok(rows.first().is_some_and(|row| row.n > 0))
    }
}
