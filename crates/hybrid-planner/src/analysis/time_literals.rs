//! Constant time expressions, evaluated to bounds: `toDateTime('2026-01-01', 'UTC') - INTERVAL 1 DAY`.
//!
//! A value is a pair of seconds between which it surely lies. What is not understood has no value;
//! what depends on a time zone we do not have the rules of is widened by more than any zone's offset.

use clickhouse_sql::{Kind, Tokens, quote::resolve};

use crate::{analysis::conjuncts::bare, syntax::blocks::Span};

/// More than the offset of any time zone, in seconds.
const ANY_ZONE_S: i64 = 26 * 3600;
/// The engine's clock may differ from the caller's by this much.
const CLOCK_SLACK_S: i64 = 300;
const DAY_S: i64 = 86_400;
/// Longer expressions are not evaluated: the evaluator recurses.
const MAX_TOKENS: usize = 64;

/// A constant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// A moment between two seconds since the epoch, both inclusive. `date`: it is a Date.
    Moment { lo: i64, hi: i64, date: bool },
    /// An integer.
    Number(i64),
    /// A text that may be read as a time.
    Text(String),
    /// A length of time between two numbers of seconds.
    Length { lo: i64, hi: i64 },
}

/// What constants are read against.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock<'a> {
    pub timezone: &'a str,
    pub now_unix_ns: i64,
}

pub(crate) fn is_utc(zone: &str) -> bool {
    matches!(
        zone,
        "UTC" | "Etc/UTC" | "GMT" | "Etc/GMT" | "Zulu" | "Universal" | "Etc/Universal" | "Etc/Zulu"
    )
}

/// Seconds by which a time of this zone, read as UTC, may be off.
pub(crate) fn zone_slack(zone: &str) -> i64 {
    if is_utc(zone) { 0 } else { ANY_ZONE_S }
}

fn moment(lo: i64, hi: i64, date: bool) -> Option<Value> {
    Some(Value::Moment { lo, hi, date })
}

/// Evaluates tokens to a constant.
pub(crate) fn eval(t: &Tokens, span: Span, clock: Clock<'_>) -> Option<Value> {
    let span = bare(t, span);
    if span.len() > MAX_TOKENS {
        return None;
    }
    let mut at = None;
    let mut i = span.start;
    while i < span.end {
        if (t.sym(i, "+") || t.sym(i, "-")) && i > span.start && t.ends_operand(i - 1) {
            at = Some(i);
        }
        i = t.step(i);
    }
    let Some(operator) = at else { return primary(t, span, clock) };
    let left = eval(t, span.start..operator, clock)?;
    let right = eval(t, operator + 1..span.end, clock)?;
    shift(left, right, if t.sym(operator, "-") { -1 } else { 1 })
}

fn shift(left: Value, right: Value, sign: i64) -> Option<Value> {
    let Value::Moment { lo, hi, date } = left else { return None };
    let (a, b) = match right {
        Value::Length { lo, hi } => (lo.checked_mul(sign)?, hi.checked_mul(sign)?),
        Value::Number(n) => {
            let unit = if date { DAY_S } else { 1 };
            let seconds = n.checked_mul(unit)?.checked_mul(sign)?;
            (seconds, seconds)
        }
        _ => return None,
    };
    let (lo, hi) = (lo.checked_add(a.min(b))?, hi.checked_add(a.max(b))?);
    // Outside the years every time type has, engines wrap or saturate.
    (sane(lo) && sane(hi)).then_some(Value::Moment { lo, hi, date })
}

/// Between 1971 and 2105: inside every ClickHouse time type.
fn sane(seconds: i64) -> bool {
    (31_536_000..4_260_211_200).contains(&seconds)
}

