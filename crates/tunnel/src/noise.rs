//! The cryptographic core of one peer behind one narrow trait, so that another can replace it.
//!
//! The protocol is WireGuard's (Donenfeld, NDSS 2017; <https://www.wireguard.com/protocol/>). Cores
//! write into the caller's buffers: `out` must hold [`OVERHEAD`] bytes more than the packet and at
//! least [`MIN_OUT`], else boringtun would panic; a buffer that is shorter is refused here.

use std::{net::IpAddr, sync::Arc, time::Duration};

use boringtun::{
    noise::{
        Packet, Tunn, TunnResult, errors::WireGuardError, handshake::parse_handshake_anon,
        rate_limiter::RateLimiter,
    },
    x25519,
};
use wireguard::{PrivateKey, PublicKey, TunnelPeer};

/// Bytes a datagram is longer than the packet inside.
pub(super) const OVERHEAD: usize = 32;
/// A handshake's first message has 148 bytes.
pub(super) const MIN_OUT: usize = 256;
/// Handshakes a second, over all addresses, above which a cookie is asked for (RFC-less: section 5.3
/// of the paper).
const HANDSHAKES_PER_SECOND: u64 = 50;

/// What came of a datagram or packet.
pub(super) enum Outcome {
    /// Nothing to do.
    Nothing,
    /// The first so many bytes of `out` go to the network.
    Network(usize),
    /// The first so many bytes of `out` are a packet for us.
    Inner(usize),
}

/// A datagram that is not (or no longer) of this peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rejected;

/// One peer's keys and sessions.
pub(super) trait Core: Send {
    /// Seals `packet`; an empty one is a keepalive. Without a session it is kept and a handshake begun.
    fn seal(&mut self, packet: &[u8], out: &mut [u8]) -> Outcome;
    /// Opens `datagram`. After `Network`, call again with an empty datagram until `Nothing`: packets
    /// that waited for the session.
    fn open(&mut self, from: IpAddr, datagram: &[u8], out: &mut [u8]) -> Result<Outcome, Rejected>;
    /// To be called a few times a second: handshakes, rekeys and keepalives that are due.
    fn tick(&mut self, out: &mut [u8]) -> Outcome;
    /// A handshake, whatever was agreed before.
    fn greet(&mut self, out: &mut [u8]) -> Outcome;
    /// Time since the last finished handshake.
    fn handshake_age(&self) -> Option<Duration>;
}

/// [`Core`] by `boringtun`.
struct Boring(Tunn);

impl Boring {
    /// `index` tells peers apart: it comes back in the upper 24 bits of a datagram's receiver index.
    fn new(key: &PrivateKey, peer: &TunnelPeer, index: u32, limiter: Arc<RateLimiter>) -> Self {
        Self(Tunn::new(
            x25519::StaticSecret::from(*key.expose()),
            x25519::PublicKey::from(*peer.public_key.bytes()),
            peer.preshared_key.as_ref().map(|key| *key.expose()),
            peer.persistent_keepalive,
            index,
            Some(limiter),
        ))
    }

    fn outcome(result: &TunnResult<'_>) -> Result<Outcome, Rejected> {
        match result {
            TunnResult::Done => Ok(Outcome::Nothing),
            TunnResult::WriteToNetwork(bytes) => Ok(Outcome::Network(bytes.len())),
            TunnResult::WriteToTunnelV4(bytes, _) => Ok(Outcome::Inner(bytes.len())),
            TunnResult::WriteToTunnelV6(bytes, _) => Ok(Outcome::Inner(bytes.len())),
            TunnResult::Err(_) => Err(Rejected),
        }
    }
}

impl Core for Boring {
    fn seal(&mut self, packet: &[u8], out: &mut [u8]) -> Outcome {
        if out.len() < MIN_OUT.max(packet.len() + OVERHEAD) {
            return Outcome::Nothing;
        }
        Self::outcome(&self.0.encapsulate(packet, out)).unwrap_or(Outcome::Nothing)
    }

    fn open(&mut self, from: IpAddr, datagram: &[u8], out: &mut [u8]) -> Result<Outcome, Rejected> {
        if out.len() < MIN_OUT.max(datagram.len()) {
            return Err(Rejected);
        }
        Self::outcome(&self.0.decapsulate(Some(from), datagram, out))
    }

