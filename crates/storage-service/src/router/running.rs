//! Answers on their way, and what each holds while it runs: its place among the running queries, its
//! catalog lease, its tickets, its connections to both engines.
//!
//! An answer ends in one of four ways. Whole: the hot engine's stream ended and no cold read failed;
//! only then does the body end cleanly. With an error: the body breaks off, so that the caller's
//! HTTP client sees a truncated answer, never a short one that looks whole. By the caller hanging
//! up: the body is dropped. Or by the watch: a caller that does not read for [`CALLER_STALL`], or a
//! query older than [`QUERY_LIMIT`], is cut off, because its lease would hold up every deletion.
//! However it ends, dropping [`RunningQuery`] closes the connections, which cancels the query in both
//! engines, revokes the unused tickets and returns the lease.

use std::{
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{Stream, stream::BoxStream};
use parking_lot::{Mutex, MutexGuard};
use storage_types::service_api::QueryState;
use tokio_util::sync::CancellationToken;

use super::{QueryError, cold::ColdProgress, query_log::QueryRecord, tickets::TicketBook};
use crate::catalog::Lease;

/// Longest time a caller may leave an answer unread.
pub const CALLER_STALL: Duration = Duration::from_secs(60);
/// Longest life of a query.
pub const QUERY_LIMIT: Duration = Duration::from_secs(6 * 3600);
/// How often the watch looks.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// What a running query holds; everything is given back when it is dropped.
pub struct RunningQuery {
    /// The hot engine's answer.
    pub answer: BoxStream<'static, Result<Bytes, QueryError>>,
    /// Its cold reads: the answer is whole only when none of them failed.
    pub cold: Vec<Arc<ColdProgress>>,
    /// Unused tickets, revoked at the end.
    pub tickets: TicketBook,
    /// Keeps what the plan names from being dropped.
    pub lease: Option<Lease>,
    /// Place among the running queries.
    pub permit: tokio::sync::OwnedSemaphorePermit,
}

enum Phase {
    Open(Box<RunningQuery>),
    /// Cut off by the watch; the reason is told to the body once.
    Cut(Option<QueryError>),
    Ended,
}

struct State {
    phase: Phase,
    /// Set while the body waits for the engine.
    waker: Option<Waker>,
    /// When the last chunk was handed to the caller: tells one that stopped reading.
    callers_turn: Instant,
}

struct Shared {
    state: Mutex<State>,
    record: Arc<QueryRecord>,
    started: Instant,
    /// The request's, which ends before its answer does.
    span: tracing::Span,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Cuts the query off when it has used up its time.
    fn judge(&self, now: Instant) {
        let mut state = self.lock();
        if !matches!(state.phase, Phase::Open(_)) {
            return;
        }
        let stalled = state.waker.is_none() && now.duration_since(state.callers_turn) > CALLER_STALL;
        let reason = if stalled {
            format!("the caller did not read for {} s", CALLER_STALL.as_secs())
        } else if now.duration_since(self.started) > QUERY_LIMIT {
            format!("a query may run {} s", QUERY_LIMIT.as_secs())
        } else {
            return;
        };
        let waker = state.waker.take();
        let cut = std::mem::replace(&mut state.phase, Phase::Cut(Some(QueryError::Deadline(reason.clone()))));
        drop(state);
        self.record.end(QueryState::Cancelled, Some(reason));
        drop(cut);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Every running answer, for the watch.
#[derive(Default)]
pub struct RunningQueries {
    all: Mutex<Vec<Weak<Shared>>>,
}

impl RunningQueries {
    /// Starts to watch over an answer; the returned stream is the response's body.
    pub fn begin(&self, open: RunningQuery, record: Arc<QueryRecord>) -> AnswerBody {
        let now = Instant::now();
        let state = State { phase: Phase::Open(Box::new(open)), waker: None, callers_turn: now };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            record,
            started: now,
            span: tracing::Span::current(),
        });
        self.all.lock().push(Arc::downgrade(&shared));
        AnswerBody { shared }
    }

    /// The watch: one task of the daemon, until `stop`.
    pub async fn watch(&self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(WATCH_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.judge_all(Instant::now());
        }
    }

    fn judge_all(&self, now: Instant) {
        let alive: Vec<Arc<Shared>> = {
            let mut all = self.all.lock();
            all.retain(|weak| weak.strong_count() > 0);
            all.iter().filter_map(Weak::upgrade).collect()
        };
        for shared in alive {
            shared.judge(now);
        }
    }
}

/// The body of an answer.
pub struct AnswerBody {
    shared: Arc<Shared>,
}

impl AnswerBody {
    /// Its record in the query log.
    pub fn record(&self) -> &Arc<QueryRecord> {
        &self.shared.record
    }
}

impl Stream for AnswerBody {
    type Item = Result<Bytes, QueryError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let shared = Arc::clone(&self.shared);
        let _span = shared.span.enter();
        let mut state = shared.lock();
        let open = match &mut state.phase {
            Phase::Open(open) => open,
            Phase::Cut(reason) => return Poll::Ready(reason.take().map(Err)),
            Phase::Ended => return Poll::Ready(None),
        };
        let Poll::Ready(item) = open.answer.as_mut().poll_next(cx) else {
            state.waker = Some(cx.waker().clone());
            return Poll::Pending;
        };
        let broken =
            |error: &QueryError| open.cold.iter().find_map(|c| c.failure()).unwrap_or_else(|| error.clone());
        let result = match item {
            Some(Ok(bytes)) => {
                shared.record.add_answer_bytes(bytes.len());
                state.waker = None;
                state.callers_turn = Instant::now();
                return Poll::Ready(Some(Ok(bytes)));
            }
            Some(Err(error)) => Err(broken(&error)),
            // The engine is content; the answer is whole only if no cold read broke off.
            None => open.cold.iter().find_map(|c| c.failure()).map_or(Ok(()), Err),
        };
        state.waker = None;
        let ended = std::mem::replace(&mut state.phase, Phase::Ended);
        drop(state);
        drop(ended);
        match result {
            Ok(()) => {
                shared.record.end(QueryState::Done, None);
                Poll::Ready(None)
            }
            Err(error) => {
                tracing::warn!(code = error.code(), "{error}");
                shared.record.end(QueryState::Failed, Some(error.to_string()));
                Poll::Ready(Some(Err(error)))
            }
        }
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        let _span = self.shared.span.enter();
        // Only the first end counts: an answer that ended keeps its own.
        self.shared.record.end(QueryState::Cancelled, Some("the caller hung up".into()));
        let phase = std::mem::replace(&mut self.shared.lock().phase, Phase::Ended);
        drop(phase);
    }
}

