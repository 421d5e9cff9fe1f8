//! Echo requests to the other end, inside the tunnel, measure the round trip, its jitter, the loss, and whether
//! packets of full size arrive at all.
//!
//! A request is an ICMP echo (RFC 792), which the host at every WireGuard end answers, the kernel as well as our
//! own stack. 64 bytes: four times a second beside bulk data, once a second while there is any traffic, every
//! [`IDLE`] otherwise.
//!
//! **Path MTU.** Some links drop packets that are too long and report nothing (packetization layer path MTU
//! discovery, RFC 8899). Beside a small request goes one of full size; when three of those in a row stay without
//! an answer while the small ones beside them have theirs, the MTU is lowered to [`SAFE_MTU`], and the full size
//! is tried again after [`RETRY`].
//!
//! Pure: time comes in, packets come out. A host that answers no echo is simply not measured.

use std::{
    collections::VecDeque,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

/// What every link carries (the minimum of IPv6, RFC 8200).
pub(super) const SAFE_MTU: u16 = 1280;
/// A lowered MTU is probed again after this time.
const RETRY: Duration = Duration::from_secs(600);
/// Interval of requests beside bulk data: the delay controller needs fresh samples.
const BULK: Duration = Duration::from_millis(250);
/// Interval while there is some traffic, and between two requests of full size.
const BUSY: Duration = Duration::from_secs(1);
/// Interval while there is no traffic.
const IDLE: Duration = Duration::from_secs(20);
/// A request that is not answered within this time is lost.
const LOST: Duration = Duration::from_secs(3);
/// Unanswered full-size requests after which the MTU is lowered.
const MOST_UNANSWERED: u8 = 3;
/// Requests over which the loss is counted.
const WINDOW: usize = 64;
/// Headers of IPv4 and ICMP.
const HEADERS: usize = 28;
const SMALL: u16 = 64;

/// What the echoes have measured.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Echo {
    /// Smoothed round-trip time (RFC 6298), milliseconds; `None` before the first answer.
    pub rtt_ms: Option<f64>,
    /// Shortest round-trip time, milliseconds.
    pub min_rtt_ms: Option<f64>,
    /// Mean deviation of the round-trip time (RFC 3550, 6.4.1), milliseconds.
    pub jitter_ms: f64,
    /// Share of the last requests without an answer, 0 to 1.
    pub loss: f64,
    /// The last round trip, milliseconds.
    pub last_rtt_ms: Option<f64>,
    /// Number of answers.
    pub answers: u64,
}

impl Echo {
    /// Records a round trip of `rtt` milliseconds.
    pub fn measured(&mut self, rtt: f64) {
        let before = self.rtt_ms.unwrap_or(rtt);
        self.jitter_ms += ((rtt - before).abs() - self.jitter_ms) / 16.0;
        self.rtt_ms = Some(before + (rtt - before) / 8.0);
        self.min_rtt_ms = Some(self.min_rtt_ms.map_or(rtt, |shortest| shortest.min(rtt)));
        self.last_rtt_ms = Some(rtt);
        self.answers += 1;
    }
}

/// The traffic beside the echoes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Traffic {
    /// None.
    Idle,
    /// Some, less than bulk data.
    Some,
    /// Bulk data.
    Bulk,
}

struct Request {
    sequence: u16,
    sent: Instant,
    /// A full-size one, beside the small one of the sequence before.
    full: bool,
    answered: bool,
}

/// The echo requests to one peer.
pub(super) struct Prober {
    own: Ipv4Addr,
    other: Ipv4Addr,
    identifier: u16,
    sequence: u16,
    full_mtu: u16,
    sent: Option<Instant>,
    sent_full: Option<Instant>,
    open: VecDeque<Request>,
    outcomes: VecDeque<bool>,
    echo: Echo,
    unanswered_full: u8,
    /// Whether packets of full size arrive, and since when that is known.
    full_known: Option<(bool, Instant)>,
}

impl Prober {
    pub(super) fn new(own: Ipv4Addr, other: Ipv4Addr, identifier: u16, full_mtu: u16) -> Self {
        Self {
            own,
            other,
            identifier,
            sequence: 0,
            full_mtu,
            sent: None,
            sent_full: None,
            open: VecDeque::new(),
            outcomes: VecDeque::new(),
            echo: Echo::default(),
            unanswered_full: 0,
            full_known: None,
        }
    }

