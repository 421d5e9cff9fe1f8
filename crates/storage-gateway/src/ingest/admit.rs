//! A new batch: its manifest is checked against itself, the cold table, the limits and the disks,
//! and only then journalled. Nothing is reserved on disk; instead all that is promised to open
//! batches counts as used.

use std::sync::Arc;

use clickhouse_http::client::Client;
use daemon::disk;
use fault_points::Point;
use serde::Deserialize;
use storage_types::{BatchState, Manifest, gateway_api::BatchStatus, manifest::InvalidManifest};

use super::{open_batches::MAX_OPEN_BATCHES, status_of};
use crate::{
    cold::{LOOK_DEADLINE, TableName, custody, tables},
    error::GatewayError,
    gateway::Gateway,
};

/// Most chunks of one batch: 64 Ki of the smallest sensible chunk are more than any batch needs.
const MAX_CHUNKS: usize = 65_536;

/// What came of a manifest.
#[derive(Debug)]
pub struct Admission {
    /// It was not known before.
    pub new: bool,
    /// The batch as it stands.
    pub status: BatchStatus,
}

/// Takes a manifest. The same manifest again is fine and changes nothing.
pub async fn admit(gateway: &Gateway, manifest: Manifest) -> Result<Admission, GatewayError> {
    let batch = manifest.batch;
    if let Some(known) = gateway.journal.get(batch).await? {
        return repeated(gateway, &manifest, &known).await;
    }
    check(gateway, &manifest).await?;
    // One admission at a time: two that each fit the disk may not fit it together.
    let _turn = gateway.admission.lock().await;
    check_room(gateway, &manifest).await?;
    let manifest = Arc::new(manifest);
    fault_points::reach(Point::GatewayManifestBeforeJournal).await;
    let new = gateway.journal.insert(Arc::clone(&manifest), BatchState::Sending, None).await?;
    fault_points::reach(Point::GatewayManifestAfterJournal).await;
    if !new {
        // Two calls with one id: the other was first.
        let known = gateway.journal.get(batch).await?.ok_or(GatewayError::UnknownBatch(batch))?;
        return repeated(gateway, &manifest, &known).await;
    }
    keep_manifest(gateway, &manifest).await?;
    gateway.open.open(&manifest);
    tracing::info!(table = %manifest.table, rows = manifest.proof.rows, bytes = manifest.encoded_bytes, "batch announced");
    Ok(Admission { new: true, status: super::status(gateway, batch).await? })
}

async fn repeated(
    gateway: &Gateway,
    manifest: &Manifest,
    known: &crate::journal::BatchRecord,
) -> Result<Admission, GatewayError> {
    if *known.manifest != *manifest {
        return Err(GatewayError::ManifestDiffers(manifest.batch));
    }
    match known.state {
        BatchState::Aborted => Err(GatewayError::Aborted(manifest.batch)),
        BatchState::Retired => Err(GatewayError::Retired(manifest.batch)),
        BatchState::Sending => {
            // A crash may have come between the journal and the spool.
            keep_manifest(gateway, &known.manifest).await?;
            Ok(Admission { new: false, status: status_of(gateway, known).await? })
        }
        _ => Ok(Admission { new: false, status: status_of(gateway, known).await? }),
    }
}

async fn keep_manifest(gateway: &Gateway, manifest: &Arc<Manifest>) -> Result<(), GatewayError> {
    let (spool, manifest) = (Arc::clone(&gateway.spool), Arc::clone(manifest));
    daemon::spawn_blocking(move || spool.create(&manifest))
        .await
        .map_err(|_| GatewayError::ShuttingDown)?
        .map_err(GatewayError::disk("spool a manifest"))
}

