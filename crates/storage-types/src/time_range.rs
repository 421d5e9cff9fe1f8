//! Half-open ranges of time in whole UTC seconds: the unit in which windows, coverage and batches
//! are cut. Whole seconds hold for every ClickHouse time type (`Date`, `DateTime`, `DateTime64`).

use std::fmt;

use serde::{Deserialize, Serialize};

/// `[lo, hi)` in seconds since the Unix epoch, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TimeRange {
    /// First second inside.
    pub lo: i64,
    /// First second after.
    pub hi: i64,
}

impl TimeRange {
    /// All of time.
    pub const ALL: Self = Self { lo: i64::MIN, hi: i64::MAX };

    /// `[lo, hi)`; empty when `hi <= lo`.
    pub const fn new(lo: i64, hi: i64) -> Self {
        Self { lo, hi }
    }

    /// No second is inside.
    pub const fn is_empty(self) -> bool {
        self.hi <= self.lo
    }

    /// The two share at least one second.
    pub fn overlaps(self, other: Self) -> bool {
        !self.is_empty() && !other.is_empty() && self.lo < other.hi && other.lo < self.hi
    }

    /// Every second of `other` is inside.
    pub fn contains(self, other: Self) -> bool {
        other.is_empty() || (self.lo <= other.lo && other.hi <= self.hi)
    }

    /// The seconds in both; empty when they share none.
    pub fn intersect(self, other: Self) -> Self {
        Self { lo: self.lo.max(other.lo), hi: self.hi.min(other.hi) }
    }

    /// The smallest range around both.
    pub fn hull(self, other: Self) -> Self {
        if self.is_empty() {
            return other;
        }
        if other.is_empty() {
            return self;
        }
        Self { lo: self.lo.min(other.lo), hi: self.hi.max(other.hi) }
    }
}

impl fmt::Display for TimeRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {})", self.lo, self.hi)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_open_ranges_that_touch_do_not_overlap() {
        let (a, b) = (TimeRange::new(0, 10), TimeRange::new(10, 20));
        assert!(!a.overlaps(b) && a.overlaps(TimeRange::new(9, 10)));
        assert!(!TimeRange::new(5, 5).overlaps(a));
        assert_eq!(a.hull(b), TimeRange::new(0, 20));
        assert!(a.intersect(b).is_empty());
    }
}
