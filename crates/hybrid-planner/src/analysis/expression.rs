//! Expressions that may run in another engine, before the caller's own text does: only columns of
//! the one table, literals, operators and functions known to give the same value anywhere.
//!
//! Rendered from tokens: comments gone, qualifiers gone, `now()` a literal.

use clickhouse_sql::{Kind, Tokens, quote};

use crate::{
    analysis::{
        conjuncts::{Reach, column_at},
        query::{LogicalRef, Query},
        time_literals::Clock,
    },
    syntax::blocks::Span,
};

/// An expression ready to be sent elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Portable {
    pub text: String,
    /// It may fail on some row (a cast, a division): only to be evaluated where nothing else keeps rows
    /// from it, for engines reorder conditions.
    pub may_fail: bool,
    /// Names of the columns it reads.
    pub columns: Vec<String>,
}

const KEYWORDS: &[&str] = &[
    "AND", "OR", "NOT", "IN", "LIKE", "ILIKE", "BETWEEN", "IS", "NULL", "TRUE", "FALSE", "INTERVAL", "CASE",
    "WHEN", "THEN", "ELSE", "END", "DISTINCT",
];
const UNITS: &[&str] = &["SECOND", "MINUTE", "HOUR", "DAY", "WEEK", "MONTH", "QUARTER", "YEAR"];
const SYMBOLS: &[&str] = &[
    "=", "==", "!=", "<>", "<", "<=", ">", ">=", "<=>", ",", "+", "-", "*", "/", "%", "||", "::", ".", "?",
    ":",
];
const TYPES: &[&str] = &[
    "String",
    "Date",
    "Date32",
    "DateTime",
    "DateTime64",
    "UInt8",
    "UInt16",
    "UInt32",
    "UInt64",
    "UInt128",
    "Int8",
    "Int16",
    "Int32",
    "Int64",
    "Int128",
    "Float32",
    "Float64",
    "Decimal",
    "Decimal32",
    "Decimal64",
    "Decimal128",
    "Bool",
    "Nullable",
];
/// Deterministic, and defined for every argument that a column can have.
const SAFE: &[&str] = &[
    "lower",
    "upper",
    "length",
    "empty",
    "notempty",
    "startswith",
    "endswith",
    "position",
    "positioncaseinsensitive",
    "like",
    "ilike",
    "notlike",
    "match",
    "concat",
    "substring",
    "trim",
    "isnull",
    "isnotnull",
    "ifnull",
    "coalesce",
    "nullif",
    "assumenotnull",
    "tonullable",
    "equals",
    "notequals",
    "less",
    "lessorequals",
    "greater",
    "greaterorequals",
    "and",
    "or",
    "not",
    "xor",
    "has",
    "hasany",
    "hasall",
    "tostring",
    "toyear",
    "toquarter",
    "tomonth",
    "todayofmonth",
    "todayofweek",
    "todayofyear",
    "tohour",
    "tominute",
    "tosecond",
    "toyyyymm",
    "toyyyymmdd",
    "toyyyymmddhhmmss",
    "tounixtimestamp",
    "tounixtimestamp64milli",
    "tounixtimestamp64micro",
    "tounixtimestamp64nano",
    "tostartofsecond",
    "tostartofminute",
    "tostartoffiveminutes",
    "tostartoffiveminute",
    "tostartoftenminutes",
    "tostartoffifteenminutes",
    "tostartofhour",
    "tostartofday",
    "tostartofweek",
    "tostartofmonth",
    "tostartofquarter",
    "tostartofyear",
    "tostartofinterval",
    "tomonday",
    "date_trunc",
    "datetrunc",
    "timeslot",
    "cityhash64",
    "siphash64",
    "xxhash64",
    "in",
    "notin",
    "tuple",
    "array",
    "sign",
    "isnan",
    "isfinite",
    "isinfinite",
    "arrayelement",
    "tupleelement",
    "datediff",
    "date_diff",
    "touint8",
    "touint16",
    "touint32",
    "touint64",
    "tofloat64",
    "tofloat32",
    "plus",
    "minus",
    "multiply",
    "abs",
    "negate",
    "round",
    "floor",
    "ceil",
    "ceiling",
    "trunc",
    "if",
    "multiif",
    "least",
    "greatest",
    "tointervalsecond",
    "tointervalminute",
    "tointervalhour",
    "tointervalday",
    "tointervalweek",
    "tointervalmonth",
    "addseconds",
    "addminutes",
    "addhours",
    "adddays",
    "subtractseconds",
    "subtractminutes",
    "subtracthours",
    "subtractdays",
    "sqrt",
    "exp",
    "log",
    "ln",
    "log2",
    "log10",
    "pow",
    "power",
];
/// Deterministic, but some argument makes them fail.
const MAY_FAIL: &[&str] = &[
    "todate",
    "todate32",
    "todatetime",
    "todatetime64",
    "divide",
    "modulo",
    "intdiv",
    "toint8",
    "toint16",
    "toint32",
    "toint64",
    "todecimal32",
    "todecimal64",
    "todecimal128",
    "fromunixtimestamp",
    "fromunixtimestamp64milli",
    "fromunixtimestamp64micro",
    "intdivorzero",
    "moduloorzero",
    "cast",
];

