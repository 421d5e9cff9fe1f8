//! Monitors the link to the NAS: checks the gateway's health every few seconds, combines that with the tunnel's
//! handshakes, and logs each change of the link's state. Probes the bandwidth of an idle link now and then.
//!
//! It only observes: nothing waits for it, and every check has a deadline.

use std::time::{Duration, Instant};

use bytes::Bytes;
use link::{Peer, PeerError};
use parking_lot::Mutex;
use rand::RngCore as _;
use storage_types::{gateway_api::PROBE_BYTES, service_api::LinkStatus};
use tokio_util::sync::CancellationToken;

use super::{BandwidthMonitor, BandwidthSchedule, LinkQuality, LinkState, Signals};

/// Interval of the health checks while all is well.
const EVERY: Duration = Duration::from_secs(5);
/// Interval while something is wrong, or a transfer is under way.
const SOON: Duration = Duration::from_secs(1);
/// Longest wait for the answer to a health check.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest wait for a probe to arrive.
const PROBE_PATIENCE: Duration = Duration::from_secs(60);

/// See the head of this file.
pub struct LinkMonitor {
    peer: Peer,
    mode: String,
    tunnel: bool,
    schedule: BandwidthSchedule,
    monitor: BandwidthMonitor,
    /// The state that was logged last.
    logged: Mutex<Option<Verdict>>,
    /// Why the last health check failed; `None`: it did not.
    failure: Mutex<Option<PeerError>>,
}

/// What is logged when it changes.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Verdict {
    state: LinkState,
    stable: bool,
}

impl LinkMonitor {
    /// A monitor of the link to `peer`. `mode` is shown in the status; `tunnel`: a tunnel of ours carries the link.
    #[must_use]
    pub fn new(
        peer: Peer,
        mode: String,
        tunnel: bool,
        schedule: BandwidthSchedule,
        monitor: BandwidthMonitor,
    ) -> Self {
        Self { peer, mode, tunnel, schedule, monitor, logged: Mutex::new(None), failure: Mutex::new(None) }
    }

    /// Checks until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        loop {
            let round = async {
                let well = self.check().await;
                if well && self.peer.silence().is_none() && self.monitor.probe_due() {
                    self.probe().await;
                }
                let soon = !well || self.peer.silence().is_some();
                tokio::time::sleep(if soon { SOON } else { EVERY }).await;
            };
            if stop.run_until_cancelled(round).await.is_none() {
                return;
            }
        }
    }

    /// Keeps bulk data from filling the link's queue, until `stop`.
    pub async fn yield_to_others(&self, stop: CancellationToken) {
        stop.run_until_cancelled(self.monitor.yield_to_others(self.schedule.up())).await;
    }

    /// One health check; whether all is well.
    async fn check(&self) -> bool {
        let sent = Instant::now();
        // A late answer is none.
        let answer = tokio::time::timeout(PATIENCE, self.peer.health()).await;
        let alive = matches!(answer, Ok(Ok(_)));
        self.monitor.health_checked(alive.then(|| sent.elapsed()));
        if let Ok(answer) = answer {
            self.record_failure(answer.err());
        }
        let verdict = self.verdict();
        let mut last = self.logged.lock();
        if last.replace(verdict) != Some(verdict) {
            let Verdict { state, stable } = verdict;
            tracing::info!(%state, stable, mode = self.mode, "the link to the NAS");
        }
        alive && verdict == (Verdict { state: LinkState::Up, stable: true })
    }

    /// Measures the bandwidth with random bytes, which nothing on the path can compress.
    async fn probe(&self) {
        let mut noise = vec![0; PROBE_BYTES];
        rand::rng().fill_bytes(&mut noise);
        let sent = Instant::now();
        let put = self.peer.put("/v1/probe", &[], Bytes::from(noise), self.schedule.up());
        let arrived = matches!(tokio::time::timeout(PROBE_PATIENCE, put).await, Ok(Ok(_)));
        let rtt = self.monitor.quality().echo.rtt_ms.unwrap_or_default() / 1e3;
        let seconds = (sent.elapsed().as_secs_f64() - rtt).max(1e-3);
        self.monitor.probed(arrived.then_some(PROBE_BYTES as f64 / seconds));
    }

    fn signals(&self, quality: &LinkQuality) -> Signals {
        Signals {
            tunnel: self.tunnel,
            handshake: quality.handshake_age,
            http: self.peer.answered_ago(),
            transfer: self.peer.silence(),
        }
    }

    fn verdict(&self) -> Verdict {
        let quality = self.monitor.quality();
        Verdict { state: LinkState::of(&self.signals(&quality)), stable: quality.is_stable }
    }

    /// Keeps why a health check failed. A certificate that is not accepted stays so until somebody acts: it is logged
    /// once, until the check ends otherwise.
    fn record_failure(&self, failure: Option<PeerError>) {
        let mut last = self.failure.lock();
        let known = matches!(*last, Some(PeerError::Untrusted { .. }));
        if let Some(error @ PeerError::Untrusted { .. }) = failure.as_ref().filter(|_| !known) {
            tracing::warn!(%error, "the gateway is not called");
        }
        *last = failure;
    }

    /// The link's part of the status page.
    #[must_use]
    pub fn status(&self) -> LinkStatus {
        let quality = self.monitor.quality();
        let signals = self.signals(&quality);
        let known = quality.echo.rtt_ms.is_some();
        let peer = self.monitor.peer();
        let state = LinkState::of(&signals);
        let failure =
            self.failure.lock().as_ref().filter(|_| state != LinkState::Up).map(ToString::to_string);
        let seconds = |age: Option<Duration>| age.map(|age| age.as_secs());
        LinkStatus {
            mode: self.mode.clone(),
            state: state.to_string(),
            problem: peer
                .as_ref()
                .and_then(|peer| peer.problem.clone())
                .filter(|_| state != LinkState::Up)
                .or(failure),
            http_s: seconds(signals.http),
            handshake_s: seconds(signals.handshake),
            silent_s: seconds(signals.transfer),
            rtt_ms: quality.echo.rtt_ms,
            min_rtt_ms: quality.echo.min_rtt_ms,
            jitter_ms: known.then_some(quality.echo.jitter_ms),
            loss: known.then_some(quality.echo.loss),
            bandwidth_bytes_s: quality.bandwidth_bytes_s,
            capacity_bytes_s: quality.capacity_bytes_s,
            stability: Some(quality.stability),
            is_stable: quality.is_stable,
            limit_bytes_s: self.schedule.up().limit(),
            pace_bytes_s: self.schedule.up().effective(),
            sent_bytes: peer.as_ref().map(|peer| peer.sent_bytes),
            received_bytes: peer.as_ref().map(|peer| peer.received_bytes),
        }
    }
}
