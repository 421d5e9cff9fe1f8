//! The book of moves and batches on disk: read whole at the start, then written change by change.
//!
//! A move or a batch is one row: its record as JSON, and beside it what is asked for by hand or by a report.

use moves::{Batch, Book, Change, Move};
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use storage_types::{BatchId, MigrationId, MoveId};

use super::{Catalog, CatalogError, decode, encode};

fn corrupt(what: &str) -> CatalogError {
    CatalogError::Corrupt(what.to_owned())
}

/// Everything that is not over, and every batch.
pub(super) fn load(db: &Connection) -> Result<Book, CatalogError> {
    let number = |key: &str| -> Result<u64, CatalogError> {
        let sql = "SELECT CAST(value AS INTEGER) FROM meta WHERE key = ?1";
        let found: Option<i64> = db.query_row(sql, [key], |row| row.get(0)).optional()?;
        Ok(found.unwrap_or(0).unsigned_abs())
    };
    let (version, last_batch) = (number("version")?, number("last_batch")?);
    let mut book = Book::new(version, last_batch);
    let mut changes: Vec<Change> = Vec::new();
    for text in texts(db, "SELECT record FROM moves WHERE over = 0")? {
        changes.push(decode::<Move>(&text)?.into());
    }
    for text in texts(db, "SELECT record FROM batches")? {
        changes.push(decode::<Batch>(&text)?.into());
    }
    book.apply(changes, version);
    Ok(book)
}

fn texts(db: &Connection, sql: &str) -> Result<Vec<String>, CatalogError> {
    let mut read = db.prepare(sql)?;
    let found = read.query_map([], |row| row.get(0))?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// Writes changes that are already checked and stamped.
pub(super) fn write(txn: &Transaction<'_>, changes: &[Change], version: u64) -> Result<(), CatalogError> {
    for change in changes {
        match change {
            Change::Move(record) => put_move(txn, record)?,
            Change::Batch(batch) => put_batch(txn, batch)?,
        }
    }
    txn.execute("UPDATE meta SET value = ?1 WHERE key = 'version'", [version.to_string()])?;
    Ok(())
}

fn put_move(txn: &Transaction<'_>, record: &Move) -> Result<(), CatalogError> {
    txn.execute(
        "INSERT OR REPLACE INTO moves (id, migration, logical, lo, hi, state, over, record) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            record.id.to_sql(),
            record.migration.to_sql(),
            record.table.logical,
            record.rows.window.lo,
            record.rows.window.hi,
            record.state.as_str(),
            record.state.is_over(),
            encode(record)?,
        ],
    )?;
    Ok(())
}

fn put_batch(txn: &Transaction<'_>, batch: &Batch) -> Result<(), CatalogError> {
    txn.execute(
        "INSERT OR REPLACE INTO batches (id, move, logical, state, rows, record) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            batch.id.to_sql(),
            batch.move_id.to_sql(),
            batch.logical,
            batch.state.as_str(),
            i64::try_from(batch.proof.map_or(batch.slice.rows, |proof| proof.rows)).unwrap_or(i64::MAX),
            encode(batch)?,
        ],
    )?;
    let sql = "INSERT INTO meta VALUES ('last_batch', ?1) \
        ON CONFLICT (key) DO UPDATE SET value = max(CAST(value AS INTEGER), CAST(?1 AS INTEGER))";
    txn.execute(sql, [batch.id.to_string()])?;
    Ok(())
}

impl Catalog {
    /// The moves of a migration, over or not, oldest first.
    pub fn moves_of(&self, migration: MigrationId) -> Result<Vec<Move>, CatalogError> {
        let db = self.db();
        let mut read = db.prepare("SELECT record FROM moves WHERE migration = ?1 ORDER BY id")?;
        let found = read.query_map([migration.to_sql()], |row| row.get::<_, String>(0))?;
        found.map(|text| decode(&text?)).collect()
    }

    /// The batches of a move, as the book has them.
    pub fn batches_of(&self, id: MoveId) -> Vec<Batch> {
        self.read(|book| book.batches_of(id).map(|batch| Batch::clone(batch)).collect())
    }

    /// Batches whose bytes may still be needed from the spool.
    pub fn spooled_batches(&self) -> Vec<BatchId> {
        use moves::BatchState::{Encoded, Sent};
        self.read(|book| {
            let spooled = book.batches().filter(|batch| matches!(batch.state, Encoded | Sent));
            spooled.map(|batch| batch.id).collect()
        })
    }

    /// Rows in the visible batches of a table: `(batches, rows)`.
    pub fn cold_totals(&self, logical: &str) -> (u64, u64) {
        self.read(|book| {
            let of_table = book.batches().filter(|b| b.logical == logical);
            let visible = of_table.filter(|batch| batch.state == moves::BatchState::Published);
            visible.fold((0, 0), |(count, rows), batch| {
                (count + 1, rows + batch.proof.map_or(0, |proof| proof.rows))
            })
        })
    }

    /// The wanted ones of the moves whose rows were deleted from the head, oldest first.
    pub fn reclaimed(&self, wanted: impl Fn(&Move) -> bool) -> Result<Vec<Move>, CatalogError> {
        let db = self.db();
        let mut read = db.prepare("SELECT record FROM moves WHERE state = 'reclaimed' ORDER BY id")?;
        let found = read.query_map([], |row| row.get::<_, String>(0))?;
        let mut moves = Vec::new();
        for text in found {
            let record: Move = decode(&text?)?;
            if wanted(&record) {
                moves.push(record);
            }
        }
        Ok(moves)
    }

    /// Whether a move was ever planned, or found again.
    pub fn has_moves(&self) -> Result<bool, CatalogError> {
        Ok(self.db().query_row("SELECT EXISTS (SELECT 1 FROM moves)", [], |row| row.get(0))?)
    }

    /// A move, over or not.
    pub fn move_record(&self, id: MoveId) -> Result<Option<Move>, CatalogError> {
        let sql = "SELECT record FROM moves WHERE id = ?1";
        let found: Option<String> = self.db().query_row(sql, [id.to_sql()], |row| row.get(0)).optional()?;
        found.map(|text| decode(&text)).transpose()
    }
}

/// The old journal's moves can only be finished by the release that began them.
pub(super) fn refuse_open_moves_of_the_old_life(db: &Connection) -> Result<(), CatalogError> {
    let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version != 1 {
        return Ok(());
    }
    let sql = "SELECT (SELECT count(*) FROM moves WHERE state NOT IN ('reclaimed', 'aborted')), \
        (SELECT count(*) FROM hot_parts WHERE kind = 'delta')";
    let (moves, deltas): (i64, i64) = db.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if moves + deltas == 0 {
        return Ok(());
    }
    Err(corrupt(&format!(
        "{moves} moves and {deltas} sets of late rows of an earlier release are open: start that release again, let \
         its migrations finish (with a further one for late rows), then start this one"
    )))
}