/// Rewrites an expression over the reference's columns for another engine. `None` when anything in it
/// is not known to mean the same there.
pub(crate) fn portable(
    query: &Query,
    r: &LogicalRef,
    reach: Reach,
    span: Span,
    clock: Clock<'_>,
) -> Option<Portable> {
    let t = &query.tokens;
    let mut out = Portable { text: String::new(), may_fail: false, columns: Vec::new() };
    let mut i = span.start;
    let mut last_end = None;
    while i < span.end {
        if last_end.is_some_and(|end| end != t.start(i)) {
            out.text.push(' ');
        }
        let next = piece(query, r, reach, i, clock, &mut out)?;
        last_end = Some(t.end(next));
        i = next;
    }
    (i == span.end && !out.text.is_empty()).then_some(out)
}

fn piece(
    query: &Query,
    r: &LogicalRef,
    reach: Reach,
    i: usize,
    clock: Clock<'_>,
    out: &mut Portable,
) -> Option<usize> {
    let t = &query.tokens;
    match t.kind(i)? {
        Kind::String | Kind::Number | Kind::Close => {}
        Kind::Open if t.at(i) != "{" => {}
        Kind::Symbol if SYMBOLS.contains(&t.at(i)) => {
            let by_number = t.kind(i + 1) == Some(Kind::Number)
                && t.at(i + 1).bytes().any(|b| (b'1'..=b'9').contains(&b));
            out.may_fail |= match t.at(i) {
                "/" | "%" => !by_number,
                "::" => true,
                _ => false,
            };
        }
        Kind::Word | Kind::Quoted => return name(query, r, reach, i, clock, out),
        _ => return None,
    }
    out.text.push_str(t.at(i));
    Some(i + 1)
}

fn name(
    query: &Query,
    r: &LogicalRef,
    reach: Reach,
    i: usize,
    clock: Clock<'_>,
    out: &mut Portable,
) -> Option<usize> {
    let t = &query.tokens;
    if let Some((literal, end)) = now_literal(t, i, clock) {
        out.text.push_str(&literal);
        return Some(end);
    }
    if i > 0 && t.sym(i - 1, "::") && TYPES.contains(&t.at(i)) {
        out.text.push_str(t.at(i));
        return Some(i + 1);
    }
    if t.sym(i + 1, "(")
        && !t.is_any(i, &["IN", "AND", "OR", "NOT", "WHEN", "THEN", "ELSE", "LIKE", "BETWEEN", "CASE"])
    {
        let called = t.name(i).to_ascii_lowercase();
        let listed = MAY_FAIL.contains(&called.as_str());
        // Conversions between time types have an answer for every time.
        let of_time = matches!(called.as_str(), "todate" | "todate32" | "todatetime" | "todatetime64")
            && column_at(query, r, reach, i + 2).is_some_and(|(c, _)| c.data_type.starts_with("Date"));
        let fails = listed && !of_time;
        if !listed && !SAFE.contains(&called.as_str()) {
            return None;
        }
        out.may_fail |= fails;
        out.text.push_str(t.at(i));
        return Some(i + 1);
    }
    if let Some((column, end)) = column_at(query, r, reach, i) {
        if reach.time_only && column.name != r.table.time_column {
            return None;
        }
        out.text.push_str(&quote::ident(&column.name));
        out.columns.push(column.name.clone());
        return Some(end);
    }
    // Behind IN only a list: a name would be a table or a set.
    let unit = t.is_any(i, UNITS) && i >= 2 && t.is(i - 2, "INTERVAL");
    let keyword = t.is_any(i, KEYWORDS) || unit;
    let in_list = !t.is(i, "IN") || t.sym(i + 1, "(") || t.sym(i + 1, "[");
    let type_word = t.is_any(i, &["AS"]) || (TYPES.contains(&t.at(i)) && i > 0 && t.is(i - 1, "AS"));
    if (keyword && in_list) || type_word {
        out.text.push_str(t.at(i));
        return Some(i + 1);
    }
    None
}

/// The literal for `now()`, `now64(n)`, `today()` or `yesterday()` at token `i`, of the same type, and the
/// token behind the call.
pub(crate) fn now_literal(t: &Tokens, i: usize, clock: Clock<'_>) -> Option<(String, usize)> {
    if !t.is_any(i, &["now", "now64", "today", "yesterday"])
        || !t.sym(i + 1, "(")
        || (i > 0 && t.sym(i - 1, "."))
    {
        return None;
    }
    let close = t.mate(i + 1);
    let seconds = clock.now_unix_ns.div_euclid(1_000_000_000);
    let digits = match close.checked_sub(i + 2)? {
        0 => 3,
        1 if t.is(i, "now64") && t.kind(i + 2) == Some(Kind::Number) => {
            t.at(i + 2).parse::<u32>().ok().filter(|d| *d <= 9)?
        }
        _ => return None,
    };
    let day = format!("toDate(toDateTime({seconds}, {}))", quote::string(clock.timezone));
    let literal = match t.at(i).to_ascii_lowercase().as_str() {
        "now" => format!("toDateTime({seconds})"),
        "now64" => format!("toDateTime64(fromUnixTimestamp64Nano({}), {digits})", clock.now_unix_ns),
        "today" => day,
        _ => format!("({day} - 1)"),
    };
    Some((literal, close + 1))
}

/// A function of one row's values alone.
pub(crate) fn is_row_function(name: &str) -> bool {
    SAFE.contains(&name) || MAY_FAIL.contains(&name)
}
