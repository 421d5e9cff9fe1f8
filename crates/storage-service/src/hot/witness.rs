//! The head's own note of how far the catalog had got.
//!
//! Catalog and head are two stores, and either may be put back to an older state. The service writes the
//! catalog's version here before it deletes rows from the head, once a move is published and before one is
//! withdrawn. At start they are compared: a witness above the catalog's version says that the catalog is older than
//! what was done; one below, or none, that the head was restored.

use clickhouse_sql::TableName;
use serde::{Deserialize, Serialize};

use super::{Hot, HotError, INTERNAL_DATABASE, METADATA, in_system_table};

/// Above so many rows the older ones go.
const MOST_ROWS: u64 = 200;

/// Which state of which catalog this engine has last served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witness {
    /// The catalog's id.
    pub catalog: u64,
    /// Its version.
    pub version: u64,
    /// It did nothing with rows at or after this second.
    pub before: i64,
    /// When it was written, Unix seconds.
    pub at: u32,
}

fn table() -> TableName {
    TableName::new(INTERNAL_DATABASE, "witness")
}

impl Hot {
    /// The witness with the highest version; `None` when none was ever written.
    pub async fn read_witness(&self) -> Result<Option<Witness>, HotError> {
        if !self.has_witnesses().await? {
            return Ok(None);
        }
        let sql = format!(
            "SELECT catalog, version, before, toUnixTimestamp(at) AS at FROM {} \
             ORDER BY version DESC, at DESC LIMIT 1",
            table()
        );
        Ok(self.rows("read the witness", sql, METADATA).await?.into_iter().next())
    }

    async fn has_witnesses(&self) -> Result<bool, HotError> {
        #[derive(Deserialize)]
        struct Row {
            n: u64,
        }
        let sql = format!(
            "SELECT count() AS n FROM system.columns WHERE {} AND name = 'version'",
            in_system_table(&table())
        );
        let rows: Vec<Row> = self.rows("look for the witness", sql, METADATA).await?;
        Ok(rows.first().is_some_and(|row| row.n > 0))
    }

    /// Writes it to disk. May be repeated: it is written once, and never under one of a higher version.
    pub async fn write_witness(&self, witness: Witness) -> Result<(), HotError> {
        const WHAT: &str = "write the witness";
        let Witness { catalog, version, before, at } = witness;
        let table = table();
        self.run(WHAT, format!("CREATE DATABASE IF NOT EXISTS {INTERNAL_DATABASE}"), METADATA).await?;
        let create = format!(
            "CREATE TABLE IF NOT EXISTS {table} (catalog UInt64, version UInt64, before Int64, at DateTime) \
             ENGINE = MergeTree ORDER BY version SETTINGS fsync_after_insert = 1, fsync_part_directory = 1"
        );
        self.run(WHAT, create, METADATA).await?;
        // Counted: 25.8 takes NOT EXISTS of a subquery for true.
        let insert = format!(
            "INSERT INTO {table} SELECT {catalog}, {version}, {before}, {at} WHERE (SELECT count() FROM {table} \
             WHERE version > {version} OR (version = {version} AND catalog = {catalog} AND before >= {before})) = 0 \
             SETTINGS async_insert = 0"
        );
        self.run(WHAT, insert, METADATA).await?;
        self.trim_witnesses().await
    }

    async fn trim_witnesses(&self) -> Result<(), HotError> {
        const WHAT: &str = "trim the witnesses";
        #[derive(Deserialize)]
        struct Row {
            n: u64,
            highest: u64,
        }
        let sql = format!("SELECT count() AS n, max(version) AS highest FROM {}", table());
        let rows: Vec<Row> = self.rows(WHAT, sql, METADATA).await?;
        match rows.first() {
            Some(row) if row.n > MOST_ROWS => {
                // Not waited for: the next one does it when this one is lost.
                let sql = format!(
                    "ALTER TABLE {} DELETE WHERE version < {} SETTINGS mutations_sync = 0",
                    table(),
                    row.highest
                );
                self.run(WHAT, sql, METADATA).await
            }
            _ => Ok(()),
        }
    }
}
