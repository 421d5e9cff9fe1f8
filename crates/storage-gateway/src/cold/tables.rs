//! Cold tables: made when absent, compared when present.
//!
//! A cold table is the user's own table plus one column, `_batch UInt64 MATERIALIZED 0`: which batch
//! a row came with. It is not part of `SELECT *`. Rows that were there before the gateway have 0,
//! which is no batch's id, so reads through the service do not show them.
//!
//! Only plain `MergeTree` without a TTL is taken: any other engine of the family changes rows in the
//! background, and a TTL deletes them, so a proof would not stay true.

use clickhouse_http::client::Client;
use clickhouse_sql::quote;
use serde::Deserialize;
use storage_config::Compression;
use storage_types::{Column, gateway_api::EnsureTable, time_sql};

use super::{DDL_DEADLINE, LOOK_DEADLINE, TableName, custody, guard, owner};
use crate::{error::GatewayError, gateway::Gateway};

/// The column that says which batch a row came with.
pub const BATCH_COLUMN: &str = "_batch";
const BATCH_DEFINITION: &str = "`_batch` UInt64 MATERIALIZED 0 CODEC(Delta, ZSTD)";
/// A part is synced when it is written, and when a merge has made it of others: those are gone then.
const BATCH_SETTINGS: [&str; 4] = [
    "fsync_after_insert = 1",
    "fsync_part_directory = 1",
    "min_rows_to_fsync_after_merge = 1",
    "min_compressed_bytes_to_fsync_after_merge = 1",
];
/// Most columns of a table; ClickHouse itself advises against more than a few hundred.
const MAX_COLUMNS: usize = 4_096;

/// A cold table as the engine has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableFacts {
    /// Engine name.
    pub engine: String,
    /// `system.tables.partition_key`.
    pub partition_key: String,
    /// `system.tables.sorting_key`.
    pub sorting_key: String,
    /// Columns that an insert carries, in order, without `_batch`.
    pub columns: Vec<Column>,
    /// Type and default kind of `_batch`, when it is there.
    pub batch_column: Option<(String, String)>,
    /// A TTL stands somewhere in its definition.
    pub has_ttl: bool,
    /// Inserts and merges are synced to disk.
    pub synced: bool,
}

#[derive(Deserialize)]
struct TableRow {
    engine: String,
    partition_key: String,
    sorting_key: String,
    engine_full: String,
    definition: String,
}

#[derive(Deserialize)]
struct ColumnRow {
    name: String,
    data_type: String,
    default_kind: String,
}

/// Looks at a table; `None` when there is none of that name.
pub async fn describe(engine: &Client, table: &TableName) -> Result<Option<TableFacts>, GatewayError> {
    let filter = |database: &str, name: &str| {
        format!(
            "{database} = {} AND {name} = {}",
            quote::string(&table.database),
            quote::string(&table.table)
        )
    };
    // String literals (comments, defaults) may hold any word: they are cut out before TTL is looked for.
    let sql = format!(
        r"SELECT engine, partition_key, sorting_key, engine_full,
                 replaceRegexpAll(create_table_query, '\'(?:[^\'\\\\]|\\\\.)*\'', '') AS definition
          FROM system.tables WHERE {}",
        filter("database", "name")
    );
    let Some(row) = engine.query(sql).deadline(LOOK_DEADLINE).rows::<TableRow>().await?.pop() else {
        return Ok(None);
    };
    let sql = format!(
        "SELECT name, type AS data_type, default_kind FROM system.columns WHERE {} ORDER BY position",
        filter("database", "table")
    );
    let all: Vec<ColumnRow> = engine.query(sql).deadline(LOOK_DEADLINE).rows().await?;
    let batch_column =
        all.iter().find(|c| c.name == BATCH_COLUMN).map(|c| (c.data_type.clone(), c.default_kind.clone()));
    let columns = all
        .into_iter()
        .filter(|c| c.name != BATCH_COLUMN && matches!(c.default_kind.as_str(), "" | "DEFAULT"))
        .map(|c| Column { name: c.name, data_type: c.data_type })
        .collect();
    Ok(Some(TableFacts {
        engine: row.engine,
        partition_key: row.partition_key,
        sorting_key: row.sorting_key,
        columns,
        batch_column,
        has_ttl: row.definition.split_whitespace().any(|word| word == "TTL"),
        synced: BATCH_SETTINGS.iter().all(|setting| row.engine_full.contains(setting)),
    }))
}

