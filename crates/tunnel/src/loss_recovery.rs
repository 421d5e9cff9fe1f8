//! TCP loss recovery beside the userspace stack, which has a slow one: a copy of every segment is kept until it
//! is acknowledged, and a segment that is known to be lost is retransmitted at once.
//!
//! smoltcp reads no selective acknowledgments, repairs one hole a round trip at best, and its retransmission
//! timer is never below a second; every loss also halves its window. Here losses are found by time, as RACK
//! and TLP do ([RFC 8985](https://www.rfc-editor.org/rfc/rfc8985)): a segment is lost when one that was sent
//! later has arrived, and the first one is sent again when nothing at all comes back. The duplicate
//! acknowledgments of a loss that is being repaired are kept from the stack, as a snooping proxy does
//! ([RFC 3135](https://www.rfc-editor.org/rfc/rfc3135), 3.1): a link that loses one in a hundred is not a
//! full one. When more than [`HEAVY`] are lost they are let through, and the stack slows down as it should.
//!
//! Pure: time and packets come in, packets and verdicts come out. What is kept is bounded by [`MOST_BYTES`];
//! beyond it, and whatever is not understood, passes as if nothing of this were here.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    time::{Duration, Instant},
};

use smoltcp::wire::{IpAddress, IpProtocol, Ipv4Packet, Ipv6Packet, TcpPacket, TcpSeqNumber};

/// Most bytes kept, of all connections.
const MOST_BYTES: usize = 48 << 20;
/// Share of lost segments from which on the link is taken for congested.
const HEAVY: f64 = 0.04;
/// Weight of one segment in that share.
const SEGMENT_WEIGHT: f64 = 1.0 / 256.0;
/// Most segments retransmitted for one acknowledgment.
const BURST: usize = 8;
/// The probe timeout is two round trips, but not less than this: then the first segment is retransmitted.
const MIN_PROBE_TIMEOUT: Duration = Duration::from_millis(40);
/// The probe timeout before the round trip is known.
const INITIAL_PROBE_TIMEOUT: Duration = Duration::from_millis(500);
/// The probe timeout doubles with each probe, at most this often.
const MOST_DOUBLINGS: u32 = 5;
/// A connection without progress for this time is left to the stack, which gives it up in the end.
const STUCK: Duration = Duration::from_secs(2);
/// Resolution of the probe timers.
const TIMER: Duration = Duration::from_millis(10);
/// A connection with neither an acknowledgment nor a probe for this time is forgotten.
const FORGET: Duration = Duration::from_secs(90);

/// One TCP connection: the other end's address and both ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Flow {
    other: IpAddr,
    other_port: u16,
    own_port: u16,
}

/// What loss recovery reads from a TCP packet.
struct Header {
    flow: Flow,
    start: TcpSeqNumber,
    end: TcpSeqNumber,
    ack: Option<TcpSeqNumber>,
    window: u16,
    sacks: [Option<(u32, u32)>; 3],
    syn: bool,
    rst: bool,
    /// Neither payload nor FIN.
    empty: bool,
}

#[derive(Debug)]
struct Segment {
    start: TcpSeqNumber,
    end: TcpSeqNumber,
    packet: Vec<u8>,
    sent: Instant,
    retransmitted: bool,
    /// Acknowledged, selectively or not.
    arrived: bool,
}

#[derive(Debug)]
struct Connection {
    /// Segments that are not acknowledged, by sequence number.
    unacknowledged: VecDeque<Segment>,
    /// Bytes of their packets.
    bytes: usize,
    rtt: Option<Duration>,
    least_rtt: Duration,
    /// When the latest of the segments that arrived was sent (RFC 8985's `RACK.xmit_ts`).
    newest_arrived: Option<Instant>,
    ack: Option<TcpSeqNumber>,
    window: u16,
    /// The acknowledgment and the window that the stack sent last, for retransmissions: smoltcp drops a whole
    /// segment that carries older ones.
    own: (Option<TcpSeqNumber>, u16),
    /// Duplicates of `ack`, for peers without selective acknowledgments.
    duplicates: u32,
    lost_share: f64,
    /// When a segment last arrived.
    progress: Instant,
    /// When something was acknowledged or the last probe was sent.
    probe_timer: Instant,
    /// Probes since the last acknowledgment.
    probes: u32,
}

