//! From the tables of the file to the view that queries plan from.

use std::{collections::HashMap, sync::Arc};

use hybrid_planner::{CatalogVersion, Hide, HotPart, TableName, TableSnapshot, VisibleBatch};
use rusqlite::Connection;
use storage_types::{BatchId, MoveState, TimeRange};

use super::{CatalogError, INTERNAL_DATABASE, ManagedTable, MoveKind, decode, leases::Gate};

/// The view as the connection (or the transaction it is in) sees it now.
pub(super) fn build(db: &Connection) -> Result<CatalogVersion, CatalogError> {
    let version =
        db.query_row("SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'version'", [], |row| {
            row.get::<_, i64>(0)
        })?;
    let mut batches = visible_batches(db)?;
    let mut parts = hot_parts(db)?;
    let mut hides = hides(db)?;
    let tables = managed_tables(db)?
        .into_iter()
        .map(|table| {
            Arc::new(TableSnapshot {
                head: table.head(),
                cold: table.cold(),
                hot_parts: parts.remove(&table.logical).unwrap_or_default(),
                hides: hides.remove(&table.logical).unwrap_or_default(),
                batches: batches.remove(&table.logical).unwrap_or_default(),
                columns: table.columns,
                time_column: table.time_column,
                logical: table.logical,
            })
        })
        .collect();
    Ok(CatalogVersion { version: version.unsigned_abs(), tables })
}

/// Ranges that new leases wait for: partitions whose parts are just being dropped.
pub(super) fn gates(db: &Connection) -> Result<Vec<Gate>, CatalogError> {
    let mut read = db.prepare("SELECT logical, lo, hi FROM moves WHERE state = ?1 AND kind = ?2")?;
    let found = read.query_map([MoveState::Fencing.as_str(), MoveKind::Partition.as_str()], |row| {
        Ok(Gate { logical: row.get(0)?, range: TimeRange::new(row.get(1)?, row.get(2)?) })
    })?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// Every table that has been described, by name.
pub(super) fn managed_tables(db: &Connection) -> Result<Vec<ManagedTable>, CatalogError> {
    let mut read = db.prepare("SELECT definition FROM tables ORDER BY logical")?;
    let found: Vec<String> = read.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    found.iter().map(|text| decode(text)).collect()
}

fn group<T>(found: Vec<(String, T)>) -> HashMap<String, Vec<T>> {
    let mut grouped: HashMap<String, Vec<T>> = HashMap::new();
    for (logical, item) in found {
        grouped.entry(logical).or_default().push(item);
    }
    grouped
}

fn visible_batches(db: &Connection) -> Result<HashMap<String, Vec<VisibleBatch>>, CatalogError> {
    let mut read = db.prepare("SELECT logical, id, lo, hi FROM batches WHERE visible = 1 ORDER BY lo, id")?;
    let found = read.query_map([], |row| {
        let id = BatchId::from_u64(row.get::<_, i64>(1)?.unsigned_abs());
        Ok((row.get::<_, String>(0)?, id, TimeRange::new(row.get(2)?, row.get(3)?)))
    })?;
    let mut batches = Vec::new();
    for row in found {
        let (logical, id, range) = row?;
        let id = id.ok_or_else(|| CatalogError::Corrupt("batch id out of range".into()))?;
        batches.push((logical, VisibleBatch { id, range }));
    }
    Ok(group(batches))
}

fn hot_parts(db: &Connection) -> Result<HashMap<String, Vec<HotPart>>, CatalogError> {
    let mut read = db.prepare("SELECT logical, name, lo, hi, windowed FROM hot_parts ORDER BY name")?;
    let found = read.query_map([], |row| {
        let range = TimeRange::new(row.get(2)?, row.get(3)?);
        let table = TableName::new(INTERNAL_DATABASE, row.get::<_, String>(1)?);
        let window = row.get::<_, bool>(4)?.then_some(range);
        Ok((row.get::<_, String>(0)?, HotPart { table, range, window }))
    })?;
    Ok(group(found.collect::<Result<_, _>>()?))
}

fn hides(db: &Connection) -> Result<HashMap<String, Vec<Hide>>, CatalogError> {
    let mut read = db.prepare("SELECT logical, lo, hi, partition_id, snapshot FROM hides ORDER BY move")?;
    let found = read.query_map([], |row| {
        let hide = Hide {
            range: TimeRange::new(row.get(1)?, row.get(2)?),
            partition_id: row.get(3)?,
            snapshot: TableName::new(INTERNAL_DATABASE, row.get::<_, String>(4)?),
        };
        Ok((row.get::<_, String>(0)?, hide))
    })?;
    Ok(group(found.collect::<Result<_, _>>()?))
}
