//! What one reference reads: which columns, which time range, which of the places where the table's
//! rows are, and which conditions each place may apply for itself.

use clickhouse_sql::{Tokens, quote};
use storage_types::{Column, TimeRange, time_sql};

use crate::{
    HiddenRows, Refusal, TableSnapshot,
    analysis::{
        conjuncts,
        expression::{Portable, portable},
        query::{LogicalRef, Query},
        time_literals::{Clock, format},
    },
    syntax::{
        blocks::{Block, Clause, Span},
        scope,
    },
};

/// What the engine's error (395) says when the head is not the table whose rows are hidden; then its name.
pub const HEAD_REPLACED: &str = "another table than the one that rows were moved out of answers to the name";

/// A reference and what it reads.
#[derive(Debug, Clone)]
pub(crate) struct Scan {
    pub r: LogicalRef,
    pub range: TimeRange,
    pub columns: Vec<Column>,
    /// How many visible batches may have rows of it, and the hull of their ranges.
    pub batches: u64,
    pub held: TimeRange,
    pub hidden: Vec<HiddenRows>,
    /// Conditions every place applies.
    pub conditions: Vec<String>,
    /// Those conditions are the block's whole WHERE.
    pub whole_where: bool,
    /// `ORDER BY … LIMIT n` that every place applies.
    pub tail: String,
}

impl Scan {
    pub fn of(query: &Query, r: LogicalRef, range: TimeRange, clock: Clock<'_>) -> Self {
        let table = r.table.clone();
        let overlapping = table.batches.iter().filter(|b| b.range.overlaps(range));
        let (batches, held) = overlapping
            .fold((0, TimeRange::new(0, 0)), |(count, hull), batch| (count + 1, hull.hull(batch.range)));
        let hidden = table.hidden.iter().filter(|h| h.range.overlaps(range)).cloned().collect();
        let mut reading = Self {
            columns: columns(query, &r),
            r,
            range,
            batches,
            held,
            hidden,
            conditions: Vec::new(),
            whole_where: false,
            tail: String::new(),
        };
        reading.push(query, clock);
        reading
    }

    /// The rows are the head's and nothing else.
    pub fn head_only(&self) -> bool {
        self.batches == 0 && self.hidden.is_empty()
    }

    pub fn table(&self) -> &TableSnapshot {
        &self.r.table
    }

    fn push(&mut self, query: &Query, clock: Clock<'_>) {
        let Some(block) = query.blocks.list.get(self.r.block) else { return };
        let all = conjuncts::of_block(&query.tokens, block);
        let Some(reach) = conjuncts::reach(query, &self.r) else { return };
        self.whole_where = true;
        let alone = all.len() == 1;
        for span in all {
            let found = portable(query, &self.r, reach, span, clock);
            // One that may fail must not meet rows that another condition keeps from it.
            match found.filter(|p: &Portable| !p.may_fail || alone) {
                Some(p) => self.conditions.push(format!("({})", p.text)),
                None => self.whole_where = false,
            }
        }
        if self.whole_where && !reach.qualified_only && !reach.time_only {
            self.tail = tail(query, &self.r, block, clock).unwrap_or_default();
        }
    }

    /// WHERE of the reads that see only visible rows: the time range and the pushed conditions.
    pub fn filter(&self, extra: Vec<String>) -> String {
        let mut all = extra;
        all.extend(time_condition(self.table(), self.range));
        all.extend(self.conditions.iter().cloned());
        if all.is_empty() { String::new() } else { format!(" WHERE {}", all.join(" AND ")) }
    }

