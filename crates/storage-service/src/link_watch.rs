//! Watches the way to the NAS: asks the gateway whether it lives, puts that beside what the tunnel
//! knows, and says in the log when the verdict changes. Nothing waits for it; it only looks.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use link::{Goodput, LinkState, Peer, Signals, tunnel::Tunnel};
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
}

impl LinkWatch {
    /// `mode` as the status shows it.
    #[must_use]
    pub fn new(peer: Peer, mode: String, tunnel: Option<Tunnel>, pace: Pace, goodput: Goodput) -> Self {
        Self { peer, mode, tunnel, pace, goodput, last: Mutex::new(None) }
    }

    /// Asks until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        loop {
            let ask = async {
                // Whether it came is in the peer's own record.
                let _ = tokio::time::timeout(PATIENCE, self.peer.alive()).await;
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

    fn note(&self) {
        let state = LinkState::judge(&self.signals());
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.replace(state) != Some(state) {
            tracing::info!(%state, mode = self.mode, "the link to the NAS");
        }
    }

    /// For the status page.
    #[must_use]
    pub fn status(&self) -> LinkStatus {
        let signals = self.signals();
        let peer = self.tunnel.as_ref().and_then(|tunnel| tunnel.peers().into_iter().next());
        let echo = peer.map(|peer| peer.echo);
        let seconds = |age: Option<Duration>| age.map(|age| age.as_secs());
        LinkStatus {
            mode: self.mode.clone(),
            state: LinkState::judge(&signals).to_string(),
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
