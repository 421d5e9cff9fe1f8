//! Bodies of storage-service's HTTP API.
//!
//! ```text
//! POST   /api/v1/query                    QueryRequest → stream; headers: see `headers`
//! GET    /api/v1/queries/{query_id}       QueryReport of a running or recent query, 404
//! POST   /api/v1/migrations               MigrationRequest → 202 MigrationAccepted, 200 DryRun
//! GET    /api/v1/migrations               Vec<MigrationReport>, newest first
//! GET    /api/v1/migrations/{id}          MigrationReport, 404
//! DELETE /api/v1/migrations/{id}          202: cancel (moves whose rows are still in the head are given up)
//! POST   /api/v1/moves/{id}/decision      MoveDecision → 202: what an operator decides about a move that waits for it
//! GET    /api/v1/catalog                  CatalogReport
//! GET    /api/v1/status                   ServiceStatus
//! PUT    /api/v1/link/limit               LinkLimit → 204
//! POST   /api/v1/tables/{name}/adopt      take over the table's TTL → 200 AdoptReport
//! POST   /internal/v1/heartbeat           gateway_api::Heartbeat → 204
//! POST   /internal/v1/confirmations       gateway_api::Confirmation → 204
//! GET    /internal/v1/cold/{ticket}       Native stream for the hot engine's `url()`
//! GET    /healthz, /readyz                no token
//! ```

use serde::{Deserialize, Serialize};

use crate::{BatchId, MigrationId, MoveId, MoveState, Proof, TimeRange, gateway_api::GatewayStatus};

/// Response headers of every query.
pub mod headers {
    /// `hot`, `cold` or `hybrid`.
    pub const ROUTE: &str = "x-storage-route";
    /// `union`, `partial` or `passthrough`.
    pub const PLAN: &str = "x-storage-plan";
    /// Catalog version the query was answered from.
    pub const CATALOG_VERSION: &str = "x-storage-catalog-version";
    /// `complete`: every row asked for is in the answer.
    pub const COVERAGE: &str = "x-storage-coverage";
    /// Bytes over the link; known only at the end, so a trailer as well as (0 for hot) a header.
    pub const LINK_BYTES: &str = "x-storage-link-bytes";
}

/// `POST /api/v1/query`: exactly one of `sql` or `table` (structured).
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueryRequest {
    /// A single SELECT; logical tables by their names in the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql: Option<String>,
    /// `json` (ClickHouse JSON), `ndjson`, `csv`, `arrow` (IPC stream) or `parquet`. Default `json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// ClickHouse query id; kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query_id: Option<String>,
    /// Logical table of a structured query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// Start of the time range, inclusive: RFC 3339 or ClickHouse date-time text (UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// End of the time range, exclusive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
    /// Columns to return; all when empty and nothing is aggregated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// All must hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<Filter>,
    /// Columns to group by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub group_by: Vec<String>,
    /// Aggregates to compute.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aggregates: Vec<Aggregate>,
    /// Bucket the time column, e.g. `1m`, `1h`, `1d`; the bucket is returned as `time_bucket`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
    /// Order of the answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub order_by: Vec<OrderBy>,
    /// Most rows to return.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

/// `column op value`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// Column name.
    pub column: String,
    /// `=`, `!=`, `<`, `<=`, `>`, `>=`, `in`, `not in`, `like`.
    pub op: String,
    /// A scalar, or a list for `in`.
    pub value: serde_json::Value,
}

/// `function(column) AS alias`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Aggregate {
    /// A ClickHouse aggregate function's name, e.g. `count`, `sum`, `argMax`, `quantileExact(0.9)`.
    pub function: String,
    /// Argument columns; none for `count`.
    #[serde(default)]
    pub columns: Vec<String>,
    /// Name in the answer; default `function_column`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
}

/// One sort key.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderBy {
    /// A returned column or alias.
    pub column: String,
    /// Descending.
    #[serde(default)]
    pub desc: bool,
}

