//! One chunk's body: hashed while it comes, kept only when it is what the manifest says.
//!
//! Memory is one network buffer. The body may be at most as long as declared; it must keep coming.
//! The answer is sent after the bytes and the name are synced.

use std::path::Path;

use bytes::Bytes;
use daemon::disk;
use fault_points::Point;
use futures::{Stream, StreamExt};
use storage_types::{BatchId, BatchState, ChunkEntry};
use tokio::{fs::File, io::AsyncWriteExt};

use super::{digest, known};
use crate::{error::GatewayError, gateway::Gateway};

/// Longest silence of a sender in the middle of a chunk.
const IDLE_SECONDS: u64 = 30;

/// What came with the body.
pub struct ChunkHead<'a> {
    /// `Content-Length`, when there is one.
    pub length: Option<u64>,
    /// `Content-Digest`, when there is one.
    pub digest: Option<&'a str>,
}

/// Takes chunk `n` of a batch. Sending a chunk that is held already is fine (it is still checked).
pub async fn receive<S, E>(
    gateway: &Gateway,
    batch: BatchId,
    n: u32,
    head: ChunkHead<'_>,
    body: S,
) -> Result<(), GatewayError>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: std::fmt::Display,
{
    let record = known(gateway, batch).await?;
    open_for_chunks(batch, record.state)?;
    let manifest = record.manifest;
    let entry = usize::try_from(n)
        .ok()
        .and_then(|n| manifest.chunks.get(n))
        .ok_or(GatewayError::UnknownChunk { batch, chunk: n, count: manifest.chunks.len() })?;
    if let Some(got) = head.length.filter(|length| *length != entry.bytes) {
        return Err(GatewayError::WrongLength { chunk: n, declared: entry.bytes, got });
    }
    if head.digest.is_some_and(|header| !digest::agrees(header, &entry.blake3)) {
        return Err(GatewayError::WrongChunkHash { chunk: n });
    }
    let _slot = gateway.upload_slot().await?;
    check_reserve(gateway)?;

    let open = gateway.open.open(&manifest);
    if open.holds(&gateway.spool, n as usize).await? {
        return consume(n, entry, body, &mut None).await;
    }
    let temporary = gateway.spool.incoming(batch, n);
    let received = write(&temporary, n, entry, body).await;
    if let Err(error) = received {
        discard(&temporary).await;
        return Err(error);
    }
    fault_points::reach(Point::GatewayChunkAfterWrite).await;

    let _gate = open.gate.lock().await;
    let state = gateway.journal.get(batch).await?.map(|record| record.state);
    if let Err(error) = state.ok_or(GatewayError::UnknownBatch(batch)).and_then(|s| open_for_chunks(batch, s))
    {
        discard(&temporary).await;
        return Err(error);
    }
    let place = gateway.spool.chunk(batch, n);
    daemon::spawn_blocking(move || disk::place_durably(&temporary, &place))
        .await
        .map_err(|_| GatewayError::ShuttingDown)?
        .map_err(GatewayError::disk("name a chunk"))?;
    open.hold(&gateway.spool, n as usize).await
}

fn open_for_chunks(batch: BatchId, state: BatchState) -> Result<(), GatewayError> {
    match state {
        BatchState::Sending => Ok(()),
        BatchState::Aborted => Err(GatewayError::Aborted(batch)),
        _ => Err(GatewayError::Committed(batch)),
    }
}

fn check_reserve(gateway: &Gateway) -> Result<(), GatewayError> {
    let reserve = gateway.config.limits.min_free_bytes;
    let free = disk::free_bytes(gateway.spool.root()).map_err(GatewayError::disk("ask for free space"))?;
    if free < reserve {
        return Err(GatewayError::DiskReserve { place: "the spool's disk", free, needed: 0, reserve });
    }
    Ok(())
}

async fn write<S, E>(path: &Path, n: u32, entry: &ChunkEntry, body: S) -> Result<(), GatewayError>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: std::fmt::Display,
{
    let file = match File::create(path).await {
        // The folder is made with the manifest; a crash may have come between.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            if let Some(folder) = path.parent() {
                disk::create_folder(folder).map_err(GatewayError::disk("create a batch's folder"))?;
            }
            File::create(path).await
        }
        other => other,
    }
    .map_err(GatewayError::disk("create a chunk file"))?;
    let mut file = Some(file);
    consume(n, entry, body, &mut file).await?;
    if let Some(file) = file {
        file.sync_all().await.map_err(GatewayError::disk("sync a chunk"))?;
    }
    Ok(())
}

/// Reads the body to its end, into `file` if there is one, and judges length and hash.
async fn consume<S, E>(
    n: u32,
    entry: &ChunkEntry,
    mut body: S,
    file: &mut Option<File>,
) -> Result<(), GatewayError>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: std::fmt::Display,
{
    let wrong_length = |got| GatewayError::WrongLength { chunk: n, declared: entry.bytes, got };
    let mut hasher = blake3::Hasher::new();
    loop {
        let piece = tokio::time::timeout(std::time::Duration::from_secs(IDLE_SECONDS), body.next())
            .await
            .map_err(|_| GatewayError::Stalled { seconds: IDLE_SECONDS })?;
        let Some(piece) = piece else { break };
        let piece = piece.map_err(|e| GatewayError::BrokenBody(e.to_string()))?;
        hasher.update(&piece);
        if hasher.count() > entry.bytes {
            return Err(wrong_length(hasher.count()));
        }
        if let Some(file) = file {
            file.write_all(&piece).await.map_err(GatewayError::disk("write a chunk"))?;
        }
    }
    if let Some(file) = file {
        file.flush().await.map_err(GatewayError::disk("write a chunk"))?;
    }
    if hasher.count() != entry.bytes {
        return Err(wrong_length(hasher.count()));
    }
    if hasher.finalize().to_hex().as_str() != entry.blake3 {
        return Err(GatewayError::WrongChunkHash { chunk: n });
    }
    Ok(())
}

async fn discard(temporary: &Path) {
    if let Err(error) = tokio::fs::remove_file(temporary).await
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, file = %temporary.display(), "a leftover of an upload stays until the next clean-up");
    }
}