fn primary(t: &Tokens, span: Span, clock: Clock<'_>) -> Option<Value> {
    let len = span.end.checked_sub(span.start)?;
    let cast = (span.start..span.end).rev().find(|&i| t.sym(i, "::"));
    if let Some(cast) = cast {
        let value = eval(t, span.start..cast, clock)?;
        let name = t.name(cast + 1).to_ascii_lowercase();
        return convert(&name, value, clock.timezone, clock).filter(|_| t.step(cast + 1) <= span.end);
    }
    match t.kind(span.start)? {
        Kind::String if len == 1 => Some(Value::Text(resolve(t.at(span.start))?)),
        Kind::Number if len == 1 => t.at(span.start).parse().ok().map(Value::Number),
        Kind::Word if t.is(span.start, "INTERVAL") => interval(t, span),
        Kind::Word if len == 2 && t.is_any(span.start, &["DATE", "TIMESTAMP"]) => {
            let text = resolve(t.at(span.start + 1))?;
            let name = if t.is(span.start, "DATE") { "todate" } else { "todatetime" };
            convert(name, Value::Text(text), clock.timezone, clock)
        }
        Kind::Word if t.sym(span.start + 1, "(") && t.mate(span.start + 1) + 1 == span.end => {
            call(t, span, clock)
        }
        _ => None,
    }
}

fn interval(t: &Tokens, span: Span) -> Option<Value> {
    let (count, unit) = match (span.end - span.start, t.kind(span.start + 1)?) {
        (2, Kind::String) => {
            let text = resolve(t.at(span.start + 1))?;
            let (count, unit) = text.trim().split_once(' ')?;
            (count.parse().ok()?, unit.trim().to_owned())
        }
        (3, Kind::Number) => (t.at(span.start + 1).parse().ok()?, t.at(span.start + 2).to_owned()),
        (3, Kind::String) => (resolve(t.at(span.start + 1))?.parse().ok()?, t.at(span.start + 2).to_owned()),
        _ => return None,
    };
    length(count, &unit)
}

/// `count` units, in seconds; days and longer may have a daylight saving hour in them.
fn length(count: i64, unit: &str) -> Option<Value> {
    let unit = unit.to_ascii_lowercase();
    let (lo, hi) = match unit.strip_suffix('s').unwrap_or(&unit) {
        "second" | "s" => (1, 1),
        "minute" | "m" | "mi" => (60, 60),
        "hour" | "h" => (3600, 3600),
        "day" | "d" => (DAY_S, DAY_S),
        "week" | "w" => (7 * DAY_S, 7 * DAY_S),
        "month" => (28 * DAY_S, 31 * DAY_S),
        "quarter" => (90 * DAY_S, 92 * DAY_S),
        "year" => (365 * DAY_S, 366 * DAY_S),
        _ => return None,
    };
    let (a, b) = (count.checked_mul(lo)?, count.checked_mul(hi)?);
    let slack = if lo >= DAY_S { 7200 } else { 0 };
    Some(Value::Length { lo: a.min(b) - slack, hi: a.max(b) + slack })
}

fn call(t: &Tokens, span: Span, clock: Clock<'_>) -> Option<Value> {
    let name = t.name(span.start).to_ascii_lowercase();
    let args = t.commas(span.start + 2..span.end - 1);
    let now = clock.now_unix_ns.div_euclid(1_000_000_000);
    let slack = zone_slack(clock.timezone);
    match (name.as_str(), args.len()) {
        ("now", 0) | ("now64", 0 | 1) => return moment(now - CLOCK_SLACK_S, now + CLOCK_SLACK_S + 1, false),
        ("today" | "yesterday", 0) => {
            let back = if name == "yesterday" { DAY_S } else { 0 };
            let day = |s: i64| s.div_euclid(DAY_S) * DAY_S - back;
            return moment(day(now - CLOCK_SLACK_S) - slack, day(now + CLOCK_SLACK_S) + slack, true);
        }
        _ => {}
    }
    let first = eval(t, args.first()?.clone(), clock);
    if let Some(unit) = name.strip_prefix("tointerval") {
        let Value::Number(count) = first? else { return None };
        return length(count, unit);
    }
    for (prefix, sign) in [("subtract", -1), ("add", 1)] {
        if let (Some(unit), Some(second)) = (name.strip_prefix(prefix), args.get(1)) {
            let Value::Number(count) = eval(t, second.clone(), clock)? else { return None };
            return shift(first?, length(count, unit)?, sign);
        }
    }
    let zone = match (name.as_str(), args.get(1), args.get(2)) {
        ("todatetime" | "todate" | "todatetime32" | "todate32", Some(zone), None)
        | ("todatetime64", Some(_), Some(zone)) => resolve(t.slice(zone.start, zone.end))?,
        ("todatetime64", Some(_), None) => clock.timezone.to_owned(),
        (_, None, None) => clock.timezone.to_owned(),
        ("date_trunc" | "datetrunc", Some(second), None) => {
            let Some(Value::Text(unit)) = first else { return None };
            return round_down(eval(t, second.clone(), clock)?, &unit, slack);
        }
        ("tostartofinterval", Some(second), None) => {
            let Value::Length { hi: span_s, .. } = eval(t, second.clone(), clock)? else { return None };
            return lower(first?, span_s.checked_add(slack)?);
        }
        _ => return None,
    };
    if let Some(unit) = name.strip_prefix("tostartof") {
        return round_down(first?, unit, slack);
    }
    convert(&name, first?, &zone, clock)
}

