//! Counting rows by time, and the proof (count and hash) of a set of rows.

use clickhouse_sql::{TableName, quote};
use serde::Deserialize;
use storage_types::{ContentHash, Proof, TimeRange, hash_sql, time_sql};

use super::{Hot, HotError, ROWS, column_list};
use crate::catalog::ManagedTable;

/// One bucket of time and how many rows are in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    /// The bucket.
    pub range: TimeRange,
    /// Its rows.
    pub rows: u64,
}

#[derive(Deserialize)]
struct SliceRow {
    lo: i64,
    rows: u64,
}

#[derive(Deserialize)]
struct ProofRow {
    rows: u64,
    hash: String,
}

/// ` AND time in range` (empty for all of time), for a `WHERE` that has begun.
pub fn slice_predicate(table: &ManagedTable, range: TimeRange) -> String {
    time_sql::predicate(&quote::ident(&table.time_column), &table.time_type, range)
        .map_or_else(String::new, |predicate| format!(" AND {predicate}"))
}

fn parse_proof(what: &'static str, rows: u64, hash: &str) -> Result<Proof, HotError> {
    let content_hash: ContentHash =
        hash.parse().map_err(|_| HotError::Unexpected { what, reason: format!("content hash {hash:?}") })?;
    Ok(Proof { rows, content_hash })
}

impl Hot {
    /// The rows of `from` in `range` counted by buckets of `seconds` (aligned to the epoch), in
    /// order of time. Empty buckets are left out.
    pub async fn slices(
        &self,
        table: &ManagedTable,
        from: &TableName,
        range: TimeRange,
        seconds: i64,
    ) -> Result<Vec<Slice>, HotError> {
        let unix = time_sql::unix_seconds(&quote::ident(&table.time_column), &table.time_type);
        let sql = format!(
            "SELECT t - positiveModulo(t, {seconds}) AS lo, count() AS rows FROM \
             (SELECT {unix} AS t FROM {from} WHERE 1{}) GROUP BY lo ORDER BY lo",
            slice_predicate(table, range),
        );
        let rows: Vec<SliceRow> = self.rows("count the snapshot", sql, ROWS).await?;
        let bucket = |lo: i64| TimeRange::new(lo, lo.saturating_add(seconds)).intersect(range);
        Ok(rows.into_iter().map(|row| Slice { range: bucket(row.lo), rows: row.rows }).collect())
    }

    /// Proof of the rows of `from` in `range`, in one partition if given.
    pub async fn proof(
        &self,
        table: &ManagedTable,
        from: &TableName,
        partition_id: Option<&str>,
        range: TimeRange,
    ) -> Result<Proof, HotError> {
        const WHAT: &str = "prove a set of rows";
        let partition =
            partition_id.map_or_else(String::new, |id| format!(" AND _partition_id = {}", quote::string(id)));
        let sql = format!(
            "SELECT count() AS rows, {} AS hash FROM {from} \
             WHERE 1{partition}{}",
            hash_sql::content_hash(&column_list(&table.columns)),
            slice_predicate(table, range),
        );
        let rows: Vec<ProofRow> = self.rows(WHAT, sql, ROWS).await?;
        let row =
            rows.first().ok_or_else(|| HotError::Unexpected { what: WHAT, reason: "no answer".into() })?;
        parse_proof(WHAT, row.rows, &row.hash)
    }
}