    fn tick(&mut self, out: &mut [u8]) -> Outcome {
        if out.len() < MIN_OUT {
            return Outcome::Nothing;
        }
        let due = match self.0.update_timers(out) {
            // After an expiry a new handshake is begun at once: the other side may be back any moment.
            TunnResult::Err(WireGuardError::ConnectionExpired) => None,
            result => Some(Self::outcome(&result)),
        };
        let due = due.unwrap_or_else(|| Self::outcome(&self.0.format_handshake_initiation(out, true)));
        due.unwrap_or(Outcome::Nothing)
    }

    fn greet(&mut self, out: &mut [u8]) -> Outcome {
        if out.len() < MIN_OUT {
            return Outcome::Nothing;
        }
        Self::outcome(&self.0.format_handshake_initiation(out, true)).unwrap_or(Outcome::Nothing)
    }

    fn handshake_age(&self) -> Option<Duration> {
        self.0.time_since_last_handshake()
    }
}

/// What all peers of one end share: its key, and the count of handshakes that keeps strangers from
/// costing much. Makes the cores; nothing else of the tunnel knows what they are made of.
pub(super) struct Door {
    key: PrivateKey,
    secret: x25519::StaticSecret,
    public: x25519::PublicKey,
    limiter: Arc<RateLimiter>,
}

/// Who a handshake's first message is from.
pub(super) enum Knock {
    /// The peer of that name, or somebody who recorded its message.
    From(PublicKey),
    /// Too many ask: the first so many bytes of `out` are a cookie to be sent back.
    Cookie(usize),
    /// Nobody who could be told.
    Nobody,
}

impl Door {
    pub(super) fn new(key: &PrivateKey) -> Self {
        let secret = x25519::StaticSecret::from(*key.expose());
        let public = x25519::PublicKey::from(&secret);
        let limiter = Arc::new(RateLimiter::new(&public, HANDSHAKES_PER_SECOND));
        Self { key: key.clone(), secret, public, limiter }
    }

    /// The core of `peer`; `index` as in [`Kind::Of`].
    pub(super) fn core(&self, peer: &TunnelPeer, index: u32) -> Box<dyn Core> {
        Box::new(Boring::new(&self.key, peer, index, Arc::clone(&self.limiter)))
    }

    /// Finds the sender of a handshake's first message: it is inside, under a Diffie-Hellman, which the
    /// count guards. `out`: at least [`MIN_OUT`] bytes.
    pub(super) fn knock(&self, from: IpAddr, datagram: &[u8], out: &mut [u8]) -> Knock {
        if out.len() < MIN_OUT {
            return Knock::Nobody;
        }
        let packet = match self.limiter.verify_packet(Some(from), datagram, out) {
            Ok(packet) => packet,
            Err(TunnResult::WriteToNetwork(cookie)) => return Knock::Cookie(cookie.len()),
            Err(_) => return Knock::Nobody,
        };
        let Packet::HandshakeInit(init) = packet else { return Knock::Nobody };
        match parse_handshake_anon(&self.secret, &self.public, &init) {
            Ok(half) => Knock::From(PublicKey::from(half.peer_static_public)),
            Err(_) => Knock::Nobody,
        }
    }

    /// To be called once a second.
    pub(super) fn second_passed(&self) {
        self.limiter.reset_count();
    }
}

/// What a datagram says it is, before anything of it is believed.
pub(super) enum Kind {
    /// A handshake's first message: its sender is known only after a Diffie-Hellman.
    Initiation,
    /// For the peer of this index.
    Of(usize),
}

/// Reads the type and the receiver of a datagram; `None` when it is no WireGuard message.
pub(super) fn kind(datagram: &[u8]) -> Option<Kind> {
    let receiver = match Tunn::parse_incoming_packet(datagram).ok()? {
        Packet::HandshakeInit(_) => return Some(Kind::Initiation),
        Packet::HandshakeResponse(p) => p.receiver_idx,
        Packet::PacketCookieReply(p) => p.receiver_idx,
        Packet::PacketData(p) => p.receiver_idx,
    };
    usize::try_from(receiver >> 8).ok().map(Kind::Of)
}
