//! Types of simple expressions, where they can be told from the columns alone. A stream of states
//! needs its types named beforehand; what has no type here comes over as rows instead.

use clickhouse_sql::{Kind, Tokens};
use storage_types::Column;

use crate::{
    TableSnapshot,
    analysis::{bounds::column_zone, conjuncts::bare},
    syntax::blocks::{Span, chain_end},
};

/// A type without LowCardinality around it: what aggregate functions see.
pub(crate) fn full(data_type: &str) -> &str {
    data_type.strip_prefix("LowCardinality(").and_then(|t| t.strip_suffix(')')).unwrap_or(data_type)
}

fn is_low_cardinality(data_type: &str) -> bool {
    data_type.starts_with("LowCardinality(")
}

/// Integers, also Bool.
pub(crate) fn is_integer(data_type: &str) -> bool {
    let plain = nested(data_type);
    let digits = plain.strip_prefix("UInt").or_else(|| plain.strip_prefix("Int"));
    plain == "Bool" || digits.is_some_and(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_digit()))
}

/// `Nullable(T)` → `T`.
fn nested(data_type: &str) -> &str {
    data_type.strip_prefix("Nullable(").and_then(|t| t.strip_suffix(')')).unwrap_or(data_type)
}

/// Precision and scale of a Decimal, Nullable or not.
pub(crate) fn decimal(data_type: &str) -> Option<(u32, u32)> {
    let inside = nested(data_type).strip_prefix("Decimal(")?.strip_suffix(')')?;
    let (precision, scale) = inside.split_once(',')?;
    Some((precision.trim().parse().ok()?, scale.trim().parse().ok()?))
}

pub(crate) fn is_float(data_type: &str) -> bool {
    matches!(nested(data_type), "Float32" | "Float64")
}

/// The column that a span names, with or without qualifiers.
pub(crate) fn column<'t>(t: &Tokens, table: &'t TableSnapshot, span: &Span) -> Option<&'t Column> {
    let named = t.is_name(span.start) && chain_end(t, span.start) == span.end;
    named.then(|| table.column(&t.name(span.end - 1))).flatten()
}

/// The type of an expression over the table's columns, exactly as the engine gives it; `None` when it is
/// not known here.
pub(crate) fn type_of(t: &Tokens, table: &TableSnapshot, span: Span) -> Option<String> {
    let span = bare(t, span);
    if span.len() > 64 {
        return None;
    }
    if let Some(column) = column(t, table, &span) {
        return Some(column.data_type.clone());
    }
    if t.is_name(span.start) && t.sym(span.start + 1, "(") && t.mate(span.start + 1) + 1 == span.end {
        return call(t, table, &span);
    }
    if t.sym(span.start, "(") && t.mate(span.start) + 1 == span.end {
        return tuple(t, table, span.start + 1..span.end - 1);
    }
    arithmetic(t, table, &span)
}

fn tuple(t: &Tokens, table: &TableSnapshot, inside: Span) -> Option<String> {
    let items = t.commas(inside);
    let types: Option<Vec<String>> = items.into_iter().map(|s| type_of(t, table, s)).collect();
    let types = types.filter(|l| l.len() > 1)?;
    let types: Vec<&str> = types.iter().map(|t| full(t)).collect();
    Some(format!("Tuple({})", types.join(", ")))
}

fn call(t: &Tokens, table: &TableSnapshot, span: &Span) -> Option<String> {
    let name = t.name(span.start);
    let args = t.commas(span.start + 2..span.end - 1);
    let first = type_of(t, table, args.first()?.clone())?;
    let one = args.len() == 1;
    let is_time = first.starts_with("DateTime");
    let rounded = || {
        let zone = column_zone(&first);
        zone.map_or_else(|| "DateTime".to_owned(), |z| format!("DateTime('{z}')"))
    };
    Some(match name.as_str() {
        "toDate" if one && is_time => "Date".into(),
        "toStartOfMinute"
        | "toStartOfFiveMinutes"
        | "toStartOfTenMinutes"
        | "toStartOfFifteenMinutes"
        | "toStartOfHour"
        | "toStartOfDay"
            if one && is_time =>
        {
            rounded()
        }
        "toStartOfMonth" | "toStartOfQuarter" | "toStartOfYear" | "toMonday" if one && is_time => {
            "Date".into()
        }
        "toStartOfInterval" if args.len() == 2 && is_time => {
            let second = args.get(1)?;
            let literal = t.is(second.start, "INTERVAL") && second.len() == 3;
            let number = t.kind(second.start + 1) == Some(Kind::Number);
            let unit = t.is_any(second.start + 2, &["SECOND", "MINUTE", "HOUR", "DAY"]);
            (literal && number && unit).then(rounded)?
        }
        "toYYYYMM" if one && is_time => "UInt32".into(),
        "toYear" if one && is_time => "UInt16".into(),
        "toHour" | "toMinute" | "toSecond" | "toMonth" | "toDayOfMonth" | "toDayOfWeek" | "toQuarter"
            if one && is_time =>
        {
            "UInt8".into()
        }
        "lower" | "upper" if one && (first == "String" || first == "LowCardinality(String)") => first,
        "toInt64" | "toUInt64" | "toFloat64" if one && !is_low_cardinality(&first) => {
            let target = name.trim_start_matches("to");
            let numeric = is_integer(&first) || is_float(&first) || decimal(&first).is_some();
            let nullable = first.starts_with("Nullable(");
            numeric.then(|| if nullable { format!("Nullable({target})") } else { target.to_owned() })?
        }
        _ => return None,
    })
}

/// Products, sums and differences of two Decimals.
fn arithmetic(t: &Tokens, table: &TableSnapshot, span: &Span) -> Option<String> {
    let mut operators = Vec::new();
    let mut i = span.start;
    while i < span.end {
        if t.sym(i, "*") || t.sym(i, "+") || t.sym(i, "-") {
            operators.push(i);
        }
        i = t.step(i);
    }
    let [operator] = operators[..] else { return None };
    let left = type_of(t, table, span.start..operator)?;
    let right = type_of(t, table, operator + 1..span.end)?;
    if left.starts_with("Nullable(") || right.starts_with("Nullable(") {
        return None;
    }
    let ((p1, s1), (p2, s2)) = (decimal(&left)?, decimal(&right)?);
    let class = |p: u32| [9, 18, 38, 76].into_iter().find(|c| p <= *c);
    let precision = class(p1)?.max(class(p2)?);
    let scale = if t.sym(operator, "*") { s1 + s2 } else { s1.max(s2) };
    (scale <= precision).then(|| format!("Decimal({precision}, {scale})"))
}
