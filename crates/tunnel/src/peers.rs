//! The peers of one end: which peer a packet goes to, which one a datagram is from, and where each peer was last
//! seen.
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
    gso_batch::SendQueue,
    noise::{self, Handshakes, Initiation, Kind, MIN_OUT, OVERHEAD, Outcome, Session},
    probe::{Echo, Prober, Traffic},
};

/// A handshake initiation (message type 1): it shows who it is from, not yet that both ends have the same
/// preshared key.
const INITIATION: u8 = 1;
/// A cookie reply (type 3): the answer to a handshake under load; it proves nothing about its sender.
const COOKIE_REPLY: u8 = 3;
/// A peer that was heard within this time is talking.
const TALKING: Duration = Duration::from_secs(30);
/// A peer that was talking and has sent nothing for this long is treated as silent; a handshake is started.
const SILENCE: Duration = Duration::from_secs(3);
/// Interval between handshakes with a dialled peer that is not heard.
const HANDSHAKE_EVERY: Duration = Duration::from_secs(5);
/// A peer with which bytes moved within this time is busy.
const BUSY: Duration = Duration::from_secs(5);
/// More than this between two ticks (100 ms) is traffic: more than echoes and keepalives.
const BUSY_BYTES: u64 = 2 * 1024;
/// More than this between two ticks is bulk data: 0.6 Mbit/s.
const BULK_BYTES: u64 = 8 * 1024;
/// A session that lives is younger than this (section 6.1 of the paper).
const SESSION: Duration = Duration::from_secs(180);
/// A peer that does not answer for this long is away.
const AWAY: Duration = Duration::from_secs(10);

