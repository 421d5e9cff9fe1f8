//! Count and hash of a set of rows, by part: which parts can be dropped whole, and the proof of all in one read.

use std::collections::HashMap;

use clickhouse_sql::TableName;
use moves::{ManagedTable, RowSet};
use serde::Deserialize;
use storage_types::{Proof, hash_sql};

use super::{Hot, HotError, METADATA, column_list, head_of, in_system_table, predicate, row_set};

/// The rows of a set that are in one part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartProof {
    /// The part.
    pub part: String,
    /// Its partition.
    pub partition_id: String,
    /// Rows that the part holds, those included that a lightweight DELETE has marked; 0 when the part is no
    /// longer known. Equal to `proof.rows`: the part holds nothing else and may be dropped whole.
    pub rows_in_part: u64,
    /// Count and hash of the rows of the set.
    pub proof: Proof,
}

impl PartProof {
    /// The part holds rows of the set and nothing else.
    pub fn is_whole(&self) -> bool {
        self.rows_in_part == self.proof.rows
    }
}

#[derive(Deserialize)]
struct ProofRow {
    #[serde(rename = "_storage_part")]
    part: String,
    #[serde(rename = "_storage_partition")]
    partition_id: String,
    #[serde(rename = "_storage_rows")]
    rows: u64,
    #[serde(rename = "_storage_hash")]
    hash: String,
}

impl Hot {
    /// The proof of the rows, part by part, ordered by the parts' names: one statement hashes them, at one
    /// moment. All of them together: [`Proof::plus`] over the list.
    /// Without `hashed` they are only counted.
    pub async fn head_proof(
        &self,
        table: &ManagedTable,
        rows: &RowSet,
        hashed: bool,
    ) -> Result<Vec<PartProof>, HotError> {
        const WHAT: &str = "prove rows of the head";
        let head = head_of(table);
        let hash =
            if hashed { hash_sql::content_hash(&column_list(&table.columns)) } else { "'0'".to_owned() };
        let sql = format!(
            "SELECT _part AS _storage_part, any(_partition_id) AS _storage_partition, count() AS _storage_rows, \
             {} AS _storage_hash FROM {} WHERE {} GROUP BY _storage_part ORDER BY _storage_part {}",
            hash,
            head,
            predicate(table, rows),
            row_set::SETTINGS
        );
        let found: Vec<ProofRow> = self.read(WHAT, sql).await?;
        let sizes = self.part_rows(&head).await?;
        found
            .into_iter()
            .map(|row| {
                Ok(PartProof {
                    rows_in_part: sizes.get(&row.part).copied().unwrap_or(0),
                    proof: row_set::parse_proof(WHAT, row.rows, &row.hash)?,
                    part: row.part,
                    partition_id: row.partition_id,
                })
            })
            .collect()
    }

    /// Rows by part. Parts that were merged meanwhile too: they are known for some minutes.
    async fn part_rows(&self, table: &TableName) -> Result<HashMap<String, u64>, HotError> {
        #[derive(Deserialize)]
        struct Row {
            name: String,
            rows: u64,
        }
        let sql = format!("SELECT name, rows FROM system.parts WHERE {}", in_system_table(table));
        let rows: Vec<Row> = self.rows("count the parts' rows", sql, METADATA).await?;
        Ok(rows.into_iter().map(|row| (row.name, row.rows)).collect())
    }
}
