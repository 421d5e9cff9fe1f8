//! Structured queries: a JSON request becomes the SQL text that a person would have written, and then
//! takes the way of every text. Names are checked against the catalog, operators and functions
//! against lists, values are quoted: nothing of the request reaches the text as it came.

use std::fmt::Write as _;

use clickhouse_sql::quote;
use serde_json::Value;
use storage_types::service_api::{Aggregate, Filter, QueryRequest};

use crate::{
    CatalogVersion, Refusal, TableSnapshot,
    analysis::time_literals::{format, parse},
};

/// Aggregate functions a structured query may name.
const FUNCTIONS: &[&str] = &[
    "count",
    "sum",
    "avg",
    "min",
    "max",
    "any",
    "anyLast",
    "argMin",
    "argMax",
    "uniq",
    "uniqExact",
    "uniqCombined",
    "uniqHLL12",
    "median",
    "medianExact",
    "quantile",
    "quantileExact",
    "quantileTDigest",
    "quantiles",
    "quantilesExact",
    "stddevPop",
    "stddevSamp",
    "varPop",
    "varSamp",
    "corr",
    "covarPop",
    "covarSamp",
    "first_value",
    "last_value",
    "groupArray",
    "groupUniqArray",
    "groupBitAnd",
    "groupBitOr",
    "groupBitXor",
    "sumMap",
    "topK",
];
/// Most columns, filters, aggregates or values of one request.
const MAX_ITEMS: usize = 10_000;

/// The SQL text of a structured query, over the logical name.
pub fn structured(request: &QueryRequest, catalog: &CatalogVersion) -> Result<String, Refusal> {
    let name = request.table.as_deref().ok_or_else(|| bad("neither `sql` nor `table` is given"))?;
    if request.sql.is_some() {
        return Err(bad("`sql` and `table` exclude each other"));
    }
    let table = catalog
        .tables
        .iter()
        .find(|t| t.logical == name)
        .ok_or_else(|| Refusal::UnknownTable(name.chars().take(100).collect()))?;
    let sizes =
        [request.columns.len(), request.filters.len(), request.group_by.len(), request.aggregates.len()];
    if sizes.iter().any(|n| *n > MAX_ITEMS) || request.order_by.len() > MAX_ITEMS {
        return Err(bad("too many items in one request"));
    }
    let select = Select::of(request, table)?;
    let mut sql = format!("SELECT {} FROM {}", select.items.join(", "), quote::ident(&table.logical));
    let conditions = conditions(request, table)?;
    if !conditions.is_empty() {
        let _ = write!(sql, " WHERE {}", conditions.join(" AND "));
    }
    if !select.groups.is_empty() {
        let _ = write!(sql, " GROUP BY {}", select.groups.join(", "));
    }
    let mut keys = Vec::new();
    for key in &request.order_by {
        let known =
            select.names.contains(&key.column) || (!select.aggregated && table.column(&key.column).is_some());
        if !known {
            return Err(bad(&format!("order_by: {:?} is not returned", key.column)));
        }
        keys.push(format!("{}{}", quote::ident(&key.column), if key.desc { " DESC" } else { "" }));
    }
    if !keys.is_empty() {
        let _ = write!(sql, " ORDER BY {}", keys.join(", "));
    }
    if let Some(limit) = request.limit {
        let _ = write!(sql, " LIMIT {limit}");
    }
    Ok(sql)
}

fn bad(what: &str) -> Refusal {
    Refusal::BadRequest(what.to_owned())
}

/// The columns of the answer.
#[derive(Default)]
struct Select {
    items: Vec<String>,
    groups: Vec<String>,
    names: Vec<String>,
    aggregated: bool,
}