/// One peer.
struct Peer {
    name: PublicKey,
    session: Box<dyn Session>,
    dial: Option<PeerEndpoint>,
    /// Why the name of its endpoint has no address at present.
    unresolved: Option<String>,
    /// The log already reported this outage.
    outage_logged: bool,
    address: Option<SocketAddr>,
    allowed: Vec<Cidr>,
    /// Its last datagram that a session authenticated, or that made one.
    heard: Option<Instant>,
    /// Its last handshake initiation.
    initiation_heard: Option<Instant>,
    /// Its last datagram with a packet inside.
    data_heard: Option<Instant>,
    /// Since when packets sent to it have had no answer.
    unanswered: Option<Instant>,
    /// The last handshake that either end started.
    initiated: Instant,
    prober: Option<Prober>,
    /// Bytes in both directions at the last tick.
    traffic: u64,
    /// The last tick with traffic.
    busy: Option<Instant>,
    /// The last tick with bulk data.
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
        let initiates = self.initiation_heard.is_some_and(|at| at.elapsed() < TALKING);
        Some(match (&self.unresolved, &self.dial, self.address) {
            (Some(problem), ..) => problem.clone(),
            (None, Some(endpoint), Some(address)) if initiates => {
                format!(
                    "no handshake with the peer at {endpoint} ({address}), though it asks for one: {half}"
                )
            }
            (None, None, _) if initiates => {
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

    /// Time since the last handshake that both ends finished. A session counts from its own response too, which
    /// the other end may not have been able to decrypt.
    fn handshake_age(&self) -> Option<Duration> {
        let heard = self.heard?.elapsed();
        self.session.handshake_age().map(|age| age.max(heard))
    }
}

/// The state of one peer.
#[derive(Debug, Clone)]
pub struct PeerStats {
    /// Its name.
    pub public_key: PublicKey,
    /// Where its last authenticated datagram came from, or where it is dialled.
    pub address: Option<SocketAddr>,
    /// What stands in the way of a session, while there is none, and what to do.
    pub problem: Option<String>,
    /// Time since the last finished handshake; `None`: there was none.
    pub handshake_age: Option<Duration>,
    /// Time since its last datagram that a session authenticated, or that made one.
    pub heard: Option<Duration>,
    /// What echoes to it have measured; all empty for a peer without an IPv4 address.
    pub echo: Echo,
    /// Bytes of packets sent to it.
    pub sent_bytes: u64,
    /// Bytes of packets received from it.
    pub received_bytes: u64,
}

/// Every peer of this end.
pub(super) struct Peers {
    handshakes: Handshakes,
    second_began: Instant,
    peers: Vec<Peer>,
    /// Datagrams that were no valid WireGuard, or of nobody we know.
    pub(super) refused_datagrams: u64,
    /// Packets without a peer for their destination, or from a source that is not the peer's.
    pub(super) misrouted_packets: u64,
}

impl Peers {
    pub(super) fn new(config: &TunnelConfig, mtu: u16) -> Self {
        let handshakes = Handshakes::new(&config.private_key);
        let now = Instant::now();
        let peers = (0_u32..).zip(&config.peers).map(|(index, peer)| Peer {
            name: peer.public_key,
            session: handshakes.session(peer, index),
            dial: peer.endpoint.clone(),
            unresolved: None,
            outage_logged: false,
            address: None,
            allowed: peer.allowed_ips.clone(),
            heard: None,
            initiation_heard: None,
            data_heard: None,
            unanswered: None,
            initiated: now,
            prober: prober(config, peer, mtu),
            traffic: 0,
            busy: None,
            bulk: None,
            sent_bytes: 0,
            received_bytes: 0,
        });
        Self {
            peers: peers.collect(),
            handshakes,
            second_began: now,
            refused_datagrams: 0,
            misrouted_packets: 0,
        }
    }

    /// Encrypts `packet` for the peer that its destination belongs to.
    pub(super) fn outbound(&mut self, packet: &[u8], queue: &mut SendQueue) {
        let Some(peer) = inner_addresses(packet).and_then(|(_, to)| self.route(to)) else {
            self.misrouted_packets += 1;
            return;
        };
        // Without an address the packet waits for the peer to dial us: the session keeps the last few.
        let Some(to) = peer.address else {
            peer.unanswered.get_or_insert_with(Instant::now);
            let _ = peer.session.seal(packet, &mut vec![0; MIN_OUT.max(packet.len() + OVERHEAD)]);
            return;
        };
        peer.sent_bytes += packet.len() as u64;
        peer.unanswered.get_or_insert_with(Instant::now);
        queue.add(to, MIN_OUT.max(packet.len() + OVERHEAD), |out| {
            network_bytes(peer.session.seal(packet, out))
        });
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

    /// Decrypts `datagram` → the length of the packet written to `out`, if there is one. Answers go to
    /// `queue`. `out` must be as long as the datagram, and at least 256 bytes.
    pub(super) fn inbound(
        &mut self,
        from: SocketAddr,
        datagram: &[u8],
        out: &mut [u8],
        queue: &mut SendQueue,
    ) -> Option<usize> {
        let Some(index) = self.sender(from.ip(), datagram, queue, from) else {
            self.refused_datagrams += 1;
            return None;
        };
        let peer = self.peers.get_mut(index)?;
        let Ok(outcome) = peer.session.open(from.ip(), datagram, out) else {
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
                // The rest of it takes a round trip: no handshake of our own meanwhile.
                (peer.initiation_heard, peer.initiated) = (Some(now), now);
            } else {
                peer.heard = Some(now);
                peer.outage_logged = false;
                peer.unanswered = None;
            }
        }
        match outcome {
            Outcome::Nothing => None,
            Outcome::Network(length) => {
                queue.add(from, length, |answer| {
                    answer.copy_from_slice(&out[..length]);
                    length
                });
                if !cookie {
                    flush_waiting(peer, from, queue);
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

    /// The index of the peer that a datagram claims to be from. Only a handshake initiation does not carry a
    /// receiver index: its sender is encrypted, see [`Handshakes::identify`].
    fn sender(&self, ip: IpAddr, datagram: &[u8], queue: &mut SendQueue, from: SocketAddr) -> Option<usize> {
        match noise::kind(datagram)? {
            Kind::ForPeer(index) => (index < self.peers.len()).then_some(index),
            Kind::Initiation if self.peers.len() == 1 => Some(0),
            Kind::Initiation => {
                let mut cookie = [0; MIN_OUT];
                match self.handshakes.identify(ip, datagram, &mut cookie) {
                    Initiation::From(name) => self.peers.iter().position(|peer| peer.name == name),
                    Initiation::Cookie(length) => {
                        queue.add(from, MIN_OUT, |out| {
                            out[..length].copy_from_slice(&cookie[..length]);
                            length
                        });
                        None
                    }
                    Initiation::Unknown => None,
                }
            }
        }
    }

    /// Timers of every peer; to be called about ten times a second.
    pub(super) fn tick(&mut self, now: Instant, queue: &mut SendQueue) {
        if now.duration_since(self.second_began) >= Duration::from_secs(1) {
            self.handshakes.second_passed();
            self.second_began = now;
        }
        for peer in &mut self.peers {
            match peer.address {
                Some(to) => {
                    queue.add(to, MIN_OUT, |out| network_bytes(peer.session.tick(out)));
                    Self::initiate_on_silence(peer, to, now, queue);
                    Self::probe(peer, to, now, queue);
                }
                None => drop(peer.session.tick(&mut [0; MIN_OUT])),
            }
        }
    }

    /// Starts a handshake with a silent peer, which may have lost its session (it was restarted) or our address
    /// (a router forgot it, or we moved). The handshake restores both, and its response shows that it did. The
    /// protocol's own timers (15 s, and 25 s between keepalives) would take too long to find out.
    fn initiate_on_silence(peer: &mut Peer, to: SocketAddr, now: Instant, queue: &mut SendQueue) {
        let ago = |at: Option<Instant>| at.map(|at| now.saturating_duration_since(at));
        let silent = ago(peer.heard).is_none_or(|ago| ago >= SILENCE);
        let unanswered = ago(peer.unanswered).is_some_and(|ago| ago >= SILENCE);
        let was_talking = ago(peer.data_heard).is_some_and(|ago| ago < TALKING);
        let since = now.saturating_duration_since(peer.initiated);
        let due = if unanswered || was_talking {
            since >= SILENCE
        } else {
            peer.dial.is_some() && since >= HANDSHAKE_EVERY
        };
        if silent && due {
            peer.initiated = now;
            queue.add(to, MIN_OUT, |out| network_bytes(peer.session.initiate(out)));
        }
    }

    fn probe(peer: &mut Peer, to: SocketAddr, now: Instant, queue: &mut SendQueue) {
        // Only over a session that lives: an echo must not keep a handshake going.
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
        for echo in prober.due(now, traffic) {
            queue.add(to, MIN_OUT.max(echo.len() + OVERHEAD), |out| {
                network_bytes(peer.session.seal(&echo, out))
            });
        }
    }

    /// The MTU that every peer's path carries, as far as is known; `None`: no peer is probed.
    pub(super) fn mtu(&self) -> Option<u16> {
        self.peers.iter().filter_map(|peer| Some(peer.prober.as_ref()?.mtu())).min()
    }

    /// Whether the peer that `ip` belongs to is known to be away: a connection could not be made.
    pub(super) fn is_away(&mut self, ip: IpAddr) -> bool {
        let long = |at: Instant| at.elapsed() >= AWAY;
        self.route(ip).is_some_and(|peer| peer.heard.is_none_or(long) && peer.unanswered.is_some_and(long))
    }

    /// The peers that are dialled: index, endpoint, time since each was last heard.
    pub(super) fn dialled(&self) -> Vec<(usize, PeerEndpoint, Option<Duration>)> {
        let dialled = self.peers.iter().enumerate();
        dialled
            .filter_map(|(index, peer)| {
                let heard = peer.heard.map(|at| at.elapsed());
                Some((index, peer.dial.clone()?, heard))
            })
            .collect()
    }

    /// The name of a dialled peer has this address now; a handshake is started when that is new.
    pub(super) fn resolved(&mut self, index: usize, address: SocketAddr, queue: &mut SendQueue) {
        let Some(peer) = self.peers.get_mut(index) else { return };
        peer.unresolved = None;
        if peer.address == Some(address) {
            // The peer had time to answer since the name was last looked up.
            if let Some(problem) = peer.problem() {
                if std::mem::replace(&mut peer.outage_logged, true) {
                    tracing::debug!("still: {problem}");
                } else {
                    tracing::warn!("{problem}");
                }
            }
        } else {
            peer.address = Some(address);
            // The handshake tells the peer our address, and packets that waited for an address follow it. One that
            // was started before there was an address was never sent: this is another.
            queue.add(address, MIN_OUT, |out| network_bytes(peer.session.initiate(out)));
        }
    }

    /// The name of a dialled peer has no address now, for this reason; `true` when that is new.
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

/// A prober from our first IPv4 address to that of `peer`; `None` when either has none.
fn prober(config: &TunnelConfig, peer: &TunnelPeer, mtu: u16) -> Option<Prober> {
    let v4 = |ranges: &[Cidr]| {
        ranges.iter().find_map(|range| match range.address {
            IpAddr::V4(ip) if !ip.is_unspecified() => Some(ip),
            _ => None,
        })
    };
    Some(Prober::new(v4(&config.addresses)?, v4(&peer.allowed_ips)?, rand::random(), mtu))
}

/// Sends the packets that waited for the session.
fn flush_waiting(peer: &mut Peer, to: SocketAddr, queue: &mut SendQueue) {
    // The queue of a session is bounded (256 packets).
    for _ in 0..300 {
        let mut more = false;
        queue.add(to, 2048, |out| match peer.session.open(to.ip(), &[], out) {
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

fn network_bytes(outcome: Outcome) -> usize {
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
        super::test_pair::{carry, config, packet},
        *,
    };

    #[test]
    fn packets_reach_the_peer_they_are_for_and_sources_are_checked() {
        let (cloud, nas, other) = (PrivateKey::generate(), PrivateKey::generate(), PrivateKey::generate());
        let mut a = Peers::new(&config(&nas, &[(&cloud, "10.0.1.1")]), 1420);
        let mut b = Peers::new(&config(&cloud, &[(&other, "10.0.1.3"), (&nas, "10.0.1.2")]), 1420);
        let (at_a, at_b): (SocketAddr, SocketAddr) =
            ("192.0.2.1:1000".parse().unwrap(), "192.0.2.2:51820".parse().unwrap());
        let mut queue = SendQueue::default();
        a.resolved(0, at_b, &mut queue);
        let good = packet([10, 0, 1, 2], [10, 0, 1, 1], 7);
        a.outbound(&good, &mut queue);
        assert_eq!(
            carry(&mut a, at_a, &mut b, at_b, queue),
            std::slice::from_ref(&good),
            "it waited for the session"
        );
        assert_eq!(b.stats()[1].address, Some(at_a));
        assert_eq!(b.stats()[0].address, None);

        // A source that is another peer's.
        let mut queue = SendQueue::default();
        a.outbound(&packet([10, 0, 1, 3], [10, 0, 1, 1], 7), &mut queue);
        assert_eq!(queue.len(), 1);
        assert!(carry(&mut a, at_a, &mut b, at_b, queue).is_empty());
        assert_eq!(b.misrouted_packets, 1);
        // A destination of nobody.
        a.outbound(&packet([10, 0, 1, 2], [10, 9, 9, 9], 7), &mut SendQueue::default());
        assert_eq!(a.misrouted_packets, 1);

        // From another address: it roams. A replay from elsewhere does not make it.
        let moved: SocketAddr = "198.51.100.7:4242".parse().unwrap();
        let mut queue = SendQueue::default();
        a.outbound(&good, &mut queue);
        let replay = queue.batches()[0].bytes.clone();
        assert_eq!(carry(&mut a, moved, &mut b, at_b, queue).len(), 1);
        assert_eq!(b.stats()[1].address, Some(moved));
        let mut out = vec![0; 4096];
        assert_eq!(b.inbound(at_a, &replay, &mut out, &mut SendQueue::default()), None);
        assert_eq!(b.stats()[1].address, Some(moved), "a replayed datagram moved the peer");
    }

    #[test]
    fn a_packet_before_there_is_an_address_does_not_hold_up_the_handshake() {
        let (cloud, nas) = (PrivateKey::generate(), PrivateKey::generate());
        let mut a = Peers::new(&config(&nas, &[(&cloud, "10.0.1.1")]), 1420);
        let mut b = Peers::new(&config(&cloud, &[(&nas, "10.0.1.2")]), 1420);
        let (at_a, at_b): (SocketAddr, SocketAddr) =
            ("192.0.2.1:1000".parse().unwrap(), "192.0.2.2:51820".parse().unwrap());
        let mut queue = SendQueue::default();
        let early = packet([10, 0, 1, 2], [10, 0, 1, 1], 7);
        a.outbound(&early, &mut queue);
        assert_eq!(queue.len(), 0, "there is nowhere to send to");
        a.resolved(0, at_b, &mut queue);
        assert_eq!(carry(&mut a, at_a, &mut b, at_b, queue), [early]);
    }

    #[test]
    fn garbage_changes_nothing() {
        let (cloud, nas) = (PrivateKey::generate(), PrivateKey::generate());
        let mut b = Peers::new(&config(&cloud, &[(&nas, "10.0.1.2")]), 1420);
        let (mut queue, mut out) = (SendQueue::default(), vec![0; 65_536]);
        let from: SocketAddr = "192.0.2.9:9".parse().unwrap();
        for first in 0..=255_u8 {
            for length in [0, 1, 3, 4, 31, 32, 63, 64, 91, 92, 147, 148, 149, 1452, 65_535] {
                let mut datagram = vec![first; length];
                if length > 4 && first < 6 {
                    datagram[1..4].fill(0);
                }
                assert_eq!(b.inbound(from, &datagram, &mut out, &mut queue), None);
            }
        }
        assert_eq!(b.stats()[0].address, None);
        assert_eq!(queue.len(), 0, "nothing of it was answered");
        assert_eq!(b.refused_datagrams, 256 * 15);
    }

    /// `from` starts a handshake with `to`, whether it has a session or not.
    fn handshake(from: &mut Peers, at: SocketAddr, to: &mut Peers, to_at: SocketAddr) {
        let mut queue = SendQueue::default();
        queue.add(to_at, MIN_OUT, |out| network_bytes(from.peers[0].session.initiate(out)));
        assert!(carry(from, at, to, to_at, queue).is_empty());
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
        let mut queue = SendQueue::default();
        a.resolved(0, at_b, &mut queue);
        a.outbound(&packet([10, 0, 1, 2], [10, 0, 1, 1], 7), &mut queue);
        assert!(carry(&mut a, at_a, &mut b, at_b, queue).is_empty());
        // Each starts handshakes, more than a session has slots for.
        for _ in 0..10 {
            handshake(&mut a, at_a, &mut b, at_b);
            handshake(&mut b, at_b, &mut a, at_a);
            for (end, name) in [(&a, "the dialling end"), (&b, "the dialled end")] {
                let stats = &end.stats()[0];
                assert!(stats.handshake_age.is_none() && stats.heard.is_none(), "{name}: {stats:?}");
                let problem = stats.problem.as_deref().unwrap_or_default();
                assert!(problem.contains("is the preshared key the same on both ends"), "{name}: {problem}");
            }
        }
    }
}
