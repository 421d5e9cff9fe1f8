//! Who else has changed rows of the head since a watermark.
//!
//! A mutation's number, the version in a part's name and the numbers of inserts are of one count, so that "since
//! the watermark" can be asked of all of them. A lightweight UPDATE is no mutation: it writes a patch part, which
//! lies beside the parts, is applied while they are read, and goes some time after they were merged; they then
//! carry its number as their version. (A lightweight DELETE may be told to do the same.)
//!
//! What is found here is a reason to look again, never to believe: only a fresh proof says what the rows are. It
//! finds no removal of whole parts (TTL, DROP PARTITION) and no ATTACH, and a change by a mutation that was killed
//! or forgotten only until another mutation, ours too, has given the part a higher version.

use clickhouse_sql::{TableName, quote};
use serde::Deserialize;

use super::{Hot, HotError, METADATA, deletion::OURS, in_system_table};

/// Most commands that are listed.
const LISTED: usize = 100;
/// Commands by which a mutation deletes rows: ALTER TABLE … DELETE, and the lightweight DELETE.
const DELETES: &str = "(match(command, '^\\\\(?DELETE ') OR position(command, 'UPDATE _row_exists = 0') > 0)";

/// What has happened; all empty, `false` and 0: nothing that would be known here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// Commands of mutations that are not ours and not done yet, at most 100. Those asked for before the
    /// watermark too: they are still to change what is below it.
    pub pending: Vec<String>,
    /// Columns have default expressions: parts that are older than such a column read by them.
    pub defaults: bool,
    /// Something above the watermark that is not ours deletes rows, or may: what it was is no longer known (a
    /// mutation that was killed, an UPDATE whose patch is merged), or the engine may have forgotten it
    /// (`finished_mutations_to_keep`).
    pub deletes: bool,
    /// The table has a TTL that may delete rows.
    pub expires: bool,
    /// Number of the latest change above the watermark that is not ours and is done: a mutation, a part that was
    /// changed by something that is no longer known, or a patch part in force; 0: none.
    pub latest: u64,
}

impl Changes {
    /// Nothing has changed, and nothing is about to.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(Deserialize)]
struct Mutations {
    finished: u64,
    deleting: u64,
    latest: u64,
    oldest: u64,
}

#[derive(Deserialize)]
struct Parts {
    defaults: u64,
    changed: u64,
    latest: u64,
}

impl Hot {
    /// What others have done to the rows since `watermark`.
    pub async fn changes_since(&self, table: &TableName, watermark: u64) -> Result<Changes, HotError> {
        // First: what is pending now and done by then is counted twice, and never neither.
        let pending = self.pending_mutations(table).await?;
        let mutations = self.mutations_since(table, watermark).await?;
        let parts = self.parts_changed_since(table, watermark).await?;
        let kept = self.kept_mutations(table).await?;
        let engine = self.engine_text(table).await?;
        // The engine forgets the oldest first.
        let forgotten = kept > 0 && mutations.finished >= kept && mutations.oldest > watermark;
        let deleting = mutations.deleting > 0 || self.has_deleting_patch(table).await?;
        Ok(Changes {
            pending,
            defaults: parts.defaults > 0,
            deletes: deleting || parts.changed > 0 || forgotten,
            expires: engine.is_some_and(|engine| engine.ttl.is_some()),
            latest: mutations.latest.max(parts.latest),
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

    /// `deleting` is of mutations that are not done, too.
    async fn mutations_since(&self, table: &TableName, watermark: u64) -> Result<Mutations, HotError> {
        const WHAT: &str = "look for mutations";
        let sql = format!(
            "SELECT countIf(is_done) AS finished, countIf(others AND deletes) AS deleting, \
             maxIf(number, others AND is_done) AS latest, min(number) AS oldest \
             FROM (SELECT is_done, {DELETES} AS deletes, toUInt64(block_numbers.number[1]) AS number, position(command, {ours}) > 0 AS is_ours, \
             NOT is_ours AND number > {watermark} AS others FROM system.mutations WHERE {this})",
            ours = quote::string(OURS),
            this = in_system_table(table)
        );
        let rows: Vec<Mutations> = self.rows(WHAT, sql, METADATA).await?;
        rows.into_iter().next().ok_or_else(|| HotError::Unexpected { what: WHAT, reason: "no answer".into() })
    }

    /// Active parts that something else than a mutation that is still known has changed since, and patch parts
    /// as new.
    async fn parts_changed_since(&self, table: &TableName, watermark: u64) -> Result<Parts, HotError> {
        const WHAT: &str = "look for changed parts";
        // A part that nothing has changed says its lowest block number for its version.
        let sql = format!(
            "SELECT (SELECT count() FROM system.columns WHERE {this} AND default_kind = 'DEFAULT') AS defaults, \
             countIf(is_changed) AS changed, greatest(maxIf(data_version, is_changed), maxIf(toUInt64(max_block_number), is_new_patch)) AS latest \
             FROM (SELECT data_version, max_block_number, startsWith(partition_id, 'patch-') AS is_patch, \
             is_patch AND max_block_number > {watermark} AS is_new_patch, \
             NOT is_patch AND data_version != min_block_number AND data_version > {watermark} \
             AND data_version NOT IN (SELECT toUInt64(block_numbers.number[1]) FROM system.mutations WHERE {this}) \
             AS is_changed FROM system.parts WHERE {this} AND active)",
            this = in_system_table(table)
        );
        let rows: Vec<Parts> = self.rows(WHAT, sql, METADATA).await?;
        rows.into_iter().next().ok_or_else(|| HotError::Unexpected { what: WHAT, reason: "no answer".into() })
    }

    async fn has_deleting_patch(&self, table: &TableName) -> Result<bool, HotError> {
        #[derive(Deserialize)]
        struct Row {
            n: u64,
        }
        let sql = format!(
            "SELECT count() AS n FROM system.parts_columns WHERE {} AND active AND \
             startsWith(partition_id, 'patch-') AND column = '_row_exists'",
            in_system_table(table)
        );
        let rows: Vec<Row> = self.rows("look for patches that delete", sql, METADATA).await?;
        Ok(rows.first().is_some_and(|row| row.n > 0))
    }

    /// How many finished mutations the engine remembers for this table; 0: all.
    async fn kept_mutations(&self, table: &TableName) -> Result<u64, HotError> {
        let kept = self.table_setting(table, "finished_mutations_to_keep").await?.unwrap_or_default();
        kept.parse().map_err(|_| HotError::Unexpected {
            what: "read the table's settings",
            reason: format!("finished_mutations_to_keep = {kept:?}"),
        })
    }
}
