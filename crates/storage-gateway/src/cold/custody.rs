//! Whether the cold tables are still those that hold our batches.
//!
//! A NAS may come up without its volume, a ClickHouse may be another one, a table may be dropped, emptied or
//! made anew. Then a query would answer with fewer rows than it should, and nobody would know. So the
//! journal keeps the UUID of each table that holds batches, and how many rows they are; both are compared
//! with what the engine says, at most every few seconds, before anything is read from or written to the table.
//!
//! | state | what is seen |
//! |---|---|
//! | `ok` | the table of that UUID, with at least so many rows |
//! | `lost` | no table of that name |
//! | `replaced` | a table of that name with another UUID |
//! | `missing_rows` | fewer rows than its batches have |
//! | `foreign` | its database says that it is another gateway's ([`super::owner`]) |
//!
//! A table that misses rows answers no query; batches and proofs go on, since the rows that are there are
//! its own, and proofs say which batches lack some. In the other states it is not touched at all.
//!
//! Rows that are no batch's are counted too, so they may hide as many missing ones. What an operator
//! accepted ([`accept`]) is not reported again.

use std::{collections::HashMap, time::Duration};

use clickhouse_sql::{Tokens, quote};
use serde::Deserialize;
use storage_types::gateway_api::{ColdTableState, ColdTableStatus};
use tokio::time::Instant;

use super::{LOOK_DEADLINE, TableName, owner};
use crate::{error::GatewayError, gateway::Gateway, journal::ColdTable};

/// A look is believed for so long.
const FRESH: Duration = Duration::from_secs(5);
/// Attempts to find the journal the same before and after a look at the engine.
const ATTEMPTS: u32 = 5;
/// Longest wait for a look that a status needs.
const STATUS_WAIT: Duration = Duration::from_secs(3);
/// Most tables of a status.
const LISTED: usize = 1_000;

/// What was seen last, and when.
#[derive(Default)]
pub struct Custody {
    seen: tokio::sync::Mutex<Option<(Instant, Vec<ColdTableStatus>)>>,
}

/// Every table that holds batches, as it stands.
pub async fn look(gateway: &Gateway) -> Result<Vec<ColdTableStatus>, GatewayError> {
    let mut seen = gateway.custody.seen.lock().await;
    if let Some((at, tables)) = &*seen
        && at.elapsed() < FRESH
    {
        return Ok(tables.clone());
    }
    let tables = compare(gateway).await?;
    let before = seen.take().map(|(_, tables)| tables).unwrap_or_default();
    report(&before, &tables);
    *seen = Some((Instant::now(), tables.clone()));
    Ok(tables)
}

/// As [`look`], for a status: without an engine that answers soon nothing is known.
pub async fn listed(gateway: &Gateway) -> Vec<ColdTableStatus> {
    let looked = tokio::time::timeout(STATUS_WAIT, look(gateway)).await;
    let mut tables = looked.ok().and_then(Result::ok).unwrap_or_default();
    tables.truncate(LISTED);
    tables
}

/// Refuses a table that is not the one that the journal knows.
///
/// # Errors
/// `ColdTable`; what the engine or the journal refuse.
pub async fn check(gateway: &Gateway, table: &TableName) -> Result<(), GatewayError> {
    let tables = look(gateway).await?;
    match tables.iter().find(|t| t.database == table.database && t.table == table.table) {
        Some(found) if found.state != ColdTableState::MissingRows => refuse(found),
        _ => Ok(()),
    }
}

/// Refuses a query that may read such a table, or one that misses rows.
///
/// # Errors
/// As [`check`].
pub async fn check_query(gateway: &Gateway, sql: &str) -> Result<(), GatewayError> {
    let tables = look(gateway).await?;
    let broken: Vec<_> = tables.iter().filter(|table| table.state != ColdTableState::Ok).collect();
    if broken.is_empty() {
        return Ok(());
    }
    let tokens = Tokens::read(sql)?;
    match broken.into_iter().find(|table| names(&tokens, &table.database, &table.table)) {
        Some(table) => refuse(table),
        None => Ok(()),
    }
}

/// Whether a text may mean the table: by its name, unless it is plainly that of another database.
fn names(tokens: &Tokens, database: &str, table: &str) -> bool {
    (0..tokens.len()).any(|i| {
        let qualified = i >= 2 && tokens.sym(i - 1, ".") && tokens.is_name(i - 2);
        tokens.is_name(i) && tokens.name(i) == table && (!qualified || tokens.name(i - 2) == database)
    })
}

