//! How a request to the migrator fails, and how a step of a move does.

use storage_types::MigrationId;

use super::claim::is_not_claimed;
use crate::{catalog::CatalogError, hot::HotError};

/// A request was refused.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// One at a time.
    #[error("migration {0} is running; cancel it or wait for its end")]
    Busy(MigrationId),
    /// Not in the configuration.
    #[error("table {0:?} is not managed")]
    UnknownTable(String),
    /// The guard refuses the only table asked for.
    #[error("table {table:?} is refused: {reason}")]
    Refused {
        /// Logical table.
        table: String,
        /// Why.
        reason: String,
    },
    /// `before` is no time.
    #[error("before: {0:?} is neither RFC 3339 nor YYYY-MM-DD[ hh:mm:ss]")]
    InvalidBefore(String),
    /// No such migration.
    #[error("no migration {0}")]
    NotFound(MigrationId),
    /// The hot engine does not answer, or refuses.
    #[error("hot engine: {0}")]
    Hot(#[from] HotError),
    /// The catalog.
    #[error(transparent)]
    Catalog(CatalogError),
}

impl MigrationError {
    /// Stable name for callers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Busy(_) => "migration_running",
            Self::UnknownTable(_) => "unknown_table",
            Self::Refused { .. } => "table_refused",
            Self::InvalidBefore(_) => "invalid_before",
            Self::NotFound(_) => "unknown_migration",
            Self::Hot(_) => "hot_unavailable",
            Self::Catalog(_) => "catalog_failed",
        }
    }

    /// HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Self::Busy(_) | Self::Refused { .. } => 409,
            Self::UnknownTable(_) | Self::NotFound(_) => 404,
            Self::InvalidBefore(_) => 400,
            Self::Hot(_) => 503,
            Self::Catalog(_) => 500,
        }
    }
}

impl From<CatalogError> for MigrationError {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::Busy(id) => Self::Busy(id),
            other => Self::Catalog(other),
        }
    }
}

/// Why a step did not come to its end. What it means depends on the fence: before it, a move that
/// cannot go on is aborted; after it, nothing is given up, and a person must look.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// It may pass: an engine or the gateway is away, an outcome is unknown, queries are still
    /// running. The step is done again, from looking at the tables.
    #[error("{0}")]
    Retry(String),
    /// It will not pass by itself.
    #[error("{0}")]
    Failed(String),
    /// There is nothing to move after all.
    #[error("no rows are left to move")]
    Nothing,
}

impl From<HotError> for StepError {
    fn from(error: HotError) -> Self {
        if error.is_passing() { Self::Retry(error.to_string()) } else { Self::Failed(error.to_string()) }
    }
}

impl From<CatalogError> for StepError {
    fn from(error: CatalogError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<link::PeerError> for StepError {
    fn from(error: link::PeerError) -> Self {
        // Who may speak to the gateway is no word on the rows of a move.
        if error.is_retryable() || is_not_claimed(&error) {
            Self::Retry(error.to_string())
        } else {
            Self::Failed(error.to_string())
        }
    }
}

impl From<clickhouse_http::Error> for StepError {
    fn from(source: clickhouse_http::Error) -> Self {
        HotError::Engine { what: "read the snapshot", source }.into()
    }
}
