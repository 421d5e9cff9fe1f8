//! The journal of migrations, and the reports made from it.

use moves::{BatchState, Move, Waiting};
use rusqlite::{OptionalExtension, Row};
use storage_types::{
    MigrationId,
    service_api::{MigrationReport, MigrationState, MoveReport, WaitReport},
};

use super::{Catalog, CatalogError, decode, encode};

/// A migration.
#[derive(Debug, Clone)]
pub struct MigrationRecord {
    /// Its id.
    pub id: MigrationId,
    /// `api`, `schedule` or `recovery`.
    pub trigger: String,
    /// How it stands.
    pub state: MigrationState,
    /// Logical tables it is about.
    pub tables: Vec<String>,
    /// Rows before this second move.
    pub before: i64,
    /// Its moves have been chosen.
    pub planned: bool,
    /// Unix seconds.
    pub started_at: i64,
    /// Unix seconds.
    pub finished_at: Option<i64>,
    /// Bytes sent, with repeats.
    pub wire_bytes: u64,
    /// What went wrong.
    pub errors: Vec<String>,
}

impl MigrationRecord {
    /// One that begins now, none of whose moves is chosen.
    pub fn new(tables: Vec<String>, before: i64, trigger: &str) -> Self {
        let now_ms = chrono::Utc::now().timestamp_millis();
        Self {
            id: MigrationId::from_parts(now_ms.unsigned_abs(), rand::random()),
            trigger: trigger.to_owned(),
            state: MigrationState::Running,
            tables,
            before,
            planned: false,
            started_at: now_ms.div_euclid(1000),
            finished_at: None,
            wire_bytes: 0,
            errors: Vec::new(),
        }
    }
}

/// Errors kept of one migration; more say nothing new.
const MAX_ERRORS: usize = 50;

fn cancelled(id: MigrationId) -> String {
    format!("cancelled {id}")
}

const fn state_name(state: MigrationState) -> &'static str {
    match state {
        MigrationState::Running => "running",
        MigrationState::Done => "done",
        MigrationState::Failed => "failed",
        MigrationState::Cancelled => "cancelled",
    }
}

fn parse_state(text: &str) -> Result<MigrationState, CatalogError> {
    [MigrationState::Running, MigrationState::Done, MigrationState::Failed, MigrationState::Cancelled]
        .into_iter()
        .find(|state| state_name(*state) == text)
        .ok_or_else(|| CatalogError::Corrupt(format!("migration state {text:?}")))
}

type Raw = (i64, String, String, i64, i64, Option<i64>, i64, String, String, bool);

fn raw(row: &Row<'_>) -> rusqlite::Result<Raw> {
    Ok((
        row.get(0)?,
        row.get(1)?,
        row.get(2)?,
        row.get(3)?,
        row.get(4)?,
        row.get(5)?,
        row.get(6)?,
        row.get(7)?,
        row.get(8)?,
        row.get(9)?,
    ))
}

fn record(raw: Raw) -> Result<MigrationRecord, CatalogError> {
    let (id, trigger, state, before, started_at, finished_at, wire_bytes, errors, tables, planned) = raw;
    Ok(MigrationRecord {
        id: MigrationId::from_u64(id.unsigned_abs())
            .ok_or_else(|| CatalogError::Corrupt("migration id".into()))?,
        trigger,
        state: parse_state(&state)?,
        tables: decode(&tables)?,
        planned,
        before,
        started_at,
        finished_at,
        wire_bytes: wire_bytes.unsigned_abs(),
        errors: decode(&errors)?,
    })
}

const COLUMNS: &str =
    "id, trigger, state, before, started_at, finished_at, wire_bytes, errors, tables, planned";

/// What a move waits for as callers see it.
pub(crate) fn wait_report(waiting: &Waiting) -> WaitReport {
    WaitReport {
        what: waiting.what.clone(),
        since: waiting.since,
        help: waiting.help.clone(),
        operator: waiting.operator,
    }
}

