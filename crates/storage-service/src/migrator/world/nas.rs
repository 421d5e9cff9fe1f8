//! The gateway, as the steps ask it. A lost answer is never a failure of the batch: the next question tells.

use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use clickhouse_sql::quote;
use fault_points::{Moment, Skip, Step};
use futures::{StreamExt as _, stream};
use link::PeerError;
use moves::{
    ManagedTable, Move, Trouble,
    receipt::Elsewhere,
    world::{Answer, Commit, Nas},
};
use storage_types::{
    BatchId, Manifest, Proof,
    gateway_api::{BatchStatus, EnsureTable},
};
use tokio::{
    io::{AsyncRead, ReadBuf},
    time::Instant,
};

use super::{Real, at};
use crate::migrator::gateway::Proofs;

/// A line that is not stable is waited for so long before the move says so.
const LINK_PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

/// What a failed call is to a move: the table of answers.
pub(in crate::migrator) fn trouble(error: PeerError) -> Trouble {
    let text = error.to_string();
    match (error.status(), error.code()) {
        (_, Some("stale_sender" | "unclaimed")) => Trouble::Stale(text),
        // It has lost its journal and spool: what it is sent next it learns of again.
        (_, Some("unknown_batch")) => Trouble::NasAway(text),
        (_, Some("foreign_database")) => Trouble::ColdReplaced(text),
        (_, Some(code)) if code.starts_with("cold_table_") => Trouble::ColdReplaced(text),
        (
            _,
            Some(
                "aborted" | "retired" | "manifest_differs" | "refuted" | "wrong_chunk_hash" | "wrong_length",
            ),
        ) => Trouble::Spent(text),
        (Some(507), _) => Trouble::Full(format!("NAS: {text}")),
        // Its disk or its ClickHouse: the line is well.
        (_, Some("disk" | "journal" | "engine_exception")) => Trouble::NasRefuses(text),
        (Some(401 | 403 | 407), _) => Trouble::Denied(text),
        (None, _) => Trouble::NasAway(text),
        (Some(_), _) if error.is_retryable() => Trouble::NasAway(text),
        (Some(_), _) => Trouble::NasRefuses(text),
    }
}

/// The same where the batches are published: that it does not have them is no reason to send them again.
fn of_published(error: PeerError) -> Trouble {
    match error.code() {
        Some("unknown_batch" | "not_proven" | "aborted" | "retired" | "wrong_state") => {
            Trouble::Spent(error.to_string())
        }
        _ => trouble(error),
    }
}

impl Nas for Real {
    async fn ensure(&self, table: &ManagedTable) -> Answer<String> {
        let wanted = EnsureTable {
            database: table.cold.0.clone(),
            table: table.cold.1.clone(),
            columns: table.columns.clone(),
            // The NAS moves batches into the table by partition.
            partition_by: match table.partition_key.as_str() {
                "" => format!("toYYYYMM({})", quote::ident(&table.time_column)),
                key => key.to_owned(),
            },
            order_by: match table.cold_sorting_key.as_str() {
                "" => "tuple()".to_owned(),
                key => key.to_owned(),
            },
        };
        let found = self.gateway.ensure_table(&wanted).await.map_err(trouble)?;
        Ok(if found.order_by.is_empty() { "tuple()".to_owned() } else { found.order_by })
    }

    async fn announce(&self, manifest: &Manifest) -> Answer<BatchStatus> {
        self.gateway.announce(manifest).await.map_err(trouble)
    }

    async fn send(&self, record: &Move, manifest: &Manifest, status: &BatchStatus) -> Answer<()> {
        self.send_missing(record, manifest, status).await?;
        at(Step::Send, Moment::AfterEffect).await;
        Ok(())
    }

    async fn commit(&self, batch: BatchId) -> Answer<Commit> {
        let answer = self.gateway.commit(batch).await.map_err(trouble)?;
        if matches!(answer, Commit::Proven(_)) {
            at(Step::Prove, Moment::AfterEffect).await;
        }
        Ok(answer)
    }

    async fn holds(&self, batch: BatchId) -> Answer<bool> {
        let status = self.gateway.status(batch).await.map_err(trouble)?;
        use storage_types::BatchState::{Aborted, Retired};
        Ok(status.is_some_and(|s| s.missing.is_empty() && !matches!(s.state, Aborted | Retired)))
    }

    async fn published(&self, batches: &[BatchId]) -> Answer<()> {
        self.gateway.published(batches).await.map_err(of_published)?;
        at(Step::Tell, Moment::AfterEffect).await;
        Ok(())
    }