impl Select {
    fn of(request: &QueryRequest, table: &TableSnapshot) -> Result<Self, Refusal> {
        let mut out = Self { aggregated: !request.aggregates.is_empty(), ..Self::default() };
        if !out.aggregated {
            if request.interval.is_some() || !request.group_by.is_empty() {
                return Err(bad("interval and group_by ask for aggregates"));
            }
            let all: Vec<&String> = table.columns.iter().map(|c| &c.name).collect();
            let named: Vec<&String> =
                if request.columns.is_empty() { all } else { request.columns.iter().collect() };
            for name in named {
                out.items.push(column(table, name)?);
                out.names.push(name.clone());
            }
            return Ok(out);
        }
        if let Some(interval) = &request.interval {
            let (count, unit) = interval_of(interval)?;
            let time = quote::ident(&table.time_column);
            out.add(table, format!("toStartOfInterval({time}, INTERVAL {count} {unit})"), "time_bucket")?;
            out.groups.push(quote::ident("time_bucket"));
        }
        for name in &request.group_by {
            out.items.push(column(table, name)?);
            out.groups.push(column(table, name)?);
            out.names.push(name.clone());
        }
        if let Some(name) = request.columns.iter().find(|c| !request.group_by.contains(c)) {
            return Err(bad(&format!("column {name:?} is neither grouped nor aggregated")));
        }
        for aggregate in &request.aggregates {
            let alias = aggregate.alias.clone().unwrap_or_else(|| default_alias(aggregate));
            out.add(table, aggregate_of(aggregate, table)?, &alias)?;
        }
        Ok(out)
    }

    fn add(&mut self, table: &TableSnapshot, expression: String, alias: &str) -> Result<(), Refusal> {
        if alias.is_empty() || alias.len() > 200 {
            return Err(bad("an alias is empty or too long"));
        }
        if table.column(alias).is_some() || self.names.iter().any(|n| n == alias) {
            return Err(bad(&format!("alias {alias:?} is already the name of a column")));
        }
        self.items.push(format!("{expression} AS {}", quote::ident(alias)));
        self.names.push(alias.to_owned());
        Ok(())
    }
}

fn column(table: &TableSnapshot, name: &str) -> Result<String, Refusal> {
    let found = table.column(name).ok_or_else(|| Refusal::UnknownColumn {
        table: table.logical.clone(),
        column: name.chars().take(100).collect(),
    })?;
    Ok(quote::ident(&found.name))
}

/// `1m`, `15m`, `1h`, `1d`, `1w`.
fn interval_of(text: &str) -> Result<(u32, &'static str), Refusal> {
    let wrong = || bad("interval: a number and one of s, m, h, d, w was expected, e.g. 5m");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let count = text.get(..digits).and_then(|n| n.parse().ok()).filter(|n| (1..=100_000).contains(n));
    let unit = match text.get(digits..) {
        Some("s") => "SECOND",
        Some("m") => "MINUTE",
        Some("h") => "HOUR",
        Some("d") => "DAY",
        Some("w") => "WEEK",
        _ => return Err(wrong()),
    };
    Ok((count.ok_or_else(wrong)?, unit))
}

fn default_alias(aggregate: &Aggregate) -> String {
    let name = aggregate.function.split('(').next().unwrap_or_default();
    let mut alias = name.to_owned();
    for column in &aggregate.columns {
        alias.push('_');
        alias.push_str(column);
    }
    alias
}

/// `quantileExact(0.9)` and columns → `quantileExact(0.9)(price)`.
fn aggregate_of(aggregate: &Aggregate, table: &TableSnapshot) -> Result<String, Refusal> {
    let (name, parameters) = match aggregate.function.split_once('(') {
        Some((name, rest)) => (name, Some(rest.strip_suffix(')').unwrap_or("?"))),
        None => (aggregate.function.as_str(), None),
    };
    let known = FUNCTIONS.contains(&name);
    let numbers = parameters.is_none_or(|list| {
        list.len() < 200 && list.split(',').all(|p| p.trim().parse::<f64>().is_ok_and(f64::is_finite))
    });
    if !known || !numbers {
        let shown: String = aggregate.function.chars().take(60).collect();
        return Err(bad(&format!("aggregate function {shown:?} is not known here")));
    }
    let columns: Vec<String> =
        aggregate.columns.iter().map(|c| column(table, c)).collect::<Result<_, _>>()?;
    if columns.is_empty() && name != "count" {
        return Err(bad(&format!("{name} needs a column")));
    }
    let parameters = parameters.map(|p| format!("({p})")).unwrap_or_default();
    Ok(format!("{name}{parameters}({})", columns.join(", ")))
}

fn conditions(request: &QueryRequest, table: &TableSnapshot) -> Result<Vec<String>, Refusal> {
    let mut out = Vec::new();
    let time = quote::ident(&table.time_column);
    for (text, op, key) in [(&request.start, ">=", "start"), (&request.end, "<", "end")] {
        if let Some(text) = text {
            let utc = utc_text(text).ok_or_else(|| bad(&format!("{key}: {text:.40?} is not a time")))?;
            let digits = utc.split_once('.').map_or(0, |(_, f)| f.len());
            out.push(format!("{time} {op} toDateTime64('{utc}', {digits}, 'UTC')"));
        }
    }
    for filter in &request.filters {
        out.push(filter_of(filter, table)?);
    }
    Ok(out)
}

