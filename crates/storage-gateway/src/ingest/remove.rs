//! Taking batches' rows out of a live table.
//!
//! Where they are is asked first, within their manifests' time range, and only those partitions are
//! rewritten. A deletion that did not end in time goes on in the engine: it is waited for, never started a
//! second time.

use std::{collections::BTreeSet, sync::Arc};

use clickhouse_http::client::Client;
use clickhouse_sql::quote;
use serde::Deserialize;
use storage_types::Manifest;

use crate::{
    cold::{LOOK_DEADLINE, PROOF_DEADLINE, TableName, proof},
    error::GatewayError,
};

/// Partitions named in one statement; where there are more the whole table is looked through.
const MOST_PARTITIONS: usize = 200;

/// Takes every row of these batches, all of one table, out of it. Repeatable. Only for batches that no
/// query may see.
pub async fn take_out(engine: &Client, batches: &[Arc<Manifest>]) -> Result<(), GatewayError> {
    let Some(first) = batches.first() else { return Ok(()) };
    let table = proof::live(first);
    let filter = proof::filter_of(batches);
    let partitions = partitions(engine, &table, &filter).await?;
    if partitions.is_empty() {
        return Ok(());
    }
    if is_running(engine, &table, batches).await? {
        return Err(GatewayError::StillRemoving { table: table.to_string() });
    }
    tracing::info!(%table, batches = batches.len(), partitions = partitions.len(), "taking rows out");
    let commands: Vec<String> = if partitions.len() > MOST_PARTITIONS {
        vec![format!("DELETE WHERE {filter}")]
    } else {
        let within = |id: &String| format!("DELETE IN PARTITION ID {} WHERE {filter}", quote::string(id));
        partitions.iter().map(within).collect()
    };
    engine
        .query(format!("ALTER TABLE {table} {}", commands.join(", ")))
        .setting("mutations_sync", "2")
        .deadline(PROOF_DEADLINE)
        .execute()
        .await?;
    match self::partitions(engine, &table, &filter).await?.len() {
        0 => Ok(()),
        left => Err(GatewayError::EngineAnswer(format!(
            "rows in {left} partitions of {table} after their deletion"
        ))),
    }
}

/// Partitions that hold rows of the batches.
async fn partitions(
    engine: &Client,
    table: &TableName,
    filter: &str,
) -> Result<BTreeSet<String>, GatewayError> {
    #[derive(Deserialize)]
    struct Row {
        id: String,
    }
    let sql = format!("SELECT DISTINCT _partition_id AS id FROM {table} WHERE {filter}");
    let rows: Vec<Row> = proof::read(engine, sql).deadline(PROOF_DEADLINE).rows().await?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}

/// Whether a deletion of one of these batches is under way.
async fn is_running(
    engine: &Client,
    table: &TableName,
    batches: &[Arc<Manifest>],
) -> Result<bool, GatewayError> {
    #[derive(Deserialize)]
    struct Row {
        command: String,
    }
    // Ids have so many digits that no other number in a deletion is one of them by chance.
    let sql = format!(
        "SELECT command FROM system.mutations WHERE NOT is_done AND database = {} AND table = {} \
         AND position(command, '_batch') > 0",
        quote::string(&table.database),
        quote::string(&table.table)
    );
    let rows: Vec<Row> = engine.query(sql).deadline(LOOK_DEADLINE).rows().await?;
    let ids: BTreeSet<String> = batches.iter().map(|manifest| manifest.batch.to_string()).collect();
    Ok(rows.iter().any(|row| row.command.split(|c: char| !c.is_ascii_digit()).any(|word| ids.contains(word))))
}
