//! What a request asks to be moved, and what that would be.

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use storage_types::service_api::{DryRun, PlannedMove};

use super::{Inner, MigrationError, world::now};
use crate::hot::head_of;
use moves::ManagedTable;

/// A day, seconds.
const DAY: i64 = 86_400;
/// Clocks may differ by so much, seconds.
const MOST_APART: i64 = 3_600;
/// Rows a second where nothing was measured yet.
const GUESSED_RATE: f64 = 200_000.0;
/// Encoded bytes per byte of Native, roughly.
const GUESSED_WIRE_RATIO: f64 = 0.15;

/// `before` of a request: RFC 3339 or ClickHouse's own text, UTC.
pub(super) fn parse_before(text: &str) -> Result<i64, MigrationError> {
    let before = read_before(text)?;
    if before > now() {
        return Err(MigrationError::FutureBefore(text.chars().take(64).collect()));
    }
    Ok(before)
}

fn read_before(text: &str) -> Result<i64, MigrationError> {
    let text = text.trim();
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.timestamp());
    }
    if let Ok(time) = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S") {
        return Ok(time.and_utc().timestamp());
    }
    NaiveDate::parse_from_str(text, "%Y-%m-%d")
        .ok()
        .and_then(|date| date.and_hms_opt(0, 0, 0))
        .map(|time| time.and_utc().timestamp())
        .ok_or_else(|| MigrationError::InvalidBefore(text.chars().take(64).collect()))
}

/// Start of the UTC day that lies `retention_days` back.
pub(super) fn default_before(now: i64, retention_days: u32) -> i64 {
    now.div_euclid(DAY).saturating_sub(i64::from(retention_days)) * DAY
}

impl Inner {
    /// What a migration would do.
    pub(super) async fn dry_run_of(
        &self,
        tables: &[ManagedTable],
        before: i64,
    ) -> Result<DryRun, MigrationError> {
        let mut moves = Vec::new();
        for table in tables {
            let row_bytes = self.world().hot.row_bytes(&head_of(table)).await?;
            for (range, rows) in self.mover.windows(table, before).await? {
                let bytes = rows.saturating_mul(row_bytes);
                moves.push(PlannedMove { table: table.logical.clone(), range, rows, bytes });
            }
        }
        let (rows, bytes) = moves.iter().fold((0, 0), |(r, b), m: &PlannedMove| (r + m.rows, b + m.bytes));
        let note = self.world().catalog.note("rows_per_second")?;
        let measured = note.and_then(|text| text.parse::<f64>().ok());
        let rate = measured.filter(|rate| rate.is_finite() && *rate > 0.0).unwrap_or(GUESSED_RATE);
        let line = self.world().limiter.limit();
        let line = line.map_or(0.0, |limit| bytes as f64 * GUESSED_WIRE_RATIO / (limit as f64).max(1.0));
        let expected_seconds = (rows as f64 / rate).max(line);
        Ok(DryRun { before, moves, rows, bytes, expected_seconds })
    }
}

/// Why nothing is chosen by these clocks, Unix seconds: by one that is ahead, rows of today would have expired.
pub(super) fn clocks_differ(ours: i64, hot: i64) -> Option<String> {
    let ahead = ours.saturating_sub(hot);
    let side = if ahead > 0 { "ahead of" } else { "behind" };
    (ahead.saturating_abs() > MOST_APART).then(|| {
        let by = ahead.saturating_abs();
        format!("this machine's clock is {by} s {side} the hot engine's: nothing is moved until they agree")
    })
}

/// Now, as chrono sees it.
pub(super) fn utc_now() -> DateTime<Utc> {
    Utc::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_far_off_moves_nothing() {
        assert_eq!(clocks_differ(DAY, DAY + MOST_APART), None);
        assert_eq!(clocks_differ(DAY + MOST_APART, DAY), None);
        assert!(clocks_differ(400 * DAY, 35 * DAY).unwrap().contains("31536000 s ahead of"));
        assert!(clocks_differ(0, i64::MAX).unwrap().contains("s behind"));
        assert!(clocks_differ(i64::MAX, i64::MIN).is_some());
    }

    #[test]
    fn before_is_read_as_utc() {
        assert_eq!(read_before("1970-01-02").unwrap(), DAY);
        assert_eq!(read_before("1970-01-02 00:00:01").unwrap(), DAY + 1);
        assert_eq!(read_before("1970-01-02T02:00:00+02:00").unwrap(), DAY);
        for bad in ["", "yesterday", "1970-13-01", "86400"] {
            assert!(read_before(bad).is_err(), "{bad:?}");
        }
        assert_eq!(default_before(10 * DAY + 5, 7), 3 * DAY);
    }
}