async fn check(gateway: &Gateway, manifest: &Manifest) -> Result<(), GatewayError> {
    let limits = &gateway.config.limits;
    let invalid = |reason: String| Err(InvalidManifest { batch: manifest.batch, reason }.into());
    manifest.check(limits.max_batch_raw_bytes)?;
    if !batch_codec::CODECS.contains(&manifest.codec.as_str()) {
        return invalid(format!("codec {:?} is none of {:?}", manifest.codec, batch_codec::CODECS));
    }
    if manifest.chunks.len() > MAX_CHUNKS {
        return invalid(format!("{} chunks; the limit is {MAX_CHUNKS}", manifest.chunks.len()));
    }
    let largest = manifest.chunks.iter().map(|chunk| chunk.bytes).max().unwrap_or(0);
    if largest > limits.max_chunk_bytes {
        return invalid(format!("a chunk of {largest} bytes; the limit is {}", limits.max_chunk_bytes));
    }
    if manifest.columns.iter().any(|c| c.name == tables::BATCH_COLUMN) {
        return invalid("columns name _batch, which is the gateway's own".into());
    }
    tables::check_name(&manifest.cold_database, &manifest.cold_table, &gateway.config.storage.databases)?;
    let table = TableName::new(&manifest.cold_database, &manifest.cold_table);
    custody::check(gateway, &table).await?;
    tables::check_ready(&gateway.engine, &table, &manifest.columns).await?;
    if !gateway.accepts_data() {
        return Err(GatewayError::Offline);
    }
    Ok(())
}

/// Room on both disks, and for one more batch in memory.
async fn check_room(gateway: &Gateway, manifest: &Manifest) -> Result<(), GatewayError> {
    let limits = &gateway.config.limits;
    if gateway.open.len() >= MAX_OPEN_BATCHES {
        return Err(GatewayError::Busy { what: "too many unfinished batches", limit: MAX_OPEN_BATCHES });
    }
    let (encoded, raw) = gateway.open.promised();
    if encoded.saturating_add(manifest.encoded_bytes) > limits.max_spool_bytes {
        return Err(GatewayError::Busy { what: "the spool is full", limit: limits.max_spool_bytes });
    }
    let reserve = limits.min_free_bytes;
    let spool_free =
        disk::free_bytes(gateway.spool.root()).map_err(GatewayError::disk("ask for free space"))?;
    // The two may share a disk, so each must have room for both the bytes and the rows.
    let promised = encoded.saturating_add(raw);
    let needed = manifest.encoded_bytes.saturating_add(manifest.raw_bytes);
    room("the spool's disk", spool_free, promised, needed, reserve)?;
    let engine_free = engine_free_bytes(&gateway.engine).await?;
    room("the cold ClickHouse's disk", engine_free, raw, manifest.raw_bytes, reserve)
}

fn room(
    place: &'static str,
    free: u64,
    promised: u64,
    needed: u64,
    reserve: u64,
) -> Result<(), GatewayError> {
    let left = free.saturating_sub(promised);
    if needed.checked_add(reserve).is_none_or(|wanted| left < wanted) {
        return Err(GatewayError::DiskReserve { place, free: left, needed, reserve });
    }
    Ok(())
}

async fn engine_free_bytes(engine: &Client) -> Result<u64, GatewayError> {
    #[derive(Deserialize)]
    struct Free {
        bytes: String,
    }
    let sql = "SELECT toString(min(unreserved_space)) AS bytes FROM system.disks WHERE NOT is_read_only AND total_space > 0";
    let free: Free = engine.query(sql).deadline(LOOK_DEADLINE).one().await?;
    free.bytes.parse().map_err(|_| GatewayError::EngineAnswer(format!("{:?} as free space", free.bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_counts_what_is_promised_and_the_reserve() {
        assert!(room("d", 100, 20, 30, 50).is_ok());
        assert!(room("d", 100, 21, 30, 50).is_err());
        assert!(room("d", 100, u64::MAX, 1, 0).is_err());
        assert!(room("d", u64::MAX, 0, u64::MAX, 1).is_err());
    }
}
