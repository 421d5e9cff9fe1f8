//! Cutting by time, and by content where time cannot: pure arithmetic over counted buckets.

use storage_types::TimeRange;

use crate::record::Slice;

/// Finest first histogram: a bucket has at least this many seconds.
const COARSE_SECONDS: i64 = 60;
/// Most buckets of the first histogram.
const MAX_BUCKETS: i64 = 20_000;
/// A move is cut into about this many batches, so that encoding one, sending another and proving a third go
/// on at the same time, and little of it while the first is encoded and the last is proven.
const PIPELINE: u64 = 4;
/// Smaller batches cost more than they overlap, bytes of Native.
const MIN_BYTES: u64 = 32 << 20;
/// What one batch may be at most: it is refuted, loaded again and checked as a whole.
const MAX_BYTES: u64 = 1 << 30;
/// Most classes that one bucket is cut into by content.
const MAX_CLASSES: u64 = 4_096;

/// A counted bucket of time.
pub type Bucket = (TimeRange, u64);

/// Width of the first histogram's buckets over `range`, seconds.
pub fn bucket_seconds(range: TimeRange) -> i64 {
    let span = range.hi.saturating_sub(range.lo).max(1);
    (span / MAX_BUCKETS + 1).max(COARSE_SECONDS)
}

/// Width of the next finer histogram over one crowded bucket; `None` when a second is reached, which
/// time does not cut.
pub fn finer(range: TimeRange, seconds: i64) -> Option<i64> {
    (seconds > 1).then(|| (range.hi.saturating_sub(range.lo) / COARSE_SECONDS).clamp(1, seconds - 1))
}

/// Most rows of one batch of a move of `rows`, each of about `row_bytes` bytes.
pub fn target_rows(rows: u64, row_bytes: u64, batch_rows: u64) -> u64 {
    let row_bytes = row_bytes.max(1);
    let most = batch_rows.min(MAX_BYTES / row_bytes).max(1);
    // Buckets are not cut: without some slack a small batch would be left over at the end.
    let share = rows / PIPELINE;
    (share + share / 16 + 1).max(MIN_BYTES / row_bytes).min(most)
}

/// Joins neighbouring buckets as long as they stay within `max_rows`. Every bucket is in exactly one result;
/// one that is larger alone stays alone.
pub fn join(buckets: &[Bucket], max_rows: u64) -> Vec<Bucket> {
    let mut joined: Vec<Bucket> = Vec::new();
    for (range, rows) in buckets {
        match joined.last_mut() {
            Some(last) if last.1.saturating_add(*rows) <= max_rows => {
                last.1 += rows;
                last.0 = last.0.hull(*range);
            }
            _ => joined.push((*range, *rows)),
        }
    }
    joined
}

/// How many classes a bucket of `rows` is cut into so that each has about `max_rows`.
pub fn divisor(rows: u64, max_rows: u64) -> u32 {
    u32::try_from(rows.div_ceil(max_rows.max(1)).clamp(1, MAX_CLASSES)).unwrap_or(1)
}

/// The slices of a bucket that time cannot cut, from the rows of its classes. A class that is still too
/// large (rows that are equal, say) is cut by rank.
pub fn by_content(range: TimeRange, classes: &[u64], max_rows: u64) -> Vec<Slice> {
    let divisor = u32::try_from(classes.len()).unwrap_or(u32::MAX).max(1);
    let mut slices = Vec::new();
    for (residue, rows) in (0_u32..).zip(classes).filter(|(_, rows)| **rows > 0) {
        let class = (divisor > 1).then_some((residue, divisor));
        // Twice the target is no reason to sort.
        if *rows <= max_rows.saturating_mul(2) {
            slices.push(Slice { range, class, ranks: None, rows: *rows });
            continue;
        }
        let mut skip = 0;
        while skip < *rows {
            let take = max_rows.max(1).min(rows - skip);
            slices.push(Slice { range, class, ranks: Some((skip, take)), rows: take });
            skip += take;
        }
    }
    slices
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(lo: i64, rows: u64) -> Bucket {
        (TimeRange::new(lo, lo + 60), rows)
    }

    fn whole(buckets: &[Bucket]) -> u64 {
        buckets.iter().map(|(_, rows)| rows).sum()
    }

    #[test]
    fn batches_hold_every_bucket_once_and_stay_small() {
        let buckets: Vec<Bucket> = (0..50).map(|n| bucket(n * 60, 1 + (n as u64 * 7) % 13)).collect();
        for max in [1, 5, 13, 40, 10_000] {
            let joined = join(&buckets, max);
            assert_eq!(whole(&joined), whole(&buckets));
            assert!(joined.windows(2).all(|pair| pair[0].0.hi <= pair[1].0.lo));
            assert!(joined.iter().all(|b| b.1 <= max || buckets.contains(b)), "max {max}");
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

    #[test]
    fn a_second_is_cut_by_content_and_equal_rows_by_rank() {
        let second = TimeRange::new(7, 8);
        assert_eq!(divisor(100, 30), 4);
        let slices = by_content(second, &[30, 0, 25, 45], 30);
        assert_eq!(
            slices.iter().map(|s| s.class).collect::<Vec<_>>(),
            [Some((0, 4)), Some((2, 4)), Some((3, 4))]
        );
        let equal = by_content(second, &[0, 100], 30);
        assert_eq!(
            equal.iter().map(|s| s.ranks).collect::<Vec<_>>(),
            [Some((0, 30)), Some((30, 30)), Some((60, 30)), Some((90, 10))]
        );
        assert_eq!(equal.iter().map(|s| s.rows).sum::<u64>(), 100);
    }
}
