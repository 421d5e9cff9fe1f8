//! Who is on the other end: which peer a packet goes to, which one a datagram is from, and where each
//! peer was last seen.
//!
//! Cryptokey routing (section 2 of the WireGuard paper): a packet goes to the peer with the longest
//! matching allowed range, and one that comes out of a peer's session is taken only when its inner
//! source lies in that peer's ranges. A peer's address changes only by a datagram that its session
//! authenticated. Whatever does not belong is dropped and counted; nothing of it is kept.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use wireguard::{Cidr, PeerEndpoint, PublicKey, TunnelConfig, TunnelPeer};

use super::{
    noise::{self, Core, Door, Kind, Knock, MIN_OUT, OVERHEAD, Outcome},
    outbox::Outbox,
    probe::{Echo, Prober, Traffic},
};

/// A handshake's first message (type 1): it shows who it is from, not yet that both ends have the same
/// preshared key.
const INITIATION: u8 = 1;
/// A cookie reply (type 3): the answer to a handshake under load; it proves nothing about its sender.
const COOKIE_REPLY: u8 = 3;
/// A peer that was heard within this time is talking.
const TALKING: Duration = Duration::from_secs(30);
/// So long a silence is one: see [`Peers::greet`].
const SILENCE: Duration = Duration::from_secs(3);
/// A dialled peer that is not heard is greeted so often.
const GREETING: Duration = Duration::from_secs(5);
/// A peer with which bytes moved within this time is busy.
const BUSY: Duration = Duration::from_secs(5);
/// More than this between two looks (100 ms) is traffic: more than questions and signs of life.
const BUSY_BYTES: u64 = 2 * 1024;
/// More than this between two looks is bulk data: 0.6 Mbit/s.
const BULK_BYTES: u64 = 8 * 1024;
/// A session that lives is younger than this (section 6.1 of the paper).
const SESSION: Duration = Duration::from_secs(180);
/// A peer that does not answer for this long is away.
const AWAY: Duration = Duration::from_secs(10);

/// One peer.
struct Peer {
    name: PublicKey,
    core: Box<dyn Core>,
    dial: Option<PeerEndpoint>,
    /// Why its name has no address at present.
    unresolved: Option<String>,
    /// It was said that it does not answer.
    missed: bool,
    address: Option<SocketAddr>,
    allowed: Vec<Cidr>,
    /// Its last datagram that a session authenticated, or that made one.
    heard: Option<Instant>,
    /// Its last call for a session.
    knocked: Option<Instant>,
    data_heard: Option<Instant>,
    /// Since when what we sent has met no answer.
    unanswered: Option<Instant>,
    greeted: Instant,
    prober: Option<Prober>,
    /// Bytes either way at the last tick, and when they last changed.
    traffic: u64,
    busy: Option<Instant>,
    bulk: Option<Instant>,
    sent_bytes: u64,
    received_bytes: u64,
}

impl Peer {
    /// Why there is no session, in words that say what to do.
    fn problem(&self) -> Option<String> {
        if self.handshake_age().is_some_and(|age| age < SESSION) {
            return None;
        }
        let keys = "do both ends have each other's public key and the same preshared key?";
        let half = "is the preshared key the same on both ends, and do datagrams pass both ways?";
        let knocks = self.knocked.is_some_and(|at| at.elapsed() < TALKING);
        Some(match (&self.unresolved, &self.dial, self.address) {
            (Some(problem), ..) => problem.clone(),
            (None, Some(endpoint), Some(address)) if knocks => {
                format!(
                    "no handshake with the peer at {endpoint} ({address}), though it asks for one: {half}"
                )
            }
            (None, None, _) if knocks => {
                format!("no handshake with the peer {}, though it asks for one: {half}", self.name)
            }
            (None, Some(endpoint), Some(address)) => format!(
                "no handshake with the peer at {endpoint} ({address}): is it running, is its UDP port open, and {keys}"
            ),
            (None, Some(endpoint), None) => format!("the peer's endpoint {endpoint} is being looked up"),
            (None, None, _) => format!(
                "no handshake with the peer {}, which dials us: does it run, does our UDP port let it in, and {keys}",
                self.name
            ),
        })
    }

