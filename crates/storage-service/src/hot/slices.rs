//! The rows of one batch: a slice of a move's rows by time and, where time cannot cut, by content.

use clickhouse_sql::TableName;
use moves::{ManagedTable, PartRows, RowSet, Slice};
use serde::Deserialize;
use storage_types::{Proof, hash_sql};

use super::{
    Hot, HotError, METADATA, ROWS, column_list, head_of, in_system_table, in_tables, predicate, row_set,
};

/// What a slice has, and of which table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SliceProof {
    /// Count and hash by the parts that hold the rows; in one figure under no name where the slice is cut by rank,
    /// since it does not matter then which of equal rows are taken.
    pub parts: Vec<PartRows>,
    /// UUID of the table that answered to the head's name; empty when there are no rows.
    pub table: String,
}

impl SliceProof {
    /// Of all its rows.
    pub fn proof(&self) -> Proof {
        self.parts.iter().map(|part| part.proof).sum()
    }
}

/// 64 bits of a row's content, the same wherever the row is and however often it is asked.
fn content(table: &ManagedTable) -> String {
    format!("cityHash64(tuple({}))", column_list(&table.columns))
}

/// What stands behind FROM to read the rows of a slice: the head under a condition, or so many of its rows in
/// the order of their hashes. Rows of one hash are alike, so that it does not matter which of them are taken.
pub fn slice_source(table: &ManagedTable, rows: &RowSet, slice: &Slice) -> String {
    let head = head_of(table);
    let condition = predicate(table, &RowSet { window: slice.range, ..*rows });
    let class =
        slice.class.map(|(residue, divisor)| format!(" AND {} % {divisor} = {residue}", content(table)));
    let class = class.unwrap_or_default();
    match slice.ranks {
        None => format!("{head} WHERE {condition}{class}"),
        Some((skip, take)) => format!(
            "(SELECT {} FROM {head} WHERE {condition}{class} ORDER BY {} LIMIT {skip}, {take})",
            column_list(&table.columns),
            content(table)
        ),
    }
}

impl Hot {
    /// Rows of the set by the residue of their content: `divisor` figures.
    pub async fn classes(
        &self,
        table: &ManagedTable,
        rows: &RowSet,
        divisor: u32,
    ) -> Result<Vec<u64>, HotError> {
        #[derive(Deserialize)]
        struct Row {
            #[serde(rename = "_storage_class")]
            class: u32,
            #[serde(rename = "_storage_rows")]
            rows: u64,
        }
        let sql = format!(
            "SELECT toUInt32({} % {divisor}) AS _storage_class, count() AS _storage_rows FROM {} WHERE {} \
             GROUP BY _storage_class {}",
            content(table),
            head_of(table),
            predicate(table, rows),
            row_set::SETTINGS
        );
        let found: Vec<Row> = self.read("count rows by content", sql).await?;
        let mut classes = vec![0; usize::try_from(divisor).unwrap_or(0)];
        for row in found {
            if let Some(class) = classes.get_mut(usize::try_from(row.class).unwrap_or(usize::MAX)) {
                *class = row.rows;
            }
        }
        Ok(classes)
    }

    /// Count and hash of the rows of a slice.
    pub async fn slice_proof(
        &self,
        table: &ManagedTable,
        rows: &RowSet,
        slice: &Slice,
    ) -> Result<SliceProof, HotError> {
        const WHAT: &str = "prove a batch";
        #[derive(Deserialize)]
        struct Row {
            #[serde(rename = "_storage_part")]
            part: String,
            #[serde(rename = "_storage_rows")]
            rows: u64,
            #[serde(rename = "_storage_hash")]
            hash: String,
            #[serde(rename = "_storage_table")]
            table: String,
        }
        let sql = format!(
            "SELECT {part} AS _storage_part, count() AS _storage_rows, {hash} AS _storage_hash, \
             (SELECT toString(any(uuid)) FROM system.tables WHERE {this}) AS _storage_table \
             FROM {source} GROUP BY _storage_part {settings}",
            part = if slice.ranks.is_none() { "_part" } else { "''" },
            hash = hash_sql::content_hash(&column_list(&table.columns)),
            this = in_tables(&head_of(table)),
            source = slice_source(table, rows, slice),
            settings = row_set::SETTINGS
        );
        let found: Vec<Row> = self.read(WHAT, sql).await?;
        let mut slice = SliceProof::default();
        for row in found {
            let proof = row_set::parse_proof(WHAT, row.rows, &row.hash)?;
            slice.table = row.table;
            slice.parts.push(PartRows { part: row.part, proof });
        }
        Ok(slice)
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

    /// Drops one part by its name, whatever its size; `false` when there is no active part of that name: a merge
    /// or a mutation has swallowed it. DROP PART leaves an empty part that covers the dropped one and all that it
    /// was merged from, so that it stays dropped through a kill of the engine.
    pub async fn drop_part(&self, table: &TableName, name: &str) -> Result<bool, HotError> {
        /// `NO_SUCH_DATA_PART`.
        const NO_SUCH_PART: i32 = 232;
        let sql = format!(
            "ALTER TABLE {table} DROP PART {} SETTINGS max_partition_size_to_drop = 0, max_table_size_to_drop = 0",
            clickhouse_sql::quote::string(name)
        );
        match self.run("drop a part", sql, ROWS).await {
            Ok(()) => Ok(true),
            Err(error) if error.code() == Some(NO_SUCH_PART) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
