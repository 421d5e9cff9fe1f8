//! Bodies of storage-gateway's HTTP API, and of what the gateway tells the service.
//!
//! ```text
//! POST   /v1/claim                        Claim → Claimed; 409 another sender is known
//! POST   /v1/tables                       EnsureTable → 200, 409 schema differs
//! POST   /v1/batches                      Manifest → 201 new, 200 same, 409 differs
//! GET    /v1/batches/{id}                 BatchStatus, 404
//! PUT    /v1/batches/{id}/chunks/{n}      bytes (`Content-Digest: blake3=:<base64>:`) → 204, 409, 413, 422
//! POST   /v1/batches/{id}/commit          BatchStatus: 202 proving, 200 proven, 409 chunks missing, 422 refuted
//! GET    /v1/batches/{id}/proof           Proof, computed afresh from the live cold table
//! DELETE /v1/batches/{id}                 204: given up, or retired where it was proven; 409 once published
//! POST   /v1/batches/{id}/published       204: the batch may no longer be deleted
//! POST   /v1/batches/published            Batches → 204, all of them or none
//! POST   /v1/batches/retire               Batches → 204: nobody reads them; rows go by the NAS's own rule
//! POST   /v1/batches/unretire             Batches → 204; 409 `retired` once a removal has begun
//! POST   /v1/proofs                       ProofRequest → 202 ProofProgress, 200 Vec<(BatchId, Proof)>
//! POST   /v1/accept                       Accept → 204: an operator's word on a cold table or database
//! GET    /v1/batches?after=ID&limit=N     BatchPage: batches that have rows in cold, or may come to have, oldest first
//! POST   /v1/query                        ColdQuery → the engine's stream
//! GET    /v1/status                       GatewayStatus
//! GET    /healthz, /readyz                no token
//! ```
//!
//! Everything but health asks for `Authorization: Bearer <token>`. Every POST, PUT and DELETE but
//! `claim`, `query`, `proofs`, `accept` and `probe` asks for the [`crate::SENDER_HEADER`] of the sender in force: 409 `stale_sender`
//! to another, 409 `unclaimed` while none is known.

use serde::{Deserialize, Serialize};

use crate::{BatchId, BatchState, Column, GatewayId, Manifest, Proof, Sender};

/// Bytes of a question for the line's bandwidth (`PUT /v1/probe`): small enough to be in nobody's way.
pub const PROBE_BYTES: usize = 256 * 1024;

/// From now on the gateway's batches are this sender's. Accepted when no sender is known, or when
/// `replaces` is the one that is known and, for the same catalog, `sender` has a higher epoch. Asking
/// again for what is in force changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// Who asks.
    pub sender: Sender,
    /// Who is known, as far as the asker knows.
    pub replaces: Option<Sender>,
}

/// The answer to a [`Claim`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claimed {
    /// The gateway.
    pub gateway: GatewayId,
    /// The sender in force now.
    pub sender: Sender,
}

/// Most batches of one [`BatchPage`], [`Batches`] or [`ProofRequest`].
pub const MAX_BATCH_PAGE: u32 = 1_000;

/// A cold table the gateway must have before batches for it can come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnsureTable {
    /// Cold database, unquoted.
    pub database: String,
    /// Cold table, unquoted.
    pub table: String,
    /// Columns without `_batch`.
    pub columns: Vec<Column>,
    /// PARTITION BY expression, as `system.tables.partition_key` prints it.
    pub partition_by: String,
    /// ORDER BY expression, as `system.tables.sorting_key` prints it.
    pub order_by: String,
}

/// Missing chunks `first..=last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkRange {
    /// First missing chunk number.
    pub first: u32,
    /// Last missing chunk number.
    pub last: u32,
}

/// What the gateway knows of a batch, judged by the bytes it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchStatus {
    /// The batch.
    pub batch: BatchId,
    /// Its state on the gateway.
    pub state: BatchState,
    /// Chunks not held, in order.
    pub missing: Vec<ChunkRange>,
    /// Count and hash once proven.
    pub proof: Option<Proof>,
    /// Why the last commit failed.
    pub error: Option<String>,
}

/// A batch whose rows are in a cold table, or may come to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchFacts {
    /// Its state on the gateway.
    pub state: BatchState,
    /// What its sender declared, without the table of chunks: `chunks` is empty here.
    pub manifest: Manifest,
}

