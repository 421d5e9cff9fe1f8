//! A catalog that was lost is put together again from the gateway's manifests and the tables of the
//! internal database.
//!
//! | what is found | what it was | what it becomes |
//! |---|---|---|
//! | a published batch, no snapshot | reclaimed | visible in cold |
//! | a published batch and its snapshot | published | visible in cold; proven again, then reclaimed |
//! | a snapshot, all its batches proven, none published | proven, fencing, fenced, or published and not told | fencing by content: snapshot visible, its rows hidden in the head |
//! | a snapshot without all its batches | not fenced yet | dropped; the head has the rows |
//! | a delta | left by a move | visible, unless a published move took it |
//!
//! The third line is right whichever of the four it was: rows that the head still has are hidden by
//! their hash, rows that it has lost are seen in the snapshot. It is a table's own comment
//! ([`SnapshotNote`]) that says which move it belongs to. Batches that fit none of these lines stay on
//! the gateway, unseen, and are named in the log.
//!
//! Everything found is written in one transaction; a crash before it leaves the catalog as empty as it
//! was, and it is all done again.

use std::collections::BTreeMap;

use storage_config::TableConfig;
use storage_types::{
    BatchState, Manifest, MigrationId, MoveId, MoveState, Proof, TimeRange, gateway_api::BatchFacts,
    service_api::MigrationState,
};

use super::{GatewayClient, StepError};
use crate::{
    catalog::{
        Catalog, INTERNAL_DATABASE, ManagedTable, MigrationRecord, MoveKind, MoveRecord, RestoredMove,
        internal_table,
    },
    consistency::SnapshotNote,
    hot::Hot,
};

/// What a rebuild needs.
pub struct Rebuild<'a> {
    /// Empty, or about to be found so.
    pub catalog: &'a Catalog,
    /// The hot engine.
    pub hot: &'a Hot,
    /// The gateway.
    pub gateway: &'a GatewayClient,
    /// Managed tables.
    pub tables: &'a [TableConfig],
    /// Id of the migration that the restored moves are filed under.
    pub migration: MigrationId,
    /// Unix seconds.
    pub now: i64,
}

#[derive(Default)]
struct Found {
    published: bool,
    batches: Vec<Manifest>,
}

/// Rebuilds the catalog. Returns the number of batches that became visible.
pub async fn rebuild(with: &Rebuild<'_>) -> Result<u64, StepError> {
    let mut by_move = batches_by_move(with).await?;
    let internal = with.hot.internal_tables().await?;
    let notes: Vec<(String, SnapshotNote)> = internal
        .into_iter()
        .filter_map(|table| SnapshotNote::parse(&table.comment).map(|note| (table.name, note)))
        .collect();
    let mut moves = Vec::new();
    let mut unfinished = Vec::new();
    for (_, note) in notes.iter().filter(|(name, _)| name.starts_with("_snap_")) {
        let found = by_move.remove(&note.move_id).unwrap_or_default();
        match restore_with_snapshot(with, note, found).await? {
            Some(restored) => moves.push(restored),
            None => unfinished.push(note.move_id),
        }
    }
    for (move_id, found) in by_move {
        if found.published {
            moves.push(restore_published(with, move_id, found).await?);
        } else {
            tracing::warn!(%move_id, batches = found.batches.len(),
                "batches on the gateway that no table here belongs to stay there, unseen");
        }
    }
    let deltas = deltas(with, &notes, &moves, &unfinished).await?;
    let visible =
        moves.iter().filter(|m| m.record.state != MoveState::Fencing).map(|m| m.batches.len() as u64).sum();
    if !moves.is_empty() || !deltas.is_empty() {
        file_migration(with)?;
        with.catalog.restore(&moves, &deltas)?;
    }
    // Only now, when what is needed of them is known elsewhere.
    for move_id in unfinished {
        with.hot.drop_internal(&internal_table("_snap", move_id)).await?;
        with.hot.drop_internal(&internal_table("_delta", move_id)).await?;
    }
    Ok(visible)
}

async fn batches_by_move(with: &Rebuild<'_>) -> Result<BTreeMap<MoveId, Found>, StepError> {
    let mut by_move: BTreeMap<MoveId, Found> = BTreeMap::new();
    let mut after = None;
    loop {
        let page = with.gateway.batches(after).await?;
        for BatchFacts { state, manifest } in page.batches {
            if !matches!(state, BatchState::Proven | BatchState::Published) {
                continue;
            }
            let found = by_move.entry(manifest.move_id).or_default();
            found.published |= state == BatchState::Published;
            found.batches.push(manifest);
        }
        after = page.next;
        if after.is_none() {
            return Ok(by_move);
        }
    }
}

