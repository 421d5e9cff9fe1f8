//! Count and content hash of the rows of a batch, computed by the cold ClickHouse.
//!
//! The hash is [`storage_types::hash_sql::content_hash`]: it adds up over disjoint sets,
//! and the `tuple` keeps a NULL from dropping its row. See [`storage_types::ContentHash`].

use std::{sync::Arc, time::Duration};

use clickhouse_http::client::{Client, Query};
use clickhouse_sql::quote;
use serde::Deserialize;
use storage_types::{BatchId, Column, ContentHash, Manifest, Proof, TimeRange, hash_sql, time_sql};

use super::{LOOK_DEADLINE, PROOF_DEADLINE, TableName};
use crate::error::GatewayError;

/// Longest read of several batches at once; with fewer it is tried again.
const TOGETHER_DEADLINE: Duration = Duration::from_secs(300);

/// What a staging table was found to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Findings {
    /// Count and hash over the manifest's columns.
    pub proof: Proof,
    /// Rows whose `_batch` is not the batch's id.
    pub foreign_rows: u64,
    /// Rows whose time is outside the manifest's range.
    pub outside: u64,
}

#[derive(Deserialize)]
struct ProofRow {
    rows: String,
    content_hash: String,
    #[serde(default)]
    foreign_rows: Option<String>,
    #[serde(default)]
    outside: Option<String>,
}

fn hash_expression(columns: &[Column]) -> String {
    let names: Vec<String> = columns.iter().map(|c| quote::ident(&c.name)).collect();
    hash_sql::content_hash(&names.join(", "))
}

/// `(…)` for the manifest's time range, in the form ClickHouse prunes by; `None` when unbounded.
fn in_range(manifest: &Manifest) -> Option<String> {
    within(manifest, manifest.range)
}

fn within(manifest: &Manifest, range: TimeRange) -> Option<String> {
    let column = manifest.columns.iter().find(|c| c.name == manifest.time_column)?;
    time_sql::predicate(&quote::ident(&column.name), &column.data_type, range)
}

/// A statement over a user's columns: their names go before the aliases of ours, which may be the same
/// (`id`, `rows`). Otherwise a hash would be one of other values.
pub fn read(engine: &Client, sql: String) -> Query {
    engine.query(sql).setting("prefer_column_name_to_alias", "1")
}

/// Everything a staging table must show before its rows may go live.
pub async fn of_staging(
    engine: &Client,
    staging: &TableName,
    manifest: &Manifest,
) -> Result<Findings, GatewayError> {
    let outside = in_range(manifest).map_or_else(|| "'0'".into(), |p| format!("toString(countIf(NOT {p}))"));
    let sql = format!(
        "SELECT toString(count()) AS rows, {hash} AS content_hash, \
         toString(countIf(`_batch` != {batch})) AS foreign_rows, {outside} AS outside FROM {staging}",
        hash = hash_expression(&manifest.columns),
        batch = manifest.batch,
    );
    let row: ProofRow = read(engine, sql).deadline(PROOF_DEADLINE).one().await?;
    Ok(Findings {
        proof: proof(&row)?,
        foreign_rows: number(row.foreign_rows.as_deref().unwrap_or("0"))?,
        outside: number(row.outside.as_deref().unwrap_or("0"))?,
    })
}

/// Count and hash of the batch's rows in the live table, read now.
pub async fn of_live(engine: &Client, manifest: &Manifest) -> Result<Proof, GatewayError> {
    let sql = format!(
        "SELECT toString(count()) AS rows, {hash} AS content_hash FROM {live} WHERE {filter}",
        hash = hash_expression(&manifest.columns),
        live = live(manifest),
        filter = batch_filter(manifest),
    );
    let row: ProofRow = read(engine, sql).deadline(PROOF_DEADLINE).one().await?;
    proof(&row)
}

/// Count and hash of the rows of each of these batches, all of one table and schema, read now with one
/// statement that ends when nobody waits for it.
pub async fn of_batches(
    engine: &Client,
    batches: &[Arc<Manifest>],
) -> Result<Vec<(BatchId, Proof)>, GatewayError> {
    #[derive(Deserialize)]
    struct Row {
        id: String,
        #[serde(flatten)]
        proof: ProofRow,
    }
    let Some(first) = batches.first() else { return Ok(Vec::new()) };
    let sql = format!(
        "SELECT toString(`_batch`) AS id, toString(count()) AS rows, {hash} AS content_hash FROM {live} \
         WHERE {filter} GROUP BY `_batch`",
        hash = hash_expression(&first.columns),
        live = live(first),
        filter = filter_of(batches),
    );
    let longest = if batches.len() > 1 { TOGETHER_DEADLINE } else { PROOF_DEADLINE };
    let rows: Vec<Row> = read(engine, sql)
        .readonly()
        .setting("max_execution_time", longest.as_secs())
        .setting("cancel_http_readonly_queries_on_client_close", "1")
        .deadline(longest + LOOK_DEADLINE)
        .rows()
        .await?;
    let of = |batch: BatchId| match rows.iter().find(|row| row.id == batch.to_string()) {
        Some(row) => proof(&row.proof),
        // No row carries its id.
        None => Ok(Proof::default()),
    };
    batches.iter().map(|manifest| Ok((manifest.batch, of(manifest.batch)?))).collect()
}

