//! What was written: ids, what follows from an id, and which ids were acknowledged.
//!
//! An id is handed out once. Time and payload are functions of it, in Rust and in SQL alike, so that
//! one pass over a table finds every row that is not what was written. An insert whose answer never
//! came is neither written nor not written: each of its ids may be there once or not at all.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    ops::Range,
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;

const PAYLOAD_MUL: u64 = 6_364_136_223_846_793_005;
const PAYLOAD_ADD: u64 = 1_442_695_040_888_963_407;
const TIME_MUL: u64 = 2_654_435_761;

/// One table's rows as they were written.
#[derive(Debug)]
pub struct WrittenRows {
    /// Qualified name of the hot table (the service knows it by this name as well).
    pub table: String,
    /// Times of rows: `[start, start + span)`, Unix milliseconds.
    pub start_ms: u64,
    /// Milliseconds.
    pub span_ms: u64,
    next: AtomicU64,
    ledger: Mutex<Ledger>,
}

#[derive(Debug, Default)]
struct Ledger {
    in_flight: BTreeSet<u64>,
    acknowledged: Vec<Range<u64>>,
    maybe: Vec<Range<u64>>,
}

/// What must be found for all ids below `below` that are not in `maybe`.
#[derive(Debug, Clone)]
pub struct ExpectedRows {
    /// Ids at or above may be in flight.
    pub below: u64,
    /// Ids nobody knows about.
    pub maybe: Vec<Range<u64>>,
    acknowledged: Vec<Range<u64>>,
}

impl WrittenRows {
    /// An empty table whose rows will lie in `[start, start + span)`.
    pub fn new(table: &str, start_ms: u64, span_ms: u64) -> Self {
        let ledger = Mutex::new(Ledger::default());
        Self { table: table.to_owned(), start_ms, span_ms, next: AtomicU64::new(1), ledger }
    }

    /// Payload of an id.
    pub fn payload(id: u64) -> u64 {
        id.wrapping_mul(PAYLOAD_MUL).wrapping_add(PAYLOAD_ADD)
    }

    /// Time of an id, Unix milliseconds.
    pub fn time_ms(&self, id: u64) -> u64 {
        self.start_ms + id.wrapping_mul(TIME_MUL) % self.span_ms
    }

    /// SQL that is true for a row whose payload or time is not what was written.
    pub fn wrong_row_sql(&self) -> String {
        format!(
            "payload != id * {PAYLOAD_MUL} + {PAYLOAD_ADD} OR toUnixTimestamp64Milli(ts) != {} + (id * {TIME_MUL}) % {}",
            self.start_ms, self.span_ms
        )
    }

    /// Starts an insert of `rows` rows: their ids, in flight until [`Self::settle`].
    pub fn begin(&self, rows: u64) -> Range<u64> {
        let mut ledger = self.ledger.lock();
        let start = self.next.fetch_add(rows, Ordering::SeqCst);
        ledger.in_flight.insert(start);
        start..start + rows
    }

    /// The insert was acknowledged, or nobody knows.
    pub fn settle(&self, ids: Range<u64>, acknowledged: bool) {
        let mut ledger = self.ledger.lock();
        ledger.in_flight.remove(&ids.start);
        if acknowledged { ledger.acknowledged.push(ids) } else { ledger.maybe.push(ids) }
    }

    /// What a query that begins now must find.
    pub fn expected(&self) -> ExpectedRows {
        let ledger = self.ledger.lock();
        let below = ledger.in_flight.first().copied().unwrap_or_else(|| self.next.load(Ordering::SeqCst));
        let known =
            |ranges: &[Range<u64>]| ranges.iter().filter(|r| r.start < below).cloned().collect::<Vec<_>>();
        ExpectedRows { below, maybe: known(&ledger.maybe), acknowledged: known(&ledger.acknowledged) }
    }

    /// The rows of these ids as TSV lines `id, ts, venue, payload`.
    pub fn lines(&self, ids: Range<u64>) -> String {
        let mut text = String::new();
        for id in ids {
            let _ =
                writeln!(text, "{id}\t{}\t{}\t{}", time_text(self.time_ms(id)), venue(id), Self::payload(id));
        }
        text
    }
}

/// A `DateTime64(3)` in UTC.
pub fn time_text(unix_ms: u64) -> String {
    chrono::DateTime::from_timestamp_millis(i64::try_from(unix_ms).unwrap_or(i64::MAX))
        .unwrap_or_default()
        .format("%Y-%m-%d %H:%M:%S%.3f")
        .to_string()
}

/// Venue of an id.
fn venue(id: u64) -> &'static str {
    if id.is_multiple_of(7) { "okx" } else { "binance" }
}

impl ExpectedRows {
    /// Acknowledged ids.
    pub fn ids(&self) -> impl Iterator<Item = u64> + '_ {
        self.acknowledged.iter().cloned().flatten()
    }

    /// SQL that is true for ids this expectation speaks of.
    pub fn known_sql(&self) -> String {
        let mut sql = format!("id < {}", self.below);
        for range in &self.maybe {
            let _ = write!(sql, " AND NOT (id >= {} AND id < {})", range.start, range.end);
        }
        sql
    }

    /// Count and sum of the acknowledged ids whose time is in `[from_ms, to_ms)`.
    pub fn within(&self, written: &WrittenRows, from_ms: u64, to_ms: u64) -> (u64, u64) {
        self.ids()
            .filter(|id| (from_ms..to_ms).contains(&written.time_ms(*id)))
            .fold((0, 0), |(count, sum), id| (count + 1, sum + id))
    }

    /// Whether nobody knows if this id was written.
    pub fn unknown(&self, id: u64) -> bool {
        self.maybe.iter().any(|r| r.contains(&id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_settled_inserts_are_expected() {
        let written = WrittenRows::new("t", 0, 1000);
        let (a, b, c) = (written.begin(10), written.begin(10), written.begin(10));
        written.settle(a, true);
        written.settle(c, true);
        assert_eq!(written.expected().below, 11, "the second insert is in flight");
        assert_eq!(written.expected().ids().count(), 10);
        written.settle(b, false);
        let expected = written.expected();
        assert_eq!((expected.below, expected.ids().count()), (31, 20));
        assert!(expected.unknown(15) && !expected.unknown(21));
    }
}
