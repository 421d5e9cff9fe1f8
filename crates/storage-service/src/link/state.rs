//! How the link stands, from what both of its layers say: the tunnel's handshakes, and the HTTP calls
//! through it. Each way of being broken has a name, since each wants another remedy.
//!
//! Pure: ages come in. The limits are WireGuard's own: a session is renewed after 120 s and rejected
//! after 180 s (section 6.1 of the paper).

use std::{fmt, time::Duration};

/// A session that lives was renewed within this time.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(180);
/// The peer's HTTP side is dead when it answered nothing for so long.
const HTTP_LIMIT: Duration = Duration::from_secs(30);
/// A transfer on which no byte moves for so long stands still.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);

/// What was seen last, and how long ago.
#[derive(Debug, Clone, Copy, Default)]
pub struct Signals {
    /// There is a tunnel of ours.
    pub tunnel: bool,
    /// Since the last handshake; `None`: never.
    pub handshake: Option<Duration>,
    /// Since the other daemon last answered; `None`: never.
    pub http: Option<Duration>,
    /// Since a byte last moved, while a transfer is under way.
    pub transfer: Option<Duration>,
}

/// How the link stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkState {
    /// Everything answers.
    Up,
    /// The tunnel stands, the daemon behind it does not answer: look at the daemon, its port, its token.
    HttpDead,
    /// The daemon answers although there was no handshake for three minutes: it is reached another way
    /// than the tunnel.
    NoHandshake,
    /// A transfer on which no byte moved for 30 s.
    Silent,
    /// Nothing answers: look at the line, the endpoint, the keys.
    Down,
}

impl LinkState {
    /// Every way it can stand.
    pub const ALL: [Self; 5] = [Self::Up, Self::HttpDead, Self::NoHandshake, Self::Silent, Self::Down];

    /// Judges by `signals`.
    #[must_use]
    pub fn judge(signals: &Signals) -> Self {
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
    fn each_way_of_being_broken_has_its_name() {
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
            assert_eq!(LinkState::judge(&signals), state, "{signals:?}");
        }
    }
}