    /// The head, without the rows that are visible in cold. Which table it is the engine asks where it compares
    /// numbers, after it has settled which table it reads: what is exchanged later is not read.
    pub fn head_filter(&self) -> String {
        let head = &self.table().head;
        let hidden = self.hidden.iter().map(|rows| {
            let number = format!(
                "_block_number <= {} + throwIf((SELECT count() FROM system.tables WHERE database = {} AND name = {} \
                 AND toString(uuid) = {}) = 0, {})",
                rows.watermark,
                quote::string(&head.database),
                quote::string(&head.table),
                quote::string(&rows.table_id),
                quote::string(&format!("{HEAD_REPLACED} {head}")),
            );
            // The move's own condition: in any other, rows of other times would be left out.
            let table = self.table();
            let kind = table.column(&table.time_column).map_or("", |column| column.data_type.as_str());
            match time_sql::predicate(&quote::ident(&table.time_column), kind, rows.range) {
                Some(time) => format!("NOT ({time} AND {number})"),
                None => format!("NOT ({number})"),
            }
        });
        self.filter(hidden.collect())
    }

    /// The visible batches by ranges of their ids: a text that does not grow with them.
    pub fn cold_filter(&self) -> String {
        let ranges = self.table().batch_ids.iter();
        let ids: Vec<String> =
            ranges.map(|(first, last)| format!("_batch BETWEEN {first} AND {last}")).collect();
        self.filter(vec![format!("({})", ids.join(" OR "))])
    }

    /// The whole range asked for lies in cold batches, and the head is not asked for any of it.
    pub fn cold_covers(&self) -> bool {
        self.batches > 0 && self.held.contains(self.range)
    }
}

pub(crate) fn column_list(columns: &[Column]) -> String {
    columns.iter().map(|c| quote::ident(&c.name)).collect::<Vec<_>>().join(", ")
}