fn refuse(found: &ColdTableStatus) -> Result<(), GatewayError> {
    if found.state == ColdTableState::Ok {
        return Ok(());
    }
    Err(GatewayError::ColdTable(Box::new(found.clone())))
}

/// A table is about to be made: refuses where it was there before.
pub async fn check_absent(gateway: &Gateway, table: &TableName) -> Result<(), GatewayError> {
    forget_look(gateway).await;
    check(gateway, table).await
}

/// The table that is there now is the one that holds batches, if none was known before.
pub async fn note(gateway: &Gateway, table: &TableName) -> Result<(), GatewayError> {
    let there = there(gateway, std::slice::from_ref(table)).await?;
    if let Some(there) = there.get(table) {
        gateway.journal.note_cold_table(&table.database, &table.table, &there.uuid).await?;
    }
    Ok(())
}

/// What is there now is accepted as it is: `table`, or with `None` that the database is this gateway's.
pub async fn accept(gateway: &Gateway, database: &str, table: Option<&str>) -> Result<(), GatewayError> {
    match table {
        None => {
            let id = gateway.identity.id().ok_or(GatewayError::Starting)?;
            owner::note(&gateway.engine, database, id, gateway.identity.sender()).await?;
        }
        Some(name) => {
            let table = TableName::new(database, name);
            let there = there(gateway, std::slice::from_ref(&table)).await?.remove(&table);
            let rows = there.as_ref().map_or(0, |there| there.rows);
            let uuid = there.map(|there| there.uuid);
            if !gateway.journal.accept_cold_table(database, name, uuid.as_deref(), rows).await? {
                return Err(GatewayError::UnknownTable { database: database.into(), table: name.into() });
            }
        }
    }
    tracing::warn!(database, table, "accepted as it is");
    forget_look(gateway).await;
    Ok(())
}

async fn forget_look(gateway: &Gateway) {
    if let Some((at, _)) = &mut *gateway.custody.seen.lock().await {
        // The states stay, so that a change is reported once.
        *at = Instant::now().checked_sub(FRESH).unwrap_or(*at);
    }
}

