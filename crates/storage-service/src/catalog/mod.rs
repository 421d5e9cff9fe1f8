//! The catalog: which rows of which table are visible where, and the journal of every move.
//!
//! One SQLite file (`catalog.sqlite`, WAL, `synchronous=FULL`) holds the [`moves::Book`], from which both
//! follow, so that a step of a move and the change of visibility that belongs to it are **one** transaction.
//! In memory stand the book, and one immutable [`CatalogVersion`] built from it; queries read nothing else.
//!
//! ```text
//!            one transaction                  after the commit
//!  changes ─▶ checked, written, version+1 ─▶ applied to the book; a new view replaces the old
//! ```
//!
//! - **Consistency**: changes are checked against the tables of transitions before they are written.
//! - **Crash**: a transaction is there or it is not. What an effect on the engine left behind is the
//!   migrator's to find out, by looking at the tables.
//! - **Cancellation**: no transaction spans an await. Writes are few and small (some per batch), so they
//!   run where they are called; while one waits for the disk, the runtime's other tasks go on.

mod book;
mod error;
mod leases;
mod migrations;
mod schema;
mod view;

use std::{path::Path, sync::Arc, time::Duration};

use daemon::{disk, sqlite};
use hybrid_planner::CatalogVersion;
use moves::{Book, Change, ManagedTable};
use parking_lot::{Mutex, MutexGuard, RwLock};
use rusqlite::{Connection, OptionalExtension, Transaction};
use storage_types::TimeRange;
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::watch,
};

pub use error::CatalogError;
pub use leases::Lease;
pub use migrations::MigrationRecord;
pub(crate) use migrations::wait_report;

/// File name under the data folder.
const FILE_NAME: &str = "catalog.sqlite";
/// Note of the catalog's id.
pub(crate) const CATALOG_ID: &str = "catalog_id";
/// Longest wait of a query for a catalog that is being rebuilt.
const LEASE_WAIT: Duration = Duration::from_secs(20);

/// Longest wait of a query while the hot engine does not answer: it is asked again every other second.
const HOT_WAIT: Duration = Duration::from_secs(3);

/// Whether it is known what was deleted from the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    Unknown,
    HotAway,
    Whole,
}

/// The catalog. One per process; shared by reference.
pub struct Catalog {
    db: Mutex<Connection>,
    book: RwLock<Book>,
    tables: RwLock<Vec<ManagedTable>>,
    leases: Arc<leases::Leases>,
    lease_wait: Duration,
    trust: watch::Sender<Trust>,
    _claim: disk::Claim,
}

