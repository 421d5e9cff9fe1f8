//! The catalog: which rows of which table are visible where, and the journal of every move.
//!
//! One SQLite file (`catalog.sqlite`, WAL, `synchronous=FULL`) holds both, because a step of a move
//! and the change of visibility that belongs to it must happen in **one** transaction. In memory
//! stands one immutable [`CatalogVersion`] with a version; queries read nothing else.
//!
//! ```text
//!            one transaction                       after the commit
//!  change ─▶ journal + visibility + version+1 ─▶ new snapshot and gates replace the old
//! ```
//!
//! - **Consistency**: the new snapshot is built from the transaction before it commits. A gate (a range
//!   that new leases must wait for) is not stored: it *is* a move of kind `partition` in state
//!   `fencing`, so it outlives a crash of this process.
//! - **Crash**: a transaction is there or it is not. What an effect on the engine left behind is the
//!   migrator's to find out, by looking at the tables.
//! - **Cancellation**: no transaction spans an await. Writes are few and small (some per batch), so they
//!   run where they are called; while one waits for the disk, the runtime's other tasks go on.

mod error;
mod leases;
mod migrations;
mod moves;
mod records;
mod schema;
mod snapshot;
mod visibility;

use std::{path::Path, sync::Arc, time::Duration};

use daemon::{disk, sqlite};
use hybrid_planner::CatalogVersion;
use parking_lot::{Mutex, MutexGuard};
use rusqlite::{Connection, OptionalExtension, Transaction};
use storage_types::TimeRange;
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::watch,
    time::Instant,
};

pub use error::CatalogError;
pub use leases::Lease;
pub use migrations::MigrationRecord;
pub use records::{
    BatchRecord, DeltaRecord, FencePart, INTERNAL_DATABASE, ManagedTable, MoveKind, MoveRecord,
    internal_table,
};
pub use visibility::RestoredMove;

/// File name under the data folder.
const FILE_NAME: &str = "catalog.sqlite";
/// Longest wait of a query for rows that are being set aside.
const LEASE_WAIT: Duration = Duration::from_secs(20);

/// The catalog. One per process; shared by reference.
pub struct Catalog {
    db: Mutex<Connection>,
    leases: Arc<leases::Leases>,
    lease_wait: Duration,
    rebuilding: watch::Sender<bool>,
    _claim: disk::Claim,
}

impl Catalog {
    /// Opens `catalog.sqlite` in `data_dir`, creating both if absent. A damaged file is set aside, and
    /// the fresh one in its place is as empty as after a loss: see `consistency`.
    ///
    /// # Errors
    /// Another process in the folder, a file of a newer version, and what the disk refuses.
    pub fn open(data_dir: &Path) -> Result<Arc<Self>, CatalogError> {
        Self::open_with(data_dir, LEASE_WAIT)
    }

    /// As [`Catalog::open`], with the longest wait of a lease.
    pub fn open_with(data_dir: &Path, lease_wait: Duration) -> Result<Arc<Self>, CatalogError> {
        let folder = |source| CatalogError::Folder { folder: data_dir.to_owned(), source };
        disk::create_folder(data_dir).map_err(folder)?;
        let claim = disk::claim_folder(data_dir).map_err(folder)?;
        let mut db = sqlite::open(&data_dir.join(FILE_NAME), schema::STEPS)?;
        let txn = db.transaction()?;
        let (view, gates) = (snapshot::build(&txn)?, snapshot::gates(&txn)?);
        drop(txn);
        let leases = leases::Leases::new(Arc::new(view), gates);
        let (rebuilding, _) = watch::channel(false);
        Ok(Arc::new(Self { db: Mutex::new(db), leases, lease_wait, rebuilding, _claim: claim }))
    }

    /// The version in force. It may be superseded at once; plan queries from a [`Lease`].
    pub fn current(&self) -> Arc<CatalogVersion> {
        self.leases.current()
    }

    /// The right to read `refs` (logical table, time range) in the version in force. Waits, bounded,
    /// while rows of one of them are just being set aside.
    pub async fn lease(&self, refs: &[(String, TimeRange)]) -> Result<Lease, CatalogError> {
        self.settled().await?;
        let deadline = Instant::now() + self.lease_wait;
        let fencing = |table| CatalogError::Fencing { table, waited: self.lease_wait };
        self.leases.lease(refs, deadline).await.map_err(fencing)
    }

