//! How talking to the other daemon fails, told apart by what the caller may do next.

use storage_types::gateway_api::ErrorBody;

/// Why a request to the other daemon failed.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// No connection could be made: nothing was sent, trying again is safe.
    #[error("{url}: cannot connect: {reason}")]
    Unreachable {
        /// Where to.
        url: String,
        /// The system's reason.
        reason: String,
    },
    /// Who answered cannot prove to be the other daemon: nothing was sent.
    #[error("{url}: its certificate is not accepted: {reason}")]
    Untrusted {
        /// Where to.
        url: String,
        /// What is wrong with it and what to do.
        reason: String,
    },
    /// The request may have been carried out: reconcile before trying again.
    #[error("{url}: the answer was lost: {reason}")]
    Unknown {
        /// Where to.
        url: String,
        /// What happened.
        reason: String,
    },
    /// The other daemon answered with an error.
    #[error("{url}: {status} {}: {}", body.code, body.message)]
    Status {
        /// Where to.
        url: String,
        /// HTTP status.
        status: u16,
        /// Its reason.
        body: ErrorBody,
    },
    /// The answer was not what was asked for.
    #[error("{url}: {reason}")]
    Protocol {
        /// Where to.
        url: String,
        /// What was wrong with it.
        reason: String,
    },
}

impl PeerError {
    /// The HTTP status, when the other daemon answered with one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// The error's stable code, when the other daemon gave one.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Status { body, .. } => Some(&body.code),
            _ => None,
        }
    }

    /// Waiting and asking again may help: the other side is away, busy or short of something.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Untrusted { .. } | Self::Unknown { .. } => true,
            Self::Status { status, .. } => matches!(status, 408 | 429 | 500 | 502..=504 | 507),
            Self::Protocol { .. } => false,
        }
    }
}
