//! Why bytes are not a batch.

use std::io;

/// Why a batch cannot be decoded. Travels inside the `io::Error` of [`crate::Decoder`]'s reads.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The first bytes are not a batch's.
    #[error("not a batch: wrong magic")]
    BadMagic,
    /// The container is of another version.
    #[error("batch container version {0} is unknown")]
    UnknownVersion(u16),
    /// The container is ours, the codec is not.
    #[error("batch codec {0:?} is unknown")]
    UnknownCodec(String),
    /// The container and its codec are known, a codec inside a page is not.
    #[error("codec {id} of a {what} stream is unknown")]
    UnknownColumnCodec {
        /// `numbers` or `text`.
        what: &'static str,
        /// Its id.
        id: u8,
    },
    /// A frame is not what was written.
    #[error("BLAKE3 of frame {frame} does not match")]
    PageHashMismatch {
        /// Frames before it.
        frame: u64,
    },
    /// The bytes end before the footer does.
    #[error("the batch is cut off")]
    Truncated,
    /// More raw bytes than were declared or allowed.
    #[error("the batch holds more than the {limit_bytes} raw bytes allowed")]
    TooLarge {
        /// The cap.
        limit_bytes: u64,
    },
    /// Framing or zstd data that cannot be.
    #[error("the batch is corrupt: {0}")]
    Corrupt(String),
    /// The footer's lengths are not those of the bytes.
    #[error("the footer says {declared} {what} bytes, there are {found}")]
    LengthMismatch {
        /// `raw` or `payload`.
        what: &'static str,
        /// By the footer.
        declared: u64,
        /// By counting.
        found: u64,
    },
    /// The rows are not those that were encoded.
    #[error("BLAKE3 of the raw bytes does not match the footer")]
    HashMismatch,
    /// There are bytes behind the footer.
    #[error("there are bytes behind the end of the batch")]
    TrailingBytes,
    /// The source failed.
    #[error(transparent)]
    Io(io::Error),
}

impl DecodeError {
    /// The error inside a read's `io::Error`, when it is one of these.
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl From<DecodeError> for io::Error {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Io(error) => error,
            DecodeError::Truncated => Self::new(io::ErrorKind::UnexpectedEof, error),
            other => Self::new(io::ErrorKind::InvalidData, other),
        }
    }
}
