//! Opening a daemon's journal: one SQLite file, versioned, checked, and set aside when it is damaged.
//!
//! - **Durability**: write-ahead log with `synchronous=FULL`, so that a call that returned survives a
//!   power cut.
//! - **Versions**: `user_version` counts the steps that made the file's tables. Each runs in a
//!   transaction that also counts it, so a crash between two steps leaves a file that the next start
//!   continues from. A file that has taken steps this version does not know is refused and left alone:
//!   guessing what its columns mean could show a row twice.
//! - **Damage**: a file that is no whole database (`quick_check`) is renamed to
//!   `NAME.damaged-<Unix seconds>`, never overwritten, and a fresh one is begun; whoever opened it fills
//!   that again from what is left elsewhere, as if it had been lost. The log of the file goes before the
//!   file, so that a crash in between leaves no old log beside a fresh file, which would be replayed
//!   into it.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rusqlite::{Connection, ErrorCode, ffi};

use crate::disk;

/// Longest wait for somebody who reads the file by hand.
const BUSY_WAIT: Duration = Duration::from_secs(5);

/// Why a journal was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It has taken steps that this version does not know.
    #[error(
        "{} was written by a newer version (its format is {found}, this version knows up to {known}): start \
         the newer version again",
        .file.display()
    )]
    Newer {
        /// The file, untouched.
        file: PathBuf,
        /// Its `user_version`.
        found: i64,
        /// Steps this version knows.
        known: usize,
    },
    /// SQLite or the disk refused.
    #[error("open {}", .file.display())]
    Sqlite {
        /// The file.
        file: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// It is damaged and could not be renamed.
    #[error("set the damaged {} aside", .file.display())]
    SetAside {
        /// The file.
        file: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
}

/// Opens the file, creating it if absent, and takes the steps it has not taken yet. `steps`: SQL, one
/// entry per version; never edited once released, only added to.
///
/// # Errors
/// A file of a newer version, and what the disk refuses. Damage is no error, see above.
pub fn open(path: &Path, steps: &[&str]) -> Result<Connection, OpenError> {
    let file = path.to_owned();
    match open_whole(path, steps) {
        Err(OpenError::Sqlite { source, .. }) if path.exists() && is_damage(&source) => {
            let aside = set_aside(path).map_err(|source| OpenError::SetAside { file, source })?;
            tracing::error!(error = %source, file = %path.display(), aside = %aside.display(),
                "the journal is damaged: it is set aside, and a fresh one is begun and filled again");
            open_whole(path, steps)
        }
        opened => opened,
    }
}

fn open_whole(path: &Path, steps: &[&str]) -> Result<Connection, OpenError> {
    let failed = |source| OpenError::Sqlite { file: path.to_owned(), source };
    let mut connection = connect(path).map_err(failed)?;
    let found = user_version(&connection).map_err(failed)?;
    let known = steps.len();
    let Some(taken) = usize::try_from(found).ok().filter(|taken| *taken <= known) else {
        return Err(OpenError::Newer { file: path.to_owned(), found, known });
    };
    check(&connection).and_then(|()| take(&mut connection, steps, taken)).map_err(failed)?;
    Ok(connection)
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_WAIT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    Ok(connection)
}

fn user_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Fails as a damaged file does unless every page is what it should be.
fn check(connection: &Connection) -> rusqlite::Result<()> {
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict == "ok" {
        return Ok(());
    }
    Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CORRUPT), Some(verdict)))
}

fn take(connection: &mut Connection, steps: &[&str], taken: usize) -> rusqlite::Result<()> {
    for (version, step) in (1_i64..).zip(steps).skip(taken) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
    }
    Ok(())
}

fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Renames the file with its log and index; answers the file's new name.
fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut aside = beside(path, &format!(".damaged-{}", now.as_secs()));
    while aside.exists() {
        aside = beside(&aside, "-again");
    }
    for suffix in ["-wal", "-shm", ""] {
        match std::fs::rename(beside(path, suffix), beside(&aside, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    disk::sync_folder_of(path)?;
    Ok(aside)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: &[&str] = &["CREATE TABLE notes (text TEXT NOT NULL) STRICT;"];

    fn notes(connection: &Connection) -> i64 {
        connection.query_row("SELECT count(*) FROM notes", [], |row| row.get(0)).unwrap()
    }

    fn write(connection: &Connection, count: usize) {
        for _ in 0..count {
            connection.execute("INSERT INTO notes (text) VALUES (?1)", ["x".repeat(1000)]).unwrap();
        }
    }

    /// Names in the folder that tell of damage.
    fn set_aside_in(folder: &Path) -> Vec<String> {
        let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter_map(|name| name.into_string().ok()).filter(|name| name.contains(".damaged-")).collect()
    }

    #[test]
    fn steps_are_taken_once_and_later_ones_on_top() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sqlite");
        for _ in 0..2 {
            write(&open(&path, STEPS).unwrap(), 1);
        }
        let more = [STEPS[0], "ALTER TABLE notes ADD COLUMN author TEXT;"];
        let connection = open(&path, &more).unwrap();
        assert_eq!(notes(&connection), 2);
        assert_eq!(user_version(&connection).unwrap(), 2);
        connection.execute("UPDATE notes SET author = 'a'", []).unwrap();
        let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
        let synchronous: i64 = connection.pragma_query_value(None, "synchronous", |row| row.get(0)).unwrap();
        assert_eq!((mode.as_str(), synchronous), ("wal", 2));
    }

    #[test]
    fn a_step_that_fails_leaves_the_version_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sqlite");
        let broken = [STEPS[0], "CREATE TABLE more (n INTEGER) STRICT; nonsense;"];
        assert!(matches!(open(&path, &broken), Err(OpenError::Sqlite { .. })));
        let mended = [STEPS[0], "CREATE TABLE more (n INTEGER) STRICT;"];
        assert_eq!(user_version(&open(&path, &mended).unwrap()).unwrap(), 2);
        assert!(set_aside_in(folder.path()).is_empty());
    }

    #[test]
    fn a_file_of_a_newer_version_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sqlite");
        let newer = [STEPS[0], "CREATE TABLE later (n INTEGER) STRICT;"];
        write(&open(&path, &newer).unwrap(), 1);
        let refused = open(&path, STEPS).unwrap_err();
        assert!(matches!(refused, OpenError::Newer { found: 2, known: 1, .. }), "{refused}");
        assert!(set_aside_in(folder.path()).is_empty());
        assert_eq!(notes(&open(&path, &newer).unwrap()), 1);
    }

    #[test]
    fn a_damaged_file_is_set_aside_whole_and_a_fresh_one_begun() {
        type Damage = fn(&mut Vec<u8>);
        let damages: [(&str, Damage); 3] = [
            ("no database at all", |bytes| bytes.fill(0xa5)),
            ("a torn page", |bytes| bytes[8_192..12_288].fill(0xa5)),
            ("cut off", |bytes| bytes.truncate(6_000)),
        ];
        for (what, damage) in damages {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a.sqlite");
            write(&open(&path, STEPS).unwrap(), 50);
            let mut bytes = std::fs::read(&path).unwrap();
            damage(&mut bytes);
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(notes(&open(&path, STEPS).unwrap()), 0, "{what}");
            let aside = set_aside_in(folder.path());
            let kept = aside.iter().find(|name| !name.ends_with("-wal") && !name.ends_with("-shm")).unwrap();
            assert_eq!(std::fs::read(folder.path().join(kept)).unwrap(), bytes, "{what}");
        }
    }

    #[test]
    fn damage_after_damage_overwrites_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sqlite");
        for n in 1..=3_u8 {
            std::fs::write(&path, vec![n; 4_096]).unwrap();
            open(&path, STEPS).unwrap();
        }
        assert_eq!(set_aside_in(folder.path()).len(), 3);
    }
}
