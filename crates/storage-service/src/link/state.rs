//! The state of the link, from both of its layers: the tunnel's handshakes, and the HTTP calls through it. Each
//! kind of outage has a name, since each has another remedy.
//!
//! Pure: ages come in. The limits are WireGuard's own: a session is renewed after 120 s and rejected
//! after 180 s (section 6.1 of the paper).

use std::{fmt, time::Duration};

/// A session that is alive was renewed within this time.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(180);
/// The other daemon is dead when it answered nothing for this time.
const HTTP_LIMIT: Duration = Duration::from_secs(30);
/// A transfer on which no byte moved for this time has stalled.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);

/// What each layer reported last, as ages.
#[derive(Debug, Clone, Copy, Default)]
pub struct Signals {
    /// There is a tunnel of ours.
    pub tunnel: bool,
    /// Time since the last handshake; `None`: there was none.
    pub handshake: Option<Duration>,
    /// Time since the other daemon last answered; `None`: it never did.
    pub http: Option<Duration>,
    /// Time since a byte last moved; `None` while no transfer is under way.
    pub transfer: Option<Duration>,
}

/// The state of the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkState {
    /// Everything answers.
    Up,
    /// The tunnel stands, the daemon behind it does not answer: look at the daemon, its port, its token.
    HttpDead,
    /// The daemon answers although there was no handshake for three minutes: it is reached by another
    /// path than the tunnel.
    NoHandshake,
    /// A transfer on which no byte moved for 30 s.
    Silent,
    /// Nothing answers: look at the internet connection, the endpoint, the keys.
    Down,
}

impl LinkState {
    /// Every state.
    pub const ALL: [Self; 5] = [Self::Up, Self::HttpDead, Self::NoHandshake, Self::Silent, Self::Down];

    /// The state that `signals` mean.
    #[must_use]
    pub fn of(signals: &Signals) -> Self {
        let within = |age: Option<Duration>, limit| age.is_some_and(|age| age < limit);
        let http = within(signals.http, HTTP_LIMIT);
        let handshake = within(signals.handshake, HANDSHAKE_LIMIT);
        match (signals.tunnel, handshake, http) {
            (_, _, false) if signals.tunnel && handshake => Self::HttpDead,
            (_, _, false) => Self::Down,
            (true, false, true) => Self::NoHandshake,
            _ if signals.transfer.is_some_and(|age| age >= SILENCE_LIMIT) => Self::Silent,
            _ => Self::Up,
        }
    }

    /// `up`, `http_dead`, `no_handshake`, `silent` or `down`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::HttpDead => "http_dead",
            Self::NoHandshake => "no_handshake",
            Self::Silent => "silent",
            Self::Down => "down",
        }
    }
}

impl fmt::Display for LinkState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_outage_has_its_name() {
        let s = |seconds| Some(Duration::from_secs(seconds));
        for (tunnel, handshake, http, transfer, state) in [
            (true, s(10), s(1), None, LinkState::Up),
            (true, s(10), s(1), s(29), LinkState::Up),
            (true, s(10), s(1), s(30), LinkState::Silent),
            (true, s(10), s(31), None, LinkState::HttpDead),
            (true, s(10), None, s(60), LinkState::HttpDead),
            (true, s(181), s(1), None, LinkState::NoHandshake),
            (true, None, s(1), None, LinkState::NoHandshake),
            (true, s(200), s(40), None, LinkState::Down),
            (true, None, None, None, LinkState::Down),
            (false, None, s(1), None, LinkState::Up),
            (false, None, s(40), None, LinkState::Down),
        ] {
            let signals = Signals { tunnel, handshake, http, transfer };
            assert_eq!(LinkState::of(&signals), state, "{signals:?}");
        }
    }
}
