//! How a request to the migrator fails.

use moves::Trouble;
use storage_types::{MigrationId, MoveId};

use crate::{catalog::CatalogError, hot::HotError};

/// A request was refused.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
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
    /// Rows that are yet to come would be moved as soon as they are there.
    #[error("before: {0:?} lies in the future")]
    FutureBefore(String),
    /// No such migration.
    #[error("no migration {0}")]
    NotFound(MigrationId),
    /// No such move, or it is over.
    #[error("no open move {0}")]
    NoSuchMove(MoveId),
    /// The move decides for itself, or is past that decision.
    #[error("move {0}: {1}")]
    CannotDecide(MoveId, String),
    /// The hot engine does not answer, or refuses.
    #[error("hot engine: {0}")]
    Hot(String),
    /// The gateway, or what was found there.
    #[error("{0}")]
    Gateway(String),
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

impl MigrationError {
    /// Stable name for callers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownTable(_) => "unknown_table",
            Self::Refused { .. } => "table_refused",
            Self::InvalidBefore(_) | Self::FutureBefore(_) => "invalid_before",
            Self::NotFound(_) => "unknown_migration",
            Self::NoSuchMove(_) => "unknown_move",
            Self::CannotDecide(..) => "cannot_decide",
            Self::Hot(_) => "hot_unavailable",
            Self::Gateway(_) => "gateway_unavailable",
            Self::Catalog(_) => "catalog_failed",
        }
    }

    /// HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Self::Refused { .. } | Self::CannotDecide(..) => 409,
            Self::UnknownTable(_) | Self::NotFound(_) | Self::NoSuchMove(_) => 404,
            Self::InvalidBefore(_) | Self::FutureBefore(_) => 400,
            Self::Hot(_) | Self::Gateway(_) => 503,
            Self::Catalog(_) => 500,
        }
    }
}

impl From<HotError> for MigrationError {
    fn from(error: HotError) -> Self {
        Self::Hot(error.to_string())
    }
}

impl From<Trouble> for MigrationError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::HotAway(text) | Trouble::HotRefuses(text) => Self::Hot(text),
            other => Self::Gateway(other.to_string()),
        }
    }
}

impl From<link::PeerError> for MigrationError {
    fn from(error: link::PeerError) -> Self {
        Self::Gateway(error.to_string())
    }
}
