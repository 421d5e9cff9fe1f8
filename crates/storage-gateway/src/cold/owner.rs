//! Whose a cold database is: `<cold database>._storage_owner`, the gateway's id and its sender beside the
//! rows.
//!
//! Rows are only added; the one noted last counts.

use bytes::Bytes;
use clickhouse_http::client::Client;
use clickhouse_sql::quote;
use serde::{Deserialize, Serialize};
use storage_types::{CatalogId, GatewayId, Sender};

use super::{DDL_DEADLINE, LOOK_DEADLINE, TableName};
use crate::error::GatewayError;

/// Name of the table in each cold database.
pub const OWNER_TABLE: &str = "_storage_owner";

/// What a cold database says of its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The cold database.
    pub database: String,
    /// The gateway whose tables are in it.
    pub gateway: GatewayId,
    /// The sender that was in force.
    pub sender: Option<Sender>,
    /// When that was noted, by the clock of the cold ClickHouse, milliseconds since 1970.
    pub noted_at_ms: u64,
}

/// The owner of each cold database that has one, by name of database.
pub async fn read(engine: &Client) -> Result<Vec<Owner>, GatewayError> {
    let mut owners = Vec::new();
    for database in databases(engine).await? {
        owners.extend(of(engine, &database).await?);
    }
    Ok(owners)
}

/// The owner of one database; `None` when it has none (or there is no such database).
pub async fn of(engine: &Client, database: &str) -> Result<Option<Owner>, GatewayError> {
    #[derive(Deserialize)]
    struct Row {
        gateway: String,
        catalog: String,
        epoch: String,
        at: String,
    }
    let table = TableName::new(database, OWNER_TABLE);
    let sql = format!(
        "SELECT toString(gateway) AS gateway, toString(catalog) AS catalog, toString(epoch) AS epoch, \
         toString(toUnixTimestamp64Milli(noted_at)) AS at FROM {table} ORDER BY noted_at DESC, epoch DESC LIMIT 1"
    );
    let found = match engine.query(sql).deadline(LOOK_DEADLINE).rows::<Row>().await {
        // 60 UNKNOWN_TABLE, 81 UNKNOWN_DATABASE.
        Err(error) if matches!(error.code(), Some(60 | 81)) => return Ok(None),
        other => other?.pop(),
    };
    let Some(row) = found else { return Ok(None) };
    let strange = || GatewayError::EngineAnswer(format!("a row of {table} that this version does not write"));
    let catalog: u64 = row.catalog.parse().map_err(|_| strange())?;
    let sender = match catalog {
        0 => None,
        catalog => Some(Sender {
            catalog: CatalogId::from_u64(catalog).ok_or_else(strange)?,
            epoch: row.epoch.parse().map_err(|_| strange())?,
        }),
    };
    Ok(Some(Owner {
        database: database.to_owned(),
        gateway: row.gateway.parse().map_err(|_| strange())?,
        sender,
        noted_at_ms: row.at.parse().map_err(|_| strange())?,
    }))
}

async fn databases(engine: &Client) -> Result<Vec<String>, GatewayError> {
    #[derive(Deserialize)]
    struct Row {
        database: String,
    }
    let sql = format!("SELECT database FROM system.tables WHERE name = '{OWNER_TABLE}' ORDER BY database");
    let rows: Vec<Row> = engine.query(sql).deadline(LOOK_DEADLINE).rows().await?;
    Ok(rows.into_iter().map(|row| row.database).collect())
}

/// Notes the sender in every database of this gateway's.
pub async fn note_everywhere(
    engine: &Client,
    gateway: GatewayId,
    sender: Sender,
) -> Result<(), GatewayError> {
    for owner in read(engine).await?.into_iter().filter(|owner| owner.gateway == gateway) {
        note(engine, &owner.database, gateway, Some(sender)).await?;
    }
    Ok(())
}

/// Makes sure that a database says it is this gateway's. `database` must be there.
///
/// # Errors
/// `ForeignDatabase` when it is another gateway's.
pub async fn take(
    engine: &Client,
    database: &str,
    gateway: GatewayId,
    sender: Option<Sender>,
) -> Result<(), GatewayError> {
    match of(engine, database).await? {
        Some(owner) if owner.gateway == gateway => Ok(()),
        Some(owner) => {
            Err(GatewayError::ForeignDatabase { database: owner.database, owner: owner.gateway, gateway })
        }
        None => note(engine, database, gateway, sender).await,
    }
}

/// Writes a row, and the table where it is missing.
pub async fn note(
    engine: &Client,
    database: &str,
    gateway: GatewayId,
    sender: Option<Sender>,
) -> Result<(), GatewayError> {
    #[derive(Serialize)]
    struct Row {
        gateway: u64,
        catalog: u64,
        epoch: u64,
    }
    let table = TableName::new(database, OWNER_TABLE);
    let sql = format!(
        "CREATE TABLE IF NOT EXISTS {table} (gateway UInt64, catalog UInt64, epoch UInt64, \
         noted_at DateTime64(3, 'UTC') DEFAULT now64(3)) ENGINE = MergeTree ORDER BY noted_at \
         SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, \
         min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1"
    );
    engine.query(sql).deadline(DDL_DEADLINE).execute().await?;
    let row = Row {
        gateway: gateway.get(),
        catalog: sender.map_or(0, |sender| sender.catalog.get()),
        epoch: sender.map_or(0, |sender| sender.epoch),
    };
    let line = serde_json::to_vec(&row).map_err(|e| GatewayError::EngineAnswer(e.to_string()))?;
    engine
        .query(format!("INSERT INTO {table} (gateway, catalog, epoch) FORMAT JSONEachRow"))
        .setting("async_insert", "0")
        .deadline(DDL_DEADLINE)
        .insert(futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from(line))]))
        .await?;
    tracing::debug!(database = quote::ident(database), "noted whose the cold database is");
    Ok(())
}