/// Conversions to a time type.
fn convert(name: &str, value: Value, zone: &str, clock: Clock<'_>) -> Option<Value> {
    let slack = zone_slack(zone).max(zone_slack(clock.timezone));
    match (name, value) {
        ("todatetime" | "todatetime64" | "todatetime32" | "datetime" | "datetime64", Value::Text(text)) => {
            let (lo, hi, _) = parse(&text)?;
            moment(lo - slack, hi + slack, false)
        }
        ("todate" | "todate32" | "date" | "date32", Value::Text(text)) => {
            let (lo, _, date) = parse(&text)?;
            date.then_some(())?;
            moment(lo, lo, true)
        }
        ("todatetime" | "todatetime64" | "todatetime32" | "fromunixtimestamp", Value::Number(n)) => {
            sane(n).then_some(Value::Moment { lo: n, hi: n, date: false })
        }
        ("fromunixtimestamp64milli", Value::Number(n)) => from_ticks(n, 1000),
        ("fromunixtimestamp64micro", Value::Number(n)) => from_ticks(n, 1_000_000),
        ("fromunixtimestamp64nano", Value::Number(n)) => from_ticks(n, 1_000_000_000),
        (
            "todatetime" | "todatetime64" | "todatetime32" | "datetime" | "datetime64",
            Value::Moment { lo, hi, date },
        ) => {
            let slack = if date { slack } else { 0 };
            // Fewer digits than the value has are cut off.
            moment(lo - slack - 1, hi + slack, false)
        }
        ("todate" | "todate32" | "date" | "date32", Value::Moment { lo, hi, date }) => {
            let back = if date { 0 } else { DAY_S + slack };
            moment(lo - back, hi + slack, true)
        }
        _ => None,
    }
}

fn from_ticks(n: i64, per_second: i64) -> Option<Value> {
    let (lo, hi) = (n.div_euclid(per_second), n.div_euclid(per_second) + 1);
    sane(lo).then_some(Value::Moment { lo, hi, date: false })
}

/// `toStartOfX`: at most one X earlier.
fn round_down(value: Value, unit: &str, slack: i64) -> Option<Value> {
    lower(value, span_of(unit)?.checked_add(slack)?)
}

fn lower(value: Value, by: i64) -> Option<Value> {
    let Value::Moment { lo, hi, .. } = value else { return None };
    moment(lo.checked_sub(by)?, hi, false)
}

/// Longest span of a rounding unit, in seconds.
pub(crate) fn span_of(unit: &str) -> Option<i64> {
    Some(match unit.to_ascii_lowercase().as_str() {
        "second" => 1,
        "minute" => 60,
        "fiveminutes" | "fiveminute" => 300,
        "tenminutes" => 600,
        "fifteenminutes" => 900,
        "hour" => 3600,
        "day" => DAY_S + 3600,
        "week" => 7 * DAY_S + 3600,
        "month" => 31 * DAY_S + 3600,
        "quarter" => 92 * DAY_S + 3600,
        "year" => 366 * DAY_S + 3600,
        _ => return None,
    })
}