/// The connections of one stack.
#[derive(Debug, Default)]
pub(super) struct LossRecovery {
    connections: HashMap<Flow, Connection>,
    bytes: usize,
    /// When the next probe may be due.
    next: Option<Instant>,
}

impl LossRecovery {
    /// Records a packet that the stack sends.
    pub(super) fn sent(&mut self, packet: &[u8], now: Instant) {
        let Some(header) = parse(packet, false) else { return };
        if header.syn || header.rst {
            self.forget(header.flow);
            return;
        }
        if header.empty {
            if let Some(connection) = self.connections.get_mut(&header.flow) {
                connection.own = (header.ack, header.window);
            }
            return;
        }
        let room = self.bytes + packet.len() <= MOST_BYTES;
        let connection = self.connections.entry(header.flow).or_insert_with(|| Connection::new(now));
        let before = connection.bytes;
        connection.sent(&header, packet, room, now);
        self.bytes = self.bytes - before + connection.bytes;
        self.next.get_or_insert(now + TIMER);
    }

    /// Takes a packet from the other end; `true`: the stack is to see it. Lost segments go to `again`.
    pub(super) fn received(&mut self, packet: &[u8], now: Instant, again: &mut Vec<Vec<u8>>) -> bool {
        let Some(header) = parse(packet, true) else { return true };
        if header.syn || header.rst {
            self.forget(header.flow);
            return true;
        }
        let Some(connection) = self.connections.get_mut(&header.flow) else { return true };
        let before = connection.bytes;
        let verdict = connection.acknowledged(&header, now, again);
        self.bytes = self.bytes - before + connection.bytes;
        verdict
    }

    /// How long the driver may rest; `None`: nothing is kept.
    pub(super) fn rest(&self, now: Instant) -> Option<Duration> {
        self.next.map(|next| next.saturating_duration_since(now))
    }

    /// Segments whose probe timeout has passed go to `again`.
    pub(super) fn due(&mut self, now: Instant, again: &mut Vec<Vec<u8>>) {
        if self.next.is_none_or(|next| now < next) {
            return;
        }
        let forgotten =
            |connection: &Connection| now.saturating_duration_since(connection.probe_timer) > FORGET;
        let mut gone = 0;
        self.connections.retain(|_, connection| {
            let forgotten = forgotten(connection);
            gone += if forgotten { connection.bytes } else { 0 };
            !forgotten
        });
        self.bytes -= gone;
        let wait = self.connections.values_mut().filter_map(|connection| connection.due(now, again)).min();
        self.next = wait.map(|wait| now + wait.max(TIMER));
    }

    fn forget(&mut self, flow: Flow) {
        if let Some(connection) = self.connections.remove(&flow) {
            self.bytes -= connection.bytes;
        }
    }
}

impl Connection {
    fn new(now: Instant) -> Self {
        Self {
            unacknowledged: VecDeque::new(),
            bytes: 0,
            rtt: None,
            least_rtt: Duration::MAX,
            newest_arrived: None,
            ack: None,
            window: 0,
            own: (None, 0),
            duplicates: 0,
            lost_share: 0.0,
            progress: now,
            probe_timer: now,
            probes: 0,
        }
    }

    fn sent(&mut self, header: &Header, packet: &[u8], room: bool, now: Instant) {
        self.own = (header.ack, header.window);
        let next = self.unacknowledged.back().map(|last| last.end);
        if next.is_some_and(|next| next != header.start) {
            let at = self.unacknowledged.partition_point(|segment| segment.start < header.start);
            if let Some(same) =
                self.unacknowledged.get_mut(at).filter(|segment| segment.start == header.start)
            {
                // The stack's own timer, or its fast retransmit.
                (same.sent, same.retransmitted) = (now, true);
            } else {
                // Segmented in other places than before: this connection is the stack's alone for now.
                (self.bytes, self.unacknowledged) = (0, VecDeque::new());
            }
            return;
        }
        if !room {
            (self.bytes, self.unacknowledged) = (0, VecDeque::new());
            return;
        }
        if self.unacknowledged.is_empty() {
            (self.probe_timer, self.progress) = (now, now);
        }
        self.bytes += packet.len();
        let (packet, start, end) = (packet.to_vec(), header.start, header.end);
        self.unacknowledged.push_back(Segment {
            start,
            end,
            packet,
            sent: now,
            retransmitted: false,
            arrived: false,
        });
    }