impl Catalog {
    /// Starts a migration. Others may be running: each is a label on moves, no lock.
    pub fn start_migration(&self, new: &MigrationRecord) -> Result<(), CatalogError> {
        self.write(|txn| {
            txn.execute(
                "INSERT INTO migrations (id, trigger, state, before, planned, started_at, tables) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                (
                    new.id.to_sql(),
                    &new.trigger,
                    state_name(new.state),
                    new.before,
                    new.planned,
                    new.started_at,
                    encode(&new.tables)?,
                ),
            )?;
            Ok(())
        })
    }

    /// The migration with this id.
    pub fn migration(&self, id: MigrationId) -> Result<Option<MigrationRecord>, CatalogError> {
        let sql = format!("SELECT {COLUMNS} FROM migrations WHERE id = ?1");
        let found = self.db().query_row(&sql, [id.to_sql()], raw).optional()?;
        found.map(record).transpose()
    }

    /// The latest ones, newest first.
    pub fn migrations(&self, limit: u32) -> Result<Vec<MigrationRecord>, CatalogError> {
        let sql = format!("SELECT {COLUMNS} FROM migrations ORDER BY id DESC LIMIT ?1");
        let db = self.db();
        let found: Vec<Raw> = db.prepare(&sql)?.query_map([limit], raw)?.collect::<Result<_, _>>()?;
        found.into_iter().map(record).collect()
    }

    /// Those that are running, oldest first.
    pub fn running_migrations(&self) -> Result<Vec<MigrationRecord>, CatalogError> {
        let sql = format!("SELECT {COLUMNS} FROM migrations WHERE state = 'running' ORDER BY id");
        let db = self.db();
        let found: Vec<Raw> = db.prepare(&sql)?.query_map([], raw)?.collect::<Result<_, _>>()?;
        found.into_iter().map(record).collect()
    }

    /// Somebody has cancelled it; no further moves of it are chosen.
    pub fn cancel_migration(&self, id: MigrationId) -> Result<(), CatalogError> {
        self.set_note(&cancelled(id), "1")?;
        self.migration_planned(id)
    }

    /// Whether somebody has.
    pub fn is_cancelled(&self, id: MigrationId) -> Result<bool, CatalogError> {
        Ok(self.note(&cancelled(id))?.is_some())
    }

    /// Its moves have been chosen and written down.
    pub fn migration_planned(&self, id: MigrationId) -> Result<(), CatalogError> {
        self.write(|txn| {
            txn.execute("UPDATE migrations SET planned = 1 WHERE id = ?1", [id.to_sql()])?;
            Ok(())
        })
    }

    /// It has ended so.
    pub fn finish_migration(
        &self,
        id: MigrationId,
        state: MigrationState,
        at: i64,
    ) -> Result<(), CatalogError> {
        self.write(|txn| {
            let sql = "UPDATE migrations SET state = ?2, finished_at = ?3 WHERE id = ?1";
            txn.execute(sql, (id.to_sql(), state_name(state), at))?;
            Ok(())
        })
    }

    /// Adds an error to its report; repeats of the last one are dropped.
    pub fn migration_error(&self, id: MigrationId, error: &str) -> Result<(), CatalogError> {
        let Some(mut record) = self.migration(id)? else { return Ok(()) };
        if record.errors.iter().any(|known| known == error) || record.errors.len() >= MAX_ERRORS {
            return Ok(());
        }
        record.errors.push(error.to_owned());
        self.write(|txn| {
            let sql = "UPDATE migrations SET errors = ?2 WHERE id = ?1";
            txn.execute(sql, (id.to_sql(), encode(&record.errors)?))?;
            Ok(())
        })
    }

    /// So many more bytes went over the link.
    pub fn add_wire_bytes(&self, id: MigrationId, bytes: u64) -> Result<(), CatalogError> {
        self.write(|txn| {
            let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
            txn.execute(
                "UPDATE migrations SET wire_bytes = wire_bytes + ?2 WHERE id = ?1",
                (id.to_sql(), bytes),
            )?;
            Ok(())
        })
    }

    /// A migration as callers see it.
    pub fn report(&self, migration: MigrationRecord) -> Result<MigrationReport, CatalogError> {
        let moves: Vec<MoveReport> =
            self.moves_of(migration.id)?.iter().map(|record| self.move_report(record)).collect();
        let published = moves.iter().filter(|m| m.state.is_visible_in_cold());
        Ok(MigrationReport {
            id: migration.id,
            state: migration.state,
            trigger: migration.trigger,
            started_at: migration.started_at,
            finished_at: migration.finished_at,
            rows_published: published.map(|m| m.proof.map_or(0, |proof| proof.rows)).sum(),
            raw_bytes: moves.iter().map(|m| m.raw_bytes).sum(),
            wire_bytes: migration.wire_bytes,
            errors: migration.errors,
            moves,
        })
    }

    fn move_report(&self, record: &Move) -> MoveReport {
        let mut live = self.batches_of(record.id);
        live.retain(|batch| batch.state != BatchState::Dropped);
        let proven =
            live.iter().filter(|b| matches!(b.state, BatchState::Proven | BatchState::Published)).count();
        MoveReport {
            id: record.id,
            table: record.table.logical.clone(),
            range: record.rows.window,
            watermark: record.rows.watermark,
            state: record.state,
            rows: record.sent.map_or(record.planned_rows, |sent| sent.rows),
            proof: record.sent,
            batches: live.iter().map(|b| b.id).collect(),
            batches_proven: u32::try_from(proven).unwrap_or(u32::MAX),
            raw_bytes: live.iter().map(|b| b.raw_bytes).sum(),
            encoded_bytes: live.iter().map(|b| b.encoded_bytes).sum(),
            waits_for: record.waiting.as_ref().map(wait_report),
            reason: record.reason.clone(),
        }
    }
}
