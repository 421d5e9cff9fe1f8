//! Whether the line is good enough for bulk data: one figure from 0 to 1, and a verdict that does not
//! flutter.
//!
//! Half of the figure is whether questions and transfers reach the other daemon at all, three tenths are
//! the tunnel's loss (20 % is all of it), two tenths the unrest of the round trip. A line that loses a
//! lot but carries keeps its half: sending there is better than waiting. A dead one falls to at most 0.2.
//!
//! Pure: what was seen comes in.

use std::collections::VecDeque;

/// From here on bulk data start.
pub(crate) const START: f64 = 0.6;
/// Below this they pause.
pub(crate) const PAUSE: f64 = 0.3;
/// Questions and transfers that count.
const WINDOW: usize = 5;
/// Loss at which nothing is left of its share.
const WORST_LOSS: f64 = 0.2;
/// Unrest that is forgiven beside the round trip itself, ms.
const CALM_MS: f64 = 100.0;

/// How the last questions and transfers ended, and the verdict.
#[derive(Debug)]
pub(crate) struct Stability {
    outcomes: VecDeque<bool>,
    stable: bool,
}

impl Stability {
    /// Nothing seen: the line has the benefit of the doubt.
    pub(crate) fn new() -> Self {
        Self { outcomes: VecDeque::with_capacity(WINDOW), stable: true }
    }

    /// A question was answered, or was not; a transfer arrived, or broke off.
    pub(crate) fn record(&mut self, arrived: bool) {
        if self.outcomes.len() == WINDOW {
            self.outcomes.pop_front();
        }
        self.outcomes.push_back(arrived);
    }

    /// Share of the last outcomes that were bad, 0 to 1.
    pub(crate) fn missed(&self) -> f64 {
        let missed = self.outcomes.iter().filter(|arrived| !**arrived).count();
        missed as f64 / self.outcomes.len().max(1) as f64
    }

    /// The figure, 0 to 1, and the verdict by it. `loss` is a share, the rest milliseconds.
    pub(crate) fn judge(&mut self, loss: f64, rtt_ms: f64, jitter_ms: f64) -> (f64, bool) {
        let calm = 1.0 - (jitter_ms / (rtt_ms + CALM_MS)).clamp(0.0, 1.0);
        let carried = 1.0 - (loss / WORST_LOSS).clamp(0.0, 1.0);
        let figure = 0.5 * (1.0 - self.missed()) + 0.3 * carried + 0.2 * calm;
        self.stable = if self.stable { figure >= PAUSE } else { figure >= START };
        (figure, self.stable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(stability: &mut Stability, outcomes: &[bool], loss: f64) -> (f64, bool) {
        outcomes.iter().for_each(|arrived| stability.record(*arrived));
        stability.judge(loss, 30.0, 2.0)
    }

    #[test]
    fn a_dead_line_pauses_and_one_that_answers_again_starts() {
        let mut line = Stability::new();
        assert!(line.judge(0.0, 0.0, 0.0) == (1.0, true), "nothing seen yet");
        assert!(after(&mut line, &[false], 0.1).1, "one miss says little");
        let (figure, stable) = after(&mut line, &[false; 5], 1.0);
        assert!(figure <= 0.2 && !stable, "{figure}");
        assert!(!after(&mut line, &[true], 1.0).1, "between the two limits nothing changes");
        // The loss before is still counted: answers alone are enough.
        assert!(after(&mut line, &[true; 4], 1.0).1);
    }

    #[test]
    fn between_the_limits_the_verdict_stays() {
        let mut line = Stability::new();
        let (figure, stable) = after(&mut line, &[true, false, true, false, true], 0.2);
        assert!((PAUSE..START).contains(&figure) && stable, "{figure}");
        assert!(!after(&mut line, &[false; 5], 1.0).1);
        let (figure, stable) = after(&mut line, &[true, false, true, false, true], 0.2);
        assert!((PAUSE..START).contains(&figure) && !stable, "{figure}");
    }

    #[test]
    fn a_line_that_loses_but_carries_is_used_and_the_figure_has_its_bounds() {
        let mut line = Stability::new();
        let (figure, stable) = after(&mut line, &[true; 5], 0.4);
        assert!(figure >= START && stable, "{figure}");
        for (loss, rtt, jitter) in [(9.0, 0.0, 1e9), (0.0, 1e9, 0.0), (f64::NAN, f64::NAN, f64::NAN)] {
            let (figure, _) = line.judge(loss, rtt, jitter);
            assert!(figure.is_nan() || (0.0..=1.0).contains(&figure));
        }
    }
}
