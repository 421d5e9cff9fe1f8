//! Yielding to others on the same link: the tunnel's echoes feed the delay controller, and its cap goes to the
//! limiter of bulk data.
//!
//! Reads counters and sets a cap; dropping the future leaves the last cap in force.

use std::{collections::VecDeque, time::Duration};

use link::RateLimiter;
use tokio::time::Instant;

use super::{Tunnel, delay_controller::DelayController};

/// How often a new echo is looked for.
const LOOK: Duration = Duration::from_millis(100);
/// The rate of what leaves is taken over this time.
const CARRIED_OVER: Duration = Duration::from_secs(1);

impl Tunnel {
    /// Caps `limiter` while packets queue on the link to the first peer, for ever.
    pub async fn yield_to_others(&self, limiter: &RateLimiter) {
        let (mut controller, started) = (DelayController::new(), Instant::now());
        let (mut answers, mut carried) = (0, Carried::default());
        loop {
            tokio::time::sleep(LOOK).await;
            let Some(peer) = self.peers().into_iter().next() else { continue };
            let rate = carried.rate(Instant::now(), peer.sent_bytes);
            let Some(rtt) = peer.echo.last_rtt_ms.filter(|_| peer.echo.answers != answers) else { continue };
            answers = peer.echo.answers;
            let rtt = Duration::from_secs_f64(rtt / 1e3);
            limiter.set_cap(controller.sample(started.elapsed(), rtt, rate));
        }
    }
}

/// Bytes per second over the last second, from a counter.
#[derive(Debug, Default)]
struct Carried(VecDeque<(Instant, u64)>);

impl Carried {
    fn rate(&mut self, now: Instant, bytes: u64) -> f64 {
        self.0.push_back((now, bytes));
        while self.0.len() > 2 && self.0.get(1).is_some_and(|next| now - next.0 >= CARRIED_OVER) {
            self.0.pop_front();
        }
        let Some((from, before)) = self.0.front() else { return 0.0 };
        let seconds = (now - *from).as_secs_f64();
        if seconds > 0.0 { bytes.saturating_sub(*before) as f64 / seconds } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_carried_is_that_of_the_last_second() {
        let (mut carried, mut bytes, mut last) = (Carried::default(), 0, 0.0);
        for n in 0..100 {
            bytes += if n < 50 { 1_000 } else { 5_000 };
            last = carried.rate(Instant::now(), bytes);
            tokio::time::sleep(LOOK).await;
        }
        assert!((last - 50_000.0).abs() < 1.0, "{last}");
    }
}
