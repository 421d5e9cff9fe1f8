//! The oracle: writes rows, asks for them back all the time, and never forgives.
//!
//! Writers insert straight into the hot engine, as programs do that know nothing of the daemons; most
//! of their rows are late ones, for windows that are moving or have moved. Pollers ask through the
//! service's query interface: every row acknowledged before the question is in the answer, once, with
//! its payload. A question may fail while something is down; an answer may never be wrong.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::clients::{ClickHouse, Service};
use anyhow::{Result, bail};
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::task::JoinSet;

use crate::expected_rows::{ExpectedRows, WrittenRows, time_text};

/// Rows of one small insert.
const INSERT_ROWS: u64 = 40;
/// The span is asked for whole, and in so many slices.
const SLICES: u64 = 4;
/// Inserts that the engine collects from several writers.
const ASYNCHRONOUS: [(&str, &str); 2] = [("async_insert", "1"), ("wait_for_async_insert", "1")];
/// Pause between two small inserts of one writer.
const PACE: Duration = Duration::from_millis(60);

/// What the oracle saw so far.
#[derive(Debug, Default)]
pub struct OracleReport {
    /// Questions answered.
    pub answered: AtomicU64,
    /// Questions that failed (with an error, not with a wrong answer).
    pub failed: AtomicU64,
    /// Rows acknowledged.
    pub written: AtomicU64,
    last_error: Mutex<Option<String>>,
    violations: Mutex<Vec<String>>,
}

impl OracleReport {
    /// Wrong answers, in words.
    pub fn violations(&self) -> Vec<String> {
        self.violations.lock().clone()
    }

    /// The last failed question's error.
    pub fn last_error(&self) -> Option<String> {
        self.last_error.lock().clone()
    }

    fn violate(&self, what: String) {
        eprintln!("ORACLE: {what}");
        self.violations.lock().push(what);
    }

    fn fail(&self, error: &anyhow::Error) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        *self.last_error.lock() = Some(format!("{error:#}"));
    }
}

/// Writers and pollers over some tables.
#[derive(Debug)]
pub struct Oracle {
    hot: ClickHouse,
    service: Service,
    tables: Vec<Arc<WrittenRows>>,
    report: Arc<OracleReport>,
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Oracle {
    /// An oracle over tables that exist and are empty.
    pub fn new(hot: ClickHouse, service: Service, tables: Vec<Arc<WrittenRows>>) -> Self {
        let (report, stop) = (Arc::default(), Arc::default());
        Self { hot, service, tables, report, stop, tasks: JoinSet::new() }
    }

    /// Writes `rows` rows into each table, in inserts of 20,000, before anything else.
    pub async fn preload(&self, rows: u64) -> Result<()> {
        for written in &self.tables {
            let mut left = rows;
            while left > 0 {
                let now = left.min(20_000);
                left -= now;
                write(&self.hot, written, now, &[], &self.report).await?;
            }
        }
        Ok(())
    }

    /// Starts so many writers and a poller for each table; they go on until [`Self::finish`]. Every second writer
    /// inserts asynchronously, and waits for the acknowledgement.
    pub fn start(&mut self, writers: usize) {
        for written in &self.tables {
            for n in 0..writers {
                let (hot, written, report, stop) =
                    (self.hot.clone(), written.clone(), self.report.clone(), self.stop.clone());
                let settings: &[(&str, &str)] = if n % 2 == 1 { &ASYNCHRONOUS } else { &[] };
                self.tasks.spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        // An insert that failed is on the ledger as unknown; the writer goes on.
                        let _ = write(&hot, &written, INSERT_ROWS, settings, &report).await;
                        tokio::time::sleep(PACE).await;
                    }
                });
            }
            let (service, written, report, stop) =
                (self.service.clone(), written.clone(), self.report.clone(), self.stop.clone());
            self.tasks.spawn(async move {
                let mut round = 0;
                while !stop.load(Ordering::Relaxed) {
                    poll(&service, &written, &report, round).await;
                    round += 1;
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            });
        }
    }

    /// What was report so far.
    pub fn report(&self) -> &OracleReport {
        &self.report
    }

    /// Waits until `more` further questions were answered.
    pub async fn answered_more(&self, more: u64, limit: Duration) -> Result<()> {
        let target = self.report.answered.load(Ordering::Relaxed) + more;
        let deadline = tokio::time::Instant::now() + limit;
        while self.report.answered.load(Ordering::Relaxed) < target {
            if tokio::time::Instant::now() > deadline {
                bail!("the oracle gets no answers: {:?}", self.report.last_error());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Stops writing and asking, then compares every single id. Returns all violations.
    pub async fn finish(mut self) -> Result<Verdict> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended?;
        }
        for written in &self.tables {
            every_id(&self.service, written, &self.report).await?;
        }
        Ok(Verdict {
            violations: self.report.violations(),
            answered: self.report.answered.load(Ordering::Relaxed),
            failed: self.report.failed.load(Ordering::Relaxed),
            written: self.report.written.load(Ordering::Relaxed),
            last_error: self.report.last_error(),
        })
    }
}

