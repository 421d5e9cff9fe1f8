//! Giving way to others on the same line: when packets begin to queue, we send less. The idea is
//! LEDBAT's ([RFC 6817](https://www.rfc-editor.org/rfc/rfc6817)): the queue's delay is the round trip
//! above the shortest one seen lately, and it is held near a target.
//!
//! Pure: times and samples come in, a share of the allowed rate comes out. Memory is bounded.

use std::{collections::VecDeque, time::Duration};

/// Queueing delay we allow.
const TARGET: Duration = Duration::from_millis(100);
/// Minutes in which the shortest round trip counts.
const WINDOW_MINUTES: u64 = 10;
const SMALLEST: f64 = 0.05;
const BACK_OFF: f64 = 0.85;
const RECOVER: f64 = 0.01;

/// The controller of one line.
#[derive(Debug, Clone)]
pub struct Yielding {
    share: f64,
    smoothed: Option<Duration>,
    /// The shortest round trip of each minute.
    shortest: VecDeque<(u64, Duration)>,
    backed_off: Option<Duration>,
}

impl Default for Yielding {
    fn default() -> Self {
        Self { share: 1.0, smoothed: None, shortest: VecDeque::new(), backed_off: None }
    }
}

impl Yielding {
    /// Everything is allowed.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A round trip took `rtt` at `now` (since any fixed start) → the share of the allowed rate that may
    /// be used, 0.05 to 1.0.
    pub fn sample(&mut self, now: Duration, rtt: Duration) -> f64 {
        let minute = now.as_secs() / 60;
        match self.shortest.back_mut() {
            Some(last) if last.0 >= minute => last.1 = last.1.min(rtt),
            _ => self.shortest.push_back((minute, rtt)),
        }
        while self.shortest.front().is_some_and(|first| first.0 + WINDOW_MINUTES <= minute) {
            self.shortest.pop_front();
        }
        let smoothed = self.smoothed.map_or(rtt, |old| old / 2 + rtt / 2);
        self.smoothed = Some(smoothed);
        let shortest = self.shortest.iter().map(|bucket| bucket.1).min().unwrap_or(rtt);
        if smoothed.saturating_sub(shortest) <= TARGET {
            self.share = (self.share + RECOVER).min(1.0);
        } else if self.backed_off.is_none_or(|at| now.saturating_sub(at) >= smoothed) {
            self.backed_off = Some(now);
            self.share = (self.share * BACK_OFF).max(SMALLEST);
        }
        self.share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 10 Mbit/s behind a queue of 1 MB, 20 ms away, offered `allowed` bytes per second.
    fn line(allowed: f64) -> (f64, f64) {
        const CAPACITY: f64 = 1_250_000.0;
        let (mut yielding, mut share) = (Yielding::new(), 1.0);
        let (mut queue, mut delays, mut carried, mut ticks) = (0.0_f64, 0.0, 0.0, 0.0);
        for tick in 0..120_000_u64 {
            let offered = queue + allowed * share * 0.01;
            let sent = offered.min(CAPACITY * 0.01);
            queue = (offered - sent).min(1_000_000.0);
            let delay = queue / CAPACITY;
            if tick % 200 == 0 {
                share =
                    yielding.sample(Duration::from_millis(tick * 10), Duration::from_secs_f64(0.02 + delay));
            }
            if tick > 12_000 {
                (delays, carried, ticks) = (delays + delay, carried + sent, ticks + 1.0);
            }
        }
        assert!(yielding.shortest.len() <= 10);
        (delays / ticks, carried / (ticks * CAPACITY * 0.01))
    }

    #[test]
    fn a_bloated_line_stays_quick_and_full() {
        for allowed in [1_250_000.0, 1_500_000.0, 2_500_000.0] {
            let (delay, used) = line(allowed);
            assert!(delay <= 0.1 && used >= 0.85, "{allowed} B/s: {delay} s, {used}");
        }
    }
}
