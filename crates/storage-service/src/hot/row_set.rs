//! The rows of a window that were there at a watermark, and statements about them.
//!
//! **Projections.** ClickHouse 26.7 may read a projection in the table's place, and there compares other block
//! numbers than the rows': it answers wrongly, without an error. Every statement with [`predicate`] needs
//! `optimize_use_projections = 0` (a deletion does not read projections).

use clickhouse_sql::quote;
use moves::{ManagedTable, RowSet};
use serde::Deserialize;
use storage_types::{ContentHash, Proof, TimeRange, time_sql};

use super::{Hot, HotError, head_of};

/// What statements about a [`RowSet`] end with.
pub(super) const SETTINGS: &str = "SETTINGS optimize_use_projections = 0, max_threads = 1";

/// The condition of the rows, for a WHERE; ClickHouse prunes parts and granules by its times.
pub fn predicate(table: &ManagedTable, rows: &RowSet) -> String {
    let time = time_sql::predicate(&quote::ident(&table.time_column), &table.time_type, rows.window);
    let time = time.map_or_else(String::new, |time| format!("{time} AND "));
    format!("({time}_block_number <= {})", rows.watermark)
}

/// A proof as the engine answers it.
pub(super) fn parse_proof(what: &'static str, rows: u64, hash: &str) -> Result<Proof, HotError> {
    let content_hash: ContentHash =
        hash.parse().map_err(|_| HotError::Unexpected { what, reason: format!("content hash {hash:?}") })?;
    Ok(Proof { rows, content_hash })
}

impl Hot {
    /// How many rows there are now.
    pub async fn count(&self, table: &ManagedTable, rows: &RowSet) -> Result<u64, HotError> {
        #[derive(Deserialize)]
        struct Row {
            #[serde(rename = "_storage_rows")]
            rows: u64,
        }
        let sql = format!(
            "SELECT count() AS _storage_rows FROM {} WHERE {} {SETTINGS}",
            head_of(table),
            predicate(table, rows)
        );
        let found: Vec<Row> = self.read("count rows", sql).await?;
        Ok(found.first().map_or(0, |row| row.rows))
    }

    /// The rows counted by buckets of `seconds` (at least 1; aligned to the epoch), in order of time. Empty
    /// buckets are left out; the first and the last are cut at the window's edges.
    pub async fn histogram(
        &self,
        table: &ManagedTable,
        rows: &RowSet,
        seconds: i64,
    ) -> Result<Vec<(TimeRange, u64)>, HotError> {
        #[derive(Deserialize)]
        struct Row {
            #[serde(rename = "_storage_bucket")]
            bucket: i64,
            #[serde(rename = "_storage_rows")]
            rows: u64,
        }
        let seconds = seconds.max(1);
        let unix = time_sql::unix_seconds(&quote::ident(&table.time_column), &table.time_type);
        // The bucket's number, not its first second: the multiplication must not overflow.
        let sql = format!(
            "SELECT intDiv(_storage_time, {seconds}) - (_storage_time % {seconds} < 0) AS _storage_bucket, \
             count() AS _storage_rows FROM (SELECT {unix} AS _storage_time FROM {} WHERE {}) \
             GROUP BY _storage_bucket ORDER BY _storage_bucket {SETTINGS}",
            head_of(table),
            predicate(table, rows)
        );
        let found: Vec<Row> = self.read("count rows by time", sql).await?;
        let slice = |row: Row| {
            let lo = row.bucket.saturating_mul(seconds);
            let range = TimeRange::new(lo, lo.saturating_add(seconds)).intersect(rows.window);
            (range, row.rows)
        };
        Ok(found.into_iter().map(slice).collect())
    }
}