/// `YYYY-MM-DD[ hh:mm:ss[.fraction]]` as UTC: floor, ceiling, and whether it was a date alone.
pub(crate) fn parse(text: &str) -> Option<(i64, i64, bool)> {
    let digits = |from: usize, to: usize| -> Option<i64> {
        let part = text.get(from..to)?;
        part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok())?
    };
    let at = |i: usize| text.as_bytes().get(i).copied();
    let (year, month, day) = (digits(0, 4)?, digits(5, 7)?, digits(8, 10)?);
    let real = (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
    if at(4) != Some(b'-') || at(7) != Some(b'-') || !real {
        return None;
    }
    let midnight = days_from_civil(year, month, day) * DAY_S;
    if text.len() == 10 {
        return sane(midnight).then_some((midnight, midnight, true));
    }
    let (hour, minute, second) = (digits(11, 13)?, digits(14, 16)?, digits(17, 19)?);
    let right = at(10) == Some(b' ') && at(13) == Some(b':') && at(16) == Some(b':');
    if !right || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let fraction = match text.get(19..)? {
        "" => 0,
        rest => {
            let tail = rest.strip_prefix('.')?;
            if tail.is_empty() || tail.len() > 9 || !tail.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            1
        }
    };
    let whole = midnight + hour * 3600 + minute * 60 + second;
    sane(whole).then_some((whole, whole + fraction, false))
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if (year % 4 == 0 && year % 100 != 0) || year % 400 == 0 => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let doy = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468
}

/// `YYYY-MM-DD hh:mm:ss` (UTC) of a second since the epoch; the inverse of [`parse`].
pub(crate) fn format(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(DAY_S), seconds.rem_euclid(DAY_S));
    let z = days + 719_468;
    let (era, doe) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value(text: &str) -> Option<Value> {
        let t = Tokens::read(text).unwrap();
        eval(&t, 0..t.len(), Clock { timezone: "UTC", now_unix_ns: 1_795_440_000_000_000_000 })
    }

    fn at(lo: i64, hi: i64) -> Option<Value> {
        Some(Value::Moment { lo, hi, date: false })
    }

    #[test]
    fn constants_have_the_bounds_the_engine_gives_them() {
        assert_eq!(value("toDateTime('2026-10-10 00:00:00')"), at(1_791_590_400, 1_791_590_400));
        assert_eq!(
            value("toDateTime64('2026-10-10 00:00:00.5', 3, 'UTC')"),
            at(1_791_590_400, 1_791_590_401)
        );
        assert_eq!(value("toDateTime(1791590400) + INTERVAL 1 HOUR"), at(1_791_594_000, 1_791_594_000));
        assert_eq!(value("now() - 60"), at(1_795_439_640, 1_795_440_241));
        assert_eq!(
            value("toDate('2026-10-10')"),
            Some(Value::Moment { lo: 1_791_590_400, hi: 1_791_590_400, date: true })
        );
        assert_eq!(value("fromUnixTimestamp64Milli(1791590400500)"), at(1_791_590_400, 1_791_590_401));
        assert_eq!(value("'2026-10-10 00:00:00'::DateTime"), at(1_791_590_400, 1_791_590_400));
        for unknown in [
            "toDateTime('2026-02-30 00:00:00')",
            "toDateTime('1960-01-01')",
            "rand()",
            "x + 1",
            "toDateTime(5)",
        ] {
            assert_eq!(value(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn other_zones_are_widened() {
        let t = Tokens::read("toDateTime('2026-10-10 00:00:00')").unwrap();
        let got = eval(&t, 0..t.len(), Clock { timezone: "Asia/Tokyo", now_unix_ns: 0 });
        assert_eq!(got, at(1_791_590_400 - ANY_ZONE_S, 1_791_590_400 + ANY_ZONE_S));
    }

    proptest! {
        #[test]
        fn format_and_parse_are_inverse(seconds in 31_536_000_i64..4_260_211_199) {
            prop_assert_eq!(parse(&format(seconds)), Some((seconds, seconds, false)));
        }
    }
}
