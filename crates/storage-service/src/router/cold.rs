//! Cold reads: streams from the gateway, opened before the hot engine is asked.
//!
//! The first cold reads of a query are opened at once, up to the gateway's response headers: a NAS
//! that is away is a clean error before the caller has seen a byte, and costs no hot query. The rest
//! are opened when the hot engine comes for them (their number must not exhaust the gateway's).
//!
//! Waiting has no fixed limit of its own, since a cold aggregate may take minutes to its first byte;
//! instead the gateway's health is asked whenever [`Gateway::pulse`] passes without news, and a gateway
//! that does not answer that ends the read. What went wrong is kept in the read's [`ColdProgress`]:
//! the answer is judged by it, whatever the hot engine made of a stream that broke off.

use std::{
    io,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use link::{Peer, PeerError, RateLimiter};
use storage_types::{TimeRange, gateway_api::ColdQuery};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::{QueryError, query_log::QueryRecord};

/// Most time a cold read may take between two signs of life of its own stream.
const COLD_SILENCE: Duration = Duration::from_secs(900);

/// The gateway, as cold reads need it.
#[derive(Clone)]
pub struct Gateway {
    /// The other daemon.
    pub peer: Peer,
    /// Time without news after which its health is asked, and the wait for that.
    pub pulse: Duration,
    /// How fast its answers may come.
    pub limiter: RateLimiter,
}

/// What became of one cold read.
#[derive(Debug)]
pub struct ColdProgress {
    table: String,
    range: TimeRange,
    record: Arc<QueryRecord>,
    failure: OnceLock<QueryError>,
}

impl ColdProgress {
    /// Of a read over `table` (as callers know it) in `range`; bytes are counted in `record`.
    pub fn new(table: String, range: TimeRange, record: Arc<QueryRecord>) -> Arc<Self> {
        Arc::new(Self { table, range, record, failure: OnceLock::new() })
    }

    /// Why it failed, if it did.
    pub fn failure(&self) -> Option<QueryError> {
        self.failure.get().cloned()
    }

    /// It broke off, or was refused; kept.
    pub(super) fn fail(&self, error: &PeerError) -> QueryError {
        let (table, range) = (self.table.clone(), self.range);
        let error = match error {
            PeerError::Status { body, status, .. } if *status != 502 && *status != 503 && *status != 504 => {
                QueryError::ColdFailed { table, range, reason: format!("{}: {}", body.code, body.message) }
            }
            other => QueryError::ColdUnavailable { table, range, reason: other.to_string() },
        };
        self.keep(error)
    }

    fn silent(&self, what: &str) -> QueryError {
        self.keep(QueryError::ColdUnavailable {
            table: self.table.clone(),
            range: self.range,
            reason: what.to_owned(),
        })
    }

    fn keep(&self, error: QueryError) -> QueryError {
        let _ = self.failure.set(error.clone());
        error
    }
}

/// The bytes of a cold read.
type ColdBytes = futures::stream::BoxStream<'static, Result<Bytes, PeerError>>;

/// One cold read, opened or not yet.
pub struct ColdRead {
    gateway: Gateway,
    query: ColdQuery,
    opened: Option<ColdBytes>,
    progress: Arc<ColdProgress>,
    stop: CancellationToken,
    /// Its place among the streams that the gateway serves at once.
    place: Option<OwnedSemaphorePermit>,
}

impl std::fmt::Debug for ColdRead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ColdRead").field("progress", &self.progress).finish_non_exhaustive()
    }
}

impl ColdRead {
    /// A read that is not opened yet; it ends when `stop` is cancelled.
    pub fn new(
        gateway: Gateway,
        query: ColdQuery,
        progress: Arc<ColdProgress>,
        stop: CancellationToken,
    ) -> Self {
        Self { gateway, query, opened: None, progress, stop, place: None }
    }

    /// Holds the permit `place` until its stream has ended.
    pub fn keep_place(&mut self, place: Option<OwnedSemaphorePermit>) {
        self.place = place;
    }

    /// What becomes of it.
    pub fn progress(&self) -> &Arc<ColdProgress> {
        &self.progress
    }

