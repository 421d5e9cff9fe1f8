//! The number of connections a bulk transfer uses at once, found by trials: one connection with BBR fills a link,
//! one of a stack that backs off at every loss does not, sixteen of those may.
//!
//! A trial doubles the number and keeps it when the transfer becomes faster by a tenth at least; otherwise the number
//! goes back, and the next trial waits for a growing number of rounds. Every other trial halves the number and keeps
//! that when the rate does not fall. While a limit decides the rate there are no trials.
//!
//! Pure: time and counters come in.

use std::time::Duration;

/// Shortest duration of a trial.
const TRIAL: Duration = Duration::from_secs(4);
/// After a longer gap between two observations no transfer was under way: the trial starts again.
const GAP: Duration = Duration::from_secs(2);
/// Rounds without a trial after one that failed: initially, and at most.
const BACKOFF: u32 = 8;
const LONGEST_BACKOFF: u32 = 128;
/// More connections are kept when the rate grows at least by this factor.
const GAIN: f64 = 1.1;
/// Fewer connections are kept when the rate falls at most by this factor.
const LOSS: f64 = 0.97;
/// At this share of the limit, the limit decides the rate.
const AT_LIMIT: f64 = 0.93;

/// The search for one link. Clones search on their own.
#[derive(Debug, Clone)]
pub struct AdaptiveConcurrency {
    now: u32,
    most: u32,
    /// When the round began, and the bytes sent until then.
    round: Option<(Duration, u64)>,
    observed_at: Option<Duration>,
    /// The number of connections before a trial, and the rate with them.
    before: Option<(u32, f64)>,
    /// Rounds until the next trial.
    waiting: u32,
    /// Rounds to wait after the next trial that fails.
    backoff: u32,
    /// The next trial halves the number.
    fewer_next: bool,
}

impl AdaptiveConcurrency {
    /// Begins with `first` connections; never more than `most`.
    #[must_use]
    pub fn new(first: u32, most: u32) -> Self {
        let most = most.max(1);
        Self {
            now: first.clamp(1, most),
            most,
            round: None,
            observed_at: None,
            before: None,
            waiting: 0,
            backoff: BACKOFF,
            fewer_next: false,
        }
    }

    /// Connections to use now.
    #[must_use]
    pub fn connections(&self) -> u32 {
        self.now
    }

    /// To be called often during a bulk transfer, with the time since any fixed start, all bytes sent so far and
    /// the limit in force (bytes per second).
    pub fn observe(&mut self, at: Duration, bytes: u64, limit: Option<u64>) {
        let gap = self.observed_at.replace(at).is_none_or(|before| at.saturating_sub(before) > GAP);
        let Some((began, from)) = self.round.filter(|_| !gap) else {
            self.round = Some((at, bytes));
            return;
        };
        let took = at.saturating_sub(began);
        if took < TRIAL {
            return;
        }
        self.round = Some((at, bytes));
        let rate = bytes.saturating_sub(from) as f64 / took.as_secs_f64();
        let limited = limit.is_some_and(|limit| rate >= limit as f64 * AT_LIMIT);
        self.finish_round(rate, limited);
    }

    fn finish_round(&mut self, rate: f64, limited: bool) {
        if let Some((before, carried)) = self.before.take() {
            let better = if self.now > before { rate >= carried * GAIN } else { rate >= carried * LOSS };
            if !better {
                self.now = before;
                self.waiting = self.backoff;
                self.backoff = (self.backoff * 2).min(LONGEST_BACKOFF);
                return;
            }
            self.backoff = BACKOFF;
        }
        if limited {
            return;
        }
        if self.waiting > 0 {
            self.waiting -= 1;
            self.fewer_next ^= self.waiting == 0;
            return;
        }
        let next = if self.fewer_next { self.now / 2 } else { (self.now * 2).min(self.most) };
        if next == self.now || next == 0 {
            self.waiting = self.backoff;
            return;
        }
        self.before = Some((self.now, rate));
        self.now = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends for `seconds` on a link that carries `carries(connections)` bytes per second → bytes sent.
    fn send(
        search: &mut AdaptiveConcurrency,
        from: u64,
        seconds: u64,
        limit: Option<u64>,
        carries: impl Fn(u32) -> f64,
    ) -> f64 {
        let mut bytes = 0.0;
        for tick in from * 10..(from + seconds) * 10 {
            let rate = limit.map_or(f64::INFINITY, |limit| limit as f64).min(carries(search.connections()));
            bytes += rate * 0.1;
            search.observe(Duration::from_millis(tick * 100), bytes as u64, limit);
        }
        bytes
    }

    #[test]
    fn one_that_fills_the_link_stays_nearly_alone() {
        let mut search = AdaptiveConcurrency::new(2, 16);
        let sent = send(&mut search, 0, 600, None, |_| 1e6);
        assert!(search.connections() <= 2 && sent >= 599e6, "{search:?}");
    }

    #[test]
    fn many_are_found_where_one_is_slow() {
        let mut search = AdaptiveConcurrency::new(2, 16);
        let sent = send(&mut search, 0, 120, None, |n| f64::min(f64::from(n) * 1e5, 1.2e6));
        assert_eq!(search.connections(), 16);
        assert!(sent >= 0.8 * 120.0 * 1.2e6, "{sent}");
        // The link gets better: fewer do.
        send(&mut search, 120, 1_800, None, |_| 1.2e6);
        assert!(search.connections() <= 4, "{search:?}");
    }

    #[test]
    fn a_crowd_that_hurts_is_sent_home_at_once() {
        let mut search = AdaptiveConcurrency::new(2, 16);
        let sent = send(&mut search, 0, 600, None, |n| if n > 2 { 5e5 } else { 1e6 });
        assert!(sent >= 0.93 * 600e6, "{sent} {search:?}");
    }

    #[test]
    fn under_a_limit_nothing_is_tried_and_a_pause_spoils_no_trial() {
        let mut search = AdaptiveConcurrency::new(3, 16);
        send(&mut search, 0, 100, Some(100_000), |_| 1e6);
        assert_eq!(search.connections(), 3);
        let mut search = AdaptiveConcurrency::new(2, 16);
        for minute in 0..20 {
            // A second of work a minute is no trial.
            send(&mut search, minute * 60, 1, None, |_| 1e6);
        }
        assert_eq!(search.connections(), 2);
    }
}
