//! Everything that can go wrong while a caller waits, by name.
//!
//! A variant is what a caller can act on; its text is for people. The HTTP status and the stable
//! code of each stand in one table in `api::refusal`.

use daemon::body::BodyError;
use storage_types::{
    BatchId, GatewayId, InvalidSender, Sender,
    gateway_api::{BatchStatus, ColdTableState, ColdTableStatus},
    ids::InvalidId,
    manifest::InvalidManifest,
};

use crate::journal::JournalError;

/// Why a request was not done.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The path does not hold an id.
    #[error(transparent)]
    InvalidId(#[from] InvalidId),
    /// The header does not say who sends.
    #[error(transparent)]
    InvalidSender(#[from] InvalidSender),
    /// The gateway takes another sender's batches.
    #[error("{} is not the sender in force, which is {known}", .presented.map_or_else(|| "nobody".into(), |sender| sender.to_string()))]
    StaleSender {
        /// The sender in force.
        known: Sender,
        /// Who sent the request.
        presented: Option<Sender>,
    },
    /// Nobody's batches are taken yet.
    #[error("no sender has claimed this gateway (POST /v1/claim)")]
    Unclaimed,
    /// The cold database is another gateway's.
    #[error(
        "the cold database {database} is of gateway {owner}, this is {gateway}: it is not touched until an operator says whose it is (storagectl gateway accept {database})"
    )]
    ForeignDatabase {
        /// The database.
        database: String,
        /// Whose it says it is.
        owner: GatewayId,
        /// This gateway.
        gateway: GatewayId,
    },
    /// The body does not say what the endpoint takes.
    #[error("{0}")]
    InvalidBody(String),
    /// The body could not be read.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The body stopped coming.
    #[error("no byte of the body came for {seconds} s")]
    Stalled {
        /// How long was waited.
        seconds: u64,
    },
    /// The caller went away in the middle of a body.
    #[error("the body broke off: {0}")]
    BrokenBody(String),
    /// The manifest contradicts itself or a limit.
    #[error(transparent)]
    InvalidManifest(#[from] InvalidManifest),
    /// The id is known with another manifest.
    #[error("batch {0} is known with another manifest; an id is never used twice")]
    ManifestDiffers(BatchId),
    /// No such batch here.
    #[error("batch {0} is not known here")]
    UnknownBatch(BatchId),
    /// No such cold table (or not one of ours).
    #[error("no cold table {database}.{table} (ensure it first)")]
    UnknownTable {
        /// Database asked for.
        database: String,
        /// Table asked for.
        table: String,
    },
    /// The database or table may not be written to.
    #[error("{0}")]
    ForbiddenTable(String),
    /// The batch has no such chunk.
    #[error("batch {batch} has chunks 0..{count}, not {chunk}")]
    UnknownChunk {
        /// The batch.
        batch: BatchId,
        /// Chunk asked for.
        chunk: u32,
        /// How many there are.
        count: usize,
    },
    /// A chunk's body has not the declared length.
    #[error("chunk {chunk} is declared with {declared} bytes; the body has {got}")]
    WrongLength {
        /// Chunk number.
        chunk: u32,
        /// What the manifest says.
        declared: u64,
        /// Bytes seen (at least this many when the body is too long).
        got: u64,
    },
    /// A chunk's body has not the declared hash.
    #[error("chunk {chunk} does not have the BLAKE3 that its manifest declares; it was not kept")]
    WrongChunkHash {
        /// Chunk number.
        chunk: u32,
    },
    /// The interface has no such path.
    #[error("there is nothing at {0}")]
    NoSuchPath(String),
    /// Chunks come before the commit, not after.
    #[error("batch {0} is committed; no more chunks are taken")]
    Committed(BatchId),
    /// The batch was given up; its id never returns.
    #[error("batch {0} was given up")]
    Aborted(BatchId),
    /// The batch was retired, and its rows are going.
    #[error("batch {0} is retired")]
    Retired(BatchId),
    /// A cold table is not the one that holds the batches.
    #[error("{}", describe(.0))]
    ColdTable(Box<ColdTableStatus>),
    /// The engine has not finished an earlier deletion.
    #[error("a deletion in {table} is still running")]
    StillRemoving {
        /// The table.
        table: String,
    },
    /// A published batch stays.
    #[error("batch {0} is published; it may not be deleted")]
    Published(BatchId),
    /// Only a proven batch has a proof and can be published.
    #[error("batch {batch} is {state}, not proven")]
    NotProven {
        /// The batch.
        batch: BatchId,
        /// Where it stands.
        state: &'static str,
    },
    /// The batch cannot be committed yet.
    #[error("batch {} misses {} ranges of chunks", .0.batch, .0.missing.len())]
    ChunksMissing(Box<BatchStatus>),
    /// Bytes and manifest contradict each other.
    #[error("batch {} is refuted: {}", .0.batch, .0.error.as_deref().unwrap_or("its bytes are not what its manifest says"))]
    Refuted(Box<BatchStatus>),
    /// The cold table's columns are not those the caller declares.
    #[error("columns of {database}.{table} differ: {difference}")]
    SchemaDiffers {
        /// Cold database.
        database: String,
        /// Cold table.
        table: String,
        /// The first differences, in words.
        difference: String,
    },
    /// The cold table cannot hold batches at all.
    #[error("{database}.{table} cannot hold batches: {reason}")]
    UnsuitableTable {
        /// Cold database.
        database: String,
        /// Cold table.
        table: String,
        /// Why.
        reason: String,
    },
    /// The disk would be filled beyond its reserve.
    #[error("{place} has {free} bytes free; this needs {needed} and {reserve} must stay free")]
    DiskReserve {
        /// Which disk.
        place: &'static str,
        /// Free now (less what is promised to others).
        free: u64,
        /// What this request may take.
        needed: u64,
        /// `min_free_bytes`.
        reserve: u64,
    },
    /// Too much is waiting already.
    #[error("{what}: the limit is {limit}; try again later")]
    Busy {
        /// What is used up.
        what: &'static str,
        /// How much of it there is.
        limit: u64,
    },
    /// The journal is not yet filled again after its loss.
    #[error("the gateway is starting: its journal is being rebuilt from its tables")]
    Starting,
    /// The cloud is away and the operator asked for no data in that time.
    #[error("the cloud does not answer and queue_incoming_data is off")]
    Offline,
    /// The text of a cold query is not one plain SELECT.
    #[error("{0}")]
    RefusedQuery(String),
    /// ClickHouse refused a caller's statement.
    #[error("{0}")]
    Statement(clickhouse_http::Error),
    /// ClickHouse did not do what the gateway needed.
    #[error("the cold ClickHouse: {0}")]
    Engine(#[from] clickhouse_http::Error),
    /// ClickHouse answered something it should not.
    #[error("the cold ClickHouse answered {0}")]
    EngineAnswer(String),
    /// The journal could not be read or written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The disk could not be read or written.
    #[error("{doing}: {source}")]
    Disk {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The process is ending.
    #[error("the gateway is shutting down")]
    ShuttingDown,
}

fn describe(table: &ColdTableStatus) -> String {
    let ColdTableStatus { database, table: name, batches, rows, .. } = table;
    let found = table.rows_found.unwrap_or(0);
    let held = format!("{batches} batches with {rows} rows are on record in {database}.{name}");
    let what = match table.state {
        ColdTableState::Ok => return format!("{held}, and are there"),
        ColdTableState::Lost => "there is no such table".to_owned(),
        ColdTableState::Replaced => "the table of that name is another one".to_owned(),
        ColdTableState::MissingRows => format!("the table has {found}"),
        ColdTableState::Foreign => "its database is another gateway's".to_owned(),
    };
    let argument =
        if table.state == ColdTableState::Foreign { database.clone() } else { format!("{database} {name}") };
    format!("{held}; {what}. Is the volume mounted? To go on without: storagectl gateway accept {argument}")
}

impl GatewayError {
    /// A disk of the gateway's or of its engine's is full.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Disk { source, .. } => {
                matches!(source.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
            }
            Self::Journal(JournalError::Sqlite(error)) => {
                error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
            }
            Self::Engine(error) => error.code() == Some(clickhouse_http::NOT_ENOUGH_SPACE),
            _ => false,
        }
    }

    /// For `map_err` around file calls.
    pub fn disk(doing: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Disk { doing, source }
    }
}
