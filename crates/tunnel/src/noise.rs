//! WireGuard's cryptography for one peer behind one narrow trait, [`Session`], so that another implementation
//! can replace boringtun.
//!
//! The protocol is WireGuard's (Donenfeld, NDSS 2017; <https://www.wireguard.com/protocol/>). Sessions
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
/// Handshakes a second, over all addresses, above which senders must present a cookie (section 5.3 of the
/// paper).
const HANDSHAKES_PER_SECOND: u64 = 50;

/// What a call wrote into `out`.
pub(super) enum Outcome {
    /// Nothing to do.
    Nothing,
    /// The first so many bytes of `out` go to the network.
    Network(usize),
    /// The first so many bytes of `out` are a packet for us.
    Inner(usize),
}

/// The datagram does not belong (or no longer belongs) to a session of this peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rejected;

/// The keys and the cryptographic state of one peer.
pub(super) trait Session: Send {
    /// Encrypts `packet`; an empty one is a keepalive. Without an established session it is kept and a handshake
    /// is started.
    fn seal(&mut self, packet: &[u8], out: &mut [u8]) -> Outcome;
    /// Decrypts `datagram`. After `Network`, call again with an empty datagram until `Nothing`: packets
    /// that waited for the session.
    fn open(&mut self, from: IpAddr, datagram: &[u8], out: &mut [u8]) -> Result<Outcome, Rejected>;
    /// Handshakes, rekeys and keepalives that are due; to be called a few times a second.
    fn tick(&mut self, out: &mut [u8]) -> Outcome;
    /// Starts a handshake, even while a session is established.
    fn initiate(&mut self, out: &mut [u8]) -> Outcome;
    /// Time since the last finished handshake; `None`: there was none.
    fn handshake_age(&self) -> Option<Duration>;
}

/// [`Session`] by `boringtun`.
struct BoringtunSession(Tunn);

impl BoringtunSession {
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

impl Session for BoringtunSession {
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

    fn initiate(&mut self, out: &mut [u8]) -> Outcome {
        if out.len() < MIN_OUT {
            return Outcome::Nothing;
        }
        Self::outcome(&self.0.format_handshake_initiation(out, true)).unwrap_or(Outcome::Nothing)
    }

    fn handshake_age(&self) -> Option<Duration> {
        self.0.time_since_last_handshake()
    }
}

/// What all peers of one end share: its key, and the limit on handshakes per second that bounds what unknown
/// senders cost. Makes the sessions; nothing else in the tunnel knows that they are boringtun's.
pub(super) struct Handshakes {
    key: PrivateKey,
    secret: x25519::StaticSecret,
    public: x25519::PublicKey,
    limiter: Arc<RateLimiter>,
}

/// Who sent a handshake initiation (message type 1).
pub(super) enum Initiation {
    /// The peer with this public key, or somebody who replays its message.
    From(PublicKey),
    /// The handshake limit is exceeded: the first so many bytes of `out` are a cookie reply to be sent back.
    Cookie(usize),
    /// It cannot be told.
    Unknown,
}

impl Handshakes {
    pub(super) fn new(key: &PrivateKey) -> Self {
        let secret = x25519::StaticSecret::from(*key.expose());
        let public = x25519::PublicKey::from(&secret);
        let limiter = Arc::new(RateLimiter::new(&public, HANDSHAKES_PER_SECOND));
        Self { key: key.clone(), secret, public, limiter }
    }

    /// A session for `peer`; `index` as in [`Kind::ForPeer`].
    pub(super) fn session(&self, peer: &TunnelPeer, index: u32) -> Box<dyn Session> {
        Box::new(BoringtunSession::new(&self.key, peer, index, Arc::clone(&self.limiter)))
    }

    /// Finds the sender of a handshake initiation. Its public key is encrypted: reading it costs a Diffie-Hellman,
    /// which the handshake limit bounds. `out`: at least [`MIN_OUT`] bytes.
    pub(super) fn identify(&self, from: IpAddr, datagram: &[u8], out: &mut [u8]) -> Initiation {
        if out.len() < MIN_OUT {
            return Initiation::Unknown;
        }
        let packet = match self.limiter.verify_packet(Some(from), datagram, out) {
            Ok(packet) => packet,
            Err(TunnResult::WriteToNetwork(cookie)) => return Initiation::Cookie(cookie.len()),
            Err(_) => return Initiation::Unknown,
        };
        let Packet::HandshakeInit(init) = packet else { return Initiation::Unknown };
        match parse_handshake_anon(&self.secret, &self.public, &init) {
            Ok(half) => Initiation::From(PublicKey::from(half.peer_static_public)),
            Err(_) => Initiation::Unknown,
        }
    }

    /// Restarts the count of handshakes; to be called once a second.
    pub(super) fn second_passed(&self) {
        self.limiter.reset_count();
    }
}

/// What a datagram claims to be; nothing of it is authenticated yet.
pub(super) enum Kind {
    /// A handshake initiation: its sender is known only after a Diffie-Hellman.
    Initiation,
    /// For the session of the peer with this index.
    ForPeer(usize),
}

/// Reads the type and the receiver of a datagram; `None` when it is no WireGuard message.
pub(super) fn kind(datagram: &[u8]) -> Option<Kind> {
    let receiver = match Tunn::parse_incoming_packet(datagram).ok()? {
        Packet::HandshakeInit(_) => return Some(Kind::Initiation),
        Packet::HandshakeResponse(p) => p.receiver_idx,
        Packet::PacketCookieReply(p) => p.receiver_idx,
        Packet::PacketData(p) => p.receiver_idx,
    };
    usize::try_from(receiver >> 8).ok().map(Kind::ForPeer)
}