/// `GET /api/v1/queries/{query_id}`: how a query went. Only the last ones are kept, in memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QueryReport {
    /// ClickHouse query id, as in the answer's `X-ClickHouse-Query-Id`.
    pub query_id: String,
    /// See [`headers::ROUTE`].
    pub route: String,
    /// See [`headers::PLAN`].
    pub plan: String,
    /// See [`headers::CATALOG_VERSION`].
    pub catalog_version: u64,
    /// Why raw rows came over the link instead of aggregate states.
    pub why_not_partial: Option<String>,
    /// Cold batches the plan may read.
    pub cold_batches: u64,
    /// Bytes over the link so far.
    pub link_bytes: u64,
    /// Bytes of the answer handed to the caller so far.
    pub answer_bytes: u64,
    /// Unix milliseconds.
    pub started_at_ms: i64,
    /// Milliseconds from its start to its end, or until now.
    pub elapsed_ms: u64,
    /// How it stands.
    pub state: QueryState,
    /// What went wrong.
    pub error: Option<String>,
}

/// State of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueryState {
    /// The answer is on its way.
    Running,
    /// The whole answer was sent.
    Done,
    /// It ended with an error.
    Failed,
    /// The caller hung up, or read too slowly.
    Cancelled,
}

/// `POST /api/v1/migrations`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MigrationRequest {
    /// Logical tables; all managed ones when empty.
    #[serde(default)]
    pub tables: Vec<String>,
    /// Move rows older than this (RFC 3339 or `YYYY-MM-DD[ hh:mm:ss]`, UTC). Default: now minus
    /// `retention_days`, cut to the start of the UTC day.
    #[serde(default)]
    pub before: Option<String>,
    /// Only say what would be moved.
    #[serde(default)]
    pub dry_run: bool,
}

/// 202: the migration runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MigrationAccepted {
    /// Ask `GET /api/v1/migrations/{id}` for progress.
    pub id: MigrationId,
}

/// What a migration would do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DryRun {
    /// Rows before this second (UTC) would move.
    pub before: i64,
    /// One line per move.
    pub moves: Vec<PlannedMove>,
    /// Sum over `moves`.
    pub rows: u64,
    /// Estimated bytes on disk in hot, summed.
    pub bytes: u64,
    /// Expected duration in seconds, from the last measured rate (or `bandwidth_limit`).
    pub expected_seconds: f64,
}

/// One move of a dry run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PlannedMove {
    /// Logical table.
    pub table: String,
    /// Rows of this range move.
    pub range: TimeRange,
    /// Rows that would move.
    pub rows: u64,
    /// Estimated bytes on disk.
    pub bytes: u64,
}

/// A migration and its moves.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MigrationReport {
    /// Its id.
    pub id: MigrationId,
    /// `running`, `done`, `failed`, `cancelled`.
    pub state: MigrationState,
    /// `api`, `schedule` or `recovery`.
    pub trigger: String,
    /// Unix seconds.
    pub started_at: i64,
    /// Unix seconds.
    pub finished_at: Option<i64>,
    /// Every move with its progress.
    pub moves: Vec<MoveReport>,
    /// Rows published so far.
    pub rows_published: u64,
    /// Uncompressed Native bytes encoded so far.
    pub raw_bytes: u64,
    /// Bytes sent over the link so far (chunks, with repeats).
    pub wire_bytes: u64,
    /// What went wrong, one line each.
    pub errors: Vec<String>,
}

/// State of a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MigrationState {
    /// Moves are under way.
    Running,
    /// Every move is published and reclaimed.
    Done,
    /// Some move failed; it is tried again by the next migration.
    Failed,
    /// Cancelled: moves whose rows were still in the head were given up.
    Cancelled,
}

/// One move's progress.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MoveReport {
    /// Its id.
    pub id: MoveId,
    /// Logical table.
    pub table: String,
    /// Its rows' times.
    pub range: TimeRange,
    /// Highest block number of its rows; later ones stay in the head. 0: not opened yet.
    pub watermark: u64,
    /// Where it stands.
    pub state: MoveState,
    /// Its rows, as planned until they are proven.
    pub rows: u64,
    /// Count and hash of its rows, once published.
    pub proof: Option<Proof>,
    /// Its batches.
    pub batches: Vec<BatchId>,
    /// Batches proven.
    pub batches_proven: u32,
    /// Uncompressed Native bytes.
    pub raw_bytes: u64,
    /// Encoded bytes.
    pub encoded_bytes: u64,
    /// What it waits for.
    pub waits_for: Option<WaitReport>,
    /// Why it was withdrawn last.
    pub reason: Option<String>,
}

/// What a move waits for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WaitReport {
    /// In words.
    pub what: String,
    /// Unix seconds.
    pub since: i64,
    /// What would help; empty: time.
    pub help: String,
    /// An operator has to decide.
    pub operator: bool,
}

