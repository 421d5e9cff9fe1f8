//! What is known of the line, in one place: how fast it is (from our own transfers, and while there were
//! none from a small question), how long and how restless the round trip, what is lost, and whether it is
//! good enough for bulk data.
//!
//! Round trip, jitter and loss come from the tunnel's echoes where there is a tunnel, which see the very
//! line; behind a proxy or a foreign VPN from the questions whether the other daemon lives.
//! Nothing here asks by itself; whoever asks or transfers tells. Clones are the same monitor.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use link::RateLimiter;
use tokio::{sync::watch, time::Instant};
use tunnel::{Echo, PeerStats, Tunnel};

use super::{Goodput, stability::Stability};

/// So long after the last transfer the line is idle.
const IDLE: Duration = Duration::from_secs(60);
/// An idle line is asked for its bandwidth so often: 6 MB a day at most.
const PROBE_EVERY: Duration = Duration::from_secs(3600);

/// How the line is now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Connection {
    /// Goodput, moving average, bytes per second; of a probe until there was a transfer.
    pub bandwidth_bytes_s: Option<f64>,
    /// The most it carried lately, bytes per second.
    pub capacity_bytes_s: Option<f64>,
    /// Round trip, jitter and loss.
    pub echo: Echo,
    /// Since the tunnel's last handshake.
    pub handshake_age: Option<Duration>,
    /// 0 to 1; 1 while nothing is known.
    pub stability: f64,
    /// Good enough for bulk data: from 0.6 on, until it falls below 0.3.
    pub is_stable: bool,
}

/// See the head of this file.
#[derive(Clone)]
pub struct BandwidthMonitor(Arc<Inner>);

struct Inner {
    tunnel: Option<Tunnel>,
    goodput: Goodput,
    asked: Mutex<Asked>,
    stable: watch::Sender<bool>,
}

struct Asked {
    stability: Stability,
    /// Of the questions to the other daemon.
    echo: Echo,
    transferred: Option<Instant>,
    probed: Option<(Instant, Option<f64>)>,
}

impl BandwidthMonitor {
    /// Of a line with that tunnel of ours, or none.
    #[must_use]
    pub fn new(tunnel: Option<Tunnel>) -> Self {
        Self(Arc::new(Inner {
            tunnel,
            goodput: Goodput::new(),
            asked: Mutex::new(Asked {
                stability: Stability::new(),
                echo: Echo::default(),
                transferred: None,
                probed: None,
            }),
            stable: watch::Sender::new(true),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Asked> {
        self.0.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rates of our own transfers.
    #[must_use]
    pub fn goodput(&self) -> &Goodput {
        &self.0.goodput
    }

    /// The peer of our tunnel, the first of several.
    #[must_use]
    pub fn peer(&self) -> Option<PeerStats> {
        self.0.tunnel.as_ref()?.peers().into_iter().next()
    }

    /// The other daemon was asked whether it lives: how long its answer took, or that none came.
    pub fn asked(&self, answer: Option<Duration>) {
        {
            let mut asked = self.lock();
            asked.stability.record(answer.is_some());
            if let Some(rtt) = answer {
                asked.echo.measured(rtt.as_secs_f64() * 1e3);
            }
        }
        self.check_connection();
    }

    /// A transfer of `bytes` arrived after `time`.
    pub fn transferred(&self, bytes: u64, time: Duration) {
        self.0.goodput.record(bytes, time);
        let mut asked = self.lock();
        asked.transferred = Some(Instant::now());
        asked.stability.record(true);
    }

    /// A transfer broke off.
    pub fn broke_off(&self) {
        self.lock().stability.record(false);
        self.check_connection();
    }

    /// Whether an idle line should be asked for its bandwidth now: nothing was transferred for a minute,
    /// and it was not asked within the hour.
    #[must_use]
    pub fn probe_due(&self) -> bool {
        let asked = self.lock();
        asked.transferred.is_none_or(|at| at.elapsed() >= IDLE)
            && asked.probed.is_none_or(|(at, _)| at.elapsed() >= PROBE_EVERY)
    }

    /// A probe's bytes per second; `None`: it failed, and the next one has time.
    pub fn probed(&self, bytes_per_second: Option<f64>) {
        self.lock().probed = Some((Instant::now(), bytes_per_second));
    }

    /// How the line is. Also the moment at which the verdict may change.
    pub fn check_connection(&self) -> Connection {
        let peer = self.peer();
        let mut asked = self.lock();
        let inside = peer.as_ref().map(|peer| peer.echo).filter(|echo| echo.answers > 0);
        let echo = inside.unwrap_or(Echo { loss: asked.stability.missed(), ..asked.echo });
        let rtt_ms = echo.rtt_ms.unwrap_or_default();
        let (stability, is_stable) = asked.stability.judge(echo.loss, rtt_ms, echo.jitter_ms);
        let probed = asked.probed.and_then(|(_, rate)| rate);
        drop(asked);
        self.0.stable.send_if_modified(|stable| std::mem::replace(stable, is_stable) != is_stable);
        Connection {
            bandwidth_bytes_s: self.0.goodput.average().or(probed),
            capacity_bytes_s: self.0.goodput.capacity().or(probed),
            echo,
            handshake_age: peer.and_then(|peer| peer.handshake_age),
            stability,
            is_stable,
        }
    }

    /// Returns once the line is good enough for bulk data: at once, as a rule.
    pub async fn stable(&self) {
        let mut stable = self.0.stable.subscribe();
        if stable.wait_for(|stable| *stable).await.is_err() {
            // The sender lives in `self`.
            std::future::pending::<()>().await;
        }
    }

    /// Caps `limiter` while packets queue on the link, for ever: see [`Tunnel::yield_to_others`]. Without a
    /// tunnel of ours nothing is known of the link's queue, and nothing is done.
    pub async fn yield_to_others(&self, limiter: &RateLimiter) {
        match &self.0.tunnel {
            Some(tunnel) => tunnel.yield_to_others(limiter).await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn bulk_data_wait_for_a_line_that_answers_again() {
        let monitor = BandwidthMonitor::new(None);
        monitor.stable().await;
        (0..5).for_each(|_| monitor.asked(None));
        let dead = monitor.check_connection();
        assert!(!dead.is_stable && dead.stability < 0.3, "{dead:?}");
        let waiting = monitor.clone();
        let started = Instant::now();
        let answers = async {
            for _ in 0..5 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                monitor.asked(Some(Duration::from_millis(30)));
            }
        };
        let ((), waited) = tokio::join!(answers, async {
            waiting.stable().await;
            started.elapsed()
        });
        assert!((2..=5).contains(&waited.as_secs()), "{waited:?}");
        assert!(monitor.check_connection().is_stable);
    }

    #[tokio::test(start_paused = true)]
    async fn only_an_idle_line_is_asked_for_its_bandwidth() {
        let monitor = BandwidthMonitor::new(None);
        assert!(monitor.probe_due());
        monitor.probed(Some(1e6));
        assert!(!monitor.probe_due());
        assert_eq!(monitor.check_connection().bandwidth_bytes_s, Some(1e6));
        monitor.transferred(1_000_000, Duration::from_millis(500));
        assert_eq!(monitor.check_connection().bandwidth_bytes_s, Some(2e6), "our own transfers come first");
        tokio::time::sleep(PROBE_EVERY - Duration::from_secs(30)).await;
        monitor.transferred(1_000_000, Duration::from_millis(500));
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert!(!monitor.probe_due(), "half a minute ago there was a transfer");
        tokio::time::sleep(IDLE).await;
        assert!(monitor.probe_due());
    }
}
