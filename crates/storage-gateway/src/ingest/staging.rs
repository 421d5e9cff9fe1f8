//! Staging tables: `_stg_{batch}_{attempt}` beside the cold table, one per attempt to load a batch.
//!
//! A name is used once. An insert or a move of an earlier attempt whose answer was lost, and which
//! may still be waiting inside the engine, finds its table gone and fails: it can never add rows to
//! the attempt that follows. Dropping waits for whatever is still running on the table.

use clickhouse_http::client::Client;
use clickhouse_sql::quote;
use serde::Deserialize;
use storage_types::{BatchId, Manifest};

use crate::{
    cold::{DDL_DEADLINE, LOOK_DEADLINE, TableName, proof::live},
    error::GatewayError,
};

/// What every staging table's name starts with.
pub const PREFIX: &str = "_stg_";

/// A staging table and the batch it belongs to.
#[derive(Debug, Clone)]
pub struct Leftover {
    /// The table.
    pub table: TableName,
    /// The id in its name; `None` when that is no id.
    pub batch: Option<BatchId>,
}

/// Makes a fresh, empty table of the live table's structure.
pub async fn create(engine: &Client, manifest: &Manifest, attempt: u64) -> Result<TableName, GatewayError> {
    let name = format!("{PREFIX}{}_{attempt}", manifest.batch);
    let staging = TableName::new(&manifest.cold_database, name);
    // The structure, keys and settings (fsync) of the live table, or MOVE PARTITION would refuse.
    let sql = format!("CREATE TABLE {staging} AS {}", live(manifest));
    engine.query(sql).deadline(DDL_DEADLINE).execute().await?;
    lighten(engine, &staging).await?;
    Ok(staging)
}

/// Takes strong compression off a staging table: loading waits for it, and a part takes on the live
/// table's codecs when it is merged there. (`MOVE PARTITION` compares names and types, not codecs.)
async fn lighten(engine: &Client, staging: &TableName) -> Result<(), GatewayError> {
    #[derive(Deserialize)]
    struct Row {
        name: String,
        codec: String,
    }
    let sql = format!(
        r"SELECT name, replaceRegexpAll(compression_codec, 'ZSTD\([0-9]+\)', 'ZSTD(1)') AS codec
          FROM system.columns WHERE database = {} AND table = {} AND codec != compression_codec",
        quote::string(&staging.database),
        quote::string(&staging.table)
    );
    let strong: Vec<Row> = engine.query(sql).deadline(LOOK_DEADLINE).rows().await?;
    if strong.is_empty() {
        return Ok(());
    }
    let changes: Vec<String> =
        strong.iter().map(|row| format!("MODIFY COLUMN {} {}", quote::ident(&row.name), row.codec)).collect();
    let sql = format!("ALTER TABLE {staging} {}", changes.join(", "));
    engine.query(sql).deadline(DDL_DEADLINE).execute().await?;
    Ok(())
}

/// Drops every staging table of a batch and waits until they are gone; answers how many there were.
pub async fn drop_all(engine: &Client, database: &str, batch: BatchId) -> Result<usize, GatewayError> {
    let prefix = format!("{PREFIX}{batch}_");
    let filter =
        format!("database = {} AND startsWith(name, {})", quote::string(database), quote::string(&prefix));
    let tables = list(engine, &filter).await?;
    for leftover in &tables {
        drop_table(engine, &leftover.table).await?;
    }
    Ok(tables.len())
}

/// Every staging table there is.
pub async fn leftovers(engine: &Client) -> Result<Vec<Leftover>, GatewayError> {
    list(engine, &format!("startsWith(name, {})", quote::string(PREFIX))).await
}

async fn list(engine: &Client, filter: &str) -> Result<Vec<Leftover>, GatewayError> {
    #[derive(Deserialize)]
    struct Row {
        database: String,
        name: String,
    }
    let sql = format!("SELECT database, name FROM system.tables WHERE {filter} ORDER BY name");
    let rows: Vec<Row> = engine.query(sql).deadline(LOOK_DEADLINE).rows().await?;
    Ok(rows
        .into_iter()
        .map(|row| Leftover {
            batch: row
                .name
                .strip_prefix(PREFIX)
                .and_then(|n| n.split('_').next())
                .and_then(|n| n.parse().ok()),
            table: TableName::new(row.database, row.name),
        })
        .collect())
}

/// Drops one table, however large.
pub async fn drop_table(engine: &Client, table: &TableName) -> Result<(), GatewayError> {
    engine
        .query(format!("DROP TABLE IF EXISTS {table} SYNC"))
        .setting("max_table_size_to_drop", "0")
        .setting("max_partition_size_to_drop", "0")
        .deadline(DDL_DEADLINE)
        .execute()
        .await?;
    Ok(())
}