    /// Waits, bounded, until it is known which tables are managed and what of them is cold. At once,
    /// except for a short while after the start and while a lost catalog is rebuilt. A query must not
    /// be read before that: until then managed tables are unknown, and
    /// would be treated as ordinary tables of the hot engine.
    pub async fn settled(&self) -> Result<(), CatalogError> {
        if !*self.rebuilding.borrow() {
            return Ok(());
        }
        let mut rebuilding = self.rebuilding.subscribe();
        let known = tokio::time::timeout(self.lease_wait, rebuilding.wait_for(|on| !on));
        if known.await.is_err() { Err(CatalogError::Rebuilding) } else { Ok(()) }
    }

    /// Waits until no lease older than `version` touches the range; `false` when some still does
    /// after `wait`.
    pub async fn drained(&self, logical: &str, range: TimeRange, version: u64, wait: Duration) -> bool {
        self.leases.drained(logical, range, version, Instant::now() + wait).await
    }

    /// While set, every query waits (bounded): what is cold is not known.
    pub fn set_rebuilding(&self, on: bool) {
        self.rebuilding.send_replace(on);
    }

    /// Whether [`Catalog::set_rebuilding`] is on.
    pub fn is_rebuilding(&self) -> bool {
        *self.rebuilding.borrow()
    }

    /// A persisted value (table `meta`), e.g. that the catalog has met its gateway.
    pub fn note(&self, key: &str) -> Result<Option<String>, CatalogError> {
        let sql = "SELECT value FROM meta WHERE key = ?1";
        Ok(self.db().query_row(sql, [key], |row| row.get(0)).optional()?)
    }

    /// Remembers it.
    pub fn set_note(&self, key: &str, value: &str) -> Result<(), CatalogError> {
        self.write(|txn| {
            txn.execute("INSERT OR REPLACE INTO meta VALUES (?1, ?2)", [key, value])?;
            Ok(())
        })
    }

    /// Every managed table that has ever been described.
    pub fn managed_tables(&self) -> Result<Vec<ManagedTable>, CatalogError> {
        snapshot::managed_tables(&self.db())
    }

    /// The table is described so now. A new version only when that differs from before.
    pub fn describe_table(&self, table: &ManagedTable) -> Result<(), CatalogError> {
        let known = self.managed_tables()?;
        if known.iter().any(|t| t == table) {
            return Ok(());
        }
        self.change(|txn| {
            let sql = "INSERT OR REPLACE INTO tables VALUES (?1, ?2)";
            txn.execute(sql, [&table.logical, &encode(table)?])?;
            Ok(())
        })?;
        Ok(())
    }

    /// Tables no longer in the configuration leave the view; their batches stay in the journal.
    pub fn forget_tables_except(&self, logical: &[String]) -> Result<(), CatalogError> {
        let gone: Vec<String> = self
            .managed_tables()?
            .into_iter()
            .map(|t| t.logical)
            .filter(|name| !logical.contains(name))
            .collect();
        if gone.is_empty() {
            return Ok(());
        }
        self.change(|txn| {
            for name in &gone {
                txn.execute("DELETE FROM tables WHERE logical = ?1", [name])?;
            }
            Ok(())
        })?;
        Ok(())
    }

    fn db(&self) -> MutexGuard<'_, Connection> {
        // A transaction that panicked was rolled back when it was dropped.
        off_the_runtime(|| self.db.lock())
    }

    /// A transaction that changes nothing a query sees.
    fn write<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, CatalogError>,
    ) -> Result<T, CatalogError> {
        off_the_runtime(|| {
            let mut db = self.db();
            let txn = db.transaction()?;
            let result = work(&txn)?;
            txn.commit()?;
            Ok(result)
        })
    }

    /// A transaction that changes what queries see or wait for; the new version is in force when it
    /// returns, and returned.
    fn change(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<(), CatalogError>,
    ) -> Result<u64, CatalogError> {
        off_the_runtime(|| {
            let mut db = self.db();
            let txn = db.transaction()?;
            work(&txn)?;
            txn.execute("UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE key = 'version'", [])?;
            let (view, gates) = (snapshot::build(&txn)?, snapshot::gates(&txn)?);
            let version = view.version;
            txn.commit()?;
            // Still under the database's lock, so that versions come into force in their order.
            self.leases.replace(Arc::new(view), gates);
            Ok(version)
        })
    }
}

/// Does what may wait for the disk where it is called, while the runtime's other tasks go on elsewhere.
fn off_the_runtime<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

fn encode<T: serde::Serialize>(value: &T) -> Result<String, CatalogError> {
    serde_json::to_string(value).map_err(|e| CatalogError::Corrupt(e.to_string()))
}

fn decode<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, CatalogError> {
    serde_json::from_str(text).map_err(|e| CatalogError::Corrupt(e.to_string()))
}

#[cfg(test)]
mod tests;
