//! A delay-based rate controller: when packets begin to queue on the link, we send less and leave the room to
//! others. The idea is LEDBAT's ([RFC 6817](https://www.rfc-editor.org/rfc/rfc6817)): the queueing delay is the
//! round trip above the shortest one of the last minutes, and it is held below a target. A decrease starts from
//! the rate the link was carrying; the rate then grows fast to just below that and slowly beyond, as in
//! [CUBIC](https://www.rfc-editor.org/rfc/rfc9438).
//!
//! Pure: times and samples come in, a cap on the rate comes out. Memory is bounded.

use std::{collections::VecDeque, time::Duration};

/// Queueing delay that is never to be exceeded for long (RFC 6817's TARGET).
const TARGET: Duration = Duration::from_millis(100);
/// Queueing delay at which the rate is decreased: the queue still grows until the decrease takes effect.
const THRESHOLD: Duration = Duration::from_millis(40);
/// Minutes over which the shortest round trip is taken (RFC 6817's base delay).
const WINDOW_MINUTES: u64 = 10;
/// Factor of the first decrease, and of each further one while the queueing delay is above [`TARGET`].
const DECREASE: f64 = 0.85;
const DECREASE_AGAIN: f64 = 0.7;
/// A decrease takes effect after this time and a round trip.
const TAKES_EFFECT: Duration = Duration::from_millis(500);
/// The cap never falls below this share of the highest rate the link has carried.
const FLOOR_SHARE: f64 = 0.05;
/// In the first [`INITIAL`] of a queue the cap does not fall below this share of the rate at which the queue
/// began: what queues then is what we wrote before.
const INITIAL_FLOOR_SHARE: f64 = 0.5;
const INITIAL: Duration = Duration::from_secs(4);
/// After this time at the floor the delay is not ours: the path has become longer, or others keep the link full.
/// The shortest round trips are then forgotten, so that we are not shut out for ever.
const SHUT_OUT: Duration = Duration::from_secs(20);
/// Growth per second below the rate at which the queue began, and initially beyond it; beyond it the growth
/// doubles every [`DOUBLING`], since the link may have become faster, or was not known yet.
const FAST: f64 = 0.5;
const SLOW: f64 = 0.01;
const DOUBLING: Duration = Duration::from_secs(3);
/// Growth is fast up to this share of the rate at which the queue began.
const NEAR: f64 = 0.95;

/// The controller of one link.
#[derive(Debug, Clone, Default)]
pub struct DelayController {
    /// Bytes per second; `None` until packets have queued once.
    cap: Option<f64>,
    /// The rate the link carried when packets last began to queue (CUBIC's `W_max`), bytes per second.
    rate_at_queueing: f64,
    /// The highest rate it ever carried, bytes per second.
    peak_rate: f64,
    smoothed_rtt: Option<Duration>,
    /// The shortest round trip of each of the last minutes.
    base_rtts: VecDeque<(u64, Duration)>,
    decreased_at: Option<Duration>,
    /// Since when packets queue.
    queueing_since: Option<Duration>,
    /// Since when the cap has been at the floor.
    at_floor_since: Option<Duration>,
    sampled_at: Option<Duration>,
}

impl DelayController {
    /// A controller that has seen nothing: no cap.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one sample: a round trip took `rtt` at `now` (time since any fixed start) while `carried` bytes per
    /// second left → the cap in bytes per second; `None`: no cap.
    pub fn sample(&mut self, now: Duration, rtt: Duration, carried: f64) -> Option<u64> {
        let since = self.sampled_at.map_or(Duration::ZERO, |before| now.saturating_sub(before));
        self.sampled_at = Some(now);
        self.peak_rate = self.peak_rate.max(carried);
        let delay = self.queueing_delay(now, rtt);
        if delay > THRESHOLD {
            let in_effect = self.decreased_at.is_none_or(|at| now.saturating_sub(at) >= TAKES_EFFECT + rtt);
            if in_effect {
                self.decrease(now, carried, delay > TARGET);
            }
        } else {
            (self.queueing_since, self.at_floor_since) = (None, None);
            // A cap that is not reached says nothing about the link.
            if let Some(cap) = self.cap.as_mut().filter(|cap| carried >= **cap * 0.5) {
                let quiet = self.decreased_at.map_or(Duration::ZERO, |at| now.saturating_sub(at));
                let searching = SLOW * (quiet.as_secs_f64() / DOUBLING.as_secs_f64()).min(20.0).exp2();
                let rate = if *cap < self.rate_at_queueing * NEAR { FAST } else { searching.min(1.0) };
                let room = 1.0 - delay.as_secs_f64() / THRESHOLD.as_secs_f64();
                *cap *= 1.0 + rate * room * since.as_secs_f64().min(1.0);
            }
        }
        self.cap.map(|cap| cap as u64)
    }

    /// The queueing delay in a round trip of `rtt`.
    fn queueing_delay(&mut self, now: Duration, rtt: Duration) -> Duration {
        let minute = now.as_secs() / 60;
        match self.base_rtts.back_mut() {
            Some(last) if last.0 >= minute => last.1 = last.1.min(rtt),
            _ => self.base_rtts.push_back((minute, rtt)),
        }
        while self.base_rtts.front().is_some_and(|first| first.0 + WINDOW_MINUTES <= minute) {
            self.base_rtts.pop_front();
        }
        let smoothed = self.smoothed_rtt.map_or(rtt, |old| old / 2 + rtt / 2);
        self.smoothed_rtt = Some(smoothed);
        let base_rtt = self.base_rtts.iter().map(|bucket| bucket.1).min().unwrap_or(rtt);
        smoothed.saturating_sub(base_rtt)
    }