/// The judgement.
#[derive(Debug)]
pub struct Verdict {
    /// Wrong answers, in words; none is what everybody hopes for.
    pub violations: Vec<String>,
    /// Questions answered.
    pub answered: u64,
    /// Questions that failed with an error.
    pub failed: u64,
    /// Rows acknowledged.
    pub written: u64,
    /// The last error.
    pub last_error: Option<String>,
}

async fn write(
    hot: &ClickHouse,
    written: &WrittenRows,
    rows: u64,
    settings: &[(&str, &str)],
    report: &OracleReport,
) -> Result<()> {
    let ids = written.begin(rows);
    let sql = format!("INSERT INTO {} (id, ts, venue, payload) FORMAT TSV", written.table);
    let inserted = hot.insert(&sql, settings, written.lines(ids.clone())).await;
    written.settle(ids, inserted.is_ok());
    if inserted.is_ok() {
        report.written.fetch_add(rows, Ordering::Relaxed);
    }
    inserted
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Counted {
    rows: u64,
    ids: u64,
    wrong: u64,
    known: u64,
    known_ids: u64,
    known_sum: u64,
}

/// One question, in one of several shapes so that every plan and route is taken.
async fn poll(service: &Service, written: &WrittenRows, report: &OracleReport, round: u64) {
    let expected = written.expected();
    let slice = written.span_ms / SLICES;
    let (from_ms, to_ms) = match round % 4 {
        0 | 1 => (written.start_ms, written.start_ms + written.span_ms),
        // One slice of the span after the other: hot, cold and both.
        n => {
            let from = written.start_ms + (round / 4 + n) % SLICES * slice;
            (from, from + slice)
        }
    };
    let source = match round % 2 {
        0 => written.table.clone(),
        _ => format!("(SELECT id, ts, payload FROM {}) AS inner_rows", written.table),
    };
    let sql = question(written, &expected, &source, from_ms, to_ms);
    match service.rows::<Counted>(&sql).await {
        Ok(rows) => {
            let found = rows.into_iter().next();
            report.answered.fetch_add(1, Ordering::Relaxed);
            judge(written, &expected, found, from_ms, to_ms, &sql, report);
        }
        Err(error) => report.fail(&error),
    }
}

fn question(
    written: &WrittenRows,
    expected: &ExpectedRows,
    source: &str,
    from_ms: u64,
    to_ms: u64,
) -> String {
    let known = expected.known_sql();
    let time = |ms: u64| format!("toDateTime64('{}', 3, 'UTC')", time_text(ms));
    format!(
        "SELECT count() AS rows, uniqExact(id) AS ids, countIf({}) AS wrong, countIf({known}) AS known, \
         uniqExactIf(id, {known}) AS known_ids, sumIf(id, {known}) AS known_sum \
         FROM {source} WHERE ts >= {} AND ts < {}",
        written.wrong_row_sql(),
        time(from_ms),
        time(to_ms),
    )
}

fn judge(
    written: &WrittenRows,
    expected: &ExpectedRows,
    found: Option<Counted>,
    from_ms: u64,
    to_ms: u64,
    sql: &str,
    report: &OracleReport,
) {
    let Some(found) = found else {
        return report.violate(format!("{}: an aggregate without a row: {sql}", written.table));
    };
    let (count, sum) = expected.within(written, from_ms, to_ms);
    let mut wrong = Vec::new();
    if found.rows != found.ids {
        wrong.push(format!("{} rows but {} ids: doubled", found.rows, found.ids));
    }
    if found.wrong != 0 {
        wrong.push(format!("{} rows are not what was written", found.wrong));
    }
    if (found.known, found.known_ids, found.known_sum) != (count, count, sum) {
        wrong.push(format!(
            "acknowledged: {count} ids with sum {sum}; found {} rows, {} ids, sum {}",
            found.known, found.known_ids, found.known_sum
        ));
    }
    if !wrong.is_empty() {
        report.violate(format!("{}: {} [{from_ms}, {to_ms})", written.table, wrong.join("; ")));
    }
}

#[derive(Debug, Deserialize)]
struct IdCount {
    id: u64,
    n: u64,
}

/// Compares every id with the ledger.
async fn every_id(service: &Service, written: &WrittenRows, report: &OracleReport) -> Result<()> {
    let expected = written.expected();
    let sql = format!("SELECT id, count() AS n FROM {} GROUP BY id ORDER BY id", written.table);
    let mut found = std::collections::BTreeMap::new();
    for IdCount { id, n } in service.rows::<IdCount>(&sql).await? {
        found.insert(id, n);
    }
    let doubled: Vec<_> = found.iter().filter(|(_, n)| **n != 1).map(|(id, _)| *id).take(10).collect();
    if !doubled.is_empty() {
        report.violate(format!("{}: doubled at the end: {doubled:?} …", written.table));
    }
    let mut lost = Vec::new();
    for id in expected.ids() {
        if found.remove(&id).is_none() {
            lost.push(id);
        }
    }
    if !lost.is_empty() {
        report.violate(format!(
            "{}: {} acknowledged ids are lost: {:?} …",
            written.table,
            lost.len(),
            &lost[..lost.len().min(10)]
        ));
    }
    let invented: Vec<_> = found.keys().filter(|id| !expected.unknown(**id)).take(10).collect();
    if !invented.is_empty() {
        report.violate(format!("{}: never written: {invented:?} …", written.table));
    }
    Ok(())
}
