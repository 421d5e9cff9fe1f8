//! Mends what the line loses before the userspace stack notices: a copy of every segment is kept until it
//! is acknowledged, and one that is known to be lost is sent again at once.
//!
//! smoltcp reads no selective acknowledgments, repairs one hole a round trip at best, and its retransmission
//! timer is never below a second; every loss also halves its window. Here losses are found by time, as RACK
//! and TLP do ([RFC 8985](https://www.rfc-editor.org/rfc/rfc8985)): a segment is lost when one that was sent
//! later has arrived, and the first one is sent again when nothing at all comes back. The duplicate
//! acknowledgments of a loss that is being mended are kept from the stack, as a snooping proxy does
//! ([RFC 3135](https://www.rfc-editor.org/rfc/rfc3135), 3.1): a line that loses one in a hundred is not a
//! full one. When more than [`HEAVY`] are lost they are let through, and the stack slows down as it should.
//!
//! Pure: time and packets come in, packets and verdicts come out. What is kept is bounded by [`MOST_BYTES`];
//! beyond it, and whatever is not understood, passes as if nothing of this were here.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    time::{Duration, Instant},
};

use smoltcp::wire::{IpProtocol, IpVersion, Ipv4Packet, Ipv6Packet, TcpPacket, TcpSeqNumber};

/// Most bytes kept, of all connections.
const MOST_BYTES: usize = 48 << 20;
/// Share of losses from which on the line is taken for full.
const HEAVY: f64 = 0.04;
/// Weight of one segment in that share.
const SEGMENT_WEIGHT: f64 = 1.0 / 256.0;
/// Segments sent again for one acknowledgment, at most.
const AT_ONCE: usize = 8;
/// Nothing comes back for two round trips, but not less than this: the first segment is sent again.
const LEAST_SILENCE: Duration = Duration::from_millis(40);
/// Before the round trip is known.
const FIRST_SILENCE: Duration = Duration::from_millis(500);
/// The pause doubles with each such try, so often.
const MOST_DOUBLINGS: u32 = 5;
/// A connection that gets nowhere for so long is left to the stack, which gives it up in the end.
const STUCK: Duration = Duration::from_secs(2);
/// Silences are looked at so often.
const LOOK: Duration = Duration::from_millis(10);
/// A connection that says nothing for so long is forgotten.
const FORGET: Duration = Duration::from_secs(90);

/// A connection as seen from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Flow {
    other: IpAddr,
    other_port: u16,
    own_port: u16,
}

/// What matters of a TCP packet.
struct Seen {
    flow: Flow,
    start: TcpSeqNumber,
    end: TcpSeqNumber,
    ack: Option<TcpSeqNumber>,
    window: u16,
    sacks: [Option<(u32, u32)>; 3],
    opens: bool,
    breaks: bool,
    empty: bool,
}

#[derive(Debug)]
struct Segment {
    start: TcpSeqNumber,
    end: TcpSeqNumber,
    packet: Vec<u8>,
    sent: Instant,
    again: bool,
    arrived: bool,
}

#[derive(Debug)]
struct Connection {
    /// What is not acknowledged, by sequence number.
    kept: VecDeque<Segment>,
    /// Their packets' bytes.
    bytes: usize,
    rtt: Option<Duration>,
    least_rtt: Duration,
    /// When the latest of the segments that arrived was sent.
    newest_arrived: Option<Instant>,
    ack: Option<TcpSeqNumber>,
    window: u16,
    /// Duplicates of `ack`, for peers without selective acknowledgments.
    duplicates: u32,
    lost_share: f64,
    /// When a segment last arrived.
    progress: Instant,
    /// When something came back or the first segment was sent again.
    stirred: Instant,
    tries: u32,
}

/// Every connection of one stack.
#[derive(Debug, Default)]
pub(super) struct Mender {
    connections: HashMap<Flow, Connection>,
    bytes: usize,
    /// When the next silence may be over.
    next: Option<Instant>,
}

impl Mender {
    /// The stack sends `packet`.
    pub(super) fn sent(&mut self, packet: &[u8], now: Instant) {
        let Some(seen) = look(packet, false) else { return };
        if seen.opens || seen.breaks {
            self.forget(seen.flow);
            return;
        }
        if seen.start == seen.end {
            return;
        }
        let room = self.bytes + packet.len() <= MOST_BYTES;
        let connection = self.connections.entry(seen.flow).or_insert_with(|| Connection::new(now));
        let before = connection.bytes;
        connection.sent(&seen, packet, room, now);
        self.bytes = self.bytes - before + connection.bytes;
        self.next.get_or_insert(now + LOOK);
    }

