//! What there is to move: expired partitions, expired windows in coarser partitions, and deltas that
//! earlier moves left.

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use storage_types::{
    MigrationId, MoveState, TimeRange,
    service_api::{DryRun, PlannedMove},
};

use super::{
    MigrationError,
    mover::{Mover, new_move_id},
};
use crate::{
    catalog::{ManagedTable, MoveKind, MoveRecord},
    hot::{HotError, PartitionStats},
};
use storage_types::MoveId;

/// A day, seconds.
const DAY: i64 = 86_400;
/// Rows a second where nothing was measured yet.
const GUESSED_RATE: f64 = 200_000.0;
/// Encoded bytes per byte on disk, roughly.
const GUESSED_WIRE_RATIO: f64 = 0.7;

/// A move to be.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) kind: MoveKind,
    pub(super) partition_id: String,
    pub(super) partition: String,
    pub(super) range: TimeRange,
    pub(super) source_delta: Option<MoveId>,
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

/// `before` of a request: RFC 3339 or ClickHouse's own text, UTC.
pub(super) fn parse_before(text: &str) -> Result<i64, MigrationError> {
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

/// How the rows of a partition before `before` are moved; `None`: there are none.
fn by_age(stats: &PartitionStats, before: i64) -> Option<(MoveKind, TimeRange)> {
    if stats.range.hi <= before {
        Some((MoveKind::Partition, stats.range))
    } else if stats.range.lo < before {
        Some((MoveKind::Window, TimeRange::new(stats.range.lo, before)))
    } else {
        None
    }
}

impl Mover {
    /// Everything of one table that is to be moved and is not under way.
    pub(super) async fn candidates(
        &self,
        table: &ManagedTable,
        before: i64,
    ) -> Result<Vec<Candidate>, MigrationError> {
        if self.hot.is_mutating(&table.head()).await? {
            let reason = "a mutation of it is under way; its rows are about to change".to_owned();
            return Err(MigrationError::Refused { table: table.logical.clone(), reason });
        }
        let busy: Vec<String> = self
            .catalog
            .unfinished_moves()?
            .into_iter()
            .filter(|m| m.table.logical == table.logical && m.kind != MoveKind::Delta)
            .filter(|m| !matches!(m.state, MoveState::Published | MoveState::Reproven))
            .map(|m| m.partition_id)
            .collect();
        let mut found = Vec::new();
        for stats in self.hot.partitions(table).await? {
            let Some((kind, range)) = by_age(&stats, before).filter(|_| !busy.contains(&stats.id)) else {
                continue;
            };
            let rows = self.rows_to_move(table, &stats, kind, range).await?;
            if rows == 0 {
                continue;
            }
            let bytes = (stats.bytes as f64 * rows as f64 / stats.rows.max(1) as f64) as u64;
            let PartitionStats { id: partition_id, value: partition, .. } = stats;
            found.push(Candidate { kind, partition_id, partition, range, source_delta: None, rows, bytes });
        }
        for delta in self.catalog.idle_deltas(&table.logical)? {
            found.push(Candidate {
                kind: MoveKind::Delta,
                partition_id: delta.partition_id,
                partition: String::new(),
                range: delta.range,
                source_delta: Some(delta.left_by),
                rows: delta.rows,
                bytes: 0,
            });
        }
        Ok(found)
    }

    async fn rows_to_move(
        &self,
        table: &ManagedTable,
        stats: &PartitionStats,
        kind: MoveKind,
        range: TimeRange,
    ) -> Result<u64, HotError> {
        match kind {
            MoveKind::Window => self.hot.count_rows(table, &stats.id, range).await,
            MoveKind::Partition | MoveKind::Delta => Ok(stats.rows),
        }
    }

    /// A move in its first state.
    pub(super) fn planned(
        &self,
        migration: MigrationId,
        table: &ManagedTable,
        candidate: Candidate,
    ) -> MoveRecord {
        MoveRecord {
            id: new_move_id(),
            migration,
            kind: candidate.kind,
            partition_id: candidate.partition_id,
            partition: candidate.partition,
            range: candidate.range,
            source_delta: candidate.source_delta,
            state: MoveState::Planned,
            table: table.clone(),
            rows: 0,
            proof: None,
            late_rows: 0,
            fence_parts: Vec::new(),
            published: None,
            error: None,
        }
    }

    /// What a migration would do.
    pub(super) async fn dry_run(
        &self,
        tables: &[ManagedTable],
        before: i64,
    ) -> Result<DryRun, MigrationError> {
        let mut moves = Vec::new();
        for table in tables {
            for candidate in self.candidates(table, before).await? {
                moves.push(PlannedMove {
                    table: table.logical.clone(),
                    partition_id: candidate.partition_id,
                    partition: candidate.partition,
                    range: candidate.range,
                    fence: candidate.kind.fence(),
                    rows: candidate.rows,
                    bytes: candidate.bytes,
                });
            }
        }
        let (rows, bytes) = moves.iter().fold((0, 0), |(r, b), m: &PlannedMove| (r + m.rows, b + m.bytes));
        let rate = self.measured_rate()?.unwrap_or(GUESSED_RATE);
        let line = self
            .limiter
            .limit()
            .map_or(0.0, |limit| bytes as f64 * GUESSED_WIRE_RATIO / (limit as f64).max(1.0));
        let expected_seconds = (rows as f64 / rate).max(line);
        Ok(DryRun { before, moves, rows, bytes, expected_seconds })
    }

    fn measured_rate(&self) -> Result<Option<f64>, MigrationError> {
        let note = self.catalog.note("rows_per_second")?;
        Ok(note.and_then(|text| text.parse::<f64>().ok()).filter(|rate| rate.is_finite() && *rate > 0.0))
    }
}

/// Now, as chrono sees it.
pub(super) fn utc_now() -> DateTime<Utc> {
    Utc::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_is_read_as_utc() {
        assert_eq!(parse_before("1970-01-02").unwrap(), DAY);
        assert_eq!(parse_before("1970-01-02 00:00:01").unwrap(), DAY + 1);
        assert_eq!(parse_before("1970-01-02T02:00:00+02:00").unwrap(), DAY);
        for bad in ["", "yesterday", "1970-13-01", "86400"] {
            assert!(parse_before(bad).is_err(), "{bad:?}");
        }
        assert_eq!(default_before(10 * DAY + 5, 7), 3 * DAY);
    }

    #[test]
    fn age_decides_between_partition_and_window() {
        let stats = |lo, hi| PartitionStats {
            id: "p".into(),
            value: "p".into(),
            rows: 1,
            range: TimeRange::new(lo, hi),
            bytes: 1,
        };
        assert_eq!(by_age(&stats(0, 100), 100), Some((MoveKind::Partition, TimeRange::new(0, 100))));
        assert_eq!(by_age(&stats(0, 101), 100), Some((MoveKind::Window, TimeRange::new(0, 100))));
        assert_eq!(by_age(&stats(100, 101), 100), None);
    }
}
