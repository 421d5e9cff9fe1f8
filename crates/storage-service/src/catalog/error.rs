//! What can go wrong with the catalog.

use std::{path::PathBuf, time::Duration};

use daemon::sqlite::OpenError;
use storage_types::{MigrationId, lifecycle::IllegalTransition};

/// Errors of the catalog. Only `Fencing` and `Rebuilding` concern a caller: both pass by themselves.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The rows asked for are just being set aside, and that took longer than a query may wait.
    #[error("rows of {table} are being moved right now; waited {waited:?}, ask again")]
    Fencing {
        /// Logical table.
        table: String,
        /// How long this lease waited.
        waited: Duration,
    },
    /// The catalog was lost and what is cold is not known again yet.
    #[error(
        "the catalog is being rebuilt from the gateway's manifests; queries of managed tables wait for it"
    )]
    Rebuilding,
    /// SQLite failed: the disk, or the file.
    #[error("catalog: {0}")]
    Storage(#[from] rusqlite::Error),
    /// The file holds what this release does not understand.
    #[error("catalog.sqlite: {0}")]
    Corrupt(String),
    /// A step out of order: a defect, stopped before it can harm.
    #[error(transparent)]
    Illegal(#[from] IllegalTransition),
    /// One migration at a time.
    #[error("migration {0} is running")]
    Busy(MigrationId),
    /// The file was not opened.
    #[error("open the catalog")]
    Open(#[from] OpenError),
    /// The data folder could not be made, or belongs to another process.
    #[error("use service.data_dir {}", .folder.display())]
    Folder {
        /// It.
        folder: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}
