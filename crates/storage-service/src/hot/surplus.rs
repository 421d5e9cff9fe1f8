//! Comparing head and snapshot row by row, by hash and multiplicity.
//!
//! A fence by content deletes every row that equals a shipped one. Copies of shipped rows that came
//! after the snapshot ("surplus") would go with them, so they are first counted, and copied into a
//! delta, once for each surplus copy.

use clickhouse_sql::{TableName, quote};
use serde::Deserialize;
use storage_types::TimeRange;

use super::{Hot, HotError, ROWS, column_list, row_hash, slice_predicate};
use crate::catalog::ManagedTable;

/// Above this a GROUP BY spills to disk.
const SPILL_BYTES: u64 = 1 << 30;

/// What is compared.
#[derive(Debug, Clone, Copy)]
pub struct Comparison<'a> {
    /// The table.
    pub table: &'a ManagedTable,
    /// Partition of the head.
    pub partition_id: &'a str,
    /// Rows with times in here.
    pub range: TimeRange,
    /// The shipped rows.
    pub snapshot: &'a TableName,
    /// Parts of the snapshot whose twins the head has already lost.
    pub dropped: &'a [String],
}

/// How head and snapshot differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub struct Difference {
    /// Copies of shipped rows that the head has over and above.
    pub surplus: u64,
    /// Shipped rows that the head should still have and has not.
    pub missing: u64,
}

impl Comparison<'_> {
    /// `(h, copies_over, copies_missing)` for every hash of the snapshot where they differ.
    fn sql(&self) -> String {
        let hash = row_hash(&self.table.columns);
        let window = slice_predicate(self.table, self.range);
        let names: Vec<String> = self.dropped.iter().map(|name| quote::string(name)).collect();
        let kept =
            if names.is_empty() { "1".to_owned() } else { format!("_part NOT IN ({})", names.join(", ")) };
        format!(
            "SELECT h, greatest(toInt64(in_head) - toInt64(expected), 0) AS over, \
             greatest(toInt64(expected) - toInt64(in_head), 0) AS missing FROM \
             (SELECT h, countIf(place = 0) AS in_head, countIf(place = 1) AS expected, countIf(place > 0) AS shipped FROM \
             (SELECT {hash} AS h, toUInt8(0) AS place FROM {head} WHERE _partition_id = {partition}{window} \
             UNION ALL SELECT {hash} AS h, toUInt8(if({kept}, 1, 2)) AS place FROM {snapshot} WHERE 1{window}) \
             GROUP BY h HAVING shipped > 0 AND in_head != expected)",
            head = self.table.head(),
            partition = quote::string(self.partition_id),
            snapshot = self.snapshot,
        )
    }
}

impl Hot {
    /// Counts surplus and missing rows.
    pub async fn difference(&self, of: Comparison<'_>) -> Result<Difference, HotError> {
        let sql = format!(
            "SELECT toUInt64(sum(over)) AS surplus, toUInt64(sum(missing)) AS missing FROM ({}) \
             SETTINGS max_bytes_before_external_group_by = {SPILL_BYTES}",
            of.sql()
        );
        let rows: Vec<Difference> = self.rows("compare head and snapshot", sql, ROWS).await?;
        Ok(rows.first().copied().unwrap_or_default())
    }

    /// Copies the surplus rows into `delta`, each as often as it is surplus.
    pub async fn fill_delta(&self, of: Comparison<'_>, delta: &TableName) -> Result<(), HotError> {
        let columns = column_list(&of.table.columns);
        let hash = row_hash(&of.table.columns);
        let window = slice_predicate(of.table, of.range);
        let sql = format!(
            "INSERT INTO {delta} ({columns}) SELECT {columns} FROM \
             (SELECT {columns}, {hash} AS storage_hash, row_number() OVER (PARTITION BY storage_hash) AS storage_copy \
             FROM {head} WHERE _partition_id = {partition}{window} AND storage_hash IN (SELECT h FROM ({surplus}) WHERE over > 0)) AS rows_of_head \
             INNER JOIN (SELECT h AS storage_hash, over FROM ({surplus}) WHERE over > 0) AS surplus USING (storage_hash) \
             WHERE storage_copy <= over SETTINGS async_insert = 0, max_bytes_before_external_group_by = {SPILL_BYTES}",
            head = of.table.head(),
            partition = quote::string(of.partition_id),
            surplus = of.sql(),
        );
        self.run("keep the surplus rows", sql, ROWS).await
    }
}
