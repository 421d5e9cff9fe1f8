//! Goodput of the link, from the daemon's own transfers.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;

/// Transfers remembered for the maximum.
const WINDOW: usize = 16;
/// Weight of the newest transfer in the displayed average.
const ALPHA: f64 = 0.25;
/// Shorter transfers say nothing about the link.
const MIN_BYTES: u64 = 64 * 1024;
/// A chunk takes at most this long, seconds: a transfer that breaks off repeats one chunk.
const CHUNK_SECONDS: f64 = 8.0;
const MBIT: f64 = 125_000.0;

#[derive(Debug, Default)]
struct Measured {
    average: Option<f64>,
    recent: std::collections::VecDeque<f64>,
}

/// Bytes per second of finished transfers: a moving average to show, a windowed maximum as the link's capacity.
/// Clones are the same measurement.
#[derive(Clone, Debug, Default)]
pub struct Goodput(Arc<Mutex<Measured>>);

impl Goodput {
    /// Nothing measured yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Records a transfer of `bytes` that took `time`.
    pub fn record(&self, bytes: u64, time: Duration) {
        if bytes < MIN_BYTES || time.is_zero() {
            return;
        }
        let rate = bytes as f64 / time.as_secs_f64();
        let mut measured = self.0.lock();
        measured.average = Some(measured.average.map_or(rate, |old| old + ALPHA * (rate - old)));
        if measured.recent.len() == WINDOW {
            measured.recent.pop_front();
        }
        measured.recent.push_back(rate);
    }

    /// Moving average, bytes per second; `None` before the first transfer.
    #[must_use]
    pub fn average(&self) -> Option<f64> {
        self.0.lock().average
    }

    /// Capacity: the fastest of the last 16 transfers, bytes per second; `None` before the first.
    #[must_use]
    pub fn capacity(&self) -> Option<f64> {
        let measured = self.0.lock();
        measured.recent.iter().copied().reduce(f64::max)
    }

    /// Chunk size for the next batch, bytes: 100 MB on a link of 100 Mbit/s or more, 20 MB from
    /// 20 Mbit/s, else 5 MB; never more than `configured_max`, and never more than the link carries in
    /// 8 seconds. The capacity decides between the three sizes, the average what 8 seconds carry: one fast
    /// transfer must not make a repeated chunk expensive. Before anything is measured: 5 MB.
    #[must_use]
    pub fn chunk_bytes(&self, configured_max: u64) -> u64 {
        let (Some(capacity), Some(average)) = (self.capacity(), self.average()) else {
            return configured_max.min(5_000_000);
        };
        let by_table = if capacity >= 100.0 * MBIT {
            100_000_000.0
        } else if capacity >= 20.0 * MBIT {
            20_000_000.0
        } else {
            5_000_000.0
        };
        let bytes = f64::min(by_table, average * CHUNK_SECONDS).max(MIN_BYTES as f64);
        configured_max.min(bytes as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk_at(mbit: f64, max: u64) -> u64 {
        let goodput = Goodput::new();
        goodput.record(10_000_000, Duration::from_secs_f64(10_000_000.0 / (mbit * MBIT)));
        goodput.chunk_bytes(max)
    }

    #[test]
    fn chunks_follow_the_measured_link() {
        assert_eq!(Goodput::new().chunk_bytes(50_000_000), 5_000_000);
        assert_eq!(chunk_at(200.0, 200_000_000), 100_000_000);
        assert_eq!(chunk_at(200.0, 50_000_000), 50_000_000);
        assert_eq!(chunk_at(50.0, 200_000_000), 20_000_000);
        assert_eq!(chunk_at(10.0, 200_000_000), 5_000_000);
        assert_eq!(chunk_at(1.0, 200_000_000), 1_000_000);
    }
    #[test]
    fn one_slow_transfer_keeps_the_class_and_many_change_it() {
        let goodput = Goodput::new();
        goodput.record(100_000_000, Duration::from_secs(8));
        goodput.record(1_000_000, Duration::from_secs(1));
        let after_one = goodput.chunk_bytes(u64::MAX);
        assert!((70_000_000..80_000_000).contains(&after_one), "8 s of the average: {after_one}");
        for _ in 0..WINDOW {
            goodput.record(1_000_000, Duration::from_secs(1));
        }
        assert_eq!(goodput.chunk_bytes(u64::MAX), 5_000_000);
        goodput.record(10, Duration::from_secs(100));
        assert!(goodput.average().unwrap() > 900_000.0, "tiny transfers are not counted");
    }
}