#[cfg(test)]
mod tests {
    use link::PeerError;
    use storage_types::TimeRange;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::router::query_log::{QueryFacts, QueryLog};

    struct Bench {
        log: QueryLog,
        runnings: RunningQueries,
        places: Arc<Semaphore>,
    }

    impl Bench {
        fn new() -> Self {
            Self {
                log: QueryLog::default(),
                runnings: RunningQueries::default(),
                places: Arc::new(Semaphore::new(1)),
            }
        }

        /// An answer of one chunk and then `rest`, with one cold read.
        fn answer(
            &self,
            rest: BoxStream<'static, Result<Bytes, QueryError>>,
        ) -> (AnswerBody, Arc<ColdProgress>, CancellationToken) {
            let facts = QueryFacts {
                query_id: "q".into(),
                route: "hybrid",
                plan: "union",
                catalog_version: 1,
                why_not_partial: None,
                cold_batches: 1,
            };
            let record = self.log.begin(facts).keep();
            let cold = ColdProgress::new("trades".into(), TimeRange::ALL, Arc::clone(&record));
            let stop = CancellationToken::new();
            let first = futures::stream::iter([Ok(Bytes::from_static(b"row\n"))]);
            let open = RunningQuery {
                answer: futures::StreamExt::boxed(futures::StreamExt::chain(first, rest)),
                cold: vec![Arc::clone(&cold)],
                tickets: TicketBook::new(Arc::default(), stop.clone()),
                lease: None,
                permit: Arc::clone(&self.places).try_acquire_owned().unwrap(),
            };
            (self.runnings.begin(open, record), cold, stop)
        }

        fn ended(&self) -> (QueryState, bool) {
            (self.log.find("q").unwrap().state, self.places.available_permits() == 1)
        }
    }

    async fn next(body: &mut AnswerBody) -> Option<Result<Bytes, QueryError>> {
        futures::StreamExt::next(body).await
    }

    fn later(by: Duration) -> Instant {
        Instant::now() + by + Duration::from_secs(1)
    }

    #[tokio::test]
    async fn an_answer_whose_cold_rows_broke_off_does_not_end_cleanly() {
        let bench = Bench::new();
        let (mut body, cold, stop) = bench.answer(Box::pin(futures::stream::empty()));
        assert!(matches!(next(&mut body).await, Some(Ok(_))));
        cold.fail(&PeerError::Unknown { url: "gateway".into(), reason: "reset".into() });
        // The hot engine is content, as if it had taken the broken stream for a whole one.
        assert!(matches!(next(&mut body).await, Some(Err(QueryError::ColdUnavailable { .. }))));
        assert!(next(&mut body).await.is_none());
        assert_eq!((bench.ended(), stop.is_cancelled()), ((QueryState::Failed, true), true));
    }

    #[tokio::test]
    async fn a_caller_that_does_not_read_loses_its_lease_and_is_told() {
        let bench = Bench::new();
        let (mut body, _, stop) = bench.answer(Box::pin(futures::stream::pending()));
        assert!(next(&mut body).await.is_some());
        bench.runnings.judge_all(Instant::now());
        assert_eq!(bench.ended(), (QueryState::Running, false));
        bench.runnings.judge_all(later(CALLER_STALL));
        assert_eq!((bench.ended(), stop.is_cancelled()), ((QueryState::Cancelled, true), true));
        assert!(matches!(next(&mut body).await, Some(Err(QueryError::Deadline(_)))));
        assert!(next(&mut body).await.is_none());
    }

    #[tokio::test]
    async fn waiting_for_the_engine_is_not_the_callers_fault_but_has_an_end() {
        let bench = Bench::new();
        let (mut body, ..) = bench.answer(Box::pin(futures::stream::pending()));
        assert!(next(&mut body).await.is_some());
        let mut waiting = Box::pin(next(&mut body));
        assert!(futures::poll!(&mut waiting).is_pending());
        bench.runnings.judge_all(later(CALLER_STALL));
        assert!(futures::poll!(&mut waiting).is_pending());
        bench.runnings.judge_all(later(QUERY_LIMIT));
        // Woken without another chunk.
        assert!(matches!(waiting.await, Some(Err(QueryError::Deadline(_)))));
    }

    #[tokio::test]
    async fn hanging_up_gives_everything_back() {
        let bench = Bench::new();
        let (mut body, _, stop) = bench.answer(Box::pin(futures::stream::pending()));
        assert!(next(&mut body).await.is_some());
        drop(body);
        assert_eq!((bench.ended(), stop.is_cancelled()), ((QueryState::Cancelled, true), true));
    }
}