/// Logs what changed between two looks.
fn report(before: &[ColdTableStatus], now: &[ColdTableStatus]) {
    for table in now {
        let was = before.iter().find(|b| b.database == table.database && b.table == table.table);
        match (was.map_or(ColdTableState::Ok, |was| was.state), table.state) {
            (was, is) if was == is => {}
            (_, ColdTableState::Ok) => {
                tracing::info!(
                    table = format!("{}.{}", table.database, table.table),
                    "the cold table is whole again"
                );
            }
            (_, _) => tracing::error!("{}", GatewayError::ColdTable(Box::new(table.clone()))),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct There {
    uuid: String,
    rows: u64,
}

async fn compare(gateway: &Gateway) -> Result<Vec<ColdTableStatus>, GatewayError> {
    let mut known = gateway.journal.cold_tables().await?;
    if known.is_empty() {
        return Ok(Vec::new());
    }
    let mut statuses = Vec::new();
    for _ in 0..ATTEMPTS {
        let names: Vec<_> = known.iter().map(|t| TableName::new(&t.database, &t.table)).collect();
        let there = there(gateway, &names).await?;
        let foreign = foreign(gateway, &known).await?;
        statuses = known
            .iter()
            .zip(&names)
            .map(|(known, name)| status(known, there.get(name), foreign.contains(&known.database)))
            .collect();
        // Rows come and go while batches are attached and removed: the sums of one moment count.
        let after = gateway.journal.cold_tables().await?;
        if after == known {
            adopt(gateway, &known, &there).await?;
            break;
        }
        known = after;
    }
    Ok(statuses)
}

/// Tables that an older version of this daemon filled have no UUID on record; and rows that came back need
/// no exception any more.
async fn adopt(
    gateway: &Gateway,
    known: &[ColdTable],
    there: &HashMap<TableName, There>,
) -> Result<(), GatewayError> {
    for table in known {
        let Some(there) = there.get(&TableName::new(&table.database, &table.table)) else { continue };
        if table.uuid.is_none() {
            gateway.journal.note_cold_table(&table.database, &table.table, &there.uuid).await?;
        }
        if table.accepted > 0 && there.rows >= table.rows {
            let (database, name) = (&table.database, &table.table);
            gateway.journal.accept_cold_table(database, name, Some(&there.uuid), there.rows).await?;
        }
    }
    Ok(())
}

fn status(known: &ColdTable, there: Option<&There>, foreign: bool) -> ColdTableStatus {
    let state = match there {
        _ if foreign => ColdTableState::Foreign,
        _ if known.batches == 0 => ColdTableState::Ok,
        None if known.accepted >= known.rows => ColdTableState::Ok,
        None => ColdTableState::Lost,
        Some(there) if known.uuid.as_ref().is_some_and(|uuid| *uuid != there.uuid) => {
            ColdTableState::Replaced
        }
        Some(there) if there.rows.saturating_add(known.accepted) < known.rows => ColdTableState::MissingRows,
        Some(_) => ColdTableState::Ok,
    };
    ColdTableStatus {
        database: known.database.clone(),
        table: known.table.clone(),
        uuid: known.uuid.clone(),
        state,
        batches: known.batches,
        rows: known.rows,
        rows_found: there.map(|there| there.rows),
    }
}

/// What the engine has of these tables: its own count of a MergeTree's rows costs no read.
async fn there(gateway: &Gateway, tables: &[TableName]) -> Result<HashMap<TableName, There>, GatewayError> {
    #[derive(Deserialize)]
    struct Row {
        database: String,
        name: String,
        id: String,
        rows: String,
    }
    let names: Vec<String> = tables
        .iter()
        .map(|t| format!("({}, {})", quote::string(&t.database), quote::string(&t.table)))
        .collect();
    let sql = format!(
        "SELECT database, name, toString(uuid) AS id, toString(ifNull(total_rows, 0)) AS rows FROM system.tables \
         WHERE (database, name) IN ({})",
        names.join(", ")
    );
    let rows: Vec<Row> = gateway.engine.query(sql).deadline(LOOK_DEADLINE).rows().await?;
    rows.into_iter()
        .map(|row| {
            let strange = || GatewayError::EngineAnswer(format!("{:?} as a count of rows", row.rows));
            let rows = row.rows.parse().map_err(|_| strange())?;
            Ok((TableName::new(row.database, row.name), There { uuid: row.id, rows }))
        })
        .collect()
}

/// Databases that are another gateway's.
async fn foreign(gateway: &Gateway, known: &[ColdTable]) -> Result<Vec<String>, GatewayError> {
    let mut databases: Vec<&String> = known.iter().map(|table| &table.database).collect();
    databases.dedup();
    let mut foreign = Vec::new();
    for database in databases {
        let owner = owner::of(&gateway.engine, database).await?;
        if owner.is_some_and(|owner| Some(owner.gateway) != gateway.identity.id()) {
            foreign.push(database.clone());
        }
    }
    Ok(foreign)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_ok_only_with_its_uuid_and_its_rows() {
        let known = ColdTable {
            database: "d".into(),
            table: "t".into(),
            uuid: Some("u".into()),
            batches: 2,
            rows: 100,
            accepted: 0,
        };
        let there = |uuid: &str, rows| Some(There { uuid: uuid.into(), rows });
        let accepted = ColdTable { accepted: 40, ..known.clone() };
        let unknown = ColdTable { uuid: None, ..known.clone() };
        let lost = ColdTable { uuid: None, accepted: 100, ..known.clone() };
        let empty = ColdTable { batches: 0, rows: 0, ..known.clone() };
        for (known, there, foreign, state) in [
            (&known, there("u", 100), false, ColdTableState::Ok),
            (&known, there("u", 120), false, ColdTableState::Ok),
            (&known, there("u", 99), false, ColdTableState::MissingRows),
            (&known, there("x", 100), false, ColdTableState::Replaced),
            (&known, None, false, ColdTableState::Lost),
            (&known, there("u", 100), true, ColdTableState::Foreign),
            (&accepted, there("u", 60), false, ColdTableState::Ok),
            (&accepted, there("u", 59), false, ColdTableState::MissingRows),
            (&unknown, there("x", 100), false, ColdTableState::Ok),
            (&lost, None, false, ColdTableState::Ok),
            (&empty, None, false, ColdTableState::Ok),
        ] {
            assert_eq!(status(known, there.as_ref(), foreign).state, state, "{known:?} {there:?}");
        }
    }

    #[test]
    fn a_query_names_a_table_however_it_is_written() {
        for (sql, named) in [
            ("SELECT * FROM cold.trades", true),
            ("SELECT * FROM `cold` . \"trades\" AS x", true),
            ("SELECT * FROM trades", true),
            ("SELECT * FROM other.trades", false),
            ("SELECT 'cold.trades' FROM cold.quotes -- cold.trades", false),
        ] {
            assert_eq!(names(&Tokens::read(sql).unwrap(), "cold", "trades"), named, "{sql}");
        }
    }
}