    fn acknowledged(&mut self, header: &Header, now: Instant, again: &mut Vec<Vec<u8>>) -> bool {
        let Some(ack) = header.ack else { return true };
        let hole = self.unacknowledged.front().is_some_and(|first| first.start == ack);
        let repeated = hole && self.ack == Some(ack) && self.window == header.window && header.empty;
        (self.ack, self.window) = (Some(ack), header.window);
        let mut progress = false;
        while self.unacknowledged.front().is_some_and(|first| first.end <= ack) {
            let Some(segment) = self.unacknowledged.pop_front() else { break };
            self.bytes -= segment.packet.len();
            if !segment.arrived {
                self.arrived(segment.sent, segment.retransmitted, now);
            }
            progress = true;
        }
        for (from, to) in header.sacks.iter().flatten() {
            let (from, to) = (TcpSeqNumber(*from as i32), TcpSeqNumber(*to as i32));
            let mut at = self.unacknowledged.partition_point(|segment| segment.start < from);
            while let Some(segment) = self.unacknowledged.get_mut(at).filter(|segment| segment.end <= to) {
                if !std::mem::replace(&mut segment.arrived, true) {
                    let (sent, twice) = (segment.sent, segment.retransmitted);
                    self.arrived(sent, twice, now);
                    progress = true;
                }
                at += 1;
            }
        }
        if progress {
            (self.probe_timer, self.progress, self.probes) = (now, now, 0);
        }
        self.duplicates = if repeated { self.duplicates + 1 } else { 0 };
        self.retransmit_lost(now, again);
        // A plain duplicate tells the stack only what is being repaired; but a connection without progress is its own.
        let repairing = now.saturating_duration_since(self.progress) < STUCK && self.lost_share < HEAVY;
        !(repeated && repairing && header.window > 0)
    }

    /// A segment that was last sent at `sent` has arrived (`twice`: it was retransmitted then).
    fn arrived(&mut self, sent: Instant, twice: bool, now: Instant) {
        self.lost_share -= self.lost_share * SEGMENT_WEIGHT;
        let took = now.saturating_duration_since(sent);
        if twice && took < self.least_rtt {
            // This is too early for the retransmission: the original arrived.
            return;
        }
        self.newest_arrived = self.newest_arrived.max(Some(sent));
        if !twice {
            self.rtt = Some(self.rtt.map_or(took, |rtt| (rtt * 7 + took) / 8));
            self.least_rtt = self.least_rtt.min(took);
        }
    }

    /// Retransmits segments that were sent so long before one that arrived that they must be lost (RACK).
    fn retransmit_lost(&mut self, now: Instant, again: &mut Vec<Vec<u8>>) {
        let rtt = self.rtt.unwrap_or(INITIAL_PROBE_TIMEOUT);
        // Packets are reordered on some links (RFC 8985, 6.2, step 4).
        let reordering = rtt / 4;
        let without_sack = self.duplicates >= 3 && !self.unacknowledged.iter().any(|segment| segment.arrived);
        let mut sent = 0;
        for (at, segment) in self.unacknowledged.iter_mut().enumerate() {
            let overtaken = self.newest_arrived.is_some_and(|newest| segment.sent + reordering < newest);
            // The other end sends no selective acknowledgments: three duplicates mean the first segment (RFC 5681, 3.2).
            let repeated = at == 0 && without_sack && now.saturating_duration_since(segment.sent) > rtt;
            if !overtaken && !repeated {
                if segment.retransmitted || segment.arrived || at == 0 {
                    continue;
                }
                // Those behind it were sent later still.
                break;
            }
            if segment.arrived {
                continue;
            }
            (segment.sent, segment.retransmitted) = (now, true);
            self.lost_share += (1.0 - self.lost_share) * SEGMENT_WEIGHT;
            again.push(renewed(&segment.packet, self.own));
            sent += 1;
            if sent == BURST {
                break;
            }
        }
    }

    /// Retransmits the first segment when nothing was acknowledged for the probe timeout (the tail loss probe of
    /// RFC 8985, 7) → how long until the next one is due.
    fn due(&mut self, now: Instant, again: &mut Vec<Vec<u8>>) -> Option<Duration> {
        let first = self.unacknowledged.front_mut()?;
        let timeout = self.rtt.map_or(INITIAL_PROBE_TIMEOUT, |rtt| (rtt * 2).max(MIN_PROBE_TIMEOUT))
            * (1 << self.probes);
        let at = self.probe_timer.max(first.sent) + timeout;
        if now < at {
            return Some(at - now);
        }
        (first.sent, first.retransmitted, self.probe_timer) = (now, true, now);
        self.probes = (self.probes + 1).min(MOST_DOUBLINGS);
        again.push(renewed(&first.packet, self.own));
        Some(timeout)
    }
}