    pub(super) fn echo(&self) -> Echo {
        self.echo
    }

    /// The path MTU, as far as is known, bytes.
    pub(super) fn mtu(&self) -> u16 {
        match self.full_known {
            Some((false, _)) => self.full_mtu.min(SAFE_MTU),
            _ => self.full_mtu,
        }
    }

    /// The requests that are due now, as IPv4 packets.
    pub(super) fn due(&mut self, now: Instant, traffic: Traffic) -> Vec<Vec<u8>> {
        self.expire(now);
        let pause = match traffic {
            Traffic::Idle => IDLE,
            Traffic::Some => BUSY,
            Traffic::Bulk => BULK,
        };
        let within =
            |at: Option<Instant>, pause| at.is_some_and(|at| now.saturating_duration_since(at) < pause);
        if within(self.sent, pause) {
            return Vec::new();
        }
        self.sent = Some(now);
        let mut packets = vec![self.request(now, SMALL, false)];
        let known = match self.full_known {
            Some((true, _)) => true,
            Some((false, since)) => now.saturating_duration_since(since) < RETRY,
            None => false,
        };
        // The link must be known to be alive before silence means anything.
        let heard = self.echo.rtt_ms.is_some();
        if !known && self.full_mtu > SAFE_MTU && heard && !within(self.sent_full, BUSY) {
            self.sent_full = Some(now);
            packets.push(self.request(now, self.full_mtu, true));
        }
        packets
    }

    fn request(&mut self, now: Instant, bytes: u16, full: bool) -> Vec<u8> {
        self.sequence = self.sequence.wrapping_add(1);
        let request = Request { sequence: self.sequence, sent: now, full, answered: false };
        self.open.push_back(request);
        packet(self.own, self.other, self.identifier, self.sequence, bytes)
    }

    /// Takes `packet` when it is an answer to one of the requests.
    pub(super) fn answer(&mut self, packet: &[u8], now: Instant) -> bool {
        let header = usize::from(packet.first().map_or(0, |byte| byte & 15)) * 4;
        let Some(icmp) = packet.get(header..header + 8) else { return false };
        let is_echo_reply = packet[0] >> 4 == 4 && packet.get(9) == Some(&1) && icmp[..2] == [0, 0];
        if !is_echo_reply || icmp[4..6] != self.identifier.to_be_bytes() {
            return false;
        }
        let sequence = u16::from_be_bytes([icmp[6], icmp[7]]);
        let request = self.open.iter_mut().find(|r| r.sequence == sequence && !r.answered);
        if let Some(request) = request {
            request.answered = true;
            if request.full {
                self.unanswered_full = 0;
                self.full_known = Some((true, now));
            } else {
                let rtt = now.saturating_duration_since(request.sent).as_secs_f64() * 1e3;
                self.echo.measured(rtt);
            }
        }
        true
    }

    /// Counts requests whose time is over.
    fn expire(&mut self, now: Instant) {
        let mut small_answered = false;
        while let Some(request) = self.open.front() {
            if now.saturating_duration_since(request.sent) < LOST {
                break;
            }
            let Some(request) = self.open.pop_front() else { break };
            if !request.full {
                small_answered = request.answered;
                if self.outcomes.len() == WINDOW {
                    self.outcomes.pop_front();
                }
                self.outcomes.push_back(request.answered);
                let lost = self.outcomes.iter().filter(|answered| !**answered).count();
                self.echo.loss = lost as f64 / self.outcomes.len() as f64;
            } else if !request.answered && small_answered {
                self.unanswered_full += 1;
                if self.unanswered_full >= MOST_UNANSWERED {
                    self.unanswered_full = 0;
                    self.full_known = Some((false, now));
                }
            }
        }
    }

    /// The path is another one now: its MTU and shortest round trip are unknown.
    pub(super) fn moved(&mut self) {
        self.full_known = None;
        self.unanswered_full = 0;
        self.echo.min_rtt_ms = None;
    }
}

