//! Giving way to others on the same line: when packets begin to queue, we send less. The idea is
//! LEDBAT's ([RFC 6817](https://www.rfc-editor.org/rfc/rfc6817)): the queue's delay is the round trip
//! above the shortest one seen lately, and it is held below a target. What is cut is what the line was
//! carrying, and the way back is quick to just below that and slow beyond, as in
//! [CUBIC](https://www.rfc-editor.org/rfc/rfc9438).
//!
//! Pure: times and samples come in, a cap on the rate comes out. Memory is bounded.

use std::{collections::VecDeque, time::Duration};

/// Queueing delay we never want to see.
const TARGET: Duration = Duration::from_millis(100);
/// Queueing delay at which we begin to give way: what comes until the cut works comes on top.
const ACT: Duration = Duration::from_millis(40);
/// Minutes in which the shortest round trip counts.
const WINDOW_MINUTES: u64 = 10;
/// What is left of the rate after the first cut, and after each further one while the queue stays.
const CUT: f64 = 0.85;
const CUT_AGAIN: f64 = 0.7;
/// A cut shows after so long, beside the round trip.
const SETTLE: Duration = Duration::from_millis(500);
/// We never give way further than to this share of what the line has carried; at first, while what queues
/// is what we wrote before, not even so far.
const LEAST_SHARE: f64 = 0.05;
const LEAST_AT_FIRST: f64 = 0.5;
const AT_FIRST: Duration = Duration::from_secs(4);
/// After so long at the least share what queues is not ours: the way has become longer, or others keep the
/// line full. What it was before is forgotten, so that we are not shut out for ever.
const SHUT_OUT: Duration = Duration::from_secs(20);
/// Growth per second below the rate at which the queue began, and beyond it at first; there it doubles
/// every few seconds, since a line may have become faster, or was not known yet.
const FAST: f64 = 0.5;
const SLOW: f64 = 0.01;
const DOUBLING: Duration = Duration::from_secs(3);
/// That far below it growth is fast.
const NEAR: f64 = 0.95;

/// The controller of one line.
#[derive(Debug, Clone, Default)]
pub struct Yielding {
    /// Bytes per second; `None` until packets have queued once.
    cap: Option<f64>,
    /// What the line carried when they last did, bytes per second.
    knee: f64,
    /// The most it ever carried, bytes per second.
    most: f64,
    smoothed: Option<Duration>,
    /// The shortest round trip of each minute.
    shortest: VecDeque<(u64, Duration)>,
    cut: Option<Duration>,
    /// Since when packets queue.
    queued: Option<Duration>,
    /// Since when we have had the least share only.
    least: Option<Duration>,
    before: Option<Duration>,
}

impl Yielding {
    /// Everything is allowed.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A round trip took `rtt` at `now` (since any fixed start) while `carried` bytes per second left →
    /// bytes per second that may leave; `None`: no cap.
    pub fn sample(&mut self, now: Duration, rtt: Duration, carried: f64) -> Option<u64> {
        let since = self.before.map_or(Duration::ZERO, |before| now.saturating_sub(before));
        self.before = Some(now);
        self.most = self.most.max(carried);
        let delay = self.delay(now, rtt);
        if delay > ACT {
            let settled = self.cut.is_none_or(|at| now.saturating_sub(at) >= SETTLE + rtt);
            if settled {
                self.cut(now, carried, delay > TARGET);
            }
        } else {
            (self.queued, self.least) = (None, None);
            // A cap that is not reached says nothing of the line.
            if let Some(cap) = self.cap.as_mut().filter(|cap| carried >= **cap * 0.5) {
                let quiet = self.cut.map_or(Duration::ZERO, |at| now.saturating_sub(at));
                let searching = SLOW * (quiet.as_secs_f64() / DOUBLING.as_secs_f64()).min(20.0).exp2();
                let rate = if *cap < self.knee * NEAR { FAST } else { searching.min(1.0) };
                let room = 1.0 - delay.as_secs_f64() / ACT.as_secs_f64();
                *cap *= 1.0 + rate * room * since.as_secs_f64().min(1.0);
            }
        }
        self.cap.map(|cap| cap as u64)
    }

    /// The queue's share of a round trip.
    fn delay(&mut self, now: Duration, rtt: Duration) -> Duration {
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
        smoothed.saturating_sub(shortest)
    }

