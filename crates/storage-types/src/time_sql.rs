//! SQL text for comparing a time column with a [`TimeRange`], in a form ClickHouse prunes by
//! (the bare column on one side, a constant on the other).
//!
//! A `Date` value stands for its midnight UTC, so ranges over `Date` columns are rounded to days:
//! `lo` up, `hi` up, which keeps exactly the dates whose midnight lies in the range.
//!
//! Nothing here overflows for any value that a column can hold: a `DateTime64(p)` is a 64-bit count of
//! 10^-p seconds, whatever years the engine prints (25.8: 1900 to 2299, 26.7: 0 to 9999), and is compared as
//! that count. `DateTime64(9)` against a constant of another scale would fail for years after 2262.

use crate::TimeRange;

const DAY: i64 = 86_400;
/// `Date32`'s range in days: 1900-01-01 to 2299-12-31.
const DATE32_DAYS: (i64, i64) = (-25_567, 120_529);
/// Digits behind the second of a `DateTime64` that names none.
const DEFAULT_SCALE: u32 = 3;

/// Whether `data_type` can be a table's time column: `Date`, `Date32`, `DateTime[(tz)]`,
/// `DateTime64(p[, tz])`. Nullable and other types cannot.
#[must_use]
pub fn is_time_type(data_type: &str) -> bool {
    kind(data_type).is_some()
}

#[derive(Clone, Copy)]
enum Kind {
    Date,
    Date32,
    DateTime,
    /// With this many ticks in a second.
    DateTime64(i64),
}

fn kind(data_type: &str) -> Option<Kind> {
    let (base, arguments) = data_type.split_once('(').unwrap_or((data_type, ""));
    match base.trim() {
        "Date" => Some(Kind::Date),
        "Date32" => Some(Kind::Date32),
        "DateTime" => Some(Kind::DateTime),
        "DateTime64" => {
            let scale = arguments.split([',', ')']).next().unwrap_or_default().trim();
            let scale = if scale.is_empty() { DEFAULT_SCALE } else { scale.parse().ok()? };
            (scale <= 9).then(|| Kind::DateTime64(10_i64.pow(scale)))
        }
        _ => None,
    }
}

/// `(col >= … AND col < …)` for rows whose time is in `range`; `None` when the range is unbounded
/// on both sides (from `i64::MIN`, to `i64::MAX`). `column` is already quoted; `data_type` is its ClickHouse type.
#[must_use]
pub fn predicate(column: &str, data_type: &str, range: TimeRange) -> Option<String> {
    let bound = |second: i64, op: &str| match constant(data_type, second) {
        Some(value) => format!("{column} {op} {value}"),
        // No value of the type: not pruned by, and right.
        None => format!("{} {op} {second}", unix_seconds(column, data_type)),
    };
    let lo = (range.lo != i64::MIN).then(|| bound(range.lo, ">="));
    let hi = (range.hi != i64::MAX).then(|| bound(range.hi, "<"));
    let bounds: Vec<String> = lo.into_iter().chain(hi).collect();
    (!bounds.is_empty()).then(|| format!("({})", bounds.join(" AND ")))
}

/// The constant of the column's own type for `second`, or `None` when it has none.
fn constant(data_type: &str, second: i64) -> Option<String> {
    let day = second.div_euclid(DAY) + i64::from(second.rem_euclid(DAY) != 0);
    match kind(data_type)? {
        Kind::Date => u16::try_from(day).ok().map(|day| format!("toDate({day})")),
        Kind::Date32 => (DATE32_DAYS.0..=DATE32_DAYS.1).contains(&day).then(|| format!("toDate32({day})")),
        Kind::DateTime => u32::try_from(second).ok().map(|second| format!("toDateTime({second}, 'UTC')")),
        Kind::DateTime64(ticks) => {
            let (count, scale) = (second.checked_mul(ticks)?, ticks.ilog10());
            Some(format!("reinterpret(toInt64({count}), 'DateTime64({scale}, ''UTC'')')"))
        }
    }
}

/// Expression for the whole seconds since 1970 of a time column (rounded down), as `Int64`.
#[must_use]
pub fn unix_seconds(column: &str, data_type: &str) -> String {
    match kind(data_type) {
        Some(Kind::Date | Kind::Date32) => format!("toInt64(toInt32({column})) * {DAY}"),
        Some(Kind::DateTime64(ticks)) => {
            let count = format!("reinterpret({column}, 'Int64')");
            format!("(intDiv({count}, {ticks}) - ({count} % {ticks} < 0))")
        }
        Some(Kind::DateTime) | None => format!("toInt64(toUnixTimestamp({column}))"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_without_a_bound_is_left_out() {
        assert_eq!(predicate("`t`", "DateTime", TimeRange::ALL), None);
        assert_eq!(
            predicate("`t`", "DateTime64(3, 'UTC')", TimeRange::new(-1, i64::MAX)).as_deref(),
            Some("(`t` >= reinterpret(toInt64(-1000), 'DateTime64(3, ''UTC'')'))")
        );
    }

    #[test]
    fn date_bounds_round_up_to_the_midnight_inside() {
        let predicate = |range| predicate("d", "Date", range);
        let days = "(d >= toDate(1) AND d < toDate(2))";
        assert_eq!(predicate(TimeRange::new(1, DAY + 1)).as_deref(), Some(days));
        assert_eq!(predicate(TimeRange::new(DAY, 2 * DAY)).as_deref(), Some(days));
    }

    #[test]
    fn a_bound_that_the_type_cannot_hold_is_compared_in_seconds() {
        let far = TimeRange::new(-10, i64::MAX - 1);
        for data_type in ["Date", "Date32", "DateTime", "DateTime64(9)"] {
            let predicate = predicate("t", data_type, far).unwrap();
            assert!(
                predicate.ends_with(&format!("{} < {})", unix_seconds("t", data_type), far.hi)),
                "{predicate}"
            );
        }
    }

    #[test]
    fn time_types_are_known_by_name_and_scale() {
        for good in ["Date", "Date32", "DateTime", "DateTime('UTC')", "DateTime64", "DateTime64(0, 'UTC')"] {
            assert!(is_time_type(good), "{good}");
        }
        for bad in ["Nullable(DateTime)", "String", "DateTime64(10)", "DateTime64(x)", "Time64(3)"] {
            assert!(!is_time_type(bad), "{bad}");
        }
    }
}
