//! What is in the head, by partition.

use clickhouse_sql::TableName;
use serde::Deserialize;
use storage_types::{TimeRange, time_sql};

use super::{Hot, HotError, METADATA, ROWS, in_system_table};
use crate::catalog::ManagedTable;
use clickhouse_sql::quote;

/// One partition of the head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionStats {
    /// ClickHouse's id of it.
    pub id: String,
    /// Its value, for people.
    pub value: String,
    /// Rows in it.
    pub rows: u64,
    /// From the first row's second to the one after the last row's.
    pub range: TimeRange,
    /// Bytes on disk.
    pub bytes: u64,
}

#[derive(Deserialize)]
struct RowsRow {
    id: String,
    rows: u64,
    lo: i64,
    hi: i64,
}

#[derive(Deserialize)]
struct BytesRow {
    id: String,
    value: String,
    bytes: u64,
}

impl Hot {
    /// Every partition of the head that has rows.
    pub async fn partitions(&self, table: &ManagedTable) -> Result<Vec<PartitionStats>, HotError> {
        let time = quote::ident(&table.time_column);
        let lo = time_sql::unix_seconds(&format!("min({time})"), &table.time_type);
        let hi = time_sql::unix_seconds(&format!("max({time})"), &table.time_type);
        let sql = format!(
            "SELECT _partition_id AS id, count() AS rows, {lo} AS lo, {hi} + 1 AS hi FROM {} GROUP BY id ORDER BY lo, id",
            table.head()
        );
        let rows: Vec<RowsRow> = self.rows("list the partitions", sql, ROWS).await?;
        let sizes = self.partition_bytes(&table.head()).await?;
        Ok(rows
            .into_iter()
            .map(|row| {
                let size = sizes.iter().find(|size| size.id == row.id);
                PartitionStats {
                    value: size.map(|s| s.value.clone()).unwrap_or_default(),
                    bytes: size.map_or(0, |s| s.bytes),
                    id: row.id,
                    rows: row.rows,
                    range: TimeRange::new(row.lo, row.hi),
                }
            })
            .collect())
    }

    async fn partition_bytes(&self, table: &TableName) -> Result<Vec<BytesRow>, HotError> {
        let sql = format!(
            "SELECT partition_id AS id, any(partition) AS value, sum(bytes_on_disk) AS bytes FROM system.parts \
             WHERE {} AND active GROUP BY id",
            in_system_table(table)
        );
        self.rows("size the partitions", sql, METADATA).await
    }

    /// About how many bytes a row takes uncompressed; 1 where the engine does not know.
    pub async fn row_bytes(&self, table: &TableName) -> Result<u64, HotError> {
        #[derive(Deserialize)]
        struct Row {
            bytes: u64,
        }
        let sql = format!(
            "SELECT toUInt64(sum(data_uncompressed_bytes) / greatest(sum(rows), 1)) AS bytes FROM system.parts \
             WHERE {} AND active",
            in_system_table(table)
        );
        let rows: Vec<Row> = self.rows("ask for the width of rows", sql, METADATA).await?;
        Ok(rows.first().map_or(1, |row| row.bytes.max(1)))
    }

    /// Rows of the head in this partition and range.
    pub async fn count_rows(
        &self,
        table: &ManagedTable,
        partition_id: &str,
        range: TimeRange,
    ) -> Result<u64, HotError> {
        #[derive(Deserialize)]
        struct Row {
            n: u64,
        }
        let sql = format!(
            "SELECT count() AS n FROM {} WHERE _partition_id = {}{}",
            table.head(),
            quote::string(partition_id),
            super::slice_predicate(table, range)
        );
        let rows: Vec<Row> = self.rows("count the rows", sql, ROWS).await?;
        Ok(rows.first().map_or(0, |row| row.n))
    }
}