pub(crate) fn structure(columns: &[Column]) -> String {
    let one = |c: &Column| format!("{} {}", quote::ident(&c.name), c.data_type);
    columns.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// `(ts >= … AND ts < …)` for whole seconds, exact for every time type; `None` for all of time.
pub(crate) fn time_condition(table: &TableSnapshot, range: TimeRange) -> Option<String> {
    const DAY_S: i64 = 86_400;
    let kind = table.column(&table.time_column).map_or("", |c| c.data_type.as_str());
    let is_date = kind.starts_with("Date") && !kind.starts_with("DateTime");
    let name = quote::ident(&table.time_column);
    let bound = |seconds: i64| {
        // Outside 1900 to 2299 no time type has values.
        let text = (-2_208_988_800..10_413_792_000).contains(&seconds).then_some(seconds)?;
        if is_date {
            let day = text.div_euclid(DAY_S) + i64::from(text.rem_euclid(DAY_S) > 0);
            let text = format(day * DAY_S);
            return Some(format!("toDate32('{}')", text.get(..10)?));
        }
        Some(format!("toDateTime64('{}', 0, 'UTC')", format(text)))
    };
    if range.is_empty() {
        return Some("0".into());
    }
    let low = bound(range.lo).map(|b| format!("{name} >= {b}"));
    let high = bound(range.hi).map(|b| format!("{name} < {b}"));
    let both: Vec<String> = low.into_iter().chain(high).collect();
    (!both.is_empty()).then(|| format!("({})", both.join(" AND ")))
}

/// Columns the reference may need, in the table's order; never none.
fn columns(query: &Query, r: &LogicalRef) -> Vec<Column> {
    let all = r.source.is_none() || query.has_name_parameter();
    let needed: Vec<Column> =
        r.table.columns.iter().filter(|c| all || query.scope.uses(c)).cloned().collect();
    if !needed.is_empty() {
        return needed;
    }
    r.table.column(&r.table.time_column).cloned().into_iter().collect()
}

/// `ORDER BY … LIMIT n+m` when every place may cut its rows there: one table, no grouping, nothing
/// that makes several rows of one or one of several.
fn tail(query: &Query, r: &LogicalRef, block: &Block, clock: Clock<'_>) -> Option<String> {
    let t = &query.tokens;
    let plain = [Clause::GroupBy, Clause::Having, Clause::Window, Clause::Qualify];
    if plain.iter().any(|c| block.has(*c)) || block.sources.len() != 1 {
        return None;
    }
    let select = block.clause(t, Clause::Select)?;
    if t.is_any(select.start, &["DISTINCT", "TOP", "ALL"]) || !only_row_functions(t, select) {
        return None;
    }
    // An alias in a WITH may stand for an aggregate, in any block.
    let named = query.blocks.list.iter().filter_map(|b| b.clause(t, Clause::With));
    if named.into_iter().any(|span| !only_row_functions(t, span)) {
        return None;
    }
    let rows = limit(t, block.clauses.iter().find(|(c, _)| *c == Clause::Limit)?.1.clone())?;
    let mut keys = Vec::new();
    if let Some(order) = block.clause(t, Clause::OrderBy) {
        if t.is(order.start, "ALL") {
            return None;
        }
        for item in t.commas(order) {
            keys.push(sort_key(query, r, item, clock)?);
        }
    }
    let order = if keys.is_empty() { String::new() } else { format!(" ORDER BY {}", keys.join(", ")) };
    Some(format!("{order} LIMIT {rows}"))
}

/// No function that is not known to work row by row.
fn only_row_functions(t: &Tokens, span: Span) -> bool {
    const SELECT_WORDS: &[&str] = &["AS", "IN", "AND", "OR", "NOT"];
    // `* APPLY max` aggregates without a call.
    let odd = span.clone().any(|i| t.is_any(i, &["OVER", "APPLY"]) || t.sym(i, "{"));
    !odd && !scope::calls(t, span.clone(), |name| {
        !crate::analysis::expression::is_row_function(name)
            && !SELECT_WORDS.iter().any(|w| w.eq_ignore_ascii_case(name))
    })
}

/// `column [ASC|DESC] [NULLS FIRST|LAST]`.
fn sort_key(query: &Query, r: &LogicalRef, item: Span, _clock: Clock<'_>) -> Option<String> {
    let t = &query.tokens;
    let reach = conjuncts::Reach { qualified_only: false, time_only: false };
    let (column, mut i) = conjuncts::column_at(query, r, reach, item.start)?;
    let mut key = quote::ident(&column.name);
    while i < item.end {
        if !t.is_any(i, &["ASC", "DESC", "ASCENDING", "DESCENDING", "NULLS", "FIRST", "LAST"]) {
            return None;
        }
        key.push(' ');
        key.push_str(t.at(i));
        i += 1;
    }
    Some(key)
}

/// Rows that `LIMIT n`, `LIMIT m, n` or `LIMIT n OFFSET m` can reach.
fn limit(t: &Tokens, span: Span) -> Option<u64> {
    let number = |i: usize| t.at(i).parse::<u64>().ok().filter(|n| *n <= 100_000_000);
    if !t.is(span.start, "LIMIT") {
        return None;
    }
    let first = number(span.start + 1)?;
    match span.len() {
        2 => Some(first),
        4 if t.sym(span.start + 2, ",") || t.is(span.start + 2, "OFFSET") => {
            first.checked_add(number(span.start + 3)?)
        }
        _ => None,
    }
}

/// Refuses a range in which it is not known which copy of its rows is right.
pub(crate) fn check_settled(reading: &Scan) -> Result<(), Refusal> {
    let table = reading.table();
    match table.refused.iter().find(|(window, _)| window.overlaps(reading.range)) {
        Some((window, reason)) => {
            Err(Refusal::Unsettled { table: table.logical.clone(), window: *window, reason: reason.clone() })
        }
        None => Ok(()),
    }
}

/// Refuses what cannot be asked of a table that is several.
pub(crate) fn check(query: &Query, reading: &Scan) -> Result<(), Refusal> {
    let name = reading.table().logical.clone();
    let block = query.blocks.list.get(reading.r.block);
    let Some(source) = block.zip(reading.r.source).and_then(|(b, i)| b.sources.get(i)) else { return Ok(()) };
    if source.is_final {
        return Err(Refusal::Final(name));
    }
    if source.sample {
        return Err(Refusal::Sample(name));
    }
    if block.is_some_and(|b| b.has(Clause::Prewhere) && b.sources.len() > 1) {
        return Err(Refusal::Prewhere(name));
    }
    Ok(())
}
