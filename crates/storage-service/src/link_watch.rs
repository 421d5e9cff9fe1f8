//! Watches the way to the NAS: asks the gateway whether it lives, puts that beside what the tunnel
//! knows, and says in the log when the verdict changes. Nothing waits for it; it only looks.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use link::{Goodput, LinkState, Peer, PeerError, Signals, tunnel::Tunnel};
use storage_types::service_api::LinkStatus;
use tokio_util::sync::CancellationToken;

use crate::pace::Pace;

/// Between two questions.
const EVERY: Duration = Duration::from_secs(5);
/// Longest wait for an answer to one.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is watched.
pub struct LinkWatch {
    peer: Peer,
    mode: String,
    tunnel: Option<Tunnel>,
    pace: Pace,
    goodput: Goodput,
    last: Mutex<Option<LinkState>>,
    /// What the last question met, when it was no answer.
    failure: Mutex<Option<PeerError>>,
}

impl LinkWatch {
    /// `mode` as the status shows it.
    #[must_use]
    pub fn new(peer: Peer, mode: String, tunnel: Option<Tunnel>, pace: Pace, goodput: Goodput) -> Self {
        Self { peer, mode, tunnel, pace, goodput, last: Mutex::new(None), failure: Mutex::new(None) }
    }

    /// Asks until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        loop {
            let ask = async {
                // No answer within our patience is none; whether one came is in the peer's own record.
                if let Ok(asked) = tokio::time::timeout(PATIENCE, self.peer.health()).await {
                    self.met(asked.err());
                }
                self.note();
                tokio::time::sleep(EVERY).await;
            };
            if stop.run_until_cancelled(ask).await.is_none() {
                return;
            }
        }
    }

    fn signals(&self) -> Signals {
        let peer = self.tunnel.as_ref().and_then(|tunnel| tunnel.peers().into_iter().next());
        Signals {
            tunnel: self.tunnel.is_some(),
            handshake: peer.and_then(|peer| peer.handshake_age),
            http: self.peer.answered_ago(),
            transfer: self.peer.silence(),
        }
    }

    /// Keeps what a question met. A certificate that is not accepted will not pass by itself: it is said
    /// once, until something else is met.
    fn met(&self, failure: Option<PeerError>) {
        let mut last = lock(&self.failure);
        let known = matches!(*last, Some(PeerError::Untrusted { .. }));
        if let Some(error @ PeerError::Untrusted { .. }) = failure.as_ref().filter(|_| !known) {
            tracing::warn!(%error, "the gateway is not called");
        }
        *last = failure;
    }

    fn note(&self) {
        let state = LinkState::judge(&self.signals());
        let mut last = lock(&self.last);
        if last.replace(state) != Some(state) {
            tracing::info!(%state, mode = self.mode, "the link to the NAS");
        }
    }

    /// For the status page.
    #[must_use]
    pub fn status(&self) -> LinkStatus {
        let signals = self.signals();
        let peer = self.tunnel.as_ref().and_then(|tunnel| tunnel.peers().into_iter().next());
        let echo = peer.as_ref().map(|peer| peer.echo);
        let state = LinkState::judge(&signals);
        let failure =
            lock(&self.failure).as_ref().filter(|_| state != LinkState::Up).map(ToString::to_string);
        let seconds = |age: Option<Duration>| age.map(|age| age.as_secs());
        LinkStatus {
            mode: self.mode.clone(),
            state: state.to_string(),
            problem: peer.and_then(|peer| peer.problem).filter(|_| state != LinkState::Up).or(failure),
            http_s: seconds(signals.http),
            handshake_s: seconds(signals.handshake),
            rtt_ms: echo.and_then(|echo| echo.rtt_ms),
            min_rtt_ms: echo.and_then(|echo| echo.min_rtt_ms),
            jitter_ms: echo.filter(|echo| echo.rtt_ms.is_some()).map(|echo| echo.jitter_ms),
            loss: echo.filter(|echo| echo.rtt_ms.is_some()).map(|echo| echo.loss),
            bandwidth_bytes_s: self.goodput.average(),
            limit_bytes_s: self.pace.up().limit(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