/// Makes the table, or checks the one that is there and adds `_batch` to it; answers it as it stands.
///
/// The sender in force must not change meanwhile.
pub async fn ensure(gateway: &Gateway, wanted: &EnsureTable) -> Result<EnsureTable, GatewayError> {
    let (engine, storage) = (&gateway.engine, &gateway.config.storage);
    let table = TableName::new(&wanted.database, &wanted.table);
    check_request(wanted, &storage.databases)?;
    let absent = describe(engine, &table).await?.is_none();
    if absent {
        let database = quote::ident(&table.database);
        let sql = format!("CREATE DATABASE IF NOT EXISTS {database}");
        engine.query(sql).deadline(DDL_DEADLINE).execute().await?;
    }
    let id = gateway.identity.id().ok_or(GatewayError::Starting)?;
    owner::take(engine, &table.database, id, gateway.identity.sender()).await?;
    if absent {
        custody::check_absent(gateway, &table).await?;
        create(engine, wanted, &table, storage.compression).await?;
    } else {
        custody::check(gateway, &table).await?;
    }
    let facts = describe(engine, &table).await?.ok_or_else(|| unknown(&table))?;
    check_suitable(&table, &facts)?;
    if let Some(difference) = difference(&wanted.columns, &facts.columns) {
        return Err(GatewayError::SchemaDiffers { database: table.database, table: table.table, difference });
    }
    prepare(engine, &table, &facts).await?;
    custody::note(gateway, &table).await?;
    Ok(EnsureTable {
        database: table.database,
        table: table.table,
        columns: facts.columns,
        partition_by: facts.partition_key,
        order_by: facts.sorting_key,
    })
}

/// Checks that a table is ready for a batch with these columns.
pub async fn check_ready(
    engine: &Client,
    table: &TableName,
    columns: &[Column],
) -> Result<TableFacts, GatewayError> {
    let facts = describe(engine, table).await?.ok_or_else(|| unknown(table))?;
    if facts.batch_column.is_none() {
        return Err(unknown(table));
    }
    check_suitable(table, &facts)?;
    match difference(columns, &facts.columns) {
        Some(difference) => Err(GatewayError::SchemaDiffers {
            database: table.database.clone(),
            table: table.table.clone(),
            difference,
        }),
        None => Ok(facts),
    }
}

fn unknown(table: &TableName) -> GatewayError {
    GatewayError::UnknownTable { database: table.database.clone(), table: table.table.clone() }
}

/// Databases and tables that batches may go to.
pub fn check_name(database: &str, table: &str, allowed: &[String]) -> Result<(), GatewayError> {
    let forbid = |why: &str| Err(GatewayError::ForbiddenTable(format!("{database}.{table}: {why}")));
    let reserved = ["system", "information_schema"];
    if database.is_empty() || table.is_empty() || database.len() > 200 || table.len() > 200 {
        return forbid("names have 1 to 200 bytes");
    }
    if database.chars().chain(table.chars()).any(|c| c.is_control()) {
        return forbid("names have no control characters");
    }
    if reserved.contains(&database.to_ascii_lowercase().as_str()) {
        return forbid("that database is ClickHouse's own");
    }
    if table.starts_with("_stg_") || table.starts_with("_storage_") {
        return forbid("that name is the gateway's own");
    }
    if !allowed.is_empty() && !allowed.iter().any(|d| d == database) {
        return forbid("storage.databases does not list that database");
    }
    Ok(())
}

fn check_request(wanted: &EnsureTable, allowed: &[String]) -> Result<(), GatewayError> {
    check_name(&wanted.database, &wanted.table, allowed)?;
    let invalid = |what: String| Err(GatewayError::InvalidBody(what));
    if wanted.columns.is_empty() || wanted.columns.len() > MAX_COLUMNS {
        return invalid(format!("a table has 1 to {MAX_COLUMNS} columns"));
    }
    for column in &wanted.columns {
        if column.name.is_empty() || column.name == BATCH_COLUMN || column.name.chars().any(char::is_control)
        {
            return invalid(format!("{:?} cannot be a column's name", column.name));
        }
        if !guard::is_type(&column.data_type) {
            return invalid(format!("column {}: {:?} is not a type", column.name, column.data_type));
        }
    }
    if !guard::is_expression(&wanted.partition_by) {
        return invalid(format!("partition_by {:?} is not one expression", wanted.partition_by));
    }
    if !guard::is_expression(&wanted.order_by) {
        return invalid(format!("order_by {:?} is not one expression", wanted.order_by));
    }
    Ok(())
}