impl Catalog {
    /// Opens `catalog.sqlite` in `data_dir`, creating both if absent. A damaged file is set aside, and
    /// the fresh one in its place is as empty as after a loss: the migrator fills it from the gateway.
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
        let file = data_dir.join(FILE_NAME);
        if file.exists()
            && let Ok(old) = Connection::open(&file)
        {
            // A damaged file is for the next line to see to.
            if let Err(error @ CatalogError::Corrupt(_)) = book::refuse_open_moves_of_the_old_life(&old) {
                return Err(error);
            }
        }
        let db = sqlite::open(&file, schema::STEPS)?;
        let (book, tables) = (book::load(&db)?, managed_tables(&db)?);
        let leases = leases::Leases::new(Arc::new(view::build(&book, &tables)));
        let (trust, _) = watch::channel(Trust::Whole);
        let (db, book, tables) = (Mutex::new(db), RwLock::new(book), RwLock::new(tables));
        Ok(Arc::new(Self { db, book, tables, leases, lease_wait, trust, _claim: claim }))
    }

    /// This catalog's id; 0 before it has one.
    pub fn id(&self) -> u64 {
        self.note(CATALOG_ID).ok().flatten().and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// The version goes past that of a witness, so that what is written from now on is newer.
    pub fn adopt_witness(&self, version: u64) -> Result<(), CatalogError> {
        self.change_tables(version, |_| Ok(()))
    }

    /// The version in force. It may be superseded at once; plan queries from a [`Lease`].
    pub fn current(&self) -> Arc<CatalogVersion> {
        self.leases.current()
    }

    /// The right to read `refs` (logical table, time range) in the version in force.
    pub async fn lease(&self, refs: &[(String, TimeRange)]) -> Result<Lease, CatalogError> {
        self.settled().await?;
        Ok(self.leases.lease(refs))
    }

    /// Waits, bounded, until it is known which tables are managed and what of them is cold. At once,
    /// except for a short while after the start and while a lost catalog is rebuilt. A query must not
    /// be read before that: until then managed tables are unknown, and
    /// would be treated as ordinary tables of the hot engine.
    pub async fn settled(&self) -> Result<(), CatalogError> {
        let mut trust = self.trust.subscribe();
        let away = *trust.borrow() == Trust::HotAway;
        let wait = if away { self.lease_wait.min(HOT_WAIT) } else { self.lease_wait };
        let whole = tokio::time::timeout(wait, trust.wait_for(|trust| *trust == Trust::Whole)).await.is_ok();
        match *self.trust.borrow() {
            _ if whole => Ok(()),
            Trust::HotAway => Err(CatalogError::HotAway),
            Trust::Unknown | Trust::Whole => Err(CatalogError::Rebuilding),
        }
    }

    /// Whether no lease older than `version` touches the range.
    pub fn is_drained(&self, logical: &str, range: TimeRange, version: u64) -> bool {
        self.leases.is_drained(logical, range, version)
    }

    /// Looks at the book.
    pub fn read<T>(&self, look: impl FnOnce(&Book) -> T) -> T {
        look(&self.book.read())
    }

    /// Writes changes of the book in one transaction; answers the version in force then.
    ///
    /// # Errors
    /// A state that may not follow, and what the disk refuses; nothing is changed then.
    pub fn commit(&self, changes: Vec<Change>) -> Result<u64, CatalogError> {
        self.commit_if(changes, Book::check)
    }

    /// As [`Catalog::commit`], but any state may follow: what the NAS knows outranks an older copy of this file.
    ///
    /// # Errors
    /// What the disk refuses.
    pub fn take_over(&self, changes: Vec<Change>) -> Result<u64, CatalogError> {
        self.commit_if(changes, |_, _| Ok(()))
    }

    fn commit_if(
        &self,
        mut changes: Vec<Change>,
        check: impl FnOnce(&Book, &[Change]) -> Result<(), storage_types::lifecycle::IllegalTransition>,
    ) -> Result<u64, CatalogError> {
        off_the_runtime(|| {
            let mut db = self.db();
            let (version, seen) = {
                let book = self.book.read();
                check(&book, &changes)?;
                let seen = book.is_seen(&changes);
                (book.version + u64::from(seen), seen)
            };
            self.book.read().stamp(&mut changes, version);
            let txn = db.transaction()?;
            book::write(&txn, &changes, version)?;
            txn.commit()?;
            // Still under the database's lock, so that versions come into force in their order.
            let mut book = self.book.write();
            book.apply(changes, version);
            if seen {
                self.leases.replace(Arc::new(view::build(&book, &self.tables.read())));
            }
            Ok(version)
        })
    }

    /// While set, every query waits (bounded): what is cold is not known.
    pub fn set_rebuilding(&self, on: bool) {
        self.trust.send_replace(if on { Trust::Unknown } else { Trust::Whole });
    }

    /// While the hot engine does not answer, a query fails soon.
    pub fn set_hot_away(&self) {
        self.trust.send_replace(Trust::HotAway);
    }

    /// Whether what is cold is not known, or the hot engine is away.
    pub fn is_rebuilding(&self) -> bool {
        *self.trust.borrow() != Trust::Whole
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
    pub fn managed_tables(&self) -> Vec<ManagedTable> {
        self.tables.read().clone()
    }

    /// The table is described so now. A new version only when that differs from before.
    pub fn describe_table(&self, table: &ManagedTable) -> Result<(), CatalogError> {
        if self.tables.read().contains(table) {
            return Ok(());
        }
        self.change_tables(0, |txn| {
            let sql = "INSERT OR REPLACE INTO tables VALUES (?1, ?2)";
            txn.execute(sql, [&table.logical, &encode(table)?])?;
            Ok(())
        })
    }

    /// Tables no longer in the configuration leave the view; their batches stay in the journal.
    pub fn forget_tables_except(&self, logical: &[String]) -> Result<(), CatalogError> {
        let mut gone = self.managed_tables();
        gone.retain(|table| !logical.contains(&table.logical));
        if gone.is_empty() {
            return Ok(());
        }
        self.change_tables(0, |txn| {
            for table in &gone {
                txn.execute("DELETE FROM tables WHERE logical = ?1", [&table.logical])?;
            }
            Ok(())
        })
    }

    fn change_tables(
        &self,
        above: u64,
        work: impl FnOnce(&Transaction<'_>) -> Result<(), CatalogError>,
    ) -> Result<(), CatalogError> {
        off_the_runtime(|| {
            let mut db = self.db();
            let mut book = self.book.write();
            let version = book.version.max(above) + 1;
            let txn = db.transaction()?;
            work(&txn)?;
            book::write(&txn, &[], version)?;
            let tables = managed_tables(&txn)?;
            txn.commit()?;
            book.apply(Vec::new(), version);
            *self.tables.write() = tables;
            self.leases.replace(Arc::new(view::build(&book, &self.tables.read())));
            Ok(())
        })
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
}

fn managed_tables(db: &Connection) -> Result<Vec<ManagedTable>, CatalogError> {
    let mut read = db.prepare("SELECT definition FROM tables ORDER BY logical")?;
    let found: Vec<String> = read.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    found.iter().map(|text| decode(text)).collect()
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
