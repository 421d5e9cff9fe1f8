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
/// Batches of a page when the journal is rebuilt.
const PAGE: u32 = 256;
/// Manifests read at a time: each may be some hundred kilobytes.
const MANIFESTS: usize = 16;

/// How far the ledger knows a batch to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Its rows are about to enter the live table: some, all or none may be there.
    Attaching,
    /// All its rows are there, counted and hashed.
    Proven,
    /// Queries read it.
    Published,
    /// It was given up after it was attached.
    Aborted,
    /// Nobody reads it any more.
    Retired {
        /// How often it was retired or taken back, this time included; at least 1.
        turns: u8,
    },
    /// It was taken back, to what it was.
    BackToProven {
        /// As above.
        turns: u8,
    },
    /// Likewise.
    BackToPublished {
        /// As above.
        turns: u8,
    },
    /// It was retired, and its rows go or are gone.
    Removed,
}

/// Rank of [`Standing::Aborted`]; turns are counted on from it.
const ABORTED: u8 = 3;
const REMOVED: u8 = u8::MAX;

impl Standing {
    /// Of several entries of one batch the one with the highest rank counts.
    fn rank(self) -> u8 {
        match self {
            Self::Attaching => 0,
            Self::Proven => 1,
            Self::Published => 2,
            Self::Aborted => ABORTED,
            Self::Retired { turns } | Self::BackToProven { turns } | Self::BackToPublished { turns } => {
                ABORTED.saturating_add(turns).min(REMOVED - 1)
            }
            Self::Removed => REMOVED,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Attaching => "attaching",
            Self::Proven | Self::BackToProven { .. } => "proven",
            Self::Published | Self::BackToPublished { .. } => "published",
            Self::Aborted => "aborted",
            Self::Retired { .. } => "retired",
            Self::Removed => "removed",
        }
    }

    fn read(rank: u8, name: &str) -> Option<Self> {
        let turns = rank.saturating_sub(ABORTED);
        [
            Self::Attaching,
            Self::Proven,
            Self::Published,
            Self::Aborted,
            Self::Retired { turns },
            Self::BackToProven { turns },
            Self::BackToPublished { turns },
            Self::Removed,
        ]
        .into_iter()
        .find(|standing| standing.rank() == rank && standing.name() == name)
    }
}

#[derive(Serialize)]
struct Entry<'a> {
    batch: u64,
    rank: u8,
    state: &'static str,
    manifest: &'a str,
}

/// Notes how far a batch has come, with its manifest. Repeatable.
pub async fn note(engine: &Client, manifest: &Manifest, standing: Standing) -> Result<(), GatewayError> {
    let text = serde_json::to_string(manifest).map_err(unprintable)?;
    let line = line(manifest.batch, standing, &text)?;
    insert(engine, &manifest.cold_database, line.into()).await
}

/// Notes how far batches have come whose manifests are in the ledger. Repeatable; all or none.
pub async fn note_all(
    engine: &Client,
    database: &str,
    batches: &[(BatchId, Standing)],
) -> Result<(), GatewayError> {
    let lines: Result<Vec<_>, _> = batches.iter().map(|(id, standing)| line(*id, *standing, "")).collect();
    insert(engine, database, lines?.concat().into()).await
}

fn unprintable(error: serde_json::Error) -> GatewayError {
    GatewayError::EngineAnswer(error.to_string())
}

fn line(batch: BatchId, standing: Standing, manifest: &str) -> Result<Vec<u8>, GatewayError> {
    let entry = Entry { batch: batch.get(), rank: standing.rank(), state: standing.name(), manifest };
    let mut line = serde_json::to_vec(&entry).map_err(unprintable)?;
    line.push(b'\n');
    Ok(line)
}