/// A copy of a segment with the sender's present acknowledgment and window.
fn renewed(packet: &[u8], (ack, window): (Option<TcpSeqNumber>, u16)) -> Vec<u8> {
    let mut packet = packet.to_vec();
    let addresses = match packet.first().map(|byte| byte >> 4) {
        Some(4) => Ipv4Packet::new_checked(&packet).ok().map(|ip| {
            (IpAddress::Ipv4(ip.src_addr()), IpAddress::Ipv4(ip.dst_addr()), usize::from(ip.header_len()))
        }),
        _ => Ipv6Packet::new_checked(&packet)
            .ok()
            .map(|ip| (IpAddress::Ipv6(ip.src_addr()), IpAddress::Ipv6(ip.dst_addr()), ip.header_len())),
    };
    let (Some((from, to, header)), Some(ack)) = (addresses, ack) else { return packet };
    if let Ok(mut tcp) = TcpPacket::new_checked(&mut packet[header..]) {
        tcp.set_ack_number(ack);
        tcp.set_window_len(window);
        tcp.fill_checksum(&from, &to);
    }
    packet
}

/// Reads a packet; `None` when it is no TCP that is understood. `from_other`: the other end sent it.
fn parse(packet: &[u8], from_other: bool) -> Option<Header> {
    let (source, destination, payload) = match packet.first()? >> 4 {
        4 => {
            let ip = Ipv4Packet::new_checked(packet).ok()?;
            let fragment = ip.more_frags() || ip.frag_offset() != 0;
            if ip.next_header() != IpProtocol::Tcp || fragment {
                return None;
            }
            (IpAddr::V4(ip.src_addr()), IpAddr::V4(ip.dst_addr()), ip.payload())
        }
        6 => {
            let ip = Ipv6Packet::new_checked(packet).ok()?;
            if ip.next_header() != IpProtocol::Tcp {
                return None;
            }
            (IpAddr::V6(ip.src_addr()), IpAddr::V6(ip.dst_addr()), ip.payload())
        }
        _ => return None,
    };
    let tcp = TcpPacket::new_checked(payload).ok()?;
    let flow = if from_other {
        Flow { other: source, other_port: tcp.src_port(), own_port: tcp.dst_port() }
    } else {
        Flow { other: destination, other_port: tcp.dst_port(), own_port: tcp.src_port() }
    };
    let start = tcp.seq_number();
    let length = tcp.payload().len() + usize::from(tcp.fin());
    Some(Header {
        flow,
        start,
        end: start + length,
        ack: tcp.ack().then(|| tcp.ack_number()),
        window: tcp.window_len(),
        sacks: tcp.selective_ack_ranges().unwrap_or([None; 3]),
        syn: tcp.syn(),
        rst: tcp.rst(),
        empty: length == 0,
    })
}

#[cfg(test)]
mod tests {
    use rand::{Rng as _, RngCore as _, SeedableRng as _, rngs::StdRng};

    use super::*;

    const SEGMENT: u32 = 1000;
    const MS: Duration = Duration::from_millis(1);

    /// An IPv4 TCP packet. `ours`: from 10.0.1.1:9 to 10.0.1.2:80, otherwise the way back.
    fn packet(ours: bool, seq: u32, ack: u32, window: u16, sacks: &[(u32, u32)], payload: usize) -> Vec<u8> {
        let options = if sacks.is_empty() { 0 } else { 4 + 8 * sacks.len() };
        let mut packet = vec![0; 40 + options + payload];
        packet[0] = 0x45;
        let length = packet.len() as u16;
        packet[2..4].copy_from_slice(&length.to_be_bytes());
        packet[9] = 6;
        let (from, to) = if ours { (1, 2) } else { (2, 1) };
        packet[12..16].copy_from_slice(&[10, 0, 1, from]);
        packet[16..20].copy_from_slice(&[10, 0, 1, to]);
        let ports: [u16; 2] = if ours { [9, 80] } else { [80, 9] };
        packet[20..22].copy_from_slice(&ports[0].to_be_bytes());
        packet[22..24].copy_from_slice(&ports[1].to_be_bytes());
        packet[24..28].copy_from_slice(&seq.to_be_bytes());
        packet[28..32].copy_from_slice(&ack.to_be_bytes());
        packet[32] = ((20 + options) / 4 * 16) as u8;
        packet[33] = 0x10; // ACK
        packet[34..36].copy_from_slice(&window.to_be_bytes());
        if !sacks.is_empty() {
            packet[40..44].copy_from_slice(&[1, 1, 5, (2 + 8 * sacks.len()) as u8]);
            for (n, (from, to)) in sacks.iter().enumerate() {
                packet[44 + 8 * n..48 + 8 * n].copy_from_slice(&from.to_be_bytes());
                packet[48 + 8 * n..52 + 8 * n].copy_from_slice(&to.to_be_bytes());
            }
        }
        packet
    }