    /// The other end sent `packet`; whether the stack is to see it. Lost segments go to `again`.
    pub(super) fn received(&mut self, packet: &[u8], now: Instant, again: &mut Vec<Vec<u8>>) -> bool {
        let Some(seen) = look(packet, true) else { return true };
        if seen.opens || seen.breaks {
            self.forget(seen.flow);
            return true;
        }
        let Some(connection) = self.connections.get_mut(&seen.flow) else { return true };
        let before = connection.bytes;
        let verdict = connection.acknowledged(&seen, now, again);
        self.bytes = self.bytes - before + connection.bytes;
        verdict
    }

    /// How long the driver may rest; `None`: nothing is kept.
    pub(super) fn rest(&self, now: Instant) -> Option<Duration> {
        self.next.map(|next| next.saturating_duration_since(now))
    }

    /// What nothing came back for goes to `again`.
    pub(super) fn due(&mut self, now: Instant, again: &mut Vec<Vec<u8>>) {
        if self.next.is_none_or(|next| now < next) {
            return;
        }
        let forgotten = |connection: &Connection| now.saturating_duration_since(connection.stirred) > FORGET;
        let mut gone = 0;
        self.connections.retain(|_, connection| {
            let forgotten = forgotten(connection);
            gone += if forgotten { connection.bytes } else { 0 };
            !forgotten
        });
        self.bytes -= gone;
        let wait = self.connections.values_mut().filter_map(|connection| connection.due(now, again)).min();
        self.next = wait.map(|wait| now + wait.max(LOOK));
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
            kept: VecDeque::new(),
            bytes: 0,
            rtt: None,
            least_rtt: Duration::MAX,
            newest_arrived: None,
            ack: None,
            window: 0,
            duplicates: 0,
            lost_share: 0.0,
            progress: now,
            stirred: now,
            tries: 0,
        }
    }

    fn sent(&mut self, seen: &Seen, packet: &[u8], room: bool, now: Instant) {
        let next = self.kept.back().map(|last| last.end);
        if next.is_some_and(|next| next != seen.start) {
            let at = self.kept.partition_point(|segment| segment.start < seen.start);
            if let Some(again) = self.kept.get_mut(at).filter(|segment| segment.start == seen.start) {
                // The stack's own timer, or its fast retransmit.
                (again.sent, again.again) = (now, true);
            } else {
                // Cut in other places than before: this connection is the stack's alone for now.
                (self.bytes, self.kept) = (0, VecDeque::new());
            }
            return;
        }
        if !room {
            (self.bytes, self.kept) = (0, VecDeque::new());
            return;
        }
        if self.kept.is_empty() {
            (self.stirred, self.progress) = (now, now);
        }
        self.bytes += packet.len();
        let (packet, start, end) = (packet.to_vec(), seen.start, seen.end);
        self.kept.push_back(Segment { start, end, packet, sent: now, again: false, arrived: false });
    }

    fn acknowledged(&mut self, seen: &Seen, now: Instant, again: &mut Vec<Vec<u8>>) -> bool {
        let Some(ack) = seen.ack else { return true };
        let hole = self.kept.front().is_some_and(|first| first.start == ack);
        let repeated = hole && self.ack == Some(ack) && self.window == seen.window && seen.empty;
        (self.ack, self.window) = (Some(ack), seen.window);
        let mut news = false;
        while self.kept.front().is_some_and(|first| first.end <= ack) {
            let Some(segment) = self.kept.pop_front() else { break };
            self.bytes -= segment.packet.len();
            if !segment.arrived {
                self.arrived(segment.sent, segment.again, now);
            }
            news = true;
        }
        for (from, to) in seen.sacks.iter().flatten() {
            let (from, to) = (TcpSeqNumber(*from as i32), TcpSeqNumber(*to as i32));
            let mut at = self.kept.partition_point(|segment| segment.start < from);
            while let Some(segment) = self.kept.get_mut(at).filter(|segment| segment.end <= to) {
                if !std::mem::replace(&mut segment.arrived, true) {
                    let (sent, twice) = (segment.sent, segment.again);
                    self.arrived(sent, twice, now);
                    news = true;
                }
                at += 1;
            }
        }
        if news {
            (self.stirred, self.progress, self.tries) = (now, now, 0);
        }
        self.duplicates = if repeated { self.duplicates + 1 } else { 0 };
        self.mend(now, again);
        // A plain repetition says only what is being mended; but a connection that gets nowhere is the stack's.
        let mending = now.saturating_duration_since(self.progress) < STUCK && self.lost_share < HEAVY;
        !(repeated && mending && seen.window > 0)
    }

    /// A segment sent at `sent` (`twice`: and before that) has arrived.
    fn arrived(&mut self, sent: Instant, twice: bool, now: Instant) {
        self.lost_share -= self.lost_share * SEGMENT_WEIGHT;
        let took = now.saturating_duration_since(sent);
        if twice && took < self.least_rtt {
            // It was the first copy, after all.
            return;
        }
        self.newest_arrived = self.newest_arrived.max(Some(sent));
        if !twice {
            self.rtt = Some(self.rtt.map_or(took, |rtt| (rtt * 7 + took) / 8));
            self.least_rtt = self.least_rtt.min(took);
        }
    }

    /// Sends again what was sent so long before something that arrived that it must be lost.
    fn mend(&mut self, now: Instant, again: &mut Vec<Vec<u8>>) {
        let rtt = self.rtt.unwrap_or(FIRST_SILENCE);
        // Packets overtake each other on some lines (RFC 8985, 6.2, step 4).
        let overtaking = rtt / 4;
        let deaf = self.duplicates >= 3 && !self.kept.iter().any(|segment| segment.arrived);
        let mut sent = 0;
        for (at, segment) in self.kept.iter_mut().enumerate() {
            let overtaken = self.newest_arrived.is_some_and(|newest| segment.sent + overtaking < newest);
            // The other end does not say what it has: three repetitions mean the first one (RFC 5681, 3.2).
            let repeated = at == 0 && deaf && now.saturating_duration_since(segment.sent) > rtt;
            if !overtaken && !repeated {
                if segment.again || segment.arrived || at == 0 {
                    continue;
                }
                // Those behind it were sent later still.
                break;
            }
            if segment.arrived {
                continue;
            }
            (segment.sent, segment.again) = (now, true);
            self.lost_share += (1.0 - self.lost_share) * SEGMENT_WEIGHT;
            again.push(segment.packet.clone());
            sent += 1;
            if sent == AT_ONCE {
                break;
            }
        }
    }

    /// When nothing came back for so long that it cannot be the line's length, the first segment is sent
    /// again (the tail loss probe of RFC 8985, 7); → how long until then.
    fn due(&mut self, now: Instant, again: &mut Vec<Vec<u8>>) -> Option<Duration> {
        let first = self.kept.front_mut()?;
        let silence = self.rtt.map_or(FIRST_SILENCE, |rtt| (rtt * 2).max(LEAST_SILENCE)) * (1 << self.tries);
        let at = self.stirred.max(first.sent) + silence;
        if now < at {
            return Some(at - now);
        }
        (first.sent, first.again, self.stirred) = (now, true, now);
        self.tries = (self.tries + 1).min(MOST_DOUBLINGS);
        again.push(first.packet.clone());
        Some(silence)
    }
}

