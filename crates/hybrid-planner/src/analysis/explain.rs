//! The hot engine's own reading of a query: `EXPLAIN indexes = 1, json = 1`.
//!
//! For every read of a MergeTree table it names the table and the condition on its keys, with
//! constants folded and filters carried through subqueries and views. Two things must not be taken
//! from it: a bound that was folded from the head's *data* (`ts > (SELECT min(ts) …)` sees only hot
//! rows there), and the absence of a read. So it is used only where neither can happen, and every
//! condition that is not understood means all of time.

use serde_json::Value;
use storage_types::TimeRange;

use crate::{
    CatalogVersion, TableSnapshot,
    analysis::query::{LogicalRef, Query},
    syntax::blocks::Place,
};

/// The answer could bound this query's references: one reference, no subquery in an expression, and
/// no common table expression used twice.
pub(crate) fn may_help(query: &Query, refs: &[LogicalRef]) -> bool {
    let t = &query.tokens;
    let one = refs.len() == 1 && refs.iter().all(|r| r.source.is_some());
    let folded = query.blocks.list.iter().any(|b| b.place == Place::Expression);
    if !one
        || folded
        || !query.blocks.in_names.is_empty()
        || !crate::analysis::conjuncts::settings_harmless(query)
    {
        return false;
    }
    let ctes: Vec<_> = query.blocks.list.iter().flat_map(|b| &b.ctes).collect();
    let once = |name: &str| (0..t.len()).filter(|&i| t.is_name(i) && t.name(i) == name).count() <= 2;
    ctes.len() <= 10 && ctes.iter().all(|cte| !cte.recursive && once(&cte.name))
}

/// One read of a MergeTree table.
struct Read<'a> {
    /// `database.table`, as EXPLAIN prints it.
    table: &'a str,
    node: &'a Value,
}

/// Nodes of a plan that were looked at; an answer is not followed without end.
const MAX_NODES: usize = 20_000;

/// Every read in the plan, and whether something was answered from metadata (its table is unknown).
fn reads(plan: &Value) -> (Vec<Read<'_>>, bool) {
    let mut out = Vec::new();
    let mut unknown = false;
    let mut open = vec![plan];
    let mut seen = 0;
    while let Some(value) = open.pop() {
        seen += 1;
        if seen > MAX_NODES {
            return (out, true);
        }
        match value {
            Value::Array(items) => open.extend(items),
            Value::Object(fields) => {
                let kind = fields.get("Node Type").and_then(Value::as_str).unwrap_or_default();
                let about = fields.get("Description").and_then(Value::as_str).unwrap_or_default();
                if kind == "ReadFromMergeTree" {
                    out.push(Read { table: about, node: value });
                } else if kind == "ReadFromPreparedSource" && !about.is_empty() {
                    unknown |= about.contains("projection") || about.contains("trivial count");
                }
                open.extend(["Plan", "Plans"].iter().filter_map(|key| fields.get(*key)));
            }
            _ => {}
        }
    }
    (out, unknown)
}

/// A managed table that the query reads in a way that no reference in the text names. `unmanaged`: how
/// many tables that are not ours the EXPLAIN holds beside the query, each as a branch of its union;
/// `others`: the query names tables that are not ours.
pub(crate) fn hidden_read(
    explain: &str,
    catalog: &CatalogVersion,
    refs: &[LogicalRef],
    unmanaged: usize,
    others: bool,
) -> Option<String> {
    const UNNAMED: &str = "a table that the engine does not name";
    let Ok(plan) = serde_json::from_str::<Value>(explain) else {
        return others.then(|| UNNAMED.to_owned());
    };
    if unmanaged > 0 {
        let Some(branches) = union_branches(&plan, unmanaged + 1) else { return Some(UNNAMED.into()) };
        for branch in branches.iter().skip(1) {
            let (reads, unknown) = reads(branch);
            if unknown {
                return Some(UNNAMED.into());
            }
            if let Some(read) = reads.iter().find_map(|read| managed(catalog, read.table)) {
                return Some(read);
            }
        }
    }
    let (reads, unknown) = reads(&plan);
    if unknown && others {
        return Some(UNNAMED.into());
    }
    let named = |logical: &String| refs.iter().any(|r| r.table.logical == *logical);
    reads.iter().filter_map(|read| managed(catalog, read.table)).find(|logical| !named(logical))
}

/// The logical table whose head or hot part is called this.
fn managed(catalog: &CatalogVersion, name: &str) -> Option<String> {
    let is = |t: &crate::TableName| {
        name.strip_prefix(&t.database).and_then(|r| r.strip_prefix('.')) == Some(&t.table)
    };
    let ours = |t: &TableSnapshot| is(&t.head);
    catalog.tables.iter().find(|t| ours(t)).map(|t| t.logical.clone())
}

/// The branches of the outermost union, when it has exactly as many as expected.
fn union_branches(plan: &Value, expected: usize) -> Option<&Vec<Value>> {
    let mut node = plan.get(0)?.get("Plan")?;
    for _ in 0..10 {
        let below = node.get("Plans").and_then(Value::as_array)?;
        if node.get("Node Type").and_then(Value::as_str) == Some("Union") {
            return (below.len() == expected).then_some(below);
        }
        let [only] = below.as_slice() else { return None };
        node = only;
    }
    None
}

/// The time range of all reads of this table; all of time unless every one is understood.
pub(crate) fn range(explain: &str, table: &TableSnapshot) -> TimeRange {
    let Ok(plan) = serde_json::from_str::<Value>(explain) else { return TimeRange::ALL };
    let (reads, unknown) = reads(&plan);
    let name = format!("{}.{}", table.head.database, table.head.table);
    if unknown {
        return TimeRange::ALL;
    }
    reads
        .iter()
        .filter(|r| r.table == name)
        .map(|r| read_range(r.node, table))
        .reduce(TimeRange::hull)
        .unwrap_or(TimeRange::ALL)
}