    /// Since the last handshake that both ends finished. A core counts from its answer too, which the other
    /// end may not have been able to open.
    fn handshake_age(&self) -> Option<Duration> {
        let proven = self.heard?.elapsed();
        self.core.handshake_age().map(|age| age.max(proven))
    }
}

/// How a peer stands.
#[derive(Debug, Clone)]
pub struct PeerStats {
    /// Its name.
    pub public_key: PublicKey,
    /// Where its last authenticated datagram came from, or where it is dialled.
    pub address: Option<SocketAddr>,
    /// What stands in the way of a session, while there is none, and what to do.
    pub problem: Option<String>,
    /// Since the last finished handshake.
    pub handshake_age: Option<Duration>,
    /// Since its last datagram that a session authenticated, or that made one.
    pub heard: Option<Duration>,
    /// What questions to it have shown; all empty for a peer without an IPv4 address.
    pub echo: Echo,
    /// Bytes of packets sent to it.
    pub sent_bytes: u64,
    /// Bytes of packets received from it.
    pub received_bytes: u64,
}

/// Every peer of this end.
pub(super) struct Peers {
    door: Door,
    second_began: Instant,
    peers: Vec<Peer>,
    /// Datagrams that were no valid WireGuard, or of nobody we know.
    pub(super) refused_datagrams: u64,
    /// Packets without a peer for their destination, or from a source that is not the peer's.
    pub(super) misrouted_packets: u64,
}

impl Peers {
    pub(super) fn new(config: &TunnelConfig, mtu: u16) -> Self {
        let door = Door::new(&config.private_key);
        let now = Instant::now();
        let peers = (0_u32..).zip(&config.peers).map(|(index, peer)| Peer {
            name: peer.public_key,
            core: door.core(peer, index),
            dial: peer.endpoint.clone(),
            unresolved: None,
            missed: false,
            address: None,
            allowed: peer.allowed_ips.clone(),
            heard: None,
            knocked: None,
            data_heard: None,
            unanswered: None,
            greeted: now,
            prober: prober(config, peer, mtu),
            traffic: 0,
            busy: None,
            bulk: None,
            sent_bytes: 0,
            received_bytes: 0,
        });
        Self { peers: peers.collect(), door, second_began: now, refused_datagrams: 0, misrouted_packets: 0 }
    }

    /// Seals `packet` for the peer that its destination belongs to.
    pub(super) fn outbound(&mut self, packet: &[u8], outbox: &mut Outbox) {
        let Some(peer) = inner_addresses(packet).and_then(|(_, to)| self.route(to)) else {
            self.misrouted_packets += 1;
            return;
        };
        // Without an address the packet waits for the peer to dial us: its session keeps the last few.
        let Some(to) = peer.address else {
            peer.unanswered.get_or_insert_with(Instant::now);
            let _ = peer.core.seal(packet, &mut vec![0; MIN_OUT.max(packet.len() + OVERHEAD)]);
            return;
        };
        peer.sent_bytes += packet.len() as u64;
        peer.unanswered.get_or_insert_with(Instant::now);
        outbox.add(to, MIN_OUT.max(packet.len() + OVERHEAD), |out| network(peer.core.seal(packet, out)));
    }

    fn route(&mut self, to: IpAddr) -> Option<&mut Peer> {
        let longest = |peer: &Peer| {
            peer.allowed.iter().filter(|range| range.contains(to)).map(|range| range.prefix).max()
        };
        self.peers
            .iter_mut()
            .filter_map(|peer| Some((longest(peer)?, peer)))
            .max_by_key(|(n, _)| *n)
            .map(|x| x.1)
    }

