//! A limit in bytes per second, smooth: tokens come continuously, and nobody takes more than a slice
//! at a time, so that a chunk never leaves as one burst.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Mutex, watch},
    time::Instant,
};

/// Most bytes that pass at once.
const SLICE_BYTES: u64 = 64 * 1024;

/// What holds, bytes per second.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Configured limit.
    limit: Option<u64>,
    /// Cap set by the delay controller.
    cap: Option<u64>,
}

impl Limits {
    fn effective(self) -> Option<u64> {
        [self.limit, self.cap].into_iter().flatten().min()
    }
}

/// Shared by every transfer in one direction. Clones are the same limiter.
#[derive(Clone, Debug)]
pub struct RateLimiter {
    limits: Arc<watch::Sender<Limits>>,
    /// When the next slice may leave. The lock is fair: transfers take turns by slices.
    free_at: Arc<Mutex<Instant>>,
    granted: Arc<AtomicU64>,
}

impl RateLimiter {
    /// At most `bytes_per_second`; `None`: no limit.
    #[must_use]
    pub fn new(bytes_per_second: Option<u64>) -> Self {
        Self {
            limits: Arc::new(watch::Sender::new(Limits { limit: bytes_per_second, cap: None })),
            free_at: Arc::new(Mutex::new(Instant::now())),
            granted: Arc::default(),
        }
    }

    /// Changes the limit, also for transfers under way.
    pub fn set(&self, bytes_per_second: Option<u64>) {
        self.limits.send_modify(|limits| limits.limit = bytes_per_second);
    }

    /// Caps the rate below the limit while the link queues (`None`: no cap), also for transfers under way.
    pub fn set_cap(&self, bytes_per_second: Option<u64>) {
        self.limits.send_if_modified(|limits| {
            std::mem::replace(&mut limits.cap, bytes_per_second) != bytes_per_second
        });
    }

    /// The limit that was set, bytes per second.
    #[must_use]
    pub fn limit(&self) -> Option<u64> {
        self.limits.borrow().limit
    }

    /// What may leave now, bytes per second: the limit or the cap, whichever is lower; `None`: neither is set.
    #[must_use]
    pub fn effective(&self) -> Option<u64> {
        self.limits.borrow().effective()
    }

    /// Bytes that have passed so far.
    #[must_use]
    pub fn granted_bytes(&self) -> u64 {
        self.granted.load(Ordering::Relaxed)
    }

    /// How large a piece should be passed to [`RateLimiter::acquire`] at once, bytes.
    #[must_use]
    pub fn slice_bytes(&self) -> usize {
        // What leaves in 20 ms, so that slow links are smooth too.
        let slice = self.effective().map_or(SLICE_BYTES, |limit| (limit / 50).clamp(1024, SLICE_BYTES));
        usize::try_from(slice).unwrap_or(usize::MAX)
    }

