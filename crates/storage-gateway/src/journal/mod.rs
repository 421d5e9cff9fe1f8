//! What the gateway has promised: one SQLite file, `gateway.sqlite`.
//!
//! It records which batches are known, how far each has come, and what still has to be told to the
//! service. It never says which bytes are held (the spool's bytes and hashes do) nor which rows are
//! in a table (the engine does): those are looked at, afresh, whenever it matters.
//!
//! **Consistency.** Write-ahead log with `synchronous=FULL`: a call that returned survives a power
//! cut. Every change of state goes through [`Journal::advance`], which checks it against the table
//! of allowed transitions inside the same transaction.
//!
//! **Loss.** The file may be deleted or torn: a damaged one is set aside and a fresh one begun
//! ([`daemon::sqlite`]). A fresh journal says so ([`Journal::is_rebuilt`]), and `rebuild` fills it again
//! from the ledger table beside the rows and from the manifests in the spool.
//!
//! **Cancellation.** Statements run on blocking threads and finish even when the caller is gone; a
//! statement is the unit of work, so nothing is ever half written.

mod cold_tables;
mod identity;
mod outbox;
mod pages;
mod proofs;
pub mod rebuild;
mod retirement;
mod schema;

use std::{path::Path, sync::Arc};

use daemon::sqlite::{self, OpenError};
use parking_lot::Mutex;
use rusqlite::{Connection, Row, params};
use storage_types::{BatchId, BatchState, ContentHash, Manifest, Proof, lifecycle::IllegalTransition};

pub use cold_tables::ColdTable;
pub use retirement::Stage;

/// File name under the data folder.
pub const FILE_NAME: &str = "gateway.sqlite";
/// In `meta` once a fresh journal was filled.
const REBUILT: &str = "rebuilt";
/// In `meta`: seconds that the gateway has run.
const RUNNING: &str = "running_seconds";

/// A journal call failed.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// SQLite refused or the disk did.
    #[error("journal: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A row does not hold what this version writes.
    #[error("journal: batch {batch}: {reason}")]
    Unreadable {
        /// The batch of the row.
        batch: i64,
        /// What is wrong with it.
        reason: String,
    },
    /// The state machine forbids it.
    #[error(transparent)]
    Transition(#[from] IllegalTransition),
    /// The batch is not in the journal.
    #[error("journal: batch {0} is not known")]
    Unknown(BatchId),
    /// The worker thread went away (the process is ending).
    #[error("journal: interrupted")]
    Interrupted,
}

/// One batch as the journal has it.
#[derive(Debug, Clone)]
pub struct BatchRecord {
    /// What the sender declared.
    pub manifest: Arc<Manifest>,
    /// How far it has come here.
    pub state: BatchState,
    /// Count and hash, once proven.
    pub proof: Option<Proof>,
    /// Why the last attempt failed.
    pub error: Option<String>,
    /// Ended because its bytes contradict its manifest (the state is `aborted` then).
    pub refuted: bool,
    /// It was given up, and rows or files of it may still be somewhere.
    pub unclean: bool,
}

/// A batch found again after the journal was lost.
#[derive(Debug)]
pub struct FoundBatch {
    /// What the sender declared.
    pub manifest: Manifest,
    /// How far it had come; one that was given up is to be cleared away once more.
    pub state: BatchState,
    /// Count and hash, where it was proven.
    pub proof: Option<Proof>,
    /// Where it stood when it was retired; it waits anew from now on.
    pub retired_from: Option<BatchState>,
    /// How often it was retired or taken back.
    pub turns: u8,
    /// Its rows were going.
    pub leaves: bool,
}

/// Counts for the status page.
#[derive(Debug, Clone, Copy, Default)]
pub struct Totals {
    /// Received but not proven.
    pub pending: u64,
    /// Proven, published or retired.
    pub held: u64,
}

/// Handle to the journal; cheap to clone.
#[derive(Clone)]
pub struct Journal {
    connection: Arc<Mutex<Connection>>,
}

