//! Counting and hashing: the proof of a set of rows, whole or bucket by bucket in one scan.

use clickhouse_http::{quote_ident, quote_string};
use hybrid_planner::TableName;
use serde::Deserialize;
use storage_types::{ContentHash, Proof, TimeRange, hash_sql, time_sql};

use super::{Hot, HotError, ROWS, column_list};
use crate::catalog::ManagedTable;

/// One bucket of time and the proof of its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    /// The bucket.
    pub range: TimeRange,
    /// Its rows.
    pub proof: Proof,
}

#[derive(Deserialize)]
struct SliceRow {
    lo: i64,
    rows: u64,
    hash: String,
}

/// ` AND time in range` (empty for all of time), for a `WHERE` that has begun.
pub fn slice_predicate(table: &ManagedTable, range: TimeRange) -> String {
    time_sql::predicate(&quote_ident(&table.time_column), &table.time_type, range)
        .map_or_else(String::new, |predicate| format!(" AND {predicate}"))
}

fn parse_proof(what: &'static str, rows: u64, hash: &str) -> Result<Proof, HotError> {
    let content_hash: ContentHash =
        hash.parse().map_err(|_| HotError::Unexpected { what, reason: format!("content hash {hash:?}") })?;
    Ok(Proof { rows, content_hash })
}

impl Hot {
    /// Proofs of the rows of `from` in `range`, by buckets of `seconds` (aligned to the epoch), in
    /// order of time. Empty buckets are left out.
    pub async fn slices(
        &self,
        table: &ManagedTable,
        from: &TableName,
        range: TimeRange,
        seconds: i64,
    ) -> Result<Vec<Slice>, HotError> {
        const WHAT: &str = "prove the snapshot";
        let unix = time_sql::unix_seconds(&quote_ident(&table.time_column), &table.time_type);
        let sql = format!(
            "SELECT t - positiveModulo(t, {seconds}) AS lo, count() AS rows, toString(sum(h)) AS hash FROM \
             (SELECT {unix} AS t, {} AS h FROM {from} WHERE 1{}) GROUP BY lo ORDER BY lo",
            hash_sql::content_term(&column_list(&table.columns)),
            slice_predicate(table, range),
        );
        let rows: Vec<SliceRow> = self.rows(WHAT, sql, ROWS).await?;
        rows.into_iter()
            .map(|row| {
                let bucket = TimeRange::new(row.lo, row.lo.saturating_add(seconds));
                Ok(Slice { range: bucket.intersect(range), proof: parse_proof(WHAT, row.rows, &row.hash)? })
            })
            .collect()
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
            partition_id.map_or_else(String::new, |id| format!(" AND _partition_id = {}", quote_string(id)));
        let sql = format!(
            "SELECT toInt64(0) AS lo, count() AS rows, {} AS hash FROM {from} \
             WHERE 1{partition}{}",
            hash_sql::content_hash(&column_list(&table.columns)),
            slice_predicate(table, range),
        );
        let rows: Vec<SliceRow> = self.rows(WHAT, sql, ROWS).await?;
        let row =
            rows.first().ok_or_else(|| HotError::Unexpected { what: WHAT, reason: "no answer".into() })?;
        parse_proof(WHAT, row.rows, &row.hash)
    }
}
