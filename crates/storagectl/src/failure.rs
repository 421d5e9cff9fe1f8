//! How a command fails, and the exit code that says so.

use link::PeerError;

/// Why a command did not succeed.
#[derive(Debug)]
pub enum Failure {
    /// Refused by the daemon, or something of ours that went wrong: exit code 1.
    Failed(String),
    /// The daemon is not there: exit code 69 (`EX_UNAVAILABLE`).
    Away(String),
    /// Whoever read our output has read enough: no failure.
    ReaderGone,
}

impl Failure {
    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Away(_) => 69,
            Self::ReaderGone => 0,
        }
    }

    /// For standard error; `None` when there is nothing to say.
    pub fn message(&self) -> Option<&str> {
        match self {
            Self::Failed(text) | Self::Away(text) => Some(text),
            Self::ReaderGone => None,
        }
    }
}

impl From<PeerError> for Failure {
    fn from(error: PeerError) -> Self {
        match &error {
            PeerError::Status { status: 401, .. } => Self::Failed(
                "the daemon wants another token (give the right file with --token-file or STORAGE_TOKEN_FILE)".into(),
            ),
            PeerError::Status { body, .. } => Self::Failed(format!("{} [{}]", body.message, body.code)),
            PeerError::Unreachable { .. } | PeerError::Unknown { .. } => {
                Self::Away(format!("{error} (is it running? --url or STORAGE_URL says where)"))
            }
            PeerError::Untrusted { .. } => Self::Failed(error.to_string()),
            PeerError::Protocol { .. } => Self::Failed(format!("{error} (is this one of the two daemons?)")),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            Self::ReaderGone
        } else {
            Self::Failed(format!("cannot write the answer: {error}"))
        }
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        if error.is_io() { std::io::Error::from(error).into() } else { Self::Failed(error.to_string()) }
    }
}