fn filter_of(filter: &Filter, table: &TableSnapshot) -> Result<String, Refusal> {
    let name = column(table, &filter.column)?;
    match (filter.op.as_str(), &filter.value) {
        ("=", Value::Null) => Ok(format!("{name} IS NULL")),
        ("!=", Value::Null) => Ok(format!("{name} IS NOT NULL")),
        (op @ ("in" | "not in"), Value::Array(items)) => {
            if items.len() > MAX_ITEMS {
                return Err(bad("too many values in one list"));
            }
            let items: Vec<String> = items.iter().map(literal).collect::<Result<_, _>>()?;
            let op = op.to_uppercase();
            // An empty list holds nothing; the engine has no text for it.
            if items.is_empty() {
                return Ok(if op == "IN" { "0" } else { "1" }.to_owned());
            }
            Ok(format!("{name} {op} ({})", items.join(", ")))
        }
        ("like", value @ Value::String(_)) => Ok(format!("{name} LIKE {}", literal(value)?)),
        (op @ ("=" | "!=" | "<" | "<=" | ">" | ">="), value) => {
            Ok(format!("{name} {op} {}", literal(value)?))
        }
        (op, _) => {
            Err(bad(&format!("filter on {:?}: operator {op:.20?} does not go with its value", filter.column)))
        }
    }
}

fn literal(value: &Value) -> Result<String, Refusal> {
    match value {
        Value::String(text) => Ok(quote::string(text)),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(flag) => Ok(flag.to_string()),
        _ => Err(bad("a filter's value must be a text, a number or a boolean")),
    }
}

/// RFC 3339, or ClickHouse's text in UTC, as `YYYY-MM-DD hh:mm:ss[.fraction]` in UTC.
fn utc_text(text: &str) -> Option<String> {
    if text.len() == 10 {
        return parse(text).map(|(seconds, _, _)| format(seconds));
    }
    let clock = text.get(..19)?.replacen(['T', 't'], " ", 1);
    let (mut seconds, _, _) = parse(&clock)?;
    let mut rest = text.get(19..)?;
    let mut fraction = "";
    if let Some(tail) = rest.strip_prefix('.') {
        let digits = tail.bytes().take_while(u8::is_ascii_digit).count();
        fraction = tail.get(..digits).filter(|f| (1..=9).contains(&f.len()))?;
        rest = tail.get(digits..)?;
    }
    match rest.as_bytes() {
        [] | [b'Z' | b'z'] => {}
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2]
            if [h1, h2, m1, m2].iter().all(|d| d.is_ascii_digit()) =>
        {
            let number = |a: &u8, b: &u8| i64::from(a - b'0') * 10 + i64::from(b - b'0');
            let (hours, minutes) = (number(h1, h2), number(m1, m2));
            if hours > 23 || minutes > 59 {
                return None;
            }
            let offset = hours * 3600 + minutes * 60;
            seconds += if *sign == b'+' { -offset } else { offset };
        }
        _ => return None,
    }
    let dot = if fraction.is_empty() { "" } else { "." };
    Some(format!("{}{dot}{fraction}", format(seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_either_manner() {
        assert_eq!(utc_text("2026-10-10").as_deref(), Some("2026-10-10 00:00:00"));
        assert_eq!(utc_text("2026-10-10T02:00:00.250+02:00").as_deref(), Some("2026-10-10 00:00:00.250"));
        assert_eq!(utc_text("2026-10-10 00:00:00").as_deref(), Some("2026-10-10 00:00:00"));
        assert_eq!(utc_text("2026-10-10T00:00:00Z").as_deref(), Some("2026-10-10 00:00:00"));
        for wrong in
            ["", "now", "2026-13-01", "2026-10-10T00:00:00+99:00", "2026-10-10 00:00:00'; --", "éééééééééé"]
        {
            assert_eq!(utc_text(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn intervals() {
        assert_eq!(interval_of("15m").ok(), Some((15, "MINUTE")));
        for wrong in ["", "m", "0m", "1y", "-1m", "99999999999m"] {
            assert!(interval_of(wrong).is_err(), "{wrong}");
        }
    }
}
