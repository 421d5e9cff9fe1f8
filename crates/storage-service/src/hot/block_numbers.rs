//! Which rows a table had at a moment: `_block_number`, the number of the insert that a row came with.
//!
//! With the setting `enable_block_number_column` every row keeps it through merges, mutations and updates. A part
//! of one insert has it by its name, so that rows from before the setting are older than any later watermark.
//!
//! **The watermark.** Plain MergeTree takes a part's number and makes the part visible under one lock, so that
//! of the rows up to a number that anything has, every one is there: nothing comes in below it later. (Replicated
//! tables take numbers earlier, and would need another watermark.) Three things do change what is below:
//!
//! - rows go: mutations, TTL, DROP, and DETACH. ATTACH brings a part back under a new name, with the numbers its
//!   rows had when it was merged once, else with a new number for all.
//! - old numbers come: ATTACH PARTITION FROM, REPLACE PARTITION FROM and MOVE PARTITION TO TABLE bring the rows
//!   of a merged part with the numbers they had in the other table, where that stores them; else with a new one.
//!   They may be above everything that this table has given: such rows are below no watermark until it has. (The
//!   highest number among the rows is no watermark: what comes next would have a lower one.)
//! - counting would begin again: a table that has no part when the engine starts (or the table is attached)
//!   numbers from 1, or from its latest mutation that is still known. With `remove_empty_parts = 0` a part that
//!   was dropped, truncated, detached, moved away or emptied leaves an empty one behind that has its number, so
//!   that counting goes on. It is set while a table has a move: thousands of empty parts would pile up. Where that
//!   does not help (25.8 leaves none for partitions that are moved to another table; somebody resets the setting)
//!   the watermark falls, and the moves of the table know that it is another head ([`moves::world::HeadLook`]).

use clickhouse_sql::{TableName, quote};
use serde::Deserialize;

use super::{EngineText, Hot, HotError, METADATA, in_system_table, in_tables};

/// Rows keep their number.
const NUMBERS: &str = "enable_block_number_column";
/// Empty parts are cleared away; on unless somebody turns it off.
const CLEARS: &str = "remove_empty_parts";

impl Hot {
    /// Has rows keep their block numbers from now on, and the table count on whatever is dropped; touches metadata
    /// only, and nothing when it is so already.
    pub async fn keep_block_numbers(&self, table: &TableName) -> Result<(), HotError> {
        let numbers = self.is_set(table, NUMBERS).await?;
        if numbers && !self.is_set(table, CLEARS).await? {
            return Ok(());
        }
        let sql = format!("ALTER TABLE {table} MODIFY SETTING {NUMBERS} = 1, {CLEARS} = 0");
        self.run("keep block numbers", sql, METADATA).await
    }

    /// Has empty parts cleared away again: the table has no move, so that no number of its rows means anything.
    /// Rows go on keeping theirs.
    pub async fn clear_empty_parts(&self, table: &TableName) -> Result<(), HotError> {
        let engine = self.engine_text(table).await?;
        if engine.is_none_or(|engine| engine.settings.iter().all(|(name, _)| name != CLEARS)) {
            return Ok(());
        }
        let sql = format!("ALTER TABLE {table} RESET SETTING {CLEARS}");
        self.run("have empty parts cleared away", sql, METADATA).await
    }

    async fn is_set(&self, table: &TableName, setting: &str) -> Result<bool, HotError> {
        let value = self.table_setting(table, setting).await?;
        Ok(matches!(value.as_deref(), Some("1" | "true")))
    }

    /// The highest number that the table has given: every row that is there has it or a lower one, every row that
    /// comes a higher one. 0: it has given none. The exceptions stand at the top of this file.
    ///
    /// Mutations take numbers from the same count, so that one of them is below the watermark exactly when it was
    /// asked for before it.
    pub async fn watermark(&self, table: &TableName) -> Result<u64, HotError> {
        #[derive(Deserialize)]
        struct Row {
            n: u64,
        }
        let this = in_system_table(table);
        let sql = format!(
            "SELECT greatest(\
             (SELECT max(greatest(toUInt64(max_block_number), data_version)) FROM system.parts WHERE {this} AND active), \
             (SELECT max(toUInt64(block_numbers.number[1])) FROM system.mutations WHERE {this})) AS n"
        );
        let rows: Vec<Row> = self.rows("take the watermark", sql, METADATA).await?;
        Ok(rows.first().map_or(0, |row| row.n))
    }

    /// A MergeTree setting of the table, or the server's; `None` when there is no such table.
    pub(super) async fn table_setting(
        &self,
        table: &TableName,
        name: &str,
    ) -> Result<Option<String>, HotError> {
        #[derive(Deserialize)]
        struct Row {
            value: String,
        }
        let Some(engine) = self.engine_text(table).await? else { return Ok(None) };
        if let Some((_, value)) = engine.settings.into_iter().find(|(known, _)| known == name) {
            return Ok(Some(value));
        }
        let sql =
            format!("SELECT value FROM system.merge_tree_settings WHERE name = {}", quote::string(name));
        let rows: Vec<Row> = self.rows("read the server's settings", sql, METADATA).await?;
        Ok(rows.into_iter().next().map(|row| row.value))
    }

    /// The table's engine clause; `None` when there is no such table.
    pub(super) async fn engine_text(&self, table: &TableName) -> Result<Option<EngineText>, HotError> {
        const WHAT: &str = "read the table's engine";
        #[derive(Deserialize)]
        struct Row {
            engine_full: String,
        }
        let sql = format!("SELECT engine_full FROM system.tables WHERE {}", in_tables(table));
        let rows: Vec<Row> = self.rows(WHAT, sql, METADATA).await?;
        let unread = |reason| HotError::Unexpected { what: WHAT, reason };
        let parsed = rows.first().map(|row| EngineText::parse(&row.engine_full));
        parsed.transpose().map_err(|reason| unread(reason.to_string()))
    }
}