impl Journal {
    /// Opens or creates the journal in `data_dir`; a damaged one is set aside.
    ///
    /// # Errors
    /// A file of a newer version, and what the disk refuses.
    pub fn open(data_dir: &Path) -> Result<Self, OpenError> {
        let connection = sqlite::open(&data_dir.join(FILE_NAME), schema::STEPS)?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)) })
    }

    /// Runs one piece of work on a blocking thread.
    async fn run<T, F>(&self, work: F) -> Result<T, JournalError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T, JournalError> + Send + 'static,
    {
        let connection = Arc::clone(&self.connection);
        daemon::spawn_blocking(move || {
            let mut guard = connection.lock();
            work(&mut guard)
        })
        .await
        .map_err(|_| JournalError::Interrupted)?
    }

    /// Writes a batch nobody knew, with its state and proof; an existing one is left as it is.
    /// Answers whether it was written.
    pub async fn insert(
        &self,
        manifest: Arc<Manifest>,
        state: BatchState,
        proof: Option<Proof>,
    ) -> Result<bool, JournalError> {
        self.run(move |connection| insert(connection, &manifest, state, proof, false)).await
    }

    /// Writes batches that were found again, in one transaction; those that are known are left as they
    /// are. Retired ones wait from `observed` on (seconds the gateway ran). Answers how many were written.
    pub async fn restore(&self, found: Vec<FoundBatch>, observed: i64) -> Result<usize, JournalError> {
        self.run(move |connection| {
            let transaction = connection.transaction()?;
            let mut written = 0;
            for found in found {
                let FoundBatch { manifest, state, proof, retired_from, turns, leaves } = found;
                if !insert(&transaction, &manifest, state, proof, state == BatchState::Aborted)? {
                    continue;
                }
                written += 1;
                let removal = leaves.then_some("removing");
                let from = retired_from.map(BatchState::as_str);
                transaction.execute(
                    "UPDATE batches SET retired_from = ?2, retired_at = ?3, turns = ?4, removal = ?5 WHERE id = ?1",
                    params![manifest.batch.to_sql(), from, from.map(|_| observed), turns, removal],
                )?;
            }
            transaction.commit()?;
            Ok(written)
        })
        .await
    }

    /// The record of a batch.
    pub async fn get(&self, batch: BatchId) -> Result<Option<BatchRecord>, JournalError> {
        self.run(move |connection| find(connection, batch)).await
    }

    /// Takes a batch to `to`, if the state machine allows, and answers its new record.
    ///
    /// # Errors
    /// [`JournalError::Transition`] when it does not; nothing is changed then.
    pub async fn advance(
        &self,
        batch: BatchId,
        to: BatchState,
        proof: Option<Proof>,
        error: Option<String>,
    ) -> Result<BatchRecord, JournalError> {
        self.change(batch, move |record| {
            record.state = record.state.advance(to)?;
            record.proof = proof.or(record.proof);
            record.error = error;
            Ok(())
        })
        .await
    }

    /// Ends a batch whose bytes contradict its manifest.
    pub async fn refute(&self, batch: BatchId, reason: String) -> Result<BatchRecord, JournalError> {
        self.change(batch, move |record| {
            record.state = record.state.advance(BatchState::Aborted)?;
            record.refuted = true;
            record.error = Some(reason);
            Ok(())
        })
        .await
    }

    /// Ends a batch because its sender wants so; what is left of it is still to be cleared away.
    pub async fn give_up(&self, batch: BatchId) -> Result<BatchRecord, JournalError> {
        self.change(batch, |record| {
            record.state = record.state.advance(BatchState::Aborted)?;
            record.unclean = true;
            Ok(())
        })
        .await
    }

    /// Nothing is left of a batch that was given up.
    pub async fn mark_clean(&self, batch: BatchId) -> Result<BatchRecord, JournalError> {
        self.change(batch, |record| {
            record.unclean = false;
            Ok(())
        })
        .await
    }

    /// Batches given up that are still to be cleared away, at most `limit`.
    pub async fn unclean(&self, limit: u32) -> Result<Vec<BatchId>, JournalError> {
        self.run(move |connection| {
            let mut statement =
                connection.prepare_cached("SELECT id FROM batches WHERE unclean = 1 ORDER BY id LIMIT ?1")?;
            let ids = statement.query_map(params![limit], |row| row.get::<_, i64>(0))?;
            ids.map(|id| batch_id(id?)).collect()
        })
        .await
    }

    /// Notes why the last attempt failed; the state stays.
    pub async fn note_error(&self, batch: BatchId, error: String) -> Result<BatchRecord, JournalError> {
        self.change(batch, move |record| {
            record.error = Some(error);
            Ok(())
        })
        .await
    }

    async fn change<F>(&self, batch: BatchId, change: F) -> Result<BatchRecord, JournalError>
    where
        F: FnOnce(&mut BatchRecord) -> Result<(), JournalError> + Send + 'static,
    {
        self.run(move |connection| {
            let transaction = connection.transaction()?;
            let mut record = find(&transaction, batch)?.ok_or(JournalError::Unknown(batch))?;
            let before = record.state;
            change(&mut record)?;
            let (rows, hash) = proof_columns(record.proof);
            transaction.execute(
                "UPDATE batches SET state = ?2, rows = ?3, hash = ?4, error = ?5, refuted = ?6, unclean = ?7
                 WHERE id = ?1",
                params![
                    batch.to_sql(),
                    record.state.as_str(),
                    rows,
                    hash,
                    record.error,
                    record.refuted,
                    record.unclean
                ],
            )?;
            // How a commit ended is owed to the service from the same moment on.
            if before == BatchState::Received && (record.state == BatchState::Proven || record.refuted) {
                outbox::queue(&transaction, batch)?;
            }
            transaction.commit()?;
            Ok(record)
        })
        .await
    }

    /// Ids in one of `states`, oldest first, at most `limit`.
    pub async fn ids_in(
        &self,
        states: &'static [BatchState],
        limit: u32,
    ) -> Result<Vec<BatchId>, JournalError> {
        self.run(move |connection| {
            let mut ids = Vec::new();
            for state in states {
                let mut statement = connection
                    .prepare_cached("SELECT id FROM batches WHERE state = ?1 ORDER BY id LIMIT ?2")?;
                let found =
                    statement.query_map(params![state.as_str(), limit], |row| row.get::<_, i64>(0))?;
                for id in found {
                    ids.push(batch_id(id?)?);
                }
            }
            ids.sort_unstable();
            ids.truncate(limit as usize);
            Ok(ids)
        })
        .await
    }

    /// Counts for the status page.
    pub async fn totals(&self) -> Result<Totals, JournalError> {
        self.run(|connection| {
            let count = |states: &str| -> rusqlite::Result<u64> {
                let sql = format!("SELECT count(*) FROM batches WHERE state IN ({states})");
                connection.query_row(&sql, [], |row| row.get::<_, i64>(0)).map(|n| n.unsigned_abs())
            };
            Ok(Totals {
                pending: count("'sending', 'received'")?,
                held: count("'proven', 'published', 'retired'")?,
            })
        })
        .await
    }

    /// Seconds that the gateway has run, as noted last.
    pub async fn running_seconds(&self) -> Result<i64, JournalError> {
        self.run(|connection| {
            Ok(identity::meta(connection, RUNNING)?.and_then(|text| text.parse().ok()).unwrap_or(0))
        })
        .await
    }

    /// Notes them.
    pub async fn note_running_seconds(&self, seconds: i64) -> Result<(), JournalError> {
        self.run(move |connection| Ok(identity::set_meta(connection, RUNNING, &seconds.to_string())?)).await
    }

    /// How long a batch's folder was last changed at `touched`, in seconds that the gateway ran: 0 when it
    /// was changed since the last call.
    pub async fn idle_seconds(
        &self,
        batch: BatchId,
        touched: i64,
        running: i64,
    ) -> Result<i64, JournalError> {
        self.run(move |connection| {
            let id = batch.to_sql();
            connection.execute(
                "INSERT INTO idle (batch, touched, since) VALUES (?1, ?2, ?3) ON CONFLICT (batch) DO UPDATE
                 SET touched = excluded.touched, since = excluded.since WHERE touched <> excluded.touched",
                params![id, touched, running],
            )?;
            let since: i64 =
                connection.query_row("SELECT since FROM idle WHERE batch = ?1", [id], |row| row.get(0))?;
            Ok(running.saturating_sub(since))
        })
        .await
    }

    /// Forgets how long batches were idle that no longer take chunks.
    pub async fn forget_idle(&self) -> Result<usize, JournalError> {
        self.run(|connection| {
            let sql = "DELETE FROM idle WHERE batch NOT IN (SELECT id FROM batches WHERE state = 'sending')";
            Ok(connection.execute(sql, [])?)
        })
        .await
    }

    /// Whether a fresh journal has been filled from the tables and the spool.
    pub async fn is_rebuilt(&self) -> Result<bool, JournalError> {
        self.run(|connection| Ok(identity::meta(connection, REBUILT)?.is_some())).await
    }

    /// Marks the journal as filled.
    pub async fn mark_rebuilt(&self) -> Result<(), JournalError> {
        self.run(|connection| Ok(identity::set_meta(connection, REBUILT, "1")?)).await
    }
}

