//! Cutting a move into batches: pure arithmetic over counted slices of time.

use storage_types::TimeRange;

use crate::hot::Slice;

/// Finest histogram: a bucket has at least this many seconds at first.
const COARSE_SECONDS: i64 = 60;
/// Most buckets of the first histogram.
const MAX_BUCKETS: i64 = 20_000;
/// A move is cut into about this many batches, so that encoding one, sending another and proving a
/// third go on at the same time, and little of it while the first is encoded and the last is proven.
const PIPELINE: u64 = 4;
/// Smaller batches cost more than they overlap, bytes of Native.
const MIN_BYTES: u64 = 32 << 20;
/// What one batch may be at most: it is refuted, loaded again and checked as a whole.
const MAX_BYTES: u64 = 1 << 30;

/// Width of the first histogram's buckets over `range`, seconds.
pub fn bucket_seconds(range: TimeRange) -> i64 {
    let span = range.hi.saturating_sub(range.lo).max(1);
    (span / MAX_BUCKETS + 1).max(COARSE_SECONDS)
}

/// Width of the next finer histogram over one crowded bucket; `None` when a second is reached, which
/// is never cut.
pub fn finer(range: TimeRange, seconds: i64) -> Option<i64> {
    (seconds > 1).then(|| (range.hi.saturating_sub(range.lo) / COARSE_SECONDS).clamp(1, seconds - 1))
}

/// Most rows of one batch of a move of `rows`, each of about `row_bytes` bytes.
pub fn target_rows(rows: u64, row_bytes: u64, batch_rows: u64) -> u64 {
    let row_bytes = row_bytes.max(1);
    let most = batch_rows.min(MAX_BYTES / row_bytes).max(1);
    // Slices are not cut: without some slack a small batch would be left over at the end.
    let share = rows / PIPELINE;
    (share + share / 16 + 1).max(MIN_BYTES / row_bytes).min(most)
}

/// Joins neighbouring slices as long as they stay within `max_rows`. Every slice is in exactly one
/// result; a slice that is larger alone stays alone.
pub fn join(slices: &[Slice], max_rows: u64) -> Vec<Slice> {
    let mut joined: Vec<Slice> = Vec::new();
    for slice in slices {
        match joined.last_mut() {
            Some(last) if last.rows.saturating_add(slice.rows) <= max_rows => {
                last.rows += slice.rows;
                last.range = last.range.hull(slice.range);
            }
            _ => joined.push(*slice),
        }
    }
    joined
}

/// Rows of all slices together.
pub fn whole(slices: &[Slice]) -> u64 {
    slices.iter().map(|slice| slice.rows).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(lo: i64, rows: u64) -> Slice {
        Slice { range: TimeRange::new(lo, lo + 60), rows }
    }

    #[test]
    fn batches_hold_every_slice_once_and_stay_small() {
        let slices: Vec<Slice> = (0..50).map(|n| slice(n * 60, 1 + (n as u64 * 7) % 13)).collect();
        for max in [1, 5, 13, 40, 10_000] {
            let joined = join(&slices, max);
            assert_eq!(whole(&joined), whole(&slices));
            assert!(joined.windows(2).all(|pair| pair[0].range.hi <= pair[1].range.lo));
            assert!(joined.iter().all(|s| s.rows <= max || slices.contains(s)), "max {max}");
        }
        assert!(join(&[], 5).is_empty());
    }

    #[test]
    fn histograms_get_finer_down_to_a_second() {
        assert_eq!(bucket_seconds(TimeRange::new(0, 86_400)), 60);
        assert!(bucket_seconds(TimeRange::new(0, 100 * 366 * 86_400)) > 60);
        assert_eq!(finer(TimeRange::new(0, 60), 60), Some(1));
        assert_eq!(finer(TimeRange::new(0, 1), 1), None);
        assert_eq!(finer(TimeRange::new(0, 3600), 3600), Some(60));
    }

    #[test]
    fn batches_are_small_enough_to_overlap_and_no_smaller() {
        assert_eq!(target_rows(4_000_000, 100, 4_000_000), 1_062_501);
        assert_eq!(target_rows(100, 100, 4_000_000), (32 << 20) / 100);
        assert_eq!(target_rows(1 << 40, 100, 4_000_000), 4_000_000);
        assert_eq!(target_rows(1 << 40, 1_500, 4_000_000), (1 << 30) / 1_500);
        assert_eq!(target_rows(100, 100, 10), 10);
        assert_eq!(target_rows(100, u64::MAX, 10), 1);
        assert_eq!(target_rows(0, 0, 0), 1);
    }
}