    /// The hot engine's request for it is logged with the query's id.
    pub fn record_ids(&self) {
        let span = tracing::Span::current();
        span.record("query_id", &self.progress.record.facts().query_id);
        span.record("cold_read", &self.query.query_id);
    }

    /// Sends it to the gateway and awaits the response's headers.
    pub async fn open(&mut self) -> Result<(), QueryError> {
        if self.opened.is_some() {
            return Ok(());
        }
        let sent = self.gateway.peer.post_stream("/v1/query", &self.query);
        let opened = while_alive(&self.gateway, &self.progress, sent).await?;
        self.opened = Some(opened.map_err(|error| self.progress.fail(&error))?.boxed());
        tracing::info!(cold_read = self.query.query_id, "the gateway answers a cold read");
        Ok(())
    }

    /// The rows, Native. An error item means that the stream broke off; it is kept in the progress.
    pub async fn stream(
        mut self,
    ) -> Result<impl Stream<Item = io::Result<Bytes>> + Send + 'static, QueryError> {
        self.open().await?;
        let Self { gateway, opened, progress, stop, place, .. } = self;
        let reading = opened.map(|bytes| Reading { bytes, gateway, progress, stop, _place: place });
        Ok(futures::stream::unfold(reading, |reading| async move {
            let mut reading = reading?;
            match reading.next().await {
                Some(Ok(chunk)) => Some((Ok(chunk), Some(reading))),
                // Nothing comes after an error; the connection to the gateway is closed at once.
                Some(Err(error)) => Some((Err(error), None)),
                None => None,
            }
        }))
    }

    /// The whole answer, at most `limit_bytes` of it.
    pub async fn collect(self, limit_bytes: u64) -> Result<Vec<u8>, QueryError> {
        let progress = Arc::clone(&self.progress);
        let mut stream = std::pin::pin!(self.stream().await?);
        let mut all = Vec::new();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| {
                progress.failure().unwrap_or_else(|| QueryError::HotBroken(error.to_string()))
            })?;
            if (all.len() + chunk.len()) as u64 > limit_bytes {
                return Err(QueryError::ColdTooLarge { limit_bytes });
            }
            all.extend_from_slice(&chunk);
        }
        Ok(all)
    }
}

/// A stream under way.
struct Reading {
    bytes: ColdBytes,
    gateway: Gateway,
    progress: Arc<ColdProgress>,
    stop: CancellationToken,
    _place: Option<OwnedSemaphorePermit>,
}

impl Reading {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        let next = while_alive(&self.gateway, &self.progress, self.bytes.next());
        match self.stop.run_until_cancelled(next).await {
            Some(Ok(Some(Ok(chunk)))) => {
                self.progress.record.add_link_bytes(chunk.len());
                // Not reading is what slows the sender down.
                let paid = self.gateway.limiter.acquire(chunk.len());
                if self.stop.run_until_cancelled(paid).await.is_none() {
                    return Some(Err(io::Error::other("the query has ended")));
                }
                Some(Ok(chunk))
            }
            Some(Ok(Some(Err(error)))) => Some(Err(io::Error::other(self.progress.fail(&error)))),
            Some(Ok(None)) => None,
            Some(Err(error)) => Some(Err(io::Error::other(error))),
            None => Some(Err(io::Error::other("the query has ended"))),
        }
    }
}

/// Awaits `work` for as long as the gateway shows that it lives.
async fn while_alive<T>(
    gateway: &Gateway,
    progress: &ColdProgress,
    work: impl Future<Output = T>,
) -> Result<T, QueryError> {
    let mut work = std::pin::pin!(work);
    let started = tokio::time::Instant::now();
    loop {
        if let Ok(done) = tokio::time::timeout(gateway.pulse, &mut work).await {
            return Ok(done);
        }
        if started.elapsed() > COLD_SILENCE {
            return Err(progress.silent(&format!("no byte within {} s", COLD_SILENCE.as_secs())));
        }
        // The work goes on meanwhile: it may end first.
        let health = tokio::time::timeout(gateway.pulse, gateway.peer.alive());
        tokio::select! {
            done = &mut work => return Ok(done),
            alive = health => if !matches!(alive, Ok(true)) {
                return Err(progress.silent("the gateway does not answer"));
            },
        }
    }
}
