//! The journal's file: opened, checked, set aside when it is damaged.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::{FILE_NAME, JournalError};

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS batches (
    id        INTEGER PRIMARY KEY,
    state     TEXT NOT NULL,
    manifest  TEXT NOT NULL,
    rows      INTEGER,
    hash      TEXT,
    error     TEXT,
    refuted   INTEGER NOT NULL DEFAULT 0,
    unclean   INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX IF NOT EXISTS batches_by_state ON batches (state, id);
CREATE TABLE IF NOT EXISTS outbox (batch INTEGER PRIMARY KEY, since INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
";

/// Opens the file; a damaged one is set aside and a fresh one takes its place.
pub(super) fn open(path: &Path) -> Result<Connection, JournalError> {
    match open_whole(path) {
        Ok(connection) => Ok(connection),
        Err(error) if path.exists() && is_damage(&error) => {
            let aside = set_aside(path);
            tracing::error!(%error, ?aside, "the journal is damaged: set aside, rebuilding from the tables");
            Ok(open_whole(path)?)
        }
        Err(error) => Err(error.into()),
    }
}

/// Opens or creates the file and checks that it is a whole database.
fn open_whole(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        return Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT),
            Some(verdict),
        ));
    }
    connection.execute_batch(SCHEMA)?;
    Ok(connection)
}

fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
}

/// Renames the file and its log; answers the new name.
fn set_aside(path: &Path) -> PathBuf {
    let seconds = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_secs());
    let aside = path.with_file_name(format!("{FILE_NAME}.damaged-{seconds}"));
    for suffix in ["", "-wal", "-shm"] {
        let from = path.with_file_name(format!("{FILE_NAME}{suffix}"));
        let to = aside.with_file_name(format!("{FILE_NAME}.damaged-{seconds}{suffix}"));
        if let Err(error) = std::fs::rename(&from, &to)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::error!(%error, file = %from.display(), "cannot set the damaged journal aside");
        }
    }
    aside
}
