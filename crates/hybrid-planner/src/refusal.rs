//! Why a query is not answered. A refusal has a stable code for programs and a sentence for people;
//! it is decided before any engine has seen the text.

use clickhouse_sql::{Refused, Tokens};

/// A query that is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Empty text, or something that is neither a SELECT nor a question about the schema.
    #[error("only a single SELECT (or SHOW, DESCRIBE, EXISTS, EXPLAIN) is answered here: {0}")]
    NotASingleSelect(String),
    /// INSERT, ALTER, DROP and their like.
    #[error("{0} changes data or state; this interface only reads")]
    WriteStatement(String),
    /// More than one statement.
    #[error("more than one statement: something follows the semicolon")]
    MultipleStatements,
    /// Brackets, quotes or comments that never end, or a byte no query has.
    #[error("the query cannot be read at byte {at}: {what}")]
    Unreadable {
        /// Byte offset in the text.
        at: usize,
        /// What is wrong there.
        what: String,
    },
    /// Longer than [`crate::MAX_QUERY_BYTES`].
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
    /// A table function that reaches outside the engine, or past the catalog.
    #[error("table function {0}() is not allowed: it reads what the catalog does not know")]
    TableFunction(String),
    /// A scalar function that reads files or runs programs.
    #[error("function {0}() is not allowed: it reaches outside the tables")]
    ForbiddenFunction(String),
    /// `INTO OUTFILE`.
    #[error("INTO OUTFILE is not allowed: take the answer from the response")]
    IntoOutfile,
    /// A file where a table or an answer belongs.
    #[error("{0} is not allowed: it reaches the disk")]
    File(&'static str),
    /// A setting that a reader may not choose, wherever in the text it stands.
    #[error("setting {0} is not one that a reader may choose")]
    ForbiddenSetting(String),
    /// `FINAL` on a logical table that has rows in more than one place.
    #[error(
        "FINAL on {0} is not supported: its rows are in more than one table, and FINAL merges within one"
    )]
    Final(String),
    /// `SAMPLE` on a logical table.
    #[error("SAMPLE on {0} is not supported: cold rows carry no sampling key")]
    Sample(String),
    /// `PREWHERE` where it cannot be read as WHERE.
    #[error("PREWHERE on {0} cannot be combined with WHERE here: write one WHERE")]
    Prewhere(String),
    /// A setting that speaks of the table itself, which is more than one table here.
    #[error("setting {0} is not supported on a table whose rows are in more than one place")]
    Setting(String),
    /// A name that could be a logical table or something else.
    #[error("{name} is ambiguous: {why}")]
    Ambiguous {
        /// The name.
        name: String,
        /// What else it could be.
        why: String,
    },
    /// The query reads a managed table by a way the planner cannot split (a view, for instance).
    #[error("the query reads {0} through a view or another table; ask the logical table itself")]
    HiddenRead(String),
    /// Rows of the range asked for are in two places, and which copy is right is not known.
    #[error("rows of {table} in {window} cannot be answered for: {reason}")]
    Unsettled {
        /// Logical table.
        table: String,
        /// The window concerned, Unix seconds.
        window: storage_types::TimeRange,
        /// What is wrong, and what would help.
        reason: String,
    },
    /// A structured query names a table that is not managed.
    #[error("no logical table {0:?}")]
    UnknownTable(String),
    /// A structured query names a column the table has not.
    #[error("table {table:?} has no column {column:?}")]
    UnknownColumn {
        /// Logical table.
        table: String,
        /// The name asked for.
        column: String,
    },
    /// A structured query that contradicts itself.
    #[error("bad request: {0}")]
    BadRequest(String),
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Unreadable(error) => Self::Unreadable { at: error.at, what: error.what.to_owned() },
            Refused::TooLong { bytes, limit } => Self::TooLong { bytes, limit },
            Refused::TooDeep(limit) => Self::TooDeep(limit),
            Refused::MultipleStatements => Self::MultipleStatements,
            Refused::Function(name) => Self::ForbiddenFunction(name),
            Refused::TableFunction(name) => Self::TableFunction(name),
            Refused::Setting(name) => Self::ForbiddenSetting(name),
            Refused::IntoOutfile => Self::IntoOutfile,
            Refused::File(what) => Self::File(what),
        }
    }
}

impl Refusal {
    /// Token `i` cannot be read as what must stand there.
    pub(crate) fn unreadable(t: &Tokens, i: usize, what: &str) -> Self {
        Self::Unreadable { at: t.start(i), what: what.to_owned() }
    }

    /// Stable, machine-readable name.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotASingleSelect(_) => "not_a_single_select",
            Self::WriteStatement(_) => "write_statement",
            Self::MultipleStatements => "multiple_statements",
            Self::Unreadable { .. } => "unreadable_query",
            Self::TooLong { .. } => "query_too_long",
            Self::TooDeep(_) => "query_too_deep",
            Self::TableFunction(_) => "forbidden_table_function",
            Self::ForbiddenFunction(_) => "forbidden_function",
            Self::IntoOutfile => "into_outfile",
            Self::File(_) => "forbidden_file",
            Self::ForbiddenSetting(_) => "forbidden_setting",
            Self::Final(_) => "final_unsupported",
            Self::Sample(_) => "sample_unsupported",
            Self::Prewhere(_) => "prewhere_unsupported",
            Self::Setting(_) => "setting_unsupported",
            Self::Ambiguous { .. } => "ambiguous_name",
            Self::HiddenRead(_) => "hidden_read",
            Self::Unsettled { .. } => "unsettled_range",
            Self::UnknownTable(_) => "unknown_table",
            Self::UnknownColumn { .. } => "unknown_column",
            Self::BadRequest(_) => "bad_request",
        }
    }
}
