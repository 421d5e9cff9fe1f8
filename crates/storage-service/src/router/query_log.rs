//! The last queries, in memory: what `GET /api/v1/queries/{query_id}` tells.
//!
//! Bounded by count; the oldest are forgotten. The text of a query is not kept.

use std::{
    collections::VecDeque,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;
use storage_types::service_api::{QueryReport, QueryState};

use super::QueryError;

/// Queries remembered.
const KEPT: usize = 1024;

/// What is fixed about a query once it is planned.
#[derive(Debug, Clone)]
pub struct QueryFacts {
    /// ClickHouse query id.
    pub query_id: String,
    /// `hot`, `cold` or `hybrid`.
    pub route: &'static str,
    /// `passthrough`, `union` or `partial`.
    pub plan: &'static str,
    /// Version of the catalog it was planned against.
    pub catalog_version: u64,
    /// Why raw rows come over instead of states.
    pub why_not_partial: Option<String>,
    /// Batches its cold reads may see.
    pub cold_batches: u64,
}

/// One query's record; counters go up while it runs.
#[derive(Debug)]
pub struct QueryRecord {
    facts: QueryFacts,
    link_bytes: AtomicU64,
    answer_bytes: AtomicU64,
    started: Instant,
    started_at_ms: i64,
    end: OnceLock<(u64, QueryState, Option<String>)>,
}

impl QueryRecord {
    fn new(facts: QueryFacts) -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            facts,
            link_bytes: AtomicU64::new(0),
            answer_bytes: AtomicU64::new(0),
            started: Instant::now(),
            started_at_ms: i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX),
            end: OnceLock::new(),
        }
    }

    /// What is fixed about it.
    pub fn facts(&self) -> &QueryFacts {
        &self.facts
    }

    /// Counts bytes that came over the link.
    pub fn add_link_bytes(&self, bytes: usize) {
        self.link_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes over the link so far.
    pub fn link_bytes(&self) -> u64 {
        self.link_bytes.load(Ordering::Relaxed)
    }

    /// Counts bytes of the answer.
    pub fn add_answer_bytes(&self, bytes: usize) {
        self.answer_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// How it ended; only the first word counts.
    pub fn end(&self, state: QueryState, error: Option<String>) {
        let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let _ = self.end.set((elapsed, state, error));
    }

    fn report(&self) -> QueryReport {
        let (elapsed_ms, state, error) = self.end.get().cloned().unwrap_or_else(|| {
            (u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX), QueryState::Running, None)
        });
        QueryReport {
            query_id: self.facts.query_id.clone(),
            route: self.facts.route.to_owned(),
            plan: self.facts.plan.to_owned(),
            catalog_version: self.facts.catalog_version,
            why_not_partial: self.facts.why_not_partial.clone(),
            cold_batches: self.facts.cold_batches,
            link_bytes: self.link_bytes(),
            answer_bytes: self.answer_bytes.load(Ordering::Relaxed),
            started_at_ms: self.started_at_ms,
            elapsed_ms,
            state,
            error,
        }
    }
}

/// A query that has not answered yet. Dropped, it is recorded as cancelled: its caller has gone.
#[derive(Debug)]
pub struct Opening {
    record: Arc<QueryRecord>,
    kept: bool,
}

impl Opening {
    /// Its record.
    pub fn record(&self) -> &Arc<QueryRecord> {
        &self.record
    }

    /// The answer is on its way: whoever holds the record says how it ended.
    pub fn keep(mut self) -> Arc<QueryRecord> {
        self.kept = true;
        Arc::clone(&self.record)
    }

    /// It ended with an error, which is passed on.
    pub fn failed(self, error: QueryError) -> QueryError {
        self.record.end(QueryState::Failed, Some(error.to_string()));
        error
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        if !self.kept {
            self.record.end(QueryState::Cancelled, Some("the caller hung up before the first byte".into()));
        }
    }
}

/// The last queries.
#[derive(Debug, Default)]
pub struct QueryLog {
    records: Mutex<VecDeque<Arc<QueryRecord>>>,
}

impl QueryLog {
    /// Opens the record of a query that begins.
    pub fn begin(&self, facts: QueryFacts) -> Opening {
        let record = Arc::new(QueryRecord::new(facts));
        let mut records = self.records.lock();
        if records.len() >= KEPT {
            records.pop_front();
        }
        records.push_back(Arc::clone(&record));
        Opening { record, kept: false }
    }

    /// The youngest query of this id.
    pub fn find(&self, query_id: &str) -> Option<QueryReport> {
        let records = self.records.lock();
        records.iter().rev().find(|r| r.facts.query_id == query_id).map(|r| r.report())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(query_id: &str) -> QueryFacts {
        QueryFacts {
            query_id: query_id.to_owned(),
            route: "hot",
            plan: "passthrough",
            catalog_version: 1,
            why_not_partial: None,
            cold_batches: 0,
        }
    }

    #[test]
    fn the_first_end_counts_and_old_queries_are_forgotten() {
        let log = QueryLog::default();
        let record = log.begin(facts("a")).keep();
        assert_eq!(log.find("a").unwrap().state, QueryState::Running);
        record.end(QueryState::Failed, Some("why".into()));
        record.end(QueryState::Cancelled, None);
        assert_eq!(log.find("a").unwrap().state, QueryState::Failed);
        for n in 0..KEPT {
            drop(log.begin(facts(&n.to_string())));
        }
        assert!(log.find("a").is_none());
        assert_eq!(log.find("0").unwrap().state, QueryState::Cancelled);
    }
}
