//! The quality of the link: its measurements, and whether it is good enough for bulk data, as a score from 0 to 1
//! with hysteresis.
//!
//! Half of the score is the share of health checks and transfers that reach the other daemon, three tenths are the
//! loss (20 % loss takes all of it), two tenths the jitter. A link that loses a lot but carries keeps its half:
//! sending there is better than waiting. A dead one falls to at most 0.2.
//!
//! Pure: measurements come in.

use std::{collections::VecDeque, time::Duration};

use tunnel::Echo;

/// Bulk data start at this score.
const START: f64 = 0.6;
/// Bulk data pause below this score.
const PAUSE: f64 = 0.3;
/// Health checks and transfers that count.
const WINDOW: usize = 5;
/// Loss at which nothing is left of its share.
const WORST_LOSS: f64 = 0.2;
/// Jitter counts relative to the round trip and this, ms: small absolute jitter costs little.
const TOLERATED_JITTER_MS: f64 = 100.0;

/// The link as it was measured last.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinkQuality {
    /// Goodput, moving average, bytes per second; of a probe until there was a transfer.
    pub bandwidth_bytes_s: Option<f64>,
    /// The most it carried lately, bytes per second.
    pub capacity_bytes_s: Option<f64>,
    /// Round trip, jitter and loss.
    pub echo: Echo,
    /// Time since the tunnel's last handshake; `None`: there was none, or there is no tunnel of ours.
    pub handshake_age: Option<Duration>,
    /// The score, 0 to 1; 1 while nothing was measured.
    pub stability: f64,
    /// Good enough for bulk data: from a score of 0.6 on, until it falls below 0.3.
    pub is_stable: bool,
}

/// How the last health checks and transfers ended, and whether the link was good enough after them.
#[derive(Debug)]
pub(super) struct Stability {
    outcomes: VecDeque<bool>,
    stable: bool,
}

impl Stability {
    /// Nothing measured: the link is taken to be good.
    pub(super) fn new() -> Self {
        Self { outcomes: VecDeque::with_capacity(WINDOW), stable: true }
    }

    /// Records whether a health check was answered, or whether a transfer arrived.
    pub(super) fn record(&mut self, arrived: bool) {
        if self.outcomes.len() == WINDOW {
            self.outcomes.pop_front();
        }
        self.outcomes.push_back(arrived);
    }

    /// Share of the last health checks and transfers that failed, 0 to 1.
    pub(super) fn missed(&self) -> f64 {
        let missed = self.outcomes.iter().filter(|arrived| !**arrived).count();
        missed as f64 / self.outcomes.len().max(1) as f64
    }

    /// The score, 0 to 1, and whether the link is good enough for bulk data. `loss` is a share (0 to 1), the rest
    /// are milliseconds.
    pub(super) fn score(&mut self, loss: f64, rtt_ms: f64, jitter_ms: f64) -> (f64, bool) {
        let calm = 1.0 - (jitter_ms / (rtt_ms + TOLERATED_JITTER_MS)).clamp(0.0, 1.0);
        let carried = 1.0 - (loss / WORST_LOSS).clamp(0.0, 1.0);
        let score = 0.5 * (1.0 - self.missed()) + 0.3 * carried + 0.2 * calm;
        self.stable = if self.stable { score >= PAUSE } else { score >= START };
        (score, self.stable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(stability: &mut Stability, outcomes: &[bool], loss: f64) -> (f64, bool) {
        outcomes.iter().for_each(|arrived| stability.record(*arrived));
        stability.score(loss, 30.0, 2.0)
    }

    #[test]
    fn a_dead_link_pauses_and_one_that_answers_again_starts() {
        let mut link = Stability::new();
        assert!(link.score(0.0, 0.0, 0.0) == (1.0, true), "nothing seen yet");
        assert!(after(&mut link, &[false], 0.1).1, "one miss says little");
        let (score, stable) = after(&mut link, &[false; 5], 1.0);
        assert!(score <= 0.2 && !stable, "{score}");
        assert!(!after(&mut link, &[true], 1.0).1, "between the two limits nothing changes");
        // The loss before is still counted: answers alone are enough.
        assert!(after(&mut link, &[true; 4], 1.0).1);
    }

    #[test]
    fn between_the_limits_nothing_changes() {
        let mut link = Stability::new();
        let (score, stable) = after(&mut link, &[true, false, true, false, true], 0.2);
        assert!((PAUSE..START).contains(&score) && stable, "{score}");
        assert!(!after(&mut link, &[false; 5], 1.0).1);
        let (score, stable) = after(&mut link, &[true, false, true, false, true], 0.2);
        assert!((PAUSE..START).contains(&score) && !stable, "{score}");
    }

    #[test]
    fn a_link_that_loses_but_carries_is_used_and_the_score_has_its_bounds() {
        let mut link = Stability::new();
        let (score, stable) = after(&mut link, &[true; 5], 0.4);
        assert!(score >= START && stable, "{score}");
        for (loss, rtt, jitter) in [(9.0, 0.0, 1e9), (0.0, 1e9, 0.0), (f64::NAN, f64::NAN, f64::NAN)] {
            let (score, _) = link.score(loss, rtt, jitter);
            assert!(score.is_nan() || (0.0..=1.0).contains(&score));
        }
    }
}
