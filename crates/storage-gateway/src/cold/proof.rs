//! Count and content hash of the rows of a batch, computed by the cold ClickHouse.
//!
//! The hash is [`storage_types::hash_sql::content_hash`]: it adds up over disjoint sets,
//! and the `tuple` keeps a NULL from dropping its row. See [`storage_types::ContentHash`].

use clickhouse_http::client::Client;
use clickhouse_sql::quote;
use serde::Deserialize;
use storage_types::{Column, ContentHash, Manifest, Proof, hash_sql, time_sql};

use super::{LOOK_DEADLINE, PROOF_DEADLINE, TableName};
use crate::error::GatewayError;

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

/// `AND (…)` for the manifest's time range, in the form ClickHouse prunes by; empty when unbounded.
fn in_range(manifest: &Manifest) -> Option<String> {
    let column = manifest.columns.iter().find(|c| c.name == manifest.time_column)?;
    time_sql::predicate(&quote::ident(&column.name), &column.data_type, manifest.range)
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
    let row: ProofRow = engine.query(sql).deadline(PROOF_DEADLINE).one().await?;
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
    let row: ProofRow = engine.query(sql).deadline(PROOF_DEADLINE).one().await?;
    proof(&row)
}

/// How many rows in the live table carry the batch's id, wherever they are.
pub async fn live_rows(engine: &Client, manifest: &Manifest) -> Result<u64, GatewayError> {
    count(engine, &live(manifest), &format!("`_batch` = {}", manifest.batch)).await
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