    /// Opens `datagram`; the length of the packet written to `out`, if there is one. Answers go to
    /// `outbox`. `out` must be as long as the datagram, and at least 256 bytes.
    pub(super) fn inbound(
        &mut self,
        from: SocketAddr,
        datagram: &[u8],
        out: &mut [u8],
        outbox: &mut Outbox,
    ) -> Option<usize> {
        let Some(index) = self.sender(from.ip(), datagram, outbox, from) else {
            self.refused_datagrams += 1;
            return None;
        };
        let peer = self.peers.get_mut(index)?;
        let Ok(outcome) = peer.core.open(from.ip(), datagram, out) else {
            self.refused_datagrams += 1;
            return None;
        };
        let cookie = matches!(outcome, Outcome::Network(_)) && out.first() == Some(&COOKIE_REPLY);
        if !cookie && datagram.first() != Some(&COOKIE_REPLY) {
            if peer.address.replace(from) != Some(from) {
                peer.prober.iter_mut().for_each(Prober::moved);
            }
            let now = Instant::now();
            if datagram.first() == Some(&INITIATION) {
                // What comes of it takes a round trip: no call of our own meanwhile.
                (peer.knocked, peer.greeted) = (Some(now), now);
            } else {
                peer.heard = Some(now);
                peer.missed = false;
                peer.unanswered = None;
            }
        }
        match outcome {
            Outcome::Nothing => None,
            Outcome::Network(length) => {
                outbox.add(from, length, |answer| {
                    answer.copy_from_slice(&out[..length]);
                    length
                });
                if !cookie {
                    flush_waiting(peer, from, outbox);
                }
                None
            }
            Outcome::Inner(length) => {
                peer.data_heard = peer.heard;
                let source = inner_addresses(&out[..length]).map(|(source, _)| source);
                if !source.is_some_and(|ip| peer.allowed.iter().any(|range| range.contains(ip))) {
                    self.misrouted_packets += 1;
                    return None;
                }
                let now = Instant::now();
                if peer.prober.as_mut().is_some_and(|prober| prober.answer(&out[..length], now)) {
                    return None;
                }
                peer.received_bytes += length as u64;
                Some(length)
            }
        }
    }

    /// Which peer a datagram claims to be from. Only a handshake's first message does not name its
    /// receiver's index: its sender is inside, under a Diffie-Hellman, which the limiter guards.
    fn sender(&self, ip: IpAddr, datagram: &[u8], outbox: &mut Outbox, from: SocketAddr) -> Option<usize> {
        match noise::kind(datagram)? {
            Kind::Of(index) => (index < self.peers.len()).then_some(index),
            Kind::Initiation if self.peers.len() == 1 => Some(0),
            Kind::Initiation => {
                let mut cookie = [0; MIN_OUT];
                match self.door.knock(ip, datagram, &mut cookie) {
                    Knock::From(name) => self.peers.iter().position(|peer| peer.name == name),
                    Knock::Cookie(length) => {
                        outbox.add(from, MIN_OUT, |out| {
                            out[..length].copy_from_slice(&cookie[..length]);
                            length
                        });
                        None
                    }
                    Knock::Nobody => None,
                }
            }
        }
    }

    /// What is due: to be called about ten times a second.
    pub(super) fn tick(&mut self, now: Instant, outbox: &mut Outbox) {
        if now.duration_since(self.second_began) >= Duration::from_secs(1) {
            self.door.second_passed();
            self.second_began = now;
        }
        for peer in &mut self.peers {
            match peer.address {
                Some(to) => {
                    outbox.add(to, MIN_OUT, |out| network(peer.core.tick(out)));
                    Self::greet(peer, to, now, outbox);
                    Self::probe(peer, to, now, outbox);
                }
                None => drop(peer.core.tick(&mut [0; MIN_OUT])),
            }
        }
    }

    /// A silent peer may have lost its keys (it was started anew) or our address (a router forgot it,
    /// or we moved). A handshake mends both, and its answer shows that it did. The protocol's own
    /// timers (15 s, and 25 s between keepalives) would take too long to find out.
    fn greet(peer: &mut Peer, to: SocketAddr, now: Instant, outbox: &mut Outbox) {
        let ago = |at: Option<Instant>| at.map(|at| now.saturating_duration_since(at));
        let silent = ago(peer.heard).is_none_or(|ago| ago >= SILENCE);
        let unanswered = ago(peer.unanswered).is_some_and(|ago| ago >= SILENCE);
        let was_talking = ago(peer.data_heard).is_some_and(|ago| ago < TALKING);
        let since = now.saturating_duration_since(peer.greeted);
        let due = if unanswered || was_talking {
            since >= SILENCE
        } else {
            peer.dial.is_some() && since >= GREETING
        };
        if silent && due {
            peer.greeted = now;
            outbox.add(to, MIN_OUT, |out| network(peer.core.greet(out)));
        }
    }