/// Some of the gateway's batches, in the order of their ids, which is that of their age.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchPage {
    /// At most [`MAX_BATCH_PAGE`].
    pub batches: Vec<BatchFacts>,
    /// The `after` of the next page; `None` at the end.
    pub next: Option<BatchId>,
}

/// Batches to be changed together, at most [`MAX_BATCH_PAGE`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batches {
    /// Their ids.
    pub batches: Vec<BatchId>,
}

/// Asks for proofs computed after this job's name first came. Asked again with the same name until they
/// are there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProofRequest {
    /// Name of the job: never used before for another.
    pub id: u64,
    /// At most [`MAX_BATCH_PAGE`], each proven, published or retired.
    pub batches: Vec<BatchId>,
}

/// How far a proof job is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofProgress {
    /// Batches proven for this job.
    pub done: u64,
    /// Batches asked for.
    pub total: u64,
    /// What keeps it from going on, if something does.
    pub error: Option<String>,
}

/// An operator accepts what is there now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accept {
    /// Cold database, unquoted.
    pub database: String,
    /// Cold table, unquoted: it stays as it is, its missing rows are given up. `None`: the database is
    /// this gateway's, whosever it says it is.
    pub table: Option<String>,
}

/// Whether a cold table is still the one that holds the batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColdTableState {
    /// It is.
    Ok,
    /// There is none of that name.
    Lost,
    /// There is one of that name, and it is another.
    Replaced,
    /// It has fewer rows than its batches.
    MissingRows,
    /// Its database says that it is another gateway's.
    Foreign,
}

/// A cold table that holds batches. In any state but `ok` no query reads it; one that only misses rows still
/// takes batches and is proven.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColdTableStatus {
    /// Cold database, unquoted.
    pub database: String,
    /// Cold table, unquoted.
    pub table: String,
    /// Its UUID in ClickHouse, as the journal knows it.
    pub uuid: Option<String>,
    /// How it stands.
    pub state: ColdTableState,
    /// Batches that are proven, published or retired in it.
    pub batches: u64,
    /// Rows of these batches.
    pub rows: u64,
    /// Rows that the engine counts in it, other rows too; `None` when there is no table.
    pub rows_found: Option<u64>,
}

/// A read of the cold tables: one SELECT, run with `readonly=1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColdQuery {
    /// One SELECT over cold tables.
    pub sql: String,
    /// ClickHouse format of the answer (`Native` from the service).
    pub format: String,
    /// Query id, so that KILL reaches it.
    pub query_id: String,
    /// `session_timezone`, when the caller's session has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_timezone: Option<String>,
}

/// State of a gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayStatus {
    /// `service.name` of its configuration.
    pub name: String,
    /// Which gateway it is; `None` until its journal is whole.
    #[serde(default)]
    pub id: Option<GatewayId>,
    /// Whose batches it takes; `None` while nobody has claimed it.
    #[serde(default)]
    pub sender: Option<Sender>,
    /// Version of the gateway.
    pub version: String,
    /// `version()` of its ClickHouse; `None` while it does not answer.
    pub engine_version: Option<String>,
    /// Free bytes where batches are spooled.
    pub disk_free_bytes: u64,
    /// Below this nothing is accepted.
    pub min_free_bytes: u64,
    /// Batches received but not proven.
    pub batches_pending: u64,
    /// Batches proven, published or retired.
    pub batches_held: u64,
    /// Cold tables that hold batches, at most 1,000; none while the engine does not answer.
    #[serde(default)]
    pub tables: Vec<ColdTableStatus>,
}

/// `POST /internal/v1/heartbeat` on the service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The gateway's state now.
    pub status: GatewayStatus,
    /// Seconds since it started.
    pub uptime_s: u64,
}

/// `POST /internal/v1/confirmations` on the service: how a commit ended, told by the gateway itself
/// in case the answer to the commit was lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmation {
    /// The batch and how it stands.
    pub status: BatchStatus,
}

/// Every error body of both daemons.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// Stable, machine-readable name, e.g. `wrong_chunk_hash`.
    pub code: String,
    /// For people.
    pub message: String,
}
