//! Which rows a table had at a moment: `_block_number`, the number of the insert that a row came with.
//!
//! With the setting `enable_block_number_column` every row keeps it through merges, mutations and updates. A part
//! of one insert has it by its name, so that rows from before the setting are older than any later watermark.
//!
//! **The watermark.** Plain MergeTree takes a part's number and makes the part visible under one lock, so that
//! at any moment every row up to the highest number of an active part is there: nothing comes in below it later.
//! (Replicated tables take numbers earlier, and would need another watermark.) Three things do change what is
//! below:
//!
//! - rows go: mutations, TTL, DROP, and DETACH. ATTACH brings a part back under a new name, with the numbers its
//!   rows had when it was merged once, else with a new number for all.
//! - old numbers come: ATTACH PARTITION FROM, REPLACE PARTITION FROM and MOVE PARTITION TO TABLE bring the rows
//!   of a merged part with the numbers they had in the other table, where that stores them; else with a new one.
//! - counting begins again: a table that has no part when the engine starts (or the table is attached) numbers
//!   from 1.

use clickhouse_sql::{TableName, quote};
use serde::Deserialize;

use super::{EngineText, Hot, HotError, METADATA, in_system_table};

/// The setting.
const SETTING: &str = "enable_block_number_column";

impl Hot {
    /// Whether rows of the table keep their block number. `false` also when there is no such table.
    pub async fn has_block_numbers(&self, table: &TableName) -> Result<bool, HotError> {
        const WHAT: &str = "read the table's settings";
        #[derive(Deserialize)]
        struct Row {
            engine_full: String,
            by_default: String,
        }
        let sql = format!(
            "SELECT engine_full, (SELECT any(value) FROM system.merge_tree_settings WHERE name = '{SETTING}') \
             AS by_default FROM system.tables WHERE database = {} AND name = {}",
            quote::string(&table.database),
            quote::string(&table.table)
        );
        let rows: Vec<Row> = self.rows(WHAT, sql, METADATA).await?;
        let Some(row) = rows.into_iter().next() else { return Ok(false) };
        let engine = EngineText::parse(&row.engine_full)
            .map_err(|reason| HotError::Unexpected { what: WHAT, reason: reason.to_string() })?;
        let own = engine.settings.into_iter().find(|(name, _)| name == SETTING).map(|(_, value)| value);
        Ok(matches!(own.unwrap_or(row.by_default).as_str(), "1" | "true"))
    }

    /// Has rows keep their block numbers from now on; touches metadata only, and nothing when it is so already.
    pub async fn keep_block_numbers(&self, table: &TableName) -> Result<(), HotError> {
        if self.has_block_numbers(table).await? {
            return Ok(());
        }
        let sql = format!("ALTER TABLE {table} MODIFY SETTING {SETTING} = 1");
        self.run("keep block numbers", sql, METADATA).await
    }

    /// The highest block number of a row that is there; 0 when none is. No row comes in below it later, but for
    /// those that ATTACH PARTITION FROM and its like bring.
    pub async fn watermark(&self, table: &TableName) -> Result<u64, HotError> {
        #[derive(Deserialize)]
        struct Row {
            n: u64,
        }
        let sql = format!(
            "SELECT toUInt64(greatest(max(max_block_number), 0)) AS n FROM system.parts WHERE {} AND active",
            in_system_table(table)
        );
        let rows: Vec<Row> = self.rows("take the watermark", sql, METADATA).await?;
        Ok(rows.first().map_or(0, |row| row.n))
    }
}