/// The rows of these batches, all of one table, in the form ClickHouse prunes by.
pub fn filter_of(batches: &[Arc<Manifest>]) -> String {
    let ids: Vec<String> = batches.iter().map(|manifest| manifest.batch.to_string()).collect();
    let by_batch = format!("`_batch` IN ({})", ids.join(", "));
    let Some(first) = batches.first() else { return by_batch };
    let time = |m: &Manifest| {
        (
            m.time_column.clone(),
            m.columns.iter().find(|c| c.name == m.time_column).map(|c| c.data_type.clone()),
        )
    };
    if batches.iter().any(|manifest| time(manifest) != time(first)) {
        return by_batch;
    }
    let hull = batches.iter().fold(first.range, |hull, manifest| hull.hull(manifest.range));
    within(first, hull).map_or(by_batch.clone(), |range| format!("{by_batch} AND {range}"))
}

/// The parts of a table: hashes of their files, as the engine keeps them.
pub async fn parts(engine: &Client, table: &TableName) -> Result<Vec<String>, GatewayError> {
    #[derive(Deserialize)]
    struct Part {
        hash: String,
    }
    let sql =
        format!("SELECT hash_of_all_files AS hash FROM system.parts WHERE {} AND rows > 0", active(table));
    let parts: Vec<Part> = engine.query(sql).deadline(LOOK_DEADLINE).rows().await?;
    Ok(parts.into_iter().map(|part| part.hash).collect())
}

/// Whether the live table now holds the batch whose proven rows were in these parts of its staging
/// table: each part is there, file for file, and the rows with the batch's id are as many as proven.
/// When parts were merged meanwhile everything is counted and hashed again.
pub async fn moved_whole(
    engine: &Client,
    manifest: &Manifest,
    staged: &[String],
) -> Result<bool, GatewayError> {
    let hashes: Vec<String> = staged.iter().map(|hash| quote::string(hash)).collect();
    let filter = format!("{} AND hash_of_all_files IN ({})", active(&live(manifest)), hashes.join(", "));
    let there = count(engine, &TableName::new("system", "parts"), &filter).await?;
    if there != staged.len() as u64 {
        return Ok(of_live(engine, manifest).await? == manifest.proof);
    }
    Ok(count(engine, &live(manifest), &batch_filter(manifest)).await? == manifest.proof.rows)
}

fn active(table: &TableName) -> String {
    format!(
        "active AND database = {} AND table = {}",
        quote::string(&table.database),
        quote::string(&table.table)
    )
}

async fn count(engine: &Client, table: &TableName, filter: &str) -> Result<u64, GatewayError> {
    #[derive(Deserialize)]
    struct Count {
        rows: String,
    }
    let sql = format!("SELECT toString(count()) AS rows FROM {table} WHERE {filter}");
    let count: Count = engine.query(sql).deadline(PROOF_DEADLINE).one().await?;
    number(&count.rows)
}

/// The live cold table of a batch.
pub fn live(manifest: &Manifest) -> TableName {
    TableName::new(&manifest.cold_database, &manifest.cold_table)
}

fn batch_filter(manifest: &Manifest) -> String {
    let by_batch = format!("`_batch` = {}", manifest.batch);
    in_range(manifest).map_or(by_batch.clone(), |range| format!("{by_batch} AND {range}"))
}

fn proof(row: &ProofRow) -> Result<Proof, GatewayError> {
    let content_hash: ContentHash =
        row.content_hash.parse().map_err(|_| answered("a content hash", &row.content_hash))?;
    Ok(Proof { rows: number(&row.rows)?, content_hash })
}

fn number(text: &str) -> Result<u64, GatewayError> {
    text.parse().map_err(|_| answered("a count", text))
}

fn answered(expected: &str, got: &str) -> GatewayError {
    GatewayError::EngineAnswer(format!("{got:?} where {expected} was expected"))
}