    /// Waits until `bytes` more may leave. Cancel safe: a dropped wait takes nothing.
    pub async fn acquire(&self, bytes: usize) {
        let mut free_at = self.free_at.lock().await;
        let mut changed = self.limits.subscribe();
        loop {
            let Some(limit) = changed.borrow_and_update().effective() else { break };
            let now = Instant::now();
            if *free_at <= now {
                let cost = Duration::from_secs_f64(bytes as f64 / limit.max(1) as f64);
                *free_at = (*free_at).max(now - Duration::from_millis(20)) + cost;
                break;
            }
            tokio::select! {
                () = tokio::time::sleep_until(*free_at) => {}
                change = changed.changed() => if change.is_ok() { *free_at = now },
            }
        }
        self.granted.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn seconds_for(limiter: &RateLimiter, bytes: usize) -> f64 {
        let started = Instant::now();
        let mut left = bytes;
        while left > 0 {
            let slice = left.min(limiter.slice_bytes());
            limiter.acquire(slice).await;
            left -= slice;
        }
        started.elapsed().as_secs_f64()
    }

    #[tokio::test(start_paused = true)]
    async fn holds_the_limit_over_ten_seconds() {
        let limiter = RateLimiter::new(Some(10_000_000));
        let seconds = seconds_for(&limiter, 100_000_000).await;
        assert!((9.8..=10.2).contains(&seconds), "{seconds}");
    }

    #[tokio::test(start_paused = true)]
    async fn two_transfers_share_it() {
        let limiter = RateLimiter::new(Some(1_000_000));
        let (a, b) = tokio::join!(seconds_for(&limiter, 1_000_000), seconds_for(&limiter, 1_000_000));
        assert!((1.8..=2.2).contains(&a.max(b)), "{a} {b}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_reaches_a_transfer_that_waits() {
        let limiter = RateLimiter::new(Some(1));
        limiter.acquire(1_000_000).await;
        let other = limiter.clone();
        let waiting = async { limiter.acquire(1).await };
        let change = async { other.set(None) };
        let started = Instant::now();
        tokio::join!(waiting, change);
        assert!(started.elapsed() < Duration::from_secs(1));
    }
    #[tokio::test(start_paused = true)]
    async fn slow_and_fast_limits_are_held_alike() {
        for rate in [1_000_u64, 100_000, 1_000_000_000] {
            let seconds = seconds_for(&RateLimiter::new(Some(rate)), rate as usize * 5).await;
            assert!((4.0..=5.1).contains(&seconds), "{rate} B/s: {seconds}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_not_saved_up() {
        let limiter = RateLimiter::new(Some(1_000_000));
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let seconds = seconds_for(&limiter, 1_000_000).await;
        assert!((0.9..=1.0).contains(&seconds), "{seconds}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_transfer_does_not_starve_a_small_one() {
        let limiter = RateLimiter::new(Some(1_000_000));
        let small = seconds_for(&limiter, 500_000);
        let (large, small) = tokio::join!(seconds_for(&limiter, 5_000_000), small);
        assert!((0.8..=1.2).contains(&small), "half the rate while both run: {small}");
        assert!((5.3..=5.6).contains(&large), "{large}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_was_dropped_takes_nothing() {
        let limiter = RateLimiter::new(Some(1_000));
        limiter.acquire(1_000).await;
        let dropped = tokio::time::timeout(Duration::from_millis(100), limiter.acquire(1_000_000)).await;
        assert!(dropped.is_err());
        let seconds = seconds_for(&limiter, 20).await;
        assert!((0.8..=1.0).contains(&seconds), "{seconds}");
    }

    /// Grants of `seconds` at a limit of 10 MB/s, when each wake-up comes `late()` milliseconds late.
    async fn grants(seconds: u64, mut late: impl FnMut() -> u64) -> Vec<(f64, u64)> {
        let limiter = RateLimiter::new(Some(10_000_000));
        let started = Instant::now();
        let mut grants = Vec::new();
        while started.elapsed() < Duration::from_secs(seconds) {
            let slice = limiter.slice_bytes();
            limiter.acquire(slice).await;
            grants.push((started.elapsed().as_secs_f64(), slice as u64));
            let late = late();
            if late > 0 {
                tokio::time::sleep(Duration::from_millis(late)).await;
            }
        }
        grants
    }

    /// Within 2 % over all, within 5 % in every window of a second that lies inside.
    fn holds_ten_megabytes(grants: &[(f64, u64)], seconds: f64) {
        let all: u64 = grants.iter().map(|grant| grant.1).sum();
        let rate = all as f64 / seconds;
        assert!((9_800_000.0..=10_200_000.0).contains(&rate), "over {seconds} s: {rate} B/s");
        for (first, (from, _)) in grants.iter().enumerate() {
            if from + 1.0 > seconds {
                break;
            }
            let inside = grants[first..].iter().take_while(|grant| grant.0 < from + 1.0);
            let bytes: u64 = inside.map(|grant| grant.1).sum();
            assert!((9_500_000..=10_500_000).contains(&bytes), "second from {from}: {bytes} bytes");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_second_is_held() {
        holds_ten_megabytes(&grants(10, || 0).await, 10.0);
    }

    #[tokio::test(start_paused = true)]
    async fn late_wake_ups_neither_lose_nor_win() {
        holds_ten_megabytes(&grants(10, || 5).await, 10.0);
        holds_ten_megabytes(&grants(10, || rand::random_range(0..=5)).await, 10.0);
        // Half a second of late ones, then prompt ones: what was missed comes back at once, and stays below 5 %.
        let mut turn = 0;
        let waves = grants(10, || {
            turn += 1;
            if turn / 80 % 2 == 0 { 5 } else { 0 }
        });
        holds_ten_megabytes(&waves.await, 10.0);
    }
}