fn read_range(node: &Value, table: &TableSnapshot) -> TimeRange {
    let indexes = node.get("Indexes").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    indexes
        .iter()
        .filter(|index| {
            matches!(index.get("Type").and_then(Value::as_str), Some("Min-Max" | "MinMax" | "PrimaryKey"))
        })
        .filter_map(|index| index.get("Condition").and_then(Value::as_str))
        .map(|condition| Condition { text: condition, table }.range())
        .fold(TimeRange::ALL, TimeRange::intersect)
}

/// A key condition: `and((timestamp in ['1791590400', +Inf)), (symbol in ['A', 'A']))`.
struct Condition<'a> {
    text: &'a str,
    table: &'a TableSnapshot,
}

impl Condition<'_> {
    fn range(&self) -> TimeRange {
        if self.text.len() > 65_536 {
            return TimeRange::ALL;
        }
        self.parse(self.text, 0)
    }

    fn parse(&self, text: &str, depth: usize) -> TimeRange {
        let text = text.trim();
        if depth > 100 {
            return TimeRange::ALL;
        }
        for (prefix, and) in [("and(", true), ("or(", false)] {
            let Some(inside) = text.strip_prefix(prefix).and_then(|t| t.strip_suffix(')')) else { continue };
            let Some(parts) = split(inside) else { return TimeRange::ALL };
            let ranges = parts.into_iter().map(|part| self.parse(part, depth + 1));
            let joined =
                if and { ranges.reduce(TimeRange::intersect) } else { ranges.reduce(TimeRange::hull) };
            return joined.unwrap_or(TimeRange::ALL);
        }
        self.interval(text).unwrap_or(TimeRange::ALL)
    }

    /// `(timestamp in [lo, hi])`, either bound open.
    fn interval(&self, text: &str) -> Option<TimeRange> {
        let inside = text.strip_prefix('(')?.strip_suffix(')')?;
        let rest = inside.strip_prefix(self.table.time_column.as_str())?.strip_prefix(" in ")?;
        let inner = rest.strip_prefix(['[', '('])?.strip_suffix([']', ')'])?;
        let (lo, hi) = inner.split_once(", ")?;
        let lo = if lo == "-Inf" { i64::MIN } else { self.seconds(lo)? };
        let hi = if hi == "+Inf" { i64::MAX } else { self.seconds(hi)?.checked_add(self.unit())? };
        Some(TimeRange::new(lo, hi))
    }

    fn is_date(&self) -> bool {
        let kind = self.table.column(&self.table.time_column).map_or("", |c| c.data_type.as_str());
        kind == "Date" || kind == "Date32"
    }

    /// Seconds that one number of the condition covers.
    fn unit(&self) -> i64 {
        if self.is_date() { 86_400 } else { 1 }
    }

    /// A bound in seconds, rounded down. `'1791590400.5'` for DateTime64, plain seconds for DateTime,
    /// days for Date. Anything outside 1971 to 2105 is not understood.
    fn seconds(&self, text: &str) -> Option<i64> {
        let plain = text.trim_matches('\'');
        let whole = plain.split_once('.').map_or(plain, |(whole, _)| whole);
        let seconds = whole.parse::<i64>().ok()?.checked_mul(self.unit())?;
        (31_536_000..4_260_211_200).contains(&seconds).then_some(seconds)
    }
}

/// Parts between commas outside brackets and quotes; `None` when they do not close.
fn split(text: &str) -> Option<Vec<&str>> {
    let (mut out, mut depth, mut from, mut quoted, mut escaped) = (Vec::new(), 0_i32, 0, false, false);
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '\'' => quoted = !quoted,
            // An interval's brackets need not match in kind: `[a, b)`.
            '(' | '[' if !quoted => depth += 1,
            ')' | ']' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => {
                out.push(text.get(from..i)?);
                from = i + 1;
            }
            _ => {}
        }
    }
    out.push(text.get(from..)?);
    (depth == 0 && !quoted).then_some(out)
}

#[cfg(test)]
mod tests {
    use storage_types::Column;

    use super::*;
    use crate::TableName;

    fn table() -> TableSnapshot {
        TableSnapshot {
            logical: "trades".into(),
            head: TableName::new("hot", "trades"),
            cold: TableName::new("cold", "trades"),
            columns: vec![Column { name: "timestamp".into(), data_type: "DateTime64(3, 'UTC')".into() }],
            time_column: "timestamp".into(),
            hidden: vec![],
            refused: vec![],
            batch_ids: vec![],
            batches: vec![],
        }
    }

    #[test]
    fn conditions_are_read_or_widened() {
        let table = table();
        let range = |text| Condition { text, table: &table }.range();
        let both = "and((timestamp in (-Inf, '1791763200']), (timestamp in ['1791590400.5', +Inf)))";
        assert_eq!(range(both), TimeRange::new(1_791_590_400, 1_791_763_201));
        assert_eq!(range("(timestamp in (-Inf, 1795440477])"), TimeRange::new(i64::MIN, 1_795_440_478));
        assert_eq!(range("or((timestamp in (-Inf, '1791763200']), (symbol in ['a', 'b']))"), TimeRange::ALL);
        let mixed = "and((symbol in ['a, b(', 'z']), (timestamp in ['1791590400', +Inf)))";
        assert_eq!(range(mixed), TimeRange::new(1_791_590_400, i64::MAX));
        for odd in
            ["true", "unknown", "(timestamp in 3-element set)", "not((timestamp in [1, 2]))", "and(", "((("]
        {
            assert_eq!(range(odd), TimeRange::ALL, "{odd}");
        }
    }
}