fn insert(
    connection: &Connection,
    manifest: &Manifest,
    state: BatchState,
    proof: Option<Proof>,
    unclean: bool,
) -> Result<bool, JournalError> {
    let id = manifest.batch.to_sql();
    let text = serde_json::to_string(manifest).map_err(|e| unreadable(id, e.to_string()))?;
    let (rows, hash) = proof_columns(proof);
    let mut statement = connection.prepare_cached(
        "INSERT OR IGNORE INTO batches (id, state, manifest, rows, hash, unclean, cold_database, cold_table)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    let (database, table) = (&manifest.cold_database, &manifest.cold_table);
    let values = params![id, state.as_str(), text, rows, hash, unclean, database, table];
    Ok(statement.execute(values)? == 1)
}

fn find(connection: &Connection, batch: BatchId) -> Result<Option<BatchRecord>, JournalError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, state, manifest, rows, hash, error, refuted, unclean FROM batches WHERE id = ?1",
    )?;
    let mut rows = statement.query(params![batch.to_sql()])?;
    rows.next()?.map(record).transpose()
}

fn record(row: &Row<'_>) -> Result<BatchRecord, JournalError> {
    let id: i64 = row.get(0)?;
    let state: String = row.get(1)?;
    let manifest: String = row.get(2)?;
    let rows: Option<i64> = row.get(3)?;
    let hash: Option<String> = row.get(4)?;
    let proof = match (rows, hash) {
        (Some(rows), Some(hash)) => Some(Proof {
            rows: rows.unsigned_abs(),
            content_hash: hash.parse::<ContentHash>().map_err(|e| unreadable(id, e.to_string()))?,
        }),
        _ => None,
    };
    Ok(BatchRecord {
        manifest: Arc::new(serde_json::from_str(&manifest).map_err(|e| unreadable(id, e.to_string()))?),
        state: BatchState::parse(&state).ok_or_else(|| unreadable(id, format!("state {state:?}")))?,
        proof,
        error: row.get(5)?,
        refuted: row.get(6)?,
        unclean: row.get(7)?,
    })
}