    async fn prove(&self, nonce: u64, batches: &[BatchId]) -> Answer<Result<Vec<(BatchId, Proof)>, u64>> {
        if fault_points::skips(Skip::ServiceReprove) {
            let believed = |id: &BatchId| Some((*id, self.catalog.read(|book| book.batch(*id)?.proof)?));
            return Ok(Ok(batches.iter().filter_map(believed).collect()));
        }
        let answer = self.gateway.prove(nonce, batches).await.map_err(of_published)?;
        match answer {
            Proofs::Done(proofs) => {
                at(Step::Reprove, Moment::AfterEffect).await;
                Ok(Ok(proofs))
            }
            Proofs::Running { error: Some(why), .. } => {
                Err(Trouble::NasRefuses(format!("it cannot prove its copy: {why}")))
            }
            Proofs::Running { done, error: None } => Ok(Err(done)),
        }
    }

    async fn retire(&self, batches: &[BatchId], _rows_are: Elsewhere<'_>) -> Answer<()> {
        self.gateway.retire(batches).await.map_err(trouble)?;
        at(Step::Retire, Moment::AfterEffect).await;
        Ok(())
    }
}

/// What the disk said when a spooled batch could not be read.
type Unread = Arc<OnceLock<String>>;

/// A file on its way to the NAS. A read that fails breaks the request off as a bad line does: which of the two it was
/// is noted here.
struct Watched {
    bytes: tokio::fs::File,
    unread: Unread,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let read = Pin::new(&mut self.bytes).poll_read(context, buffer);
        if let Poll::Ready(Err(error)) = &read {
            let _ = self.unread.set(error.to_string());
        }
        read
    }
}

impl Real {
    async fn send_missing(&self, record: &Move, manifest: &Manifest, status: &BatchStatus) -> Answer<()> {
        let last = u32::try_from(manifest.chunks.len()).unwrap_or(u32::MAX).saturating_sub(1);
        let numbers: Vec<u32> =
            status.missing.iter().flat_map(|range| range.first..=range.last.min(last)).collect();
        let mut numbers = numbers.into_iter();
        let mut under_way = stream::FuturesUnordered::new();
        let turn = self.sender.acquire().await;
        let mut turn = Some(turn.map_err(|error| Trouble::Local(error.to_string()))?);
        loop {
            // How many is found while they are sent.
            while under_way.len() < self.connections() {
                let Some(number) = numbers.next() else {
                    // The next batch begins while the last chunks of this one are on their way.
                    drop(turn.take());
                    break;
                };
                under_way.push(self.send_chunk(record, manifest, number));
            }
            match under_way.next().await {
                Some(sent) => sent?,
                None => return Ok(()),
            }
        }
    }

    fn connections(&self) -> usize {
        let mut parallel = self.parallel.lock();
        parallel.observe(self.started.elapsed(), self.limiter.granted_bytes(), self.limiter.effective());
        usize::try_from(parallel.connections()).unwrap_or(1)
    }

    async fn send_chunk(&self, record: &Move, manifest: &Manifest, number: u32) -> Answer<()> {
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        let chunk = manifest.chunks.get(index).ok_or_else(|| Trouble::Local(format!("no chunk {number}")))?;
        let offset = u64::from(number) * manifest.chunk_bytes;
        let (batch, length) = (manifest.batch, chunk.bytes);
        let stable = tokio::time::timeout(LINK_PATIENCE, self.monitor.stable()).await;
        stable.map_err(|_| Trouble::NasAway("the link is not stable: sending waits".into()))?;
        let bytes = self.files.reader(batch, offset).await;
        let bytes =
            bytes.map_err(|error| Trouble::Spent(format!("read chunk {number} of {batch}: {error}")))?;
        let unread = Unread::default();
        let bytes = Watched { bytes, unread: Arc::clone(&unread) };
        let begun = Instant::now();
        let sent = self.gateway.put_chunk(batch, number, &chunk.blake3, length, bytes, &self.limiter).await;
        if let Some(error) = unread.get() {
            // It is encoded again, into another file.
            self.files.remove(batch);
            return Err(Trouble::Local(format!("read chunk {number} of {batch}: {error}")));
        }
        match &sent {
            Ok(()) => self.monitor.transferred(length, begun.elapsed()),
            // A refusal did cross the link.
            Err(error) if error.status().is_none() => self.monitor.broke_off(),
            Err(_) => {}
        }
        sent.map_err(trouble)?;
        let noted = self.catalog.add_wire_bytes(record.migration, length);
        noted.map_err(|error| Trouble::Local(error.to_string()))
    }
}