    fn cut(&mut self, now: Duration, carried: f64, deep: bool) {
        self.cut = Some(now);
        let from = self.cap.map_or(carried, |cap| cap.min(carried));
        let queued = self.queued.map_or(Duration::ZERO, |since| now.saturating_sub(since));
        let to = if self.queued.is_none() {
            // What the line carries while packets queue is all it can.
            self.knee = carried;
            from * CUT
        } else if deep {
            // What was written before waits in buffers and goes first: the queue stays until it is gone.
            from * CUT_AGAIN
        } else {
            from
        };
        self.queued.get_or_insert(now);
        let at_first = if queued < AT_FIRST { self.knee * LEAST_AT_FIRST } else { 0.0 };
        let least = self.most * LEAST_SHARE;
        self.cap = Some(to.max(at_first).max(least).max(1.0));
        if to > least {
            self.least = None;
        } else if now.saturating_sub(*self.least.get_or_insert(now)) >= SHUT_OUT {
            (self.least, self.queued) = (None, None);
            self.shortest.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITY: f64 = 1_250_000.0;

    /// What another sender puts on the line at a second.
    type Others = fn(f64) -> f64;

    fn line(limit: f64, backlog: f64, others: Others) -> (f64, f64, f64) {
        way(limit, backlog, others, |_| 0.02)
    }

    /// 10 Mbit/s behind a queue of 1 MB, `length(second)` seconds away; `backlog` bytes of what we may send were written
    /// before and are in buffers that the line empties as fast as it can. → share of the time after a
    /// minute with more than 100 ms of queue, share of the line used by us, cap at the end.
    fn way(limit: f64, backlog: f64, others: Others, length: fn(f64) -> f64) -> (f64, f64, f64) {
        let mut yielding = Yielding::new();
        // The line was asked before anything was sent.
        assert_eq!(yielding.sample(Duration::ZERO, Duration::from_millis(20), 0.0), None);
        let (mut cap, mut buffered, mut queue) = (f64::INFINITY, 0.0_f64, 0.0_f64);
        let mut queue_ours = 0.0_f64;
        let (mut late, mut ours, mut ticks, mut carried) = (0.0, 0.0, 0.0, 0.0);
        for tick in 0..30_000_u64 {
            let second = tick as f64 * 0.01;
            // Written as fast as cap and buffers allow; a window of 0.5 MB is under way at most.
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
                cap = yielding.sample(now, rtt, carried).map_or(f64::INFINITY, |cap| cap as f64);
            }
            if second > 60.0 {
                late += if queue / CAPACITY > 0.1 { 1.0 } else { 0.0 };
                (ours, ticks) = (ours + out_ours, ticks + 1.0);
            }
        }
        assert!(yielding.shortest.len() <= 10);
        (late / ticks, ours / (ticks * CAPACITY * 0.01), cap)
    }

    #[test]
    fn a_bloated_line_stays_quick_and_full() {
        for (limit, backlog) in [(1_250_000.0, 0.0), (2_500_000.0, 0.0), (1e8, 0.0), (1e8, 4e6)] {
            let (late, used, _) = line(limit, backlog, |_| 0.0);
            assert!(late <= 0.05 && used >= 0.85, "limit {limit}, backlog {backlog}: {late} late, {used}");
        }
    }

    #[test]
    fn another_sender_gets_its_room_and_leaves_it_again() {
        // A call of 4 Mbit/s in every second minute.
        let call: Others = |second| if (second / 60.0) as u64 % 2 == 1 { 500_000.0 } else { 0.0 };
        let (late, used, _) = line(1e8, 1e6, call);
        assert!(late <= 0.08 && (0.6..0.85).contains(&used), "{late} late, {used}");
    }

    #[test]
    fn a_way_that_becomes_longer_is_not_taken_for_a_queue_for_long() {
        let (late, used, _) = way(1e8, 0.0, |_| 0.0, |second| if second < 100.0 { 0.02 } else { 0.12 });
        assert!(late <= 0.05 && used >= 0.75, "{late} late, {used}");
        // Others who keep the line full do not shut us out.
        let (_, used, _) = line(1e8, 0.0, |_| 2_000_000.0);
        assert!(used >= 0.02, "{used}");
    }

    #[test]
    fn nothing_is_capped_where_nothing_queues() {
        let (_, _, cap) = line(600_000.0, 0.0, |_| 0.0);
        assert!(cap.is_infinite());
    }
}