    /// Lowers the cap; `above_target`: the queueing delay is above [`TARGET`].
    fn decrease(&mut self, now: Duration, carried: f64, above_target: bool) {
        self.decreased_at = Some(now);
        let from = self.cap.map_or(carried, |cap| cap.min(carried));
        let queued = self.queueing_since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
        let to = if self.queueing_since.is_none() {
            // What the link carries while packets queue is all it can.
            self.rate_at_queueing = carried;
            from * DECREASE
        } else if above_target {
            // What was written before waits in buffers and goes first: the queue stays until it is gone.
            from * DECREASE_AGAIN
        } else {
            from
        };
        self.queueing_since.get_or_insert(now);
        let initial = if queued < INITIAL { self.rate_at_queueing * INITIAL_FLOOR_SHARE } else { 0.0 };
        let floor = self.peak_rate * FLOOR_SHARE;
        self.cap = Some(to.max(initial).max(floor).max(1.0));
        if to > floor {
            self.at_floor_since = None;
        } else if now.saturating_sub(*self.at_floor_since.get_or_insert(now)) >= SHUT_OUT {
            (self.at_floor_since, self.queueing_since) = (None, None);
            self.base_rtts.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITY: f64 = 1_250_000.0;

    /// Bytes per second that another sender puts on the link, by the second.
    type Others = fn(f64) -> f64;

    fn link(limit: f64, backlog: f64, others: Others) -> (f64, f64, f64) {
        link_of_length(limit, backlog, others, |_| 0.02)
    }

    /// 10 Mbit/s behind a queue of 1 MB, `length(second)` seconds away; `backlog` bytes of what we may send were written
    /// before and are in buffers that the link empties as fast as it can. → share of the time after a
    /// minute with more than 100 ms of queue, share of the link used by us, cap at the end.
    fn link_of_length(limit: f64, backlog: f64, others: Others, length: fn(f64) -> f64) -> (f64, f64, f64) {
        let mut controller = DelayController::new();
        // The link was measured before anything was sent.
        assert_eq!(controller.sample(Duration::ZERO, Duration::from_millis(20), 0.0), None);
        let (mut cap, mut buffered, mut queue) = (f64::INFINITY, 0.0_f64, 0.0_f64);
        let mut queue_ours = 0.0_f64;
        let (mut late, mut ours, mut ticks, mut carried) = (0.0, 0.0, 0.0, 0.0);
        for tick in 0..30_000_u64 {
            let second = tick as f64 * 0.01;
            // Written as fast as cap and buffers allow; a window of 0.5 MB is in flight at most.
            buffered = (buffered + f64::min(limit, cap) * 0.01).min(backlog.max(limit * 0.01));
            let sent = buffered.min((500_000.0 - queue_ours).max(0.0));
            buffered -= sent;
            let other = others(second) * 0.01;
            let (all, all_ours) = (queue + sent + other, queue_ours + sent);
            let out = all.min(CAPACITY * 0.01);
            // The queue is mixed: what leaves is ours in the proportion of what is there.
            let out_ours = if all > 0.0 { out * all_ours / all } else { 0.0 };
            let kept = f64::min(1.0, 1_000_000.0 / (all - out).max(1.0));
            (queue, queue_ours) = ((all - out) * kept, (all_ours - out_ours) * kept);
            carried = carried * 0.99 + out_ours;
            if tick % 25 == 0 {
                let rtt = Duration::from_secs_f64(length(second) + queue / CAPACITY);
                let now = Duration::from_millis(1000 + tick * 10);
                cap = controller.sample(now, rtt, carried).map_or(f64::INFINITY, |cap| cap as f64);
            }
            if second > 60.0 {
                late += if queue / CAPACITY > 0.1 { 1.0 } else { 0.0 };
                (ours, ticks) = (ours + out_ours, ticks + 1.0);
            }
        }
        assert!(controller.base_rtts.len() <= 10);
        (late / ticks, ours / (ticks * CAPACITY * 0.01), cap)
    }

    #[test]
    fn a_bloated_link_stays_quick_and_full() {
        for (limit, backlog) in [(1_250_000.0, 0.0), (2_500_000.0, 0.0), (1e8, 0.0), (1e8, 4e6)] {
            let (late, used, _) = link(limit, backlog, |_| 0.0);
            assert!(late <= 0.05 && used >= 0.85, "limit {limit}, backlog {backlog}: {late} late, {used}");
        }
    }

    #[test]
    fn another_sender_gets_its_room_and_leaves_it_again() {
        // A call of 4 Mbit/s in every second minute.
        let call: Others = |second| if (second / 60.0) as u64 % 2 == 1 { 500_000.0 } else { 0.0 };
        let (late, used, _) = link(1e8, 1e6, call);
        assert!(late <= 0.08 && (0.6..0.85).contains(&used), "{late} late, {used}");
    }

    #[test]
    fn a_path_that_becomes_longer_is_not_taken_for_a_queue_for_long() {
        let (late, used, _) =
            link_of_length(1e8, 0.0, |_| 0.0, |second| if second < 100.0 { 0.02 } else { 0.12 });
        assert!(late <= 0.05 && used >= 0.75, "{late} late, {used}");
        // Others who keep the link full do not shut us out.
        let (_, used, _) = link(1e8, 0.0, |_| 2_000_000.0);
        assert!(used >= 0.02, "{used}");
    }

    #[test]
    fn nothing_is_capped_where_nothing_queues() {
        let (_, _, cap) = link(600_000.0, 0.0, |_| 0.0);
        assert!(cap.is_infinite());
    }
}
