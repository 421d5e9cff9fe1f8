//! SQL text for comparing a time column with a [`TimeRange`], in a form ClickHouse prunes by
//! (the bare column on one side, a constant on the other).
//!
//! A `Date` value stands for its midnight UTC, so ranges over `Date` columns are rounded to days:
//! `lo` up, `hi` up, which keeps exactly the dates whose midnight lies in the range.

use crate::TimeRange;

const DAY: i64 = 86_400;
/// `DateTime64`'s range: 1900-01-01 to 2299-12-31.
const DATETIME64_SECONDS: (i64, i64) = (-2_208_988_800, 10_413_791_999);

/// Whether `data_type` can be a table's time column: `Date`, `Date32`, `DateTime[(tz)]`,
/// `DateTime64(p[, tz])`. Nullable and other types cannot.
#[must_use]
pub fn is_time_type(data_type: &str) -> bool {
    kind(data_type).is_some()
}

enum Kind {
    Date,
    DateTime,
}

fn kind(data_type: &str) -> Option<Kind> {
    let base = data_type.split('(').next().unwrap_or(data_type).trim();
    match base {
        "Date" | "Date32" => Some(Kind::Date),
        "DateTime" | "DateTime64" => Some(Kind::DateTime),
        _ => None,
    }
}

/// `(col >= … AND col < …)` for rows whose time is in `range`; `None` when the range is unbounded
/// on both sides. `column` is already quoted; `data_type` is its ClickHouse type.
#[must_use]
pub fn predicate(column: &str, data_type: &str, range: TimeRange) -> Option<String> {
    let bounds: Vec<String> = [(range.lo, ">="), (range.hi, "<")]
        .into_iter()
        .filter_map(|(second, op)| constant(data_type, second).map(|value| format!("{column} {op} {value}")))
        .collect();
    (!bounds.is_empty()).then(|| format!("({})", bounds.join(" AND ")))
}

/// The constant for `second`, or `None` when every value of the type lies on the same side of it.
fn constant(data_type: &str, second: i64) -> Option<String> {
    match kind(data_type)? {
        Kind::Date => {
            let day = second.checked_add(DAY - 1)?.div_euclid(DAY);
            (-25_567..=120_529).contains(&day).then(|| format!("toDate32({day})"))
        }
        Kind::DateTime => (DATETIME64_SECONDS.0..=DATETIME64_SECONDS.1)
            .contains(&second)
            .then(|| format!("toDateTime64({second}, 0, 'UTC')")),
    }
}

/// Expression for the whole seconds since 1970 of a time column (rounded down), as `Int64`.
#[must_use]
pub fn unix_seconds(column: &str, data_type: &str) -> String {
    match data_type.split('(').next().unwrap_or(data_type).trim() {
        "Date" | "Date32" => format!("toInt64(toInt32({column})) * {DAY}"),
        // Integers all the way: a double cannot hold nanoseconds since 1970.
        "DateTime64" => {
            let nanos = format!("toUnixTimestamp64Nano(toDateTime64({column}, 9))");
            format!("intDiv({nanos} - positiveModulo({nanos}, 1000000000), 1000000000)")
        }
        _ => format!("toInt64(toUnixTimestamp({column}))"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_that_every_value_satisfies_are_left_out() {
        assert_eq!(predicate("`t`", "DateTime", TimeRange::ALL), None);
        assert_eq!(
            predicate("`t`", "DateTime64(3, 'UTC')", TimeRange::new(0, i64::MAX)).as_deref(),
            Some("(`t` >= toDateTime64(0, 0, 'UTC'))")
        );
    }

    #[test]
    fn date_bounds_round_up_to_the_midnight_inside() {
        assert_eq!(
            predicate("d", "Date", TimeRange::new(1, DAY + 1)).as_deref(),
            Some("(d >= toDate32(1) AND d < toDate32(2))")
        );
        assert!(
            !is_time_type("Nullable(DateTime)") && !is_time_type("String") && is_time_type("DateTime('UTC')")
        );
    }
}