fn unreadable(batch: i64, reason: String) -> JournalError {
    JournalError::Unreadable { batch, reason }
}

fn batch_id(id: i64) -> Result<BatchId, JournalError> {
    u64::try_from(id).ok().and_then(BatchId::from_u64).ok_or_else(|| unreadable(id, "negative id".into()))
}

fn proof_columns(proof: Option<Proof>) -> (Option<i64>, Option<String>) {
    (proof.map(|p| i64::try_from(p.rows).unwrap_or(i64::MAX)), proof.map(|p| p.content_hash.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    pub fn manifest(id: u64) -> Arc<Manifest> {
        Arc::new(
            serde_json::from_value(serde_json::json!({
                "version": 1, "batch": id.to_string(), "move_id": "1", "table": "t",
                "cold_database": "cold", "cold_table": "t",
                "columns": [{"name": "ts", "type": "DateTime"}], "schema_hash": "", "time_column": "ts",
                "range": {"lo": 0, "hi": 1}, "partition_ids": [], "proof": {"rows": 1, "content_hash": "7"},
                "raw_bytes": 1, "encoded_bytes": 1, "blake3": "", "codec": "", "engine_version": "",
                "chunk_bytes": 1, "chunks": [{"bytes": 1, "blake3": ""}]
            }))
            .unwrap(),
        )
    }

    #[tokio::test]
    async fn states_only_move_forward_and_endings_are_owed_to_the_service() {
        let folder = tempfile::tempdir().unwrap();
        let id = |n| BatchId::from_u64(n).unwrap();
        let proof = Some(Proof { rows: 1, content_hash: ContentHash(u128::MAX) });
        {
            let journal = Journal::open(folder.path()).unwrap();
            for n in 1..=3 {
                assert!(journal.insert(manifest(n), BatchState::Sending, None).await.unwrap());
                assert!(!journal.insert(manifest(n), BatchState::Proven, None).await.unwrap());
            }
            let skipped = journal.advance(id(1), BatchState::Proven, proof, None).await;
            assert!(matches!(skipped, Err(JournalError::Transition(_))));
            journal.advance(id(1), BatchState::Received, None, None).await.unwrap();
            journal.advance(id(1), BatchState::Proven, proof, None).await.unwrap();
            journal.advance(id(2), BatchState::Received, None, None).await.unwrap();
            journal.refute(id(2), "no".into()).await.unwrap();
            journal.give_up(id(3)).await.unwrap();
        }
        // Another process finds all of it.
        let journal = Journal::open(folder.path()).unwrap();
        assert_eq!(journal.get(id(1)).await.unwrap().unwrap().proof, proof);
        assert!(journal.get(id(2)).await.unwrap().unwrap().refuted);
        assert_eq!(journal.unclean(9).await.unwrap(), [id(3)]);
        for owed in [1, 2] {
            assert_eq!(journal.next_confirmation().await.unwrap(), Some(id(owed)));
            journal.confirmed(id(owed)).await.unwrap();
        }
        assert_eq!(journal.next_confirmation().await.unwrap(), None);
        assert_eq!(journal.page(None, 9).await.unwrap().batches.len(), 1);
        assert!(journal.advance(id(3), BatchState::Sending, None, None).await.is_err());
    }

    #[tokio::test]
    async fn a_file_of_before_versions_were_counted_is_taken_over_and_a_newer_one_refused() {
        let folder = tempfile::tempdir().unwrap();
        let raw = || Connection::open(folder.path().join(FILE_NAME)).unwrap();
        raw().execute_batch(schema::STEPS[0]).unwrap();
        raw().execute("INSERT INTO meta (name, value) VALUES ('rebuilt', '1')", []).unwrap();
        assert!(Journal::open(folder.path()).unwrap().is_rebuilt().await.unwrap());
        let newer = schema::STEPS.len() as i64 + 1;
        let version =
            |db: &Connection| db.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0));
        assert_eq!(version(&raw()).unwrap(), newer - 1);
        raw().pragma_update(None, "user_version", newer).unwrap();
        let refused = Journal::open(folder.path()).err().unwrap();
        assert!(matches!(refused, OpenError::Newer { .. }), "{refused}");
        assert_eq!(version(&raw()).unwrap(), newer, "it is left as it was");
    }
}