/// `None`: the move had not come to its fence.
async fn restore_with_snapshot(
    with: &Rebuild<'_>,
    note: &SnapshotNote,
    found: Found,
) -> Result<Option<RestoredMove>, StepError> {
    let Some(first) = found.batches.first() else { return Ok(None) };
    let mut record = record_of(with, note.move_id, first).await?;
    record.partition_id.clone_from(&note.partition_id);
    record.partition.clone_from(&note.partition);
    record.source_delta = note.source_delta;
    let sum = found.batches.iter().fold(Proof::default(), |sum, m| sum.plus(m.proof));
    record.proof = Some(sum);
    record.range = found.batches.iter().fold(TimeRange::new(0, 0), |hull, m| hull.hull(m.range));
    if found.published {
        record.state = MoveState::Published;
        record.kind = MoveKind::parse(&note.kind).unwrap_or(MoveKind::Window);
        record.published = Some((with.catalog.current().version + 1, with.now));
        return Ok(Some(RestoredMove { record, batches: found.batches }));
    }
    let held = with.hot.proof(&record.table, &record.snapshot(), None, record.range).await?;
    if held != sum {
        return Ok(None);
    }
    if record.source_delta.is_some() {
        // Nothing in the head to hide: its delta stays visible and is moved again.
        return Ok(None);
    }
    record.kind = MoveKind::Window;
    record.state = MoveState::Fencing;
    Ok(Some(RestoredMove { record, batches: found.batches }))
}

async fn restore_published(
    with: &Rebuild<'_>,
    move_id: MoveId,
    found: Found,
) -> Result<RestoredMove, StepError> {
    let first =
        found.batches.first().ok_or_else(|| StepError::Failed(format!("move {move_id} has no batches")))?;
    let mut record = record_of(with, move_id, first).await?;
    record.state = MoveState::Reclaimed;
    record.proof = Some(found.batches.iter().fold(Proof::default(), |sum, m| sum.plus(m.proof)));
    record.range = found.batches.iter().fold(TimeRange::new(0, 0), |hull, m| hull.hull(m.range));
    Ok(RestoredMove { record, batches: found.batches })
}

/// Deltas that are still where their rows are seen.
async fn deltas(
    with: &Rebuild<'_>,
    notes: &[(String, SnapshotNote)],
    moves: &[RestoredMove],
    unfinished: &[MoveId],
) -> Result<Vec<(MoveRecord, u64)>, StepError> {
    let mut deltas = Vec::new();
    for (_, note) in notes.iter().filter(|(name, _)| name.starts_with("_delta_")) {
        let taken = moves.iter().any(|m| m.record.source_delta == Some(note.move_id));
        if taken || unfinished.contains(&note.move_id) {
            continue;
        }
        let table = table_of(with, &note.table).await?;
        let Some(table) = table else { continue };
        let delta = internal_table("_delta", note.move_id);
        let rows = with.hot.proof(&table, &delta, None, TimeRange::ALL).await?.rows;
        let mut record = empty_record(with.migration, note.move_id, table);
        record.partition_id.clone_from(&note.partition_id);
        record.range = note.range;
        if rows > 0 {
            deltas.push((record, rows));
        }
    }
    Ok(deltas)
}

async fn table_of(with: &Rebuild<'_>, logical: &str) -> Result<Option<ManagedTable>, StepError> {
    let Some(config) = with.tables.iter().find(|table| table.logical == logical) else { return Ok(None) };
    Ok(with.hot.describe(config).await?.ok().map(|described| described.table))
}

/// The table as the engine has it, or, where it is gone, as the manifest remembers it.
async fn record_of(with: &Rebuild<'_>, id: MoveId, manifest: &Manifest) -> Result<MoveRecord, StepError> {
    let table = match table_of(with, &manifest.table).await? {
        Some(table) => table,
        None => ManagedTable {
            logical: manifest.table.clone(),
            head: (INTERNAL_DATABASE.to_owned(), manifest.table.clone()),
            cold: (manifest.cold_database.clone(), manifest.cold_table.clone()),
            time_column: manifest.time_column.clone(),
            time_type: manifest
                .columns
                .iter()
                .find(|c| c.name == manifest.time_column)
                .map(|c| c.data_type.clone())
                .unwrap_or_default(),
            columns: manifest.columns.clone(),
            partition_key: String::new(),
            sorting_key: String::new(),
            cold_sorting_key: String::new(),
        },
    };
    let mut record = empty_record(with.migration, id, table);
    record.partition_id = manifest.partition_ids.first().cloned().unwrap_or_default();
    Ok(record)
}

fn empty_record(migration: MigrationId, id: MoveId, table: ManagedTable) -> MoveRecord {
    MoveRecord {
        id,
        migration,
        kind: MoveKind::Window,
        partition_id: String::new(),
        partition: String::new(),
        range: TimeRange::new(0, 0),
        source_delta: None,
        state: MoveState::Reclaimed,
        table,
        rows: 0,
        proof: None,
        late_rows: 0,
        fence_parts: Vec::new(),
        published: None,
        error: None,
    }
}

fn file_migration(with: &Rebuild<'_>) -> Result<(), StepError> {
    with.catalog.start_migration(&MigrationRecord {
        id: with.migration,
        trigger: "recovery".into(),
        state: MigrationState::Running,
        tables: with.tables.iter().map(|table| table.logical.clone()).collect(),
        before: 0,
        planned: true,
        started_at: with.now,
        finished_at: None,
        wire_bytes: 0,
        errors: Vec::new(),
    })?;
    with.catalog.migration_planned(with.migration)?;
    Ok(())
}
