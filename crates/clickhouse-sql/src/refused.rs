//! Why a text is not handed to an engine.

use crate::lexer::LexError;

/// A text that is refused, before any engine has seen it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It cannot be read, or not by every engine alike.
    #[error(transparent)]
    Unreadable(#[from] LexError),
    /// It is longer than [`crate::MAX_QUERY_BYTES`].
    #[error("the query has {bytes} bytes; the limit is {limit}")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Brackets nested deeper than [`crate::MAX_DEPTH`].
    #[error("brackets are nested deeper than {0}")]
    TooDeep(usize),
    /// More than one statement.
    #[error("more than one statement: something follows the semicolon")]
    MultipleStatements,
    /// A function that reaches outside the tables.
    #[error("function {0}() is not allowed: it reaches outside the tables")]
    Function(String),
    /// A table function that is not known to stay inside.
    #[error("table function {0}() is not allowed: it reads what the catalog does not know")]
    TableFunction(String),
    /// A setting that a reader may not choose.
    #[error("setting {0} is not one that a reader may choose")]
    Setting(String),
    /// `INTO OUTFILE`.
    #[error("INTO OUTFILE is not allowed: take the answer from the response")]
    IntoOutfile,
    /// A file where a table or rows belong.
    #[error("{0} is not allowed: it reaches the disk")]
    File(&'static str),
}