/// What `packet` says; `None` when it is no TCP we understand. `from_other`: the other end sent it.
fn look(packet: &[u8], from_other: bool) -> Option<Seen> {
    let (source, destination, payload) = match IpVersion::of_packet(packet).ok()? {
        IpVersion::Ipv4 => {
            let ip = Ipv4Packet::new_checked(packet).ok()?;
            let fragment = ip.more_frags() || ip.frag_offset() != 0;
            if ip.next_header() != IpProtocol::Tcp || fragment {
                return None;
            }
            (IpAddr::V4(ip.src_addr()), IpAddr::V4(ip.dst_addr()), ip.payload())
        }
        IpVersion::Ipv6 => {
            let ip = Ipv6Packet::new_checked(packet).ok()?;
            if ip.next_header() != IpProtocol::Tcp {
                return None;
            }
            (IpAddr::V6(ip.src_addr()), IpAddr::V6(ip.dst_addr()), ip.payload())
        }
    };
    let tcp = TcpPacket::new_checked(payload).ok()?;
    let flow = if from_other {
        Flow { other: source, other_port: tcp.src_port(), own_port: tcp.dst_port() }
    } else {
        Flow { other: destination, other_port: tcp.dst_port(), own_port: tcp.src_port() }
    };
    let start = tcp.seq_number();
    let length = tcp.payload().len() + usize::from(tcp.fin());
    Some(Seen {
        flow,
        start,
        end: start + length,
        ack: tcp.ack().then(|| tcp.ack_number()),
        window: tcp.window_len(),
        sacks: tcp.selective_ack_ranges().unwrap_or([None; 3]),
        opens: tcp.syn(),
        breaks: tcp.rst(),
        empty: length == 0,
    })
}
