//! What can go wrong, in the terms a caller branches on: did it happen, did it not, or is that unknown.

use crate::Exception;

/// Why a statement gave no (whole) answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The server refused or broke off the statement.
    #[error("Code: {code}. {message} ({name})")]
    Server {
        /// ClickHouse's error code.
        code: i32,
        /// Its name, e.g. `UNKNOWN_TABLE`; may be empty.
        name: String,
        /// The server's message.
        message: String,
    },
    /// Nothing was sent, or only a read was: no effect.
    #[error("ClickHouse at {node} is unreachable: {reason}")]
    Unreachable {
        /// The last node tried.
        node: String,
        /// What the network said.
        reason: String,
    },
    /// The statement was sent, the answer was lost: it may have happened. Look at the tables.
    #[error("outcome at ClickHouse {node} unknown: {reason}")]
    Unknown {
        /// The node it was sent to.
        node: String,
        /// How the answer was lost.
        reason: String,
    },
    /// The answer is longer than `max_response_bytes`.
    #[error("the answer is longer than {limit_bytes} bytes")]
    TooLarge {
        /// The cap.
        limit_bytes: u64,
    },
    /// No answer, or no further byte of it, within the deadline. A read: no effect.
    #[error("no answer from ClickHouse {node} within {waited_ms} ms")]
    Deadline {
        /// The node asked.
        node: String,
        /// How long was waited, ms.
        waited_ms: u64,
    },
    /// The answer (or the request) is not what the interface prescribes.
    #[error("ClickHouse HTTP: {0}")]
    Protocol(String),
}

impl Error {
    /// ClickHouse's error code, when the server gave one.
    pub fn code(&self) -> Option<i32> {
        match self {
            Self::Server { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// The statement may or may not have had its effect.
    pub fn is_unknown_outcome(&self) -> bool {
        match self {
            Self::Unknown { .. } => true,
            // UNKNOWN_STATUS_OF_INSERT, UNSATISFIED_QUORUM: the server itself does not know.
            Self::Server { code, .. } => matches!(code, 286 | 319),
            _ => false,
        }
    }

    /// The same statement may succeed later. Decided by code, never by text. It does not say that the
    /// statement had no effect: an insert that ran out of memory may have left rows.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Deadline { .. } => true,
            Self::Server { code, .. } => RETRYABLE.contains(code),
            Self::Unknown { .. } | Self::TooLarge { .. } | Self::Protocol(_) => false,
        }
    }
}

/// A disk is full.
pub const NOT_ENOUGH_SPACE: i32 = 243;

/// TIMEOUT_EXCEEDED, TOO_MANY_SIMULTANEOUS_QUERIES, NO_FREE_CONNECTION, SOCKET_TIMEOUT, NETWORK_ERROR,
/// NO_ZOOKEEPER, MEMORY_LIMIT_EXCEEDED, TABLE_IS_READ_ONLY, NOT_ENOUGH_SPACE, TOO_MANY_PARTS,
/// ALL_CONNECTION_TRIES_FAILED, TOO_FEW_LIVE_REPLICAS, DEADLOCK_AVOIDED, SERVER_OVERLOADED,
/// KEEPER_EXCEPTION.
const RETRYABLE: [i32; 15] =
    [159, 202, 203, 209, 210, 225, 241, 242, NOT_ENOUGH_SPACE, 252, 279, 285, 473, 745, 999];

impl From<Exception> for Error {
    fn from(exception: Exception) -> Self {
        Self::Server { code: exception.code, name: exception.name, message: exception.message }
    }
}

/// An error with its causes on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