/// An ICMP echo request of `bytes` bytes, headers included.
fn packet(from: Ipv4Addr, to: Ipv4Addr, identifier: u16, sequence: u16, bytes: u16) -> Vec<u8> {
    let mut packet = vec![0_u8; usize::from(bytes).max(HEADERS)];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&bytes.to_be_bytes());
    packet[6] = 0x40; // Do not fragment.
    packet[8] = 64;
    packet[9] = 1; // ICMP
    packet[12..16].copy_from_slice(&from.octets());
    packet[16..20].copy_from_slice(&to.octets());
    let sum = checksum(&packet[..20]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet[20] = 8; // Echo request.
    packet[24..26].copy_from_slice(&identifier.to_be_bytes());
    packet[26..28].copy_from_slice(&sequence.to_be_bytes());
    let sum = checksum(&packet[20..]);
    packet[22..24].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let words =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |b| u32::from(*b)));
    let mut sum: u32 = words.sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(request: &[u8]) -> Vec<u8> {
        let mut reply = request.to_vec();
        reply[20] = 0;
        reply
    }

    /// Sends requests for `seconds`; `link` says how long the answer to a packet of that size takes.
    fn run(
        prober: &mut Prober,
        start: Instant,
        seconds: u64,
        link: impl Fn(usize) -> Option<Duration>,
    ) -> Instant {
        let mut now = start;
        for _ in 0..seconds * 10 {
            now += Duration::from_millis(100);
            for request in prober.due(now, Traffic::Some) {
                if let Some(rtt) = link(request.len()) {
                    assert!(prober.answer(&reply(&request), now + rtt));
                }
            }
        }
        now
    }

    fn prober() -> Prober {
        Prober::new([10, 0, 1, 2].into(), [10, 0, 1, 1].into(), 77, 1420)
    }

    #[test]
    fn large_packets_that_vanish_lower_the_mtu_and_a_new_path_is_asked_again() {
        let mut prober = prober();
        let vanish = |size: usize| (size <= 1300).then_some(Duration::from_millis(30));
        let now = run(&mut prober, Instant::now(), 12, vanish);
        assert_eq!(prober.mtu(), SAFE_MTU);
        assert!((prober.echo().rtt_ms.unwrap() - 30.0).abs() < 1.0 && prober.echo().loss == 0.0);
        prober.moved();
        let now = run(&mut prober, now, 12, |_| Some(Duration::from_millis(30)));
        assert_eq!(prober.mtu(), 1420);
        run(&mut prober, now, 700, |_| None);
        assert_eq!(prober.mtu(), 1420, "a dead link says nothing of sizes");
        assert!((prober.echo().loss - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_lowered_mtu_is_probed_after_ten_minutes() {
        let mut prober = prober();
        let now = run(&mut prober, Instant::now(), 12, |size| (size <= 1300).then_some(Duration::ZERO));
        assert_eq!(prober.mtu(), SAFE_MTU);
        run(&mut prober, now, 620, |_| Some(Duration::ZERO));
        assert_eq!(prober.mtu(), 1420);
    }

    #[test]
    fn requests_come_as_often_as_the_traffic_wants() {
        for (traffic, requests) in [(Traffic::Idle, 3), (Traffic::Some, 60), (Traffic::Bulk, 240)] {
            let (mut prober, start, mut small) = (prober(), Instant::now(), 0);
            for ms in (0..60_000).step_by(50) {
                let due = prober.due(start + Duration::from_millis(ms), traffic);
                small += due.iter().filter(|request| request.len() == usize::from(SMALL)).count();
            }
            assert_eq!(small, requests, "{traffic:?}");
        }
    }

    #[test]
    fn only_answers_to_requests_are_taken() {
        let mut prober = prober();
        let request = prober.due(Instant::now(), Traffic::Some).remove(0);
        assert_eq!(checksum(&request[..20]), 0, "the header's sum is right");
        assert_eq!(checksum(&request[20..]), 0, "ICMP's too");
        assert!(!prober.answer(&request, Instant::now()), "a request is no reply");
        let other = packet([10, 0, 1, 1].into(), [10, 0, 1, 2].into(), 78, 1, 64);
        assert!(!prober.answer(&reply(&other), Instant::now()), "another program's echo");
        for length in 0..64 {
            assert!(!prober.answer(&request[..length], Instant::now()));
        }
    }
}
