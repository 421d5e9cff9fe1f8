//! The ledger: `<cold database>._storage_batches`, the manifests of the batches whose rows are in
//! that database, kept beside them.
//!
//! With it the gateway's journal can be lost: every row's `_batch` finds its manifest, and whether
//! the batch was only being attached, proven, published or given up. Entries are only ever added; of
//! several for one batch the one with the highest rank counts, so writing one again is harmless.

use bytes::Bytes;
use clickhouse_http::client::Client;
use clickhouse_sql::quote;
use serde::{Deserialize, Serialize};
use storage_types::{BatchId, Manifest};

use super::{DDL_DEADLINE, LOOK_DEADLINE, TableName};
use crate::error::GatewayError;

/// Name of the ledger table in each cold database.
pub const LEDGER_TABLE: &str = "_storage_batches";
/// Manifests read at a time when the journal is rebuilt: each may be some hundred kilobytes.
const PAGE: u32 = 16;

/// How far the ledger knows a batch to be; the number is its rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Its rows are about to enter the live table: some, all or none may be there.
    Attaching = 0,
    /// All its rows are there, counted and hashed.
    Proven = 1,
    /// Queries read it.
    Published = 2,
    /// It was given up after it was attached.
    Aborted = 3,
}

impl Standing {
    fn from_rank(rank: u8) -> Option<Self> {
        [Self::Attaching, Self::Proven, Self::Published, Self::Aborted]
            .into_iter()
            .find(|standing| *standing as u8 == rank)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Attaching => "attaching",
            Self::Proven => "proven",
            Self::Published => "published",
            Self::Aborted => "aborted",
        }
    }
}

#[derive(Serialize)]
struct Entry<'a> {
    batch: u64,
    rank: u8,
    state: &'static str,
    manifest: &'a str,
}

/// Notes how far a batch has come. Repeatable.
pub async fn note(engine: &Client, manifest: &Manifest, standing: Standing) -> Result<(), GatewayError> {
    let ledger = TableName::new(&manifest.cold_database, LEDGER_TABLE);
    let unprintable = |e: serde_json::Error| GatewayError::EngineAnswer(e.to_string());
    let text = serde_json::to_string(manifest).map_err(unprintable)?;
    let entry =
        Entry { batch: manifest.batch.get(), rank: standing as u8, state: standing.name(), manifest: &text };
    let line = Bytes::from(serde_json::to_vec(&entry).map_err(unprintable)?);
    let insert = || {
        let body = futures::stream::iter([Ok::<_, std::io::Error>(line.clone())]);
        engine
            .query(format!("INSERT INTO {ledger} (batch, rank, state, manifest) FORMAT JSONEachRow"))
            .setting("async_insert", "0")
            .deadline(DDL_DEADLINE)
            .insert(body)
    };
    match insert().await {
        // 60 UNKNOWN_TABLE: the first batch of this database.
        Err(error) if error.code() == Some(60) => {
            create(engine, &ledger).await?;
            insert().await?;
        }
        other => {
            other?;
        }
    }
    Ok(())
}

async fn create(engine: &Client, ledger: &TableName) -> Result<(), GatewayError> {
    let sql = format!(
        "CREATE TABLE IF NOT EXISTS {ledger} (batch UInt64, rank UInt8, state LowCardinality(String), \
         manifest String CODEC(ZSTD(3)), noted_at DateTime64(3, 'UTC') DEFAULT now64(3)) \
         ENGINE = MergeTree ORDER BY (batch, rank) \
         SETTINGS fsync_after_insert = 1, fsync_part_directory = 1"
    );
    engine.query(sql).deadline(DDL_DEADLINE).execute().await?;
    Ok(())
}

/// Databases that have a ledger.
pub async fn databases(engine: &Client) -> Result<Vec<String>, GatewayError> {
    #[derive(Deserialize)]
    struct Row {
        database: String,
    }
    let sql = format!("SELECT database FROM system.tables WHERE name = '{LEDGER_TABLE}' ORDER BY database");
    let rows: Vec<Row> = engine.query(sql).deadline(LOOK_DEADLINE).rows().await?;
    Ok(rows.into_iter().map(|row| row.database).collect())
}

/// One page of a ledger: batches with ids above `after`, in order. An empty page is the end.
pub async fn page(
    engine: &Client,
    database: &str,
    after: u64,
) -> Result<Vec<(BatchId, Standing, Manifest)>, GatewayError> {
    #[derive(Deserialize)]
    struct Row {
        id: String,
        standing: u8,
        text: String,
    }
    let ledger = TableName::new(database, LEDGER_TABLE);
    let sql = format!(
        "SELECT toString(batch) AS id, max(rank) AS standing, any(manifest) AS text FROM {ledger} \
         WHERE batch IN (SELECT DISTINCT batch FROM {ledger} WHERE batch > {after} ORDER BY batch LIMIT {PAGE}) \
         GROUP BY batch ORDER BY batch"
    );
    let rows: Vec<Row> = engine.query(sql).deadline(DDL_DEADLINE).rows().await?;
    rows.into_iter()
        .map(|row| {
            let strange =
                |what: &str| GatewayError::EngineAnswer(format!("{what} in {ledger}, batch {}", row.id));
            let batch: BatchId = row.id.parse().map_err(|_| strange("no id"))?;
            let standing = Standing::from_rank(row.standing).ok_or_else(|| strange("an unknown rank"))?;
            let manifest: Manifest =
                serde_json::from_str(&row.text).map_err(|_| strange("a torn manifest"))?;
            Ok((batch, standing, manifest))
        })
        .collect()
}

/// Rows per batch in a live table.
pub async fn rows_per_batch(
    engine: &Client,
    table: &TableName,
    after: u64,
) -> Result<Vec<(u64, u64)>, GatewayError> {
    #[derive(Deserialize)]
    struct Row {
        id: String,
        rows: String,
    }
    let quoted = quote::ident(super::tables::BATCH_COLUMN);
    let sql = format!(
        "SELECT toString({quoted}) AS id, toString(count()) AS rows FROM {table} WHERE {quoted} > {after} \
         GROUP BY {quoted} ORDER BY {quoted} LIMIT 10000"
    );
    let rows: Vec<Row> = engine.query(sql).deadline(super::PROOF_DEADLINE).rows().await?;
    Ok(rows.into_iter().filter_map(|r| Some((r.id.parse().ok()?, r.rows.parse().ok()?))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_round_trip_and_grow_with_life() {
        for standing in [Standing::Attaching, Standing::Proven, Standing::Published, Standing::Aborted] {
            assert_eq!(Standing::from_rank(standing as u8), Some(standing));
        }
        assert_eq!(Standing::from_rank(9), None);
        assert!(Standing::Published > Standing::Proven);
    }
}