fn check_suitable(table: &TableName, facts: &TableFacts) -> Result<(), GatewayError> {
    let unsuitable = |reason: String| {
        Err(GatewayError::UnsuitableTable {
            database: table.database.clone(),
            table: table.table.clone(),
            reason,
        })
    };
    if facts.engine != "MergeTree" {
        return unsuitable(format!("its engine is {}, only MergeTree keeps rows as they came", facts.engine));
    }
    if facts.partition_key.is_empty() {
        return unsuitable("it has no partition key, by which batches are moved into it".into());
    }
    if facts.has_ttl {
        return unsuitable(
            "it has a TTL, which would delete archived rows (ALTER TABLE … REMOVE TTL)".into(),
        );
    }
    match &facts.batch_column {
        Some((data_type, kind)) if data_type != "UInt64" || kind != "MATERIALIZED" => {
            unsuitable(format!("its column _batch is {kind} {data_type}, not MATERIALIZED UInt64"))
        }
        _ => Ok(()),
    }
}

/// The first difference between declared columns and the table's, in words.
pub fn difference(declared: &[Column], actual: &[Column]) -> Option<String> {
    for (n, (ours, theirs)) in declared.iter().zip(actual).enumerate() {
        if ours != theirs {
            return Some(format!(
                "column {} is declared as {} {}; the cold table has {} {}",
                n + 1,
                ours.name,
                ours.data_type,
                theirs.name,
                theirs.data_type
            ));
        }
    }
    (declared.len() != actual.len())
        .then(|| format!("{} columns are declared; the cold table has {}", declared.len(), actual.len()))
}

async fn create(
    engine: &Client,
    wanted: &EnsureTable,
    table: &TableName,
    compression: Compression,
) -> Result<(), GatewayError> {
    let mut columns: Vec<String> = wanted
        .columns
        .iter()
        .map(|c| {
            let name = quote::ident(&c.name);
            format!("{name} {}{}", c.data_type, codec(&c.data_type, compression))
        })
        .collect();
    columns.push(BATCH_DEFINITION.into());
    let sql = format!(
        "CREATE TABLE IF NOT EXISTS {table} ({}) ENGINE = MergeTree \
         PARTITION BY ({}) ORDER BY ({}) SETTINGS {}",
        columns.join(", "),
        wanted.partition_by,
        wanted.order_by,
        BATCH_SETTINGS.join(", ")
    );
    engine.query(sql).deadline(DDL_DEADLINE).execute().await?;
    tracing::info!(%table, "cold table created");
    Ok(())
}

fn codec(data_type: &str, compression: Compression) -> &'static str {
    match (compression, time_sql::is_time_type(data_type)) {
        (Compression::Lz4, _) => "",
        (Compression::Zstd, false) => " CODEC(ZSTD(1))",
        (Compression::Zstd, true) => " CODEC(Delta, ZSTD(1))",
        (Compression::ZstdUltra, false) => " CODEC(ZSTD(12))",
        (Compression::ZstdUltra, true) => " CODEC(Delta, ZSTD(12))",
    }
}

/// Gives a table that was there before us what batches need.
async fn prepare(engine: &Client, table: &TableName, facts: &TableFacts) -> Result<(), GatewayError> {
    if facts.batch_column.is_none() {
        let sql = format!("ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {BATCH_DEFINITION}");
        engine.query(sql).deadline(DDL_DEADLINE).execute().await?;
        tracing::warn!(%table, "added column _batch: rows already there stay, but are not part of any answer");
    }
    if !facts.synced {
        let sql = format!("ALTER TABLE {table} MODIFY SETTING {}", BATCH_SETTINGS.join(", "));
        engine.query(sql).deadline(DDL_DEADLINE).execute().await?;
    }
    Ok(())
}
