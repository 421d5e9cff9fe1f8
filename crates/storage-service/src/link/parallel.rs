//! How many connections a bulk transfer should use at once, found by trying: one of BBR's fills a line, one
//! of a stack that fears loss does not, sixteen of those may.
//!
//! The number doubles while that makes it faster by a tenth at least, and goes back when it does not; after a
//! pause that grows it is tried again, and every other time fewer are tried, which are taken when nothing is
//! lost by it. While a limit decides the rate nothing is tried.
//!
//! Pure: time and counters come in.

use std::time::Duration;

/// One trial lasts at least so long.
const TRIAL: Duration = Duration::from_secs(4);
/// A gap longer than this between two looks: nothing was under way.
const GAP: Duration = Duration::from_secs(2);
/// Trials that are not made after one that failed, at first and at most.
const REST: u32 = 8;
const LONGEST_REST: u32 = 128;
/// More connections must make it faster by this much.
const GAIN: f64 = 1.1;
/// Fewer may make it slower by this much.
const LOSS: f64 = 0.97;
/// That near to the limit, the limit decides.
const AT_LIMIT: f64 = 0.93;

/// The search for one line.
#[derive(Debug, Clone)]
pub struct Parallel {
    now: u32,
    most: u32,
    trial: Option<(Duration, u64)>,
    looked: Option<Duration>,
    /// What `before` connections carried, while others are on trial.
    before: Option<(u32, f64)>,
    resting: u32,
    rest: u32,
    fewer_next: bool,
}

impl Parallel {
    /// Begins with `first` connections; never more than `most`.
    #[must_use]
    pub fn new(first: u32, most: u32) -> Self {
        let most = most.max(1);
        Self {
            now: first.clamp(1, most),
            most,
            trial: None,
            looked: None,
            before: None,
            resting: 0,
            rest: REST,
            fewer_next: false,
        }
    }

    /// Connections to use now.
    #[must_use]
    pub fn connections(&self) -> u32 {
        self.now
    }

    /// Told often while bulk data are under way: the time since any fixed start, all bytes sent so far,
    /// and the limit in force (bytes per second).
    pub fn look(&mut self, at: Duration, bytes: u64, limit: Option<u64>) {
        let gap = self.looked.replace(at).is_none_or(|before| at.saturating_sub(before) > GAP);
        let Some((began, from)) = self.trial.filter(|_| !gap) else {
            self.trial = Some((at, bytes));
            return;
        };
        let took = at.saturating_sub(began);
        if took < TRIAL {
            return;
        }
        self.trial = Some((at, bytes));
        let rate = bytes.saturating_sub(from) as f64 / took.as_secs_f64();
        let limited = limit.is_some_and(|limit| rate >= limit as f64 * AT_LIMIT);
        self.judge(rate, limited);
    }

    fn judge(&mut self, rate: f64, limited: bool) {
        if let Some((before, carried)) = self.before.take() {
            let better = if self.now > before { rate >= carried * GAIN } else { rate >= carried * LOSS };
            if !better {
                self.now = before;
                self.resting = self.rest;
                self.rest = (self.rest * 2).min(LONGEST_REST);
                return;
            }
            self.rest = REST;
        }
        if limited {
            return;
        }
        if self.resting > 0 {
            self.resting -= 1;
            self.fewer_next ^= self.resting == 0;
            return;
        }
        let next = if self.fewer_next { self.now / 2 } else { (self.now * 2).min(self.most) };
        if next == self.now || next == 0 {
            self.resting = self.rest;
            return;
        }
        self.before = Some((self.now, rate));
        self.now = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends for `seconds` on a line that carries `carries(connections)` bytes per second → bytes sent.
    fn send(
        search: &mut Parallel,
        from: u64,
        seconds: u64,
        limit: Option<u64>,
        carries: impl Fn(u32) -> f64,
    ) -> f64 {
        let mut bytes = 0.0;
        for tick in from * 10..(from + seconds) * 10 {
            let rate = limit.map_or(f64::INFINITY, |limit| limit as f64).min(carries(search.connections()));
            bytes += rate * 0.1;
            search.look(Duration::from_millis(tick * 100), bytes as u64, limit);
        }
        bytes
    }

    #[test]
    fn one_that_fills_the_line_stays_nearly_alone() {
        let mut search = Parallel::new(2, 16);
        let sent = send(&mut search, 0, 600, None, |_| 1e6);
        assert!(search.connections() <= 2 && sent >= 599e6, "{search:?}");
    }

    #[test]
    fn many_are_found_where_one_is_slow() {
        let mut search = Parallel::new(2, 16);
        let sent = send(&mut search, 0, 120, None, |n| f64::min(f64::from(n) * 1e5, 1.2e6));
        assert_eq!(search.connections(), 16);
        assert!(sent >= 0.8 * 120.0 * 1.2e6, "{sent}");
        // The line gets better: fewer do.
        send(&mut search, 120, 1_800, None, |_| 1.2e6);
        assert!(search.connections() <= 4, "{search:?}");
    }

    #[test]
    fn a_crowd_that_hurts_is_sent_home_at_once() {
        let mut search = Parallel::new(2, 16);
        let sent = send(&mut search, 0, 600, None, |n| if n > 2 { 5e5 } else { 1e6 });
        assert!(sent >= 0.93 * 600e6, "{sent} {search:?}");
    }

    #[test]
    fn under_a_limit_nothing_is_tried_and_a_pause_spoils_no_trial() {
        let mut search = Parallel::new(3, 16);
        send(&mut search, 0, 100, Some(100_000), |_| 1e6);
        assert_eq!(search.connections(), 3);
        let mut search = Parallel::new(2, 16);
        for minute in 0..20 {
            // A second of work a minute is no trial.
            send(&mut search, minute * 60, 1, None, |_| 1e6);
        }
        assert_eq!(search.connections(), 2);
    }
}