    fn data(n: u32) -> Vec<u8> {
        renewed(
            &packet(true, n.wrapping_mul(SEGMENT), 0, 100, &[], SEGMENT as usize),
            (Some(TcpSeqNumber(0)), 100),
        )
    }

    /// Ten segments, a millisecond apart; the first acknowledgment came after 20 ms.
    fn ten(recovery: &mut LossRecovery, start: Instant) {
        for n in 0..10 {
            recovery.sent(&data(n), start + MS * n);
        }
        assert!(recovery.received(&packet(false, 0, SEGMENT, 100, &[], 0), start + MS * 20, &mut Vec::new()));
    }

    #[test]
    fn a_hole_is_repaired_at_once_and_the_stack_sees_nothing_of_it() {
        let (mut recovery, start) = (LossRecovery::default(), Instant::now());
        ten(&mut recovery, start);
        let mut again = Vec::new();
        // The second is missing; those behind it arrive. Five milliseconds are an overtaking, not a loss.
        for n in 2..10 {
            let sack = [(2 * SEGMENT, (n + 1) * SEGMENT)];
            let seen = recovery.received(
                &packet(false, 0, SEGMENT, 100, &sack, 0),
                start + MS * (20 + n),
                &mut again,
            );
            // The first says where the hole is; it repeats the last acknowledgment.
            assert!(!seen, "the duplicate of segment {n} reached the stack");
            assert_eq!(again.len(), usize::from(n > 6), "after segment {n}");
        }
        assert_eq!(again, [data(1)]);
        assert!(recovery.received(&packet(false, 0, 10 * SEGMENT, 100, &[], 0), start + MS * 50, &mut again));
        assert_eq!((again.len(), recovery.bytes), (1, 0), "nothing is kept, nothing is sent again");
        assert!(recovery.rest(start + MS * 50).is_some());
        recovery.due(start + MS * 500, &mut again);
        assert_eq!((again.len(), recovery.rest(start + MS * 500)), (1, None));
    }

    #[test]
    fn a_lost_tail_is_asked_for_and_the_rest_of_it_follows() {
        let (mut recovery, start) = (LossRecovery::default(), Instant::now());
        ten(&mut recovery, start);
        let mut again = Vec::new();
        recovery.due(start + MS * 59, &mut again);
        assert!(again.is_empty(), "twice the round trip has not passed since the last answer");
        recovery.due(start + MS * 70, &mut again);
        assert_eq!(again, [data(1)]);
        recovery.received(&packet(false, 0, 2 * SEGMENT, 100, &[], 0), start + MS * 90, &mut again);
        let rest: Vec<_> = (1..10).map(data).collect();
        assert_eq!(again, rest, "all of them were sent before what has just arrived");
        // Nothing comes back any more: the pauses double.
        let mut waits = Vec::new();
        let mut now = start + MS * 90;
        for _ in 0..4 {
            let before = again.len();
            let began = now;
            while again.len() == before {
                now += MS;
                recovery.due(now, &mut again);
            }
            waits.push((now - began).as_millis());
        }
        assert!(waits.windows(2).all(|pair| pair[1] > pair[0] * 3 / 2), "{waits:?}");
    }

    #[test]
    fn what_is_sent_again_acknowledges_what_has_come_since() {
        let (mut recovery, start) = (LossRecovery::default(), Instant::now());
        ten(&mut recovery, start);
        recovery.sent(&packet(true, 10 * SEGMENT, 777, 55, &[], 0), start + MS * 25);
        let mut again = Vec::new();
        recovery.due(start + MS * 80, &mut again);
        let tcp = TcpPacket::new_checked(&again[0][20..]).unwrap();
        assert_eq!((tcp.ack_number(), tcp.window_len()), (TcpSeqNumber(777), 55));
        let ip = Ipv4Packet::new_checked(&again[0]).unwrap();
        assert!(tcp.verify_checksum(&IpAddress::Ipv4(ip.src_addr()), &IpAddress::Ipv4(ip.dst_addr())));
        assert_eq!(tcp.payload(), &data(1)[40..]);
    }

