//! Watches the way to the NAS: asks the gateway whether it lives, puts that beside what the tunnel
//! knows, and says in the log when the verdict changes. An idle line is asked now and then for its
//! bandwidth. Nothing waits for it; it only looks.

use std::time::{Duration, Instant};

use bytes::Bytes;
use link::{BandwidthMonitor, Connection, LinkState, Peer, PeerError, Signals};
use parking_lot::Mutex;
use rand::RngCore as _;
use storage_types::{gateway_api::PROBE_BYTES, service_api::LinkStatus};
use tokio_util::sync::CancellationToken;

use crate::pace::Pace;

/// Between two questions while all is well.
const EVERY: Duration = Duration::from_secs(5);
/// And while something is not, or bulk data are under way.
const SOON: Duration = Duration::from_secs(1);
/// Longest wait for an answer to one.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest wait for a probe to arrive.
const PROBE_PATIENCE: Duration = Duration::from_secs(60);

/// What is watched.
pub struct LinkWatch {
    peer: Peer,
    mode: String,
    tunnel: bool,
    pace: Pace,
    monitor: BandwidthMonitor,
    last: Mutex<Option<Verdict>>,
    /// What the last question met, when it was no answer.
    failure: Mutex<Option<PeerError>>,
}

/// What is told when it changes.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Verdict {
    state: LinkState,
    stable: bool,
}

impl LinkWatch {
    /// `mode` as the status shows it; `tunnel`: it is one of ours.
    #[must_use]
    pub fn new(peer: Peer, mode: String, tunnel: bool, pace: Pace, monitor: BandwidthMonitor) -> Self {
        Self { peer, mode, tunnel, pace, monitor, last: Mutex::new(None), failure: Mutex::new(None) }
    }

    /// Asks until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        loop {
            let ask = async {
                let well = self.ask().await;
                if well && self.peer.silence().is_none() && self.monitor.probe_due() {
                    self.probe().await;
                }
                let soon = !well || self.peer.silence().is_some();
                tokio::time::sleep(if soon { SOON } else { EVERY }).await;
            };
            if stop.run_until_cancelled(ask).await.is_none() {
                return;
            }
        }
    }

    /// Keeps bulk data out of the way of others on the same line, until `stop`.
    pub async fn give_way(&self, stop: CancellationToken) {
        stop.run_until_cancelled(self.monitor.give_way(self.pace.up())).await;
    }

    /// One question; whether all is well.
    async fn ask(&self) -> bool {
        let asked = Instant::now();
        // No answer within our patience is none.
        let answer = tokio::time::timeout(PATIENCE, self.peer.health()).await;
        let alive = matches!(answer, Ok(Ok(_)));
        self.monitor.asked(alive.then(|| asked.elapsed()));
        if let Ok(answer) = answer {
            self.met(answer.err());
        }
        let verdict = self.verdict();
        let mut last = self.last.lock();
        if last.replace(verdict) != Some(verdict) {
            let Verdict { state, stable } = verdict;
            tracing::info!(%state, stable, mode = self.mode, "the link to the NAS");
        }
        alive && verdict == (Verdict { state: LinkState::Up, stable: true })
    }

    /// A small piece of noise, which nobody on the way can make smaller.
    async fn probe(&self) {
        let mut noise = vec![0; PROBE_BYTES];
        rand::rng().fill_bytes(&mut noise);
        let sent = Instant::now();
        let put = self.peer.put("/v1/probe", &[], Bytes::from(noise), self.pace.up());
        let arrived = matches!(tokio::time::timeout(PROBE_PATIENCE, put).await, Ok(Ok(_)));
        let rtt = self.monitor.check_connection().echo.rtt_ms.unwrap_or_default() / 1e3;
        let seconds = (sent.elapsed().as_secs_f64() - rtt).max(1e-3);
        self.monitor.probed(arrived.then_some(PROBE_BYTES as f64 / seconds));
    }

    fn signals(&self, line: &Connection) -> Signals {
        Signals {
            tunnel: self.tunnel,
            handshake: line.handshake_age,
            http: self.peer.answered_ago(),
            transfer: self.peer.silence(),
        }
    }

    fn verdict(&self) -> Verdict {
        let line = self.monitor.check_connection();
        Verdict { state: LinkState::judge(&self.signals(&line)), stable: line.is_stable }
    }

    /// Keeps what a question met. A certificate that is not accepted will not pass by itself: it is said
    /// once, until something else is met.
    fn met(&self, failure: Option<PeerError>) {
        let mut last = self.failure.lock();
        let known = matches!(*last, Some(PeerError::Untrusted { .. }));
        if let Some(error @ PeerError::Untrusted { .. }) = failure.as_ref().filter(|_| !known) {
            tracing::warn!(%error, "the gateway is not called");
        }
        *last = failure;
    }

    /// For the status page.
    #[must_use]
    pub fn status(&self) -> LinkStatus {
        let line = self.monitor.check_connection();
        let signals = self.signals(&line);
        let known = line.echo.rtt_ms.is_some();
        let peer = self.monitor.peer();
        let state = LinkState::judge(&signals);
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
            rtt_ms: line.echo.rtt_ms,
            min_rtt_ms: line.echo.min_rtt_ms,
            jitter_ms: known.then_some(line.echo.jitter_ms),
            loss: known.then_some(line.echo.loss),
            bandwidth_bytes_s: line.bandwidth_bytes_s,
            capacity_bytes_s: line.capacity_bytes_s,
            stability: Some(line.stability),
            is_stable: line.is_stable,
            limit_bytes_s: self.pace.up().limit(),
            pace_bytes_s: self.pace.up().effective(),
            sent_bytes: peer.as_ref().map(|peer| peer.sent_bytes),
            received_bytes: peer.as_ref().map(|peer| peer.received_bytes),
        }
    }
}