/// `POST /api/v1/moves/{id}/decision`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MoveDecision {
    /// Which copy of the move's rows is right.
    pub keep: KeptCopy,
}

/// A copy of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeptCopy {
    /// The head's: the batches become invisible, and stay on the NAS.
    Hot,
    /// The NAS's, whatever the head has.
    Cold,
}

/// What is visible where.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CatalogReport {
    /// Catalog version.
    pub version: u64,
    /// Per logical table.
    pub tables: Vec<TableReport>,
}

/// One logical table's visible parts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TableReport {
    /// Logical name.
    pub table: String,
    /// Hot table, `database.table`.
    pub hot: String,
    /// Cold table, `database.table`.
    pub cold: String,
    /// Why it is not managed (TTL guard, missing table …); `None` when it is.
    pub refused: Option<String>,
    /// Visible cold batches.
    pub cold_batches: u64,
    /// Rows in them.
    pub cold_rows: u64,
    /// Hull of their ranges.
    pub cold_range: Option<TimeRange>,
}

/// `GET /api/v1/status`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// `service.name`.
    pub name: String,
    /// Version of the service.
    pub version: String,
    /// Catalog version.
    pub catalog_version: u64,
    /// Hot nodes, `(url, healthy)`.
    pub hot_nodes: Vec<(String, bool)>,
    /// Seconds since the gateway's last heartbeat.
    pub gateway_heard_s: Option<u64>,
    /// Its last heartbeat.
    pub gateway: Option<GatewayStatus>,
    /// Next scheduled migration, Unix seconds.
    pub next_migration: Option<i64>,
    /// The way to the NAS.
    #[serde(default)]
    pub link: Option<LinkStatus>,
}

/// The way to the NAS, as the service sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LinkStatus {
    /// `tun`, `userspace`, `external` or `reverse_proxy`.
    pub mode: String,
    /// `up`, `http_dead`, `no_handshake`, `silent` or `down`.
    pub state: String,
    /// What stands in the way, and what to do about it, as far as is known.
    #[serde(default)]
    pub problem: Option<String>,
    /// Seconds since the gateway last answered.
    pub http_s: Option<u64>,
    /// Seconds since the last handshake.
    pub handshake_s: Option<u64>,
    /// Seconds since a byte last moved, while a transfer is under way.
    #[serde(default)]
    pub silent_s: Option<u64>,
    /// Round trip, smoothed and least, milliseconds: inside the tunnel, or of questions to the gateway where
    /// there is none of ours.
    pub rtt_ms: Option<f64>,
    /// See `rtt_ms`.
    pub min_rtt_ms: Option<f64>,
    /// Mean deviation of the round trip, milliseconds.
    pub jitter_ms: Option<f64>,
    /// Share of those questions that were lost, 0 to 1.
    pub loss: Option<f64>,
    /// Goodput of our own transfers (of a probe while there were none), bytes per second.
    pub bandwidth_bytes_s: Option<f64>,
    /// The most the line carried lately, bytes per second.
    #[serde(default)]
    pub capacity_bytes_s: Option<f64>,
    /// How good the line is, 0 to 1.
    #[serde(default)]
    pub stability: Option<f64>,
    /// Good enough for bulk data: from 0.6 on, until the figure falls below 0.3. Moves pause otherwise.
    #[serde(default = "yes")]
    pub is_stable: bool,
    /// The limit in force, bytes per second; `None`: none.
    pub limit_bytes_s: Option<u64>,
    /// What bulk data take at most now, bytes per second: the limit, or less while they give way to others
    /// on the same line.
    #[serde(default)]
    pub pace_bytes_s: Option<u64>,
    /// Bytes of packets sent to the NAS and received from it through our tunnel.
    #[serde(default)]
    pub sent_bytes: Option<u64>,
    /// See `sent_bytes`.
    #[serde(default)]
    pub received_bytes: Option<u64>,
}

fn yes() -> bool {
    true
}

/// `PUT /api/v1/link/limit`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkLimit {
    /// A rate or `UP:DOWN` as in `migration.bandwidth_limit`, `off`, or null: back to the timetable.
    pub limit: Option<String>,
}

/// `POST /api/v1/tables/{name}/adopt`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AdoptReport {
    /// Logical table.
    pub table: String,
    /// TTL it had.
    pub removed_ttl: Option<String>,
}