    #[test]
    fn a_congested_link_and_a_closed_window_are_the_stacks_business() {
        let (mut recovery, start) = (LossRecovery::default(), Instant::now());
        ten(&mut recovery, start);
        for n in 0..3 {
            let closed = packet(false, 0, SEGMENT, 0, &[], 0);
            assert!(recovery.received(&closed, start + MS * (21 + n), &mut Vec::new()), "a closed window");
        }
        // Every third one is lost.
        let (mut seen, mut now, mut next) = (0, start + MS * 30, 10);
        for round in 0..40 {
            for n in 0..10 {
                recovery.sent(&data(next + n), now + MS * n);
            }
            let mut again = Vec::new();
            for n in 1..10_u32 {
                let sacks = [((next + 1) * SEGMENT, (next + n + 1) * SEGMENT)];
                let ack = packet(false, 0, next * SEGMENT, 100, &sacks, 0);
                let passed = recovery.received(&ack, now + MS * (20 + n), &mut again);
                seen += u32::from(passed && n > 1 && round > 20);
            }
            next += 10;
            now += MS * 60;
            recovery.received(&packet(false, 0, next * SEGMENT, 100, &[], 0), now, &mut Vec::new());
        }
        assert!(seen > 100, "one in ten is lost, and the stack saw only {seen} duplicates");
    }

    #[test]
    fn a_connection_that_gets_nowhere_is_left_to_the_stack() {
        let (mut recovery, start) = (LossRecovery::default(), Instant::now());
        ten(&mut recovery, start);
        let repeated = packet(false, 0, SEGMENT, 100, &[], 0);
        assert!(!recovery.received(&repeated, start + MS * 30, &mut Vec::new()));
        assert!(recovery.received(&repeated, start + STUCK + MS * 30, &mut Vec::new()));
    }

    #[test]
    fn sequence_numbers_go_round_and_other_cuts_are_left_alone() {
        let (mut recovery, start) = (LossRecovery::default(), Instant::now());
        let first = 0_u32.wrapping_sub(2 * SEGMENT);
        for n in 0..4 {
            let seq = first.wrapping_add(n * SEGMENT);
            recovery.sent(&packet(true, seq, 0, 100, &[], SEGMENT as usize), start + MS * n);
        }
        recovery.received(&packet(false, 0, SEGMENT, 100, &[], 0), start + MS * 20, &mut Vec::new());
        assert_eq!(recovery.bytes, 40 + SEGMENT as usize);
        recovery.sent(&packet(true, SEGMENT + 10, 0, 100, &[], 20), start + MS * 21);
        assert_eq!(recovery.bytes, 0, "a segment that begins in the middle of another");
    }

    #[test]
    fn nothing_grows_and_nothing_panics() {
        let (mut dice, start) = (StdRng::seed_from_u64(3), Instant::now());
        let mut recovery = LossRecovery::default();
        for n in 0..60_000_u32 {
            let now = start + MS * (n / 100);
            let (seq, ack, window) =
                (dice.next_u32() % 9_000_000, dice.next_u32() % 9_000_000, dice.random());
            let sacks = [(dice.next_u32() % 9_000_000, dice.next_u32()); 1];
            let mut made =
                packet(n % 3 > 0, seq, ack, window, &sacks[..(n % 2) as usize], (n % 1400) as usize);
            if n % 7 == 0 {
                made.truncate(dice.random_range(0..made.len()));
            }
            if n % 5 == 0 {
                let at = dice.random_range(0..made.len().max(1));
                made.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 255);
            }
            let mut again = Vec::new();
            if n % 3 > 0 {
                recovery.sent(&made, now);
            } else {
                recovery.received(&made, now, &mut again);
                assert!(again.len() <= BURST);
            }
            recovery.due(now, &mut again);
        }
        let kept: usize =
            recovery.connections.values().flat_map(|c| &c.unacknowledged).map(|s| s.packet.len()).sum();
        assert!(recovery.bytes == kept && kept <= MOST_BYTES);
    }
}