    fn probe(peer: &mut Peer, to: SocketAddr, now: Instant, outbox: &mut Outbox) {
        // Only over a session that lives: a question must not keep a handshake going.
        let alive = peer.heard.is_some_and(|at| now.saturating_duration_since(at) < TALKING);
        let traffic = peer.sent_bytes + peer.received_bytes;
        let moved = traffic - std::mem::replace(&mut peer.traffic, traffic);
        if moved > BUSY_BYTES {
            peer.busy = Some(now);
        }
        if moved > BULK_BYTES {
            peer.bulk = Some(now);
        }
        let lately = |at: Option<Instant>| at.is_some_and(|at| now.saturating_duration_since(at) < BUSY);
        let traffic = match (lately(peer.bulk), lately(peer.busy)) {
            (true, _) => Traffic::Bulk,
            (false, true) => Traffic::Some,
            (false, false) => Traffic::Idle,
        };
        let Some(prober) = peer.prober.as_mut().filter(|_| alive) else { return };
        for question in prober.due(now, traffic) {
            outbox.add(to, MIN_OUT.max(question.len() + OVERHEAD), |out| {
                network(peer.core.seal(&question, out))
            });
        }
    }

    /// The largest packet that reaches every peer, as far as is known.
    pub(super) fn mtu(&self) -> Option<u16> {
        self.peers.iter().filter_map(|peer| Some(peer.prober.as_ref()?.mtu())).min()
    }

    /// Whether the peer that `ip` belongs to is known to be away: connecting would only wait.
    pub(super) fn is_away(&mut self, ip: IpAddr) -> bool {
        let long = |at: Instant| at.elapsed() >= AWAY;
        self.route(ip).is_some_and(|peer| peer.heard.is_none_or(long) && peer.unanswered.is_some_and(long))
    }

    /// The peers that are dialled, with where, and since when each was not heard.
    pub(super) fn dialled(&self) -> Vec<(usize, PeerEndpoint, Option<Duration>)> {
        let dialled = self.peers.iter().enumerate();
        dialled
            .filter_map(|(index, peer)| {
                let heard = peer.heard.map(|at| at.elapsed());
                Some((index, peer.dial.clone()?, heard))
            })
            .collect()
    }

    /// A dialled peer's name means this address now; a handshake is begun.
    pub(super) fn resolved(&mut self, index: usize, address: SocketAddr, outbox: &mut Outbox) {
        let Some(peer) = self.peers.get_mut(index) else { return };
        peer.unresolved = None;
        if peer.address == Some(address) {
            // It had time to answer since the name was last looked up.
            if let Some(problem) = peer.problem() {
                if std::mem::replace(&mut peer.missed, true) {
                    tracing::debug!("still: {problem}");
                } else {
                    tracing::warn!("{problem}");
                }
            }
        } else {
            peer.address = Some(address);
            // A handshake tells the peer where we are, and what waited for an address follows it. One
            // that was begun before there was an address went nowhere: this is another.
            outbox.add(address, MIN_OUT, |out| network(peer.core.greet(out)));
        }
    }

    /// A dialled peer's name has no address now; whether it had one, or was not looked up yet.
    pub(super) fn unresolved(&mut self, index: usize, reason: String) -> bool {
        self.peers.get_mut(index).is_some_and(|peer| peer.unresolved.replace(reason).is_none())
    }

    pub(super) fn stats(&self) -> Vec<PeerStats> {
        let stats = self.peers.iter().map(|peer| PeerStats {
            public_key: peer.name,
            address: peer.address,
            problem: peer.problem(),
            handshake_age: peer.handshake_age(),
            heard: peer.heard.map(|at| at.elapsed()),
            echo: peer.prober.as_ref().map(Prober::echo).unwrap_or_default(),
            sent_bytes: peer.sent_bytes,
            received_bytes: peer.received_bytes,
        });
        stats.collect()
    }
}

