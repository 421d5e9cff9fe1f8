//! What can go wrong with the catalog.

use std::path::PathBuf;

use daemon::sqlite::OpenError;
use storage_types::lifecycle::IllegalTransition;

/// Errors of the catalog. Only `Rebuilding` concerns a caller: it passes by itself.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The catalog was lost and what is cold is not known again yet.
    #[error(
        "the catalog is being rebuilt from the gateway's manifests; queries of managed tables wait for it"
    )]
    Rebuilding,
    /// What was deleted from the hot engine cannot be asked.
    #[error("the hot engine does not answer")]
    HotAway,
    /// SQLite failed: the disk, or the file.
    #[error("catalog: {0}")]
    Storage(#[from] rusqlite::Error),
    /// The file holds what this release does not understand.
    #[error("catalog.sqlite: {0}")]
    Corrupt(String),
    /// A step out of order: a defect, stopped before it can harm.
    #[error(transparent)]
    Illegal(#[from] IllegalTransition),
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
