//! All measurements of the link in one place: bandwidth (from our own transfers, and from a probe while there were
//! none), round trip, jitter, loss, and whether the link is good enough for bulk data.
//!
//! Round trip, jitter and loss come from the tunnel's echoes where there is a tunnel of ours; behind a proxy or an
//! external VPN from the health checks of the other daemon. The monitor sends nothing itself: the link monitor and
//! the transfers report to it.

use std::{sync::Arc, time::Duration};

use link::RateLimiter;
use parking_lot::{Mutex, MutexGuard};
use tokio::{sync::watch, time::Instant};
use tunnel::{Echo, PeerStats, Tunnel};

use super::{Goodput, LinkQuality, link_quality::Stability};

/// The link is idle when the last transfer ended this long ago.
const IDLE: Duration = Duration::from_secs(60);
/// Interval between bandwidth probes of an idle link (256 KiB each, 6 MB a day).
const PROBE_EVERY: Duration = Duration::from_secs(3600);

/// See the head of this file. Clones are the same monitor.
#[derive(Clone)]
pub struct BandwidthMonitor(Arc<Inner>);

struct Inner {
    tunnel: Option<Tunnel>,
    goodput: Goodput,
    measured: Mutex<Measured>,
    stable: watch::Sender<bool>,
}

struct Measured {
    stability: Stability,
    /// Round trips of the health checks.
    echo: Echo,
    /// When the last transfer ended.
    transferred: Option<Instant>,
    /// When the last probe ended, and its bytes per second.
    probed: Option<(Instant, Option<f64>)>,
}

impl BandwidthMonitor {
    /// Monitor of the link through `tunnel`; `None`: an external VPN or proxy.
    #[must_use]
    pub fn new(tunnel: Option<Tunnel>) -> Self {
        Self(Arc::new(Inner {
            tunnel,
            goodput: Goodput::new(),
            measured: Mutex::new(Measured {
                stability: Stability::new(),
                echo: Echo::default(),
                transferred: None,
                probed: None,
            }),
            stable: watch::Sender::new(true),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Measured> {
        self.0.measured.lock()
    }

    /// Rates of the daemon's own transfers.
    #[must_use]
    pub fn goodput(&self) -> &Goodput {
        &self.0.goodput
    }

    /// The first peer of the tunnel; `None` without a tunnel of ours.
    #[must_use]
    pub fn peer(&self) -> Option<PeerStats> {
        self.0.tunnel.as_ref()?.peers().into_iter().next()
    }

    /// Records a health check of the other daemon: how long its answer took; `None`: there was none.
    pub fn health_checked(&self, answer: Option<Duration>) {
        {
            let mut measured = self.lock();
            measured.stability.record(answer.is_some());
            if let Some(rtt) = answer {
                measured.echo.measured(rtt.as_secs_f64() * 1e3);
            }
        }
        self.quality();
    }

    /// Records a transfer of `bytes` that arrived after `time`.
    pub fn transferred(&self, bytes: u64, time: Duration) {
        self.0.goodput.record(bytes, time);
        let mut measured = self.lock();
        measured.transferred = Some(Instant::now());
        measured.stability.record(true);
    }

    /// Records a transfer that broke off.
    pub fn broke_off(&self) {
        self.lock().stability.record(false);
        self.quality();
    }

    /// Whether the link's bandwidth should be probed now: nothing was transferred for a minute, and the last probe
    /// is an hour old.
    #[must_use]
    pub fn probe_due(&self) -> bool {
        let measured = self.lock();
        measured.transferred.is_none_or(|at| at.elapsed() >= IDLE)
            && measured.probed.is_none_or(|(at, _)| at.elapsed() >= PROBE_EVERY)
    }

    /// Records a probe's bytes per second; `None`: it failed, and the next one is due in an hour.
    pub fn probed(&self, bytes_per_second: Option<f64>) {
        self.lock().probed = Some((Instant::now(), bytes_per_second));
    }

    /// The link's quality now. [`BandwidthMonitor::stable`] returns by what was found here last.
    pub fn quality(&self) -> LinkQuality {
        let peer = self.peer();
        let mut measured = self.lock();
        let inside = peer.as_ref().map(|peer| peer.echo).filter(|echo| echo.answers > 0);
        let echo = inside.unwrap_or(Echo { loss: measured.stability.missed(), ..measured.echo });
        let rtt_ms = echo.rtt_ms.unwrap_or_default();
        let (stability, is_stable) = measured.stability.score(echo.loss, rtt_ms, echo.jitter_ms);
        let probed = measured.probed.and_then(|(_, rate)| rate);
        drop(measured);
        self.0.stable.send_if_modified(|stable| std::mem::replace(stable, is_stable) != is_stable);
        LinkQuality {
            bandwidth_bytes_s: self.0.goodput.average().or(probed),
            capacity_bytes_s: self.0.goodput.capacity().or(probed),
            echo,
            handshake_age: peer.and_then(|peer| peer.handshake_age),
            stability,
            is_stable,
        }
    }

    /// Returns once the link is good enough for bulk data: at once, as a rule.
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
    async fn bulk_data_wait_for_a_link_that_answers_again() {
        let monitor = BandwidthMonitor::new(None);
        monitor.stable().await;
        (0..5).for_each(|_| monitor.health_checked(None));
        let dead = monitor.quality();
        assert!(!dead.is_stable && dead.stability < 0.3, "{dead:?}");
        let waiting = monitor.clone();
        let started = Instant::now();
        let answers = async {
            for _ in 0..5 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                monitor.health_checked(Some(Duration::from_millis(30)));
            }
        };
        let ((), waited) = tokio::join!(answers, async {
            waiting.stable().await;
            started.elapsed()
        });
        assert!((2..=5).contains(&waited.as_secs()), "{waited:?}");
        assert!(monitor.quality().is_stable);
    }

    #[tokio::test(start_paused = true)]
    async fn only_an_idle_link_is_probed() {
        let monitor = BandwidthMonitor::new(None);
        assert!(monitor.probe_due());
        monitor.probed(Some(1e6));
        assert!(!monitor.probe_due());
        assert_eq!(monitor.quality().bandwidth_bytes_s, Some(1e6));
        monitor.transferred(1_000_000, Duration::from_millis(500));
        assert_eq!(monitor.quality().bandwidth_bytes_s, Some(2e6), "our own transfers come first");
        tokio::time::sleep(PROBE_EVERY - Duration::from_secs(30)).await;
        monitor.transferred(1_000_000, Duration::from_millis(500));
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert!(!monitor.probe_due(), "half a minute ago there was a transfer");
        tokio::time::sleep(IDLE).await;
        assert!(monitor.probe_due());
    }
}
