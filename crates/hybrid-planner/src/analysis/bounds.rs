//! The time range a reference can need, read from the conditions of its own block.
//!
//! Sound, not complete: a row outside the range surely fails the block's WHERE. What is not
//! understood widens the range to all of time.

use storage_types::TimeRange;

use crate::{
    analysis::{
        conjuncts::{self, Reach, bare, column_at, has_odd, split_word},
        query::{LogicalRef, Query},
        time_literals::{Clock, Value, eval, is_utc, parse, span_of, zone_slack},
    },
    syntax::blocks::Span,
};

/// The range of a reference.
pub(crate) fn of(query: &Query, r: &LogicalRef, timezone: &str, now_unix_ns: i64) -> TimeRange {
    let Some(reach) = conjuncts::reach(query, r) else { return TimeRange::ALL };
    let Some(block) = query.blocks.list.get(r.block) else { return TimeRange::ALL };
    let reader = Reader { query, r, reach, clock: Clock { timezone, now_unix_ns } };
    conjuncts::of_block(&query.tokens, block)
        .into_iter()
        .map(|span| reader.range(span, 0))
        .fold(TimeRange::ALL, TimeRange::intersect)
}

/// The zone in a `DateTime('…')` or `DateTime64(n, '…')`.
pub(crate) fn column_zone(data_type: &str) -> Option<&str> {
    let (_, rest) = data_type.split_once('\'')?;
    rest.split_once('\'').map(|(zone, _)| zone)
}

struct Reader<'a> {
    query: &'a Query,
    r: &'a LogicalRef,
    reach: Reach,
    clock: Clock<'a>,
}

/// A comparison's operator, as seen from the column.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Op {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Op {
    fn read(symbol: &str) -> Option<Self> {
        Some(match symbol {
            "=" | "==" => Self::Equal,
            "<" => Self::Less,
            "<=" => Self::LessOrEqual,
            ">" => Self::Greater,
            ">=" => Self::GreaterOrEqual,
            _ => return None,
        })
    }

    fn mirrored(self) -> Self {
        match self {
            Self::Equal => Self::Equal,
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
        }
    }
}