async fn insert(engine: &Client, database: &str, line: Bytes) -> Result<(), GatewayError> {
    let ledger = TableName::new(database, LEDGER_TABLE);
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
         SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, \
         min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, index_granularity = 256"
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

/// One batch as the ledger has it.
#[derive(Debug)]
pub struct LedgerEntry {
    /// The batch.
    pub batch: BatchId,
    /// How far it is known to have come.
    pub standing: Standing,
    /// It was published once.
    pub was_published: bool,
    /// `None` when no entry of it holds one that can be read.
    pub manifest: Option<Manifest>,
}

/// One page of a ledger: batches with ids above `after`, in order. An empty page is the end.
///
/// First the ids, from columns that are small for all batches together, then the manifests of these: the
/// work of a page does not depend on how many manifests are left.
pub async fn page(engine: &Client, database: &str, after: u64) -> Result<Vec<LedgerEntry>, GatewayError> {
    #[derive(Deserialize)]
    struct Row {
        id: String,
        top: u8,
        name: String,
        published: u8,
    }
    let ledger = TableName::new(database, LEDGER_TABLE);
    let sql = format!(
        "SELECT toString(batch) AS id, max(rank) AS top, argMax(state, rank) AS name, \
         max(state = 'published') AS published FROM {ledger} WHERE batch > {after} \
         GROUP BY batch ORDER BY batch LIMIT {PAGE}"
    );
    let rows: Vec<Row> =
        engine.query(sql).setting("optimize_aggregation_in_order", "1").deadline(DDL_DEADLINE).rows().await?;
    let strange =
        |what: &str, id: &str| GatewayError::EngineAnswer(format!("{what} in {ledger}, batch {id}"));
    let mut entries = Vec::with_capacity(rows.len());
    for Row { id, top, name, published } in rows {
        entries.push(LedgerEntry {
            batch: id.parse().map_err(|_| strange("no id", &id))?,
            standing: Standing::read(top, &name).ok_or_else(|| strange("an unknown state", &id))?,
            was_published: published != 0,
            manifest: None,
        });
    }
    // Few at a time, since one may be megabytes.
    for few in entries.chunks_mut(MANIFESTS) {
        read_manifests(engine, &ledger, few).await?;
    }
    Ok(entries)
}

async fn read_manifests(
    engine: &Client,
    ledger: &TableName,
    entries: &mut [LedgerEntry],
) -> Result<(), GatewayError> {
    #[derive(Deserialize)]
    struct Row {
        id: String,
        text: String,
    }
    let ids: Vec<String> = entries.iter().map(|entry| entry.batch.to_string()).collect();
    let sql = format!(
        "SELECT toString(batch) AS id, any(manifest) AS text FROM {ledger} \
         WHERE batch IN ({}) AND notEmpty(manifest) GROUP BY batch",
        ids.join(", ")
    );
    let rows: Vec<Row> = engine.query(sql).deadline(DDL_DEADLINE).rows().await?;
    for Row { id, text } in rows {
        if let Some(entry) = entries.iter_mut().find(|entry| entry.batch.to_string() == id) {
            entry.manifest = serde_json::from_str(&text).ok().filter(|m: &Manifest| m.batch == entry.batch);
        }
    }
    Ok(())
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
    fn standings_round_trip_and_ranks_grow_with_life() {
        let life = [
            Standing::Attaching,
            Standing::Proven,
            Standing::Published,
            Standing::Aborted,
            Standing::Retired { turns: 1 },
            Standing::BackToProven { turns: 2 },
            Standing::Retired { turns: 3 },
            Standing::BackToPublished { turns: 4 },
            Standing::Removed,
        ];
        for standing in life {
            assert_eq!(Standing::read(standing.rank(), standing.name()), Some(standing));
        }
        assert!(life.windows(2).all(|pair| pair[0].rank() < pair[1].rank()));
        assert_eq!(Standing::read(9, "flying"), None);
        assert_eq!(Standing::read(0, "removed"), None);
        assert!(Standing::Retired { turns: u8::MAX }.rank() < Standing::Removed.rank());
    }
}