/// Questions to the first IPv4 address of `peer`, from ours.
fn prober(config: &TunnelConfig, peer: &TunnelPeer, mtu: u16) -> Option<Prober> {
    let v4 = |ranges: &[Cidr]| {
        ranges.iter().find_map(|range| match range.address {
            IpAddr::V4(ip) if !ip.is_unspecified() => Some(ip),
            _ => None,
        })
    };
    Some(Prober::new(v4(&config.addresses)?, v4(&peer.allowed_ips)?, rand::random(), mtu))
}

/// Packets that waited for the session.
fn flush_waiting(peer: &mut Peer, to: SocketAddr, outbox: &mut Outbox) {
    // The queue of a core is bounded (256 packets).
    for _ in 0..300 {
        let mut more = false;
        outbox.add(to, 2048, |out| match peer.core.open(to.ip(), &[], out) {
            Ok(Outcome::Network(length)) => {
                more = true;
                length
            }
            _ => 0,
        });
        if !more {
            return;
        }
    }
}

fn network(outcome: Outcome) -> usize {
    match outcome {
        Outcome::Network(length) => length,
        _ => 0,
    }
}

/// Source and destination of an IP packet (RFC 791, RFC 8200); `None` when it is none.
pub(super) fn inner_addresses(packet: &[u8]) -> Option<(IpAddr, IpAddr)> {
    fn at<const N: usize>(packet: &[u8], start: usize) -> Option<[u8; N]> {
        packet.get(start..start + N)?.try_into().ok()
    }
    match packet.first()? >> 4 {
        4 if packet.len() >= 20 => Some((at::<4>(packet, 12)?.into(), at::<4>(packet, 16)?.into())),
        6 if packet.len() >= 40 => Some((at::<16>(packet, 8)?.into(), at::<16>(packet, 24)?.into())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use wireguard::PrivateKey;

    use super::{
        super::rehearsal::{carry, config, packet},
        *,
    };

    #[test]
    fn packets_reach_the_peer_they_are_for_and_sources_are_checked() {
        let (cloud, nas, other) = (PrivateKey::generate(), PrivateKey::generate(), PrivateKey::generate());
        let mut a = Peers::new(&config(&nas, &[(&cloud, "10.0.1.1")]), 1420);
        let mut b = Peers::new(&config(&cloud, &[(&other, "10.0.1.3"), (&nas, "10.0.1.2")]), 1420);
        let (at_a, at_b): (SocketAddr, SocketAddr) =
            ("192.0.2.1:1000".parse().unwrap(), "192.0.2.2:51820".parse().unwrap());
        let mut outbox = Outbox::default();
        a.resolved(0, at_b, &mut outbox);
        let good = packet([10, 0, 1, 2], [10, 0, 1, 1], 7);
        a.outbound(&good, &mut outbox);
        assert_eq!(
            carry(&mut a, at_a, &mut b, at_b, outbox),
            std::slice::from_ref(&good),
            "it waited for the session"
        );
        assert_eq!(b.stats()[1].address, Some(at_a));
        assert_eq!(b.stats()[0].address, None);

        // A source that is another peer's.
        let mut outbox = Outbox::default();
        a.outbound(&packet([10, 0, 1, 3], [10, 0, 1, 1], 7), &mut outbox);
        assert_eq!(outbox.len(), 1);
        assert!(carry(&mut a, at_a, &mut b, at_b, outbox).is_empty());
        assert_eq!(b.misrouted_packets, 1);
        // A destination of nobody.
        a.outbound(&packet([10, 0, 1, 2], [10, 9, 9, 9], 7), &mut Outbox::default());
        assert_eq!(a.misrouted_packets, 1);

        // From another address: it roams. A replay from elsewhere does not make it.
        let moved: SocketAddr = "198.51.100.7:4242".parse().unwrap();
        let mut outbox = Outbox::default();
        a.outbound(&good, &mut outbox);
        let replay = outbox.runs()[0].bytes.clone();
        assert_eq!(carry(&mut a, moved, &mut b, at_b, outbox).len(), 1);
        assert_eq!(b.stats()[1].address, Some(moved));
        let mut out = vec![0; 4096];
        assert_eq!(b.inbound(at_a, &replay, &mut out, &mut Outbox::default()), None);
        assert_eq!(b.stats()[1].address, Some(moved), "a replayed datagram moved the peer");
    }

    #[test]
    fn a_packet_before_there_is_an_address_does_not_hold_up_the_handshake() {
        let (cloud, nas) = (PrivateKey::generate(), PrivateKey::generate());
        let mut a = Peers::new(&config(&nas, &[(&cloud, "10.0.1.1")]), 1420);
        let mut b = Peers::new(&config(&cloud, &[(&nas, "10.0.1.2")]), 1420);
        let (at_a, at_b): (SocketAddr, SocketAddr) =
            ("192.0.2.1:1000".parse().unwrap(), "192.0.2.2:51820".parse().unwrap());
        let mut outbox = Outbox::default();
        let early = packet([10, 0, 1, 2], [10, 0, 1, 1], 7);
        a.outbound(&early, &mut outbox);
        assert_eq!(outbox.len(), 0, "there is nowhere to send to");
        a.resolved(0, at_b, &mut outbox);
        assert_eq!(carry(&mut a, at_a, &mut b, at_b, outbox), [early]);
    }

    #[test]
    fn garbage_changes_nothing() {
        let (cloud, nas) = (PrivateKey::generate(), PrivateKey::generate());
        let mut b = Peers::new(&config(&cloud, &[(&nas, "10.0.1.2")]), 1420);
        let (mut outbox, mut out) = (Outbox::default(), vec![0; 65_536]);
        let from: SocketAddr = "192.0.2.9:9".parse().unwrap();
        for first in 0..=255_u8 {
            for length in [0, 1, 3, 4, 31, 32, 63, 64, 91, 92, 147, 148, 149, 1452, 65_535] {
                let mut datagram = vec![first; length];
                if length > 4 && first < 6 {
                    datagram[1..4].fill(0);
                }
                assert_eq!(b.inbound(from, &datagram, &mut out, &mut outbox), None);
            }
        }
        assert_eq!(b.stats()[0].address, None);
        assert_eq!(outbox.len(), 0, "nothing of it was answered");
        assert_eq!(b.refused_datagrams, 256 * 15);
    }

    /// `from` calls `to` for a session, whether it has one or not.
    fn call(from: &mut Peers, at: SocketAddr, to: &mut Peers, to_at: SocketAddr) {
        let mut outbox = Outbox::default();
        outbox.add(to_at, MIN_OUT, |out| network(from.peers[0].core.greet(out)));
        assert!(carry(from, at, to, to_at, outbox).is_empty());
    }

    #[test]
    fn a_preshared_key_that_differs_makes_no_session() {
        let (cloud, nas) = (PrivateKey::generate(), PrivateKey::generate());
        let mut left = config(&nas, &[(&cloud, "10.0.1.1")]);
        left.peers[0].preshared_key = Some(wireguard::PresharedKey::generate());
        let (mut a, mut b) =
            (Peers::new(&left, 1420), Peers::new(&config(&cloud, &[(&nas, "10.0.1.2")]), 1420));
        let (at_a, at_b): (SocketAddr, SocketAddr) =
            ("192.0.2.1:1000".parse().unwrap(), "192.0.2.2:51820".parse().unwrap());
        let mut outbox = Outbox::default();
        a.resolved(0, at_b, &mut outbox);
        a.outbound(&packet([10, 0, 1, 2], [10, 0, 1, 1], 7), &mut outbox);
        assert!(carry(&mut a, at_a, &mut b, at_b, outbox).is_empty());
        // Each calls the other, often enough for every place that a core has for its answers.
        for _ in 0..10 {
            call(&mut a, at_a, &mut b, at_b);
            call(&mut b, at_b, &mut a, at_a);
            for (end, name) in [(&a, "the dialling end"), (&b, "the dialled end")] {
                let stats = &end.stats()[0];
                assert!(stats.handshake_age.is_none() && stats.heard.is_none(), "{name}: {stats:?}");
                let problem = stats.problem.as_deref().unwrap_or_default();
                assert!(problem.contains("is the preshared key the same on both ends"), "{name}: {problem}");
            }
        }
    }
}
