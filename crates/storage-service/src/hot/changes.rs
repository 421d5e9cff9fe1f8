//! Who else has changed rows of the head since a watermark.
//!
//! A mutation's number, the version in a part's name and the numbers of inserts are of one count, so that "since
//! the watermark" can be asked of all of them. A lightweight UPDATE is no mutation: it writes a patch part, which
//! lies beside the parts, is applied while they are read, and goes once they were merged; they then carry its
//! number as their version.
//!
//! What is found here is a reason to look again, never to believe: only a fresh proof says what the rows are. It
//! finds no removal of whole parts (TTL, DROP PARTITION) and no ATTACH.

use clickhouse_sql::{TableName, quote};
use serde::Deserialize;

use super::{EngineText, Hot, HotError, METADATA, deletion::OURS, in_system_table};

/// Most commands that are listed.
const LISTED: usize = 100;

/// What has happened; all empty, `false` and 0: nothing that would be known here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// Commands of mutations that are not ours and not done yet, at most 100. Those asked for before the
    /// watermark too: they are still to change what is below it.
    pub pending: Vec<String>,
    /// A mutation above the watermark that is not ours has deleted rows, or the engine may have forgotten one
    /// (`finished_mutations_to_keep`).
    pub deletes: bool,
    /// The table has a TTL that may delete rows.
    pub expires: bool,
    /// Number of the latest change above the watermark that is not ours: a mutation that is done, a part that
    /// something has changed which is no longer known (a mutation that was killed, an UPDATE whose patch is
    /// merged), or a patch part in force.
    pub latest: u64,
}

#[derive(Deserialize)]
struct MutationsRow {
    finished: u64,
    deletes: u64,
    latest: u64,
    oldest: u64,
    ours: Vec<u64>,
    engine_full: String,
    kept_by_default: u64,
}

impl Hot {
    /// What others have done to the rows since `watermark`.
    pub async fn changes_since(&self, table: &TableName, watermark: u64) -> Result<Changes, HotError> {
        let mutations = self.finished_mutations(table, watermark).await?;
        let (kept, expires) = facts_of(&mutations)?;
        let changed = self.changed_parts(table, watermark, &mutations.ours).await?;
        // The engine forgets the oldest first.
        let forgotten = kept > 0 && mutations.finished >= kept && mutations.oldest > watermark;
        Ok(Changes {
            // Last: what was pending above and is done now has been counted as neither.
            pending: self.pending_mutations(table).await?,
            deletes: mutations.deletes > 0 || forgotten,
            expires,
            latest: mutations.latest.max(changed),
        })
    }

    async fn pending_mutations(&self, table: &TableName) -> Result<Vec<String>, HotError> {
        #[derive(Deserialize)]
        struct Row {
            command: String,
        }
        let sql = format!(
            "SELECT command FROM system.mutations WHERE {} AND NOT is_done AND position(command, {}) = 0 \
             ORDER BY create_time LIMIT {LISTED}",
            in_system_table(table),
            quote::string(OURS)
        );
        let rows: Vec<Row> = self.rows("look for pending mutations", sql, METADATA).await?;
        Ok(rows.into_iter().map(|row| row.command).collect())
    }

    async fn finished_mutations(&self, table: &TableName, watermark: u64) -> Result<MutationsRow, HotError> {
        const WHAT: &str = "look for mutations";
        let sql = format!(
            "SELECT countIf(is_done) AS finished, countIf(is_done AND NOT is_ours AND number > {watermark} AND deletes) AS deletes, \
             maxIf(number, is_done AND NOT is_ours AND number > {watermark}) AS latest, \
             min(number) AS oldest, groupArrayIf(number, is_ours AND number > {watermark}) AS ours, \
             (SELECT any(engine_full) FROM system.tables WHERE database = {database} AND name = {name}) AS engine_full, \
             (SELECT toUInt64(any(value)) FROM system.merge_tree_settings WHERE name = 'finished_mutations_to_keep') \
             AS kept_by_default FROM (SELECT is_done, toUInt64(block_numbers.number[1]) AS number, \
             position(command, {ours}) > 0 AS is_ours, \
             match(command, '(?i)DELETE|_row_exists') AS deletes FROM system.mutations WHERE {this})",
            database = quote::string(&table.database),
            name = quote::string(&table.table),
            ours = quote::string(OURS),
            this = in_system_table(table)
        );
        let rows: Vec<MutationsRow> = self.rows(WHAT, sql, METADATA).await?;
        rows.into_iter().next().ok_or_else(|| HotError::Unexpected { what: WHAT, reason: "no answer".into() })
    }

    /// The number of the latest change of an active part by something not `ours`, or of a patch part.
    async fn changed_parts(&self, table: &TableName, watermark: u64, ours: &[u64]) -> Result<u64, HotError> {
        #[derive(Deserialize)]
        struct Row {
            latest: u64,
        }
        let ours: Vec<String> = ours.iter().map(u64::to_string).collect();
        // A part that nothing has changed says its lowest block number for its version.
        let sql = format!(
            "SELECT greatest(maxIf(toUInt64(data_version), NOT is_patch AND data_version != min_block_number \
             AND data_version > {watermark} AND NOT has([{}]::Array(UInt64), toUInt64(data_version))), \
             maxIf(toUInt64(max_block_number), is_patch AND max_block_number > {watermark})) AS latest \
             FROM (SELECT data_version, min_block_number, max_block_number, \
             startsWith(partition_id, 'patch-') AS is_patch FROM system.parts WHERE {} AND active)",
            ours.join(", "),
            in_system_table(table)
        );
        let rows: Vec<Row> = self.rows("look for changed parts", sql, METADATA).await?;
        Ok(rows.first().map_or(0, |row| row.latest))
    }
}

/// How many finished mutations the engine remembers for this table (0: all), and whether it has a TTL.
fn facts_of(row: &MutationsRow) -> Result<(u64, bool), HotError> {
    let unread = |reason: String| HotError::Unexpected { what: "read the table's settings", reason };
    let engine = EngineText::parse(&row.engine_full).map_err(|reason| unread(reason.to_string()))?;
    let kept = match engine.settings.iter().find(|(name, _)| name == "finished_mutations_to_keep") {
        Some((_, value)) => {
            value.parse().map_err(|_| unread(format!("finished_mutations_to_keep = {value}")))?
        }
        None => row.kept_by_default,
    };
    Ok((kept, engine.ttl.is_some()))
}
