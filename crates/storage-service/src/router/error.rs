//! Why a query is not answered, and what that looks like over HTTP.

use crate::catalog::CatalogError;
use hybrid_planner::Refusal;
use storage_types::TimeRange;

/// Why a query has no (whole) answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum QueryError {
    /// The request contradicts itself or names what there is not.
    #[error("{0}")]
    BadRequest(String),
    /// The planner refused the text.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The hot engine refused or failed it; its own code and words.
    #[error("{message}")]
    Engine {
        /// ClickHouse's error code.
        code: i32,
        /// `Code: N. message (NAME)`.
        message: String,
    },
    /// The head is not the table that rows were moved out of (`EXCHANGE TABLES`, or made anew): which of its rows
    /// are in cold too is not known until the moves in question have looked at it.
    #[error("{0}; `storagectl migrations` says what they wait for")]
    HeadReplaced(String),
    /// No hot node answers; the client's own words.
    #[error("hot {0}")]
    HotUnavailable(String),
    /// The hot node's answer broke off.
    #[error("the hot engine's answer broke off: {0}")]
    HotBroken(String),
    /// The cold rows the query needs cannot be had now.
    #[error(
        "cold rows of {table} in {} cannot be read now ({reason}); the NAS or the link to it may be down",
        times(*range)
    )]
    ColdUnavailable {
        /// Logical or cold table.
        table: String,
        /// Range of time that is missing.
        range: TimeRange,
        /// What failed.
        reason: String,
    },
    /// The cold engine refused or failed the cold part.
    #[error("the cold engine refused its part over {table} in {}: {reason}", times(*range))]
    ColdFailed {
        /// Logical or cold table.
        table: String,
        /// Range of time that was asked for.
        range: TimeRange,
        /// Its words.
        reason: String,
    },
    /// More cold bytes than fit where they must be collected.
    #[error(
        "the cold part is larger than {limit_bytes} bytes, the most that can be handed to a hot engine which \
         does not reach this service; set service.internal_url, or narrow the query"
    )]
    ColdTooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// The plan has more cold reads than one query may have.
    #[error("the query reads cold tables {arms} times; the limit is {limit}")]
    TooManyColdReads {
        /// How many the plan has.
        arms: usize,
        /// The limit.
        limit: usize,
    },
    /// What is cold is not known yet, and that took longer than a query may wait.
    #[error("{0}")]
    Catalog(String),
    /// Too many queries run, and none ended in time.
    #[error("{limit} queries are running and none ended within {waited_s} s; try again")]
    TooManyQueries {
        /// Queries that may run at once.
        limit: usize,
        /// Seconds waited.
        waited_s: u64,
    },
    /// It ran longer than a query may.
    #[error("the query ran into its time limit: {0}")]
    Deadline(String),
}

impl QueryError {
    /// Stable, machine-readable name.
    pub fn code(&self) -> &'static str {
        match self {
            Self::BadRequest(_) => "bad_request",
            Self::Refused(refusal) => refusal.code(),
            Self::Engine { .. } => "engine_error",
            Self::HeadReplaced(_) => "head_replaced",
            Self::HotUnavailable(_) => "hot_unavailable",
            Self::HotBroken(_) => "hot_broken",
            Self::ColdUnavailable { .. } => "cold_unavailable",
            Self::ColdFailed { .. } => "cold_failed",
            Self::ColdTooLarge { .. } => "cold_too_large",
            Self::TooManyColdReads { .. } => "too_many_cold_reads",
            Self::Catalog(_) => "catalog_busy",
            Self::TooManyQueries { .. } => "too_many_queries",
            Self::Deadline(_) => "deadline_exceeded",
        }
    }

    /// HTTP status. Engine errors follow ClickHouse's own mapping (`exceptionCodeToHTTPStatus`) in
    /// the cases callers meet.
    pub fn status(&self) -> u16 {
        match self {
            Self::BadRequest(_) | Self::TooManyColdReads { .. } => 400,
            Self::Refused(Refusal::UnknownTable(_)) => 404,
            Self::Refused(Refusal::ForbiddenSetting(_)) => 403,
            Self::Refused(_) => 400,
            Self::Engine { code, .. } => engine_status(*code),
            Self::ColdTooLarge { .. } => 413,
            Self::HotBroken(_) | Self::ColdFailed { .. } => 502,
            Self::HeadReplaced(_)
            | Self::HotUnavailable(_)
            | Self::ColdUnavailable { .. }
            | Self::Catalog(_)
            | Self::TooManyQueries { .. } => 503,
            Self::Deadline(_) => 504,
        }
    }

    /// ClickHouse's error code, when an engine gave one.
    pub fn engine_code(&self) -> Option<i32> {
        match self {
            Self::Engine { code, .. } => Some(*code),
            _ => None,
        }
    }
}

impl From<CatalogError> for QueryError {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::HotAway => Self::HotUnavailable("engine does not answer".into()),
            other => Self::Catalog(other.to_string()),
        }
    }
}

fn engine_status(code: i32) -> u16 {
    match code {
        // UNKNOWN_TABLE, UNKNOWN_DATABASE, UNKNOWN_FUNCTION
        60 | 81 | 46 => 404,
        // READONLY, ACCESS_DENIED
        164 | 497 => 403,
        // TOO_MANY_SIMULTANEOUS_QUERIES
        202 => 503,
        // TIMEOUT_EXCEEDED, SOCKET_TIMEOUT
        159 | 209 => 504,
        // Arguments, types, identifiers, syntax, aggregates, settings, formats.
        6 | 8 | 10 | 15 | 16 | 20 | 26 | 27 | 35 | 36 | 38 | 41 | 42 | 43 | 47 | 48 | 50 | 52 | 53 | 62
        | 63 | 69 | 70 | 72 | 73 | 115 | 130 | 131 | 179 | 184 | 190 | 206 | 207 | 215 | 216 | 352 | 386
        | 403 | 456 | 457 => 400,
        _ => 500,
    }
}

/// A range of time for people, in UTC.
fn times(range: TimeRange) -> String {
    let show = |second: i64, open: &str| {
        chrono::DateTime::from_timestamp(second, 0)
            .filter(|t| (0..=253_402_300_799).contains(&t.timestamp()))
            .map_or_else(|| open.to_owned(), |t| t.format("%Y-%m-%d %H:%M:%S").to_string())
    };
    format!("[{}, {}) UTC", show(range.lo, "the beginning"), show(range.hi, "the end"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_range_is_named_in_utc() {
        let error = QueryError::ColdUnavailable {
            table: "trades".into(),
            range: TimeRange::new(1_724_716_800, i64::MAX),
            reason: "connection refused".into(),
        };
        let text = error.to_string();
        assert!(text.contains("[2024-08-27 00:00:00, the end) UTC"), "{text}");
        assert_eq!((error.status(), error.code()), (503, "cold_unavailable"));
    }
}
