//! The manifest of a batch: everything the receiver needs to judge the bytes for itself.

use serde::{Deserialize, Serialize};

use crate::{BatchId, MoveId, TimeRange};

/// Version of the manifest's own shape; a reader takes older ones and refuses newer. Version 1 had no
/// `origin`.
pub const MANIFEST_VERSION: u16 = 2;

/// One column of a table, in the table's order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Unquoted name.
    pub name: String,
    /// ClickHouse's text of the type, as `system.columns.type` prints it.
    #[serde(rename = "type")]
    pub data_type: String,
}

/// Content hash of a set of rows, as [`crate::hash_sql::content_hash`] computes it over the columns in
/// the table's order. Adds up over disjoint sets, wrapping at 2^128; order-free; sensitive to
/// duplicates. In JSON: decimal text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ContentHash(pub u128);

impl ContentHash {
    /// Hash of the disjoint union.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }
}

impl std::fmt::Display for ContentHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl std::str::FromStr for ContentHash {
    type Err = std::num::ParseIntError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl Serialize for ContentHash {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ContentHash {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Count and content hash of a set of rows, as an engine computed them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Proof {
    /// `count()`.
    pub rows: u64,
    /// See [`ContentHash`].
    pub content_hash: ContentHash,
}

impl Proof {
    /// Proof of the disjoint union.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { rows: self.rows + other.rows, content_hash: self.content_hash.plus(other.content_hash) }
    }
}

impl std::iter::Sum for Proof {
    fn sum<I: Iterator<Item = Self>>(proofs: I) -> Self {
        proofs.fold(Self::default(), Self::plus)
    }
}

/// One numbered chunk of the encoded batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkEntry {
    /// Length in bytes; every chunk but the last has the manifest's `chunk_bytes`.
    pub bytes: u64,
    /// BLAKE3 of the chunk, 64 hex digits.
    pub blake3: String,
}

/// Where a batch's rows were read: together with the batch's range it says which rows of which table they
/// are, so that a catalog that was lost can be put together again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// `serverUUID()` of the hot ClickHouse; empty when it is not known.
    pub server: String,
    /// UUID of the hot table; empty when it is not known.
    pub head: String,
    /// The window that its move took.
    pub window: TimeRange,
    /// Rows up to this block number; 0 when none was taken.
    pub watermark: u64,
}

impl Origin {
    /// Nothing is known but the window.
    #[must_use]
    pub fn of_window(window: TimeRange) -> Self {
        Self { server: String::new(), head: String::new(), window, watermark: 0 }
    }
}

/// What a batch is, from sender to receiver. Immutable once sent: the same id with another manifest
/// is a conflict (409), never an update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`MANIFEST_VERSION`].
    pub version: u16,
    /// The batch's id, never used twice.
    pub batch: BatchId,
    /// The move this batch is a part of.
    pub move_id: MoveId,
    /// Logical table name (as in the configuration).
    pub table: String,
    /// Cold table, `database.table`, unquoted.
    pub cold_database: String,
    /// See `cold_database`.
    pub cold_table: String,
    /// The rows' columns, in order; never `_batch`.
    pub columns: Vec<Column>,
    /// [`schema_hash`] of `columns`, 64 hex digits.
    pub schema_hash: String,
    /// Name of the time column.
    pub time_column: String,
    /// Every row's time is in this range.
    pub range: TimeRange,
    /// Hot partition ids (`_partition_id`) the rows came from.
    pub partition_ids: Vec<String>,
    /// What the rows must count and hash to.
    pub proof: Proof,
    /// Size of the rows as uncompressed ClickHouse Native, bytes. The decoder's cap.
    pub raw_bytes: u64,
    /// Size of the encoded batch, bytes.
    pub encoded_bytes: u64,
    /// BLAKE3 of the encoded batch, 64 hex digits.
    pub blake3: String,
    /// Codec name and version, e.g. `native-zstd/1`.
    pub codec: String,
    /// `version()` of the engine that computed `proof`.
    pub engine_version: String,
    /// Length of every chunk but the last, bytes.
    pub chunk_bytes: u64,
    /// The chunks, in order.
    pub chunks: Vec<ChunkEntry>,
    /// Where the rows were read; `None` in version 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

/// Why a manifest contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("manifest of batch {batch}: {reason}")]
pub struct InvalidManifest {
    /// The batch it claims to be.
    pub batch: BatchId,
    /// What is wrong.
    pub reason: String,
}

impl Manifest {
    /// Checks everything that can be checked without the bytes: version, sizes that add up, hash
    /// shapes, and the caller's caps on `raw_bytes`.
    pub fn check(&self, max_raw_bytes: u64) -> Result<(), InvalidManifest> {
        let fail = |reason: String| Err(InvalidManifest { batch: self.batch, reason });
        if !(1..=MANIFEST_VERSION).contains(&self.version) {
            return fail(format!("version {} is none of 1 to {MANIFEST_VERSION}", self.version));
        }
        if self.origin.is_some() != (self.version > 1) {
            return fail(format!("version {} and its origin do not fit", self.version));
        }
        if self.batch.get() == 0 {
            return fail("batch id 0 is reserved".into());
        }
        if self.columns.is_empty() {
            return fail("no columns".into());
        }
        if self.schema_hash != schema_hash(&self.columns) {
            return fail("schema_hash does not match columns".into());
        }
        if !self.columns.iter().any(|c| c.name == self.time_column) {
            return fail(format!("time column {:?} is not among the columns", self.time_column));
        }
        if self.range.is_empty() {
            return fail(format!("empty time range {}", self.range));
        }
        if self.raw_bytes > max_raw_bytes {
            return fail(format!("declares {} raw bytes; the limit is {max_raw_bytes}", self.raw_bytes));
        }
        if self.chunk_bytes == 0 || self.chunks.is_empty() || self.proof.rows == 0 {
            return fail("no rows, no chunks or chunk_bytes of 0".into());
        }
        let last = self.chunks.len() - 1;
        let mut total = 0_u64;
        for (n, chunk) in self.chunks.iter().enumerate() {
            let right =
                if n == last { chunk.bytes <= self.chunk_bytes } else { chunk.bytes == self.chunk_bytes };
            if !right || chunk.bytes == 0 {
                return fail(format!(
                    "chunk {n} has {} bytes, chunk_bytes is {}",
                    chunk.bytes, self.chunk_bytes
                ));
            }
            if !is_blake3(&chunk.blake3) {
                return fail(format!("chunk {n}: blake3 is not 64 hex digits"));
            }
            total = total.saturating_add(chunk.bytes);
        }
        if total != self.encoded_bytes {
            return fail(format!("chunks add up to {total} bytes, encoded_bytes is {}", self.encoded_bytes));
        }
        if !is_blake3(&self.blake3) {
            return fail("blake3 is not 64 hex digits".into());
        }
        Ok(())
    }
}

fn is_blake3(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// BLAKE3 over every column's name and type, each length-prefixed (u64 little endian); 64 hex digits.
/// Two sides whose schema hashes differ must not compare content hashes: ClickHouse hashes by type.
pub fn schema_hash(columns: &[Column]) -> String {
    let mut hasher = blake3::Hasher::new();
    for column in columns {
        for text in [&column.name, &column.data_type] {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
    }
    hasher.finalize().to_hex().to_string()
}