impl Reader<'_> {
    /// Range outside of which the condition surely fails.
    fn range(&self, span: Span, depth: usize) -> TimeRange {
        let t = &self.query.tokens;
        let span = bare(t, span);
        if depth > 50 || has_odd(t, &span) {
            return TimeRange::ALL;
        }
        let alternatives = split_word(t, span.clone(), "OR");
        if alternatives.len() > 1 {
            let ranges = alternatives.into_iter().map(|s| self.range(s, depth + 1));
            return ranges.reduce(TimeRange::hull).unwrap_or(TimeRange::ALL);
        }
        let parts = split_word(t, span.clone(), "AND");
        if parts.len() > 1 {
            let ranges = parts.into_iter().map(|s| self.range(s, depth + 1));
            return ranges.fold(TimeRange::ALL, TimeRange::intersect);
        }
        self.predicate(span).unwrap_or(TimeRange::ALL)
    }

    fn predicate(&self, span: Span) -> Option<TimeRange> {
        let t = &self.query.tokens;
        if t.is(span.start, "NOT") {
            return None;
        }
        if let Some((unit, end)) = self.time_at(span.start) {
            if t.is(end, "BETWEEN") {
                let parts = split_and_of_between(self, end + 1, span.end)?;
                let low = self.compare(Op::GreaterOrEqual, unit, parts.0)?;
                return Some(low.intersect(self.compare(Op::LessOrEqual, unit, parts.1)?));
            }
            if t.is(end, "IN") && t.sym(end + 1, "(") && t.mate(end + 1) + 1 == span.end {
                let items = t.commas(end + 2..span.end - 1);
                let ranges: Option<Vec<_>> =
                    items.into_iter().map(|s| self.compare(Op::Equal, unit, s)).collect();
                return ranges?.into_iter().reduce(TimeRange::hull);
            }
            let op = Op::read(t.at(end)).filter(|_| end < span.end)?;
            return self.compare(op, unit, end + 1..span.end);
        }
        let mut operator = span.start;
        while operator < span.end && Op::read(t.at(operator)).is_none() {
            operator = t.step(operator);
        }
        let (unit, end) = self.time_at(operator + 1)?;
        if end != span.end {
            return None;
        }
        self.compare(Op::read(t.at(operator))?.mirrored(), unit, span.start..operator)
    }

    /// The time column at `i`, perhaps inside a function that rounds it down: by how many seconds at
    /// most (0: not rounded), and the token behind.
    fn time_at(&self, i: usize) -> Option<(i64, usize)> {
        let t = &self.query.tokens;
        if t.is_name(i) && t.sym(i + 1, "(") {
            let name = t.name(i).to_ascii_lowercase();
            let (_, end) = self.time_at(i + 2).filter(|(unit, _)| *unit == 0)?;
            if end != t.mate(i + 1) {
                return None;
            }
            let slack = zone_slack(self.clock.timezone).max(zone_slack(self.zone()));
            let unit = match name.as_str() {
                "todate" | "todate32" => span_of("day")? + slack,
                "todatetime" => 1,
                other => span_of(other.strip_prefix("tostartof")?)? + slack,
            };
            return Some((unit, end + 1));
        }
        let (column, end) = column_at(self.query, self.r, self.reach, i)?;
        (column.name == self.r.table.time_column).then_some((0, end))
    }

    fn column_type(&self) -> &str {
        self.r.table.column(&self.r.table.time_column).map_or("", |c| c.data_type.as_str())
    }

    fn zone(&self) -> &str {
        column_zone(self.column_type()).unwrap_or(self.clock.timezone)
    }

    /// Times for which `column OP constant` can hold, when the column is rounded by up to `unit`.
    fn compare(&self, op: Op, unit: i64, constant: Span) -> Option<TimeRange> {
        let kind = self.column_type();
        let is_date = kind.starts_with("Date") && !kind.starts_with("DateTime");
        if !kind.starts_with("Date") {
            return None;
        }
        let session_slack = zone_slack(self.clock.timezone);
        let (lo, hi) = match eval(&self.query.tokens, constant, self.clock)? {
            Value::Text(text) => {
                let (lo, hi, _) = parse(&text)?;
                let slack = if is_date {
                    0
                } else {
                    zone_slack(self.zone()).max(if unit > 0 { session_slack } else { 0 })
                };
                (lo - slack, hi + slack)
            }
            Value::Moment { lo, hi, date } => {
                // A Date against a time (either way round) is midnight in some zone.
                let mixed = date != is_date && !(is_utc(self.zone()) && is_utc(self.clock.timezone));
                let slack = if mixed { zone_slack("?") } else { 0 };
                (lo - slack, hi + slack)
            }
            Value::Number(n) if !is_date && unit == 0 && (31_536_000..4_260_211_200).contains(&n) => (n, n),
            _ => return None,
        };
        // A Date column compared with a time of that day is compared by its midnight.
        let lo = if is_date { lo.checked_sub(86_400)? } else { lo };
        Some(match op {
            Op::Equal => TimeRange::new(lo, hi + 1 + unit),
            Op::Less => TimeRange::new(i64::MIN, hi + unit),
            Op::LessOrEqual => TimeRange::new(i64::MIN, hi + 1 + unit),
            Op::Greater | Op::GreaterOrEqual => TimeRange::new(lo, i64::MAX),
        })
    }
}

/// The two sides of BETWEEN's own AND.
fn split_and_of_between(reader: &Reader<'_>, from: usize, to: usize) -> Option<(Span, Span)> {
    let t = &reader.query.tokens;
    let mut i = from;
    while i < to {
        if t.is(i, "AND") {
            return Some((from..i, i + 1..to));
        }
        i = t.step(i);
    }
    None
}
