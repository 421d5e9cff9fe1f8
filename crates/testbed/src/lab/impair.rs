//! A bad line for UDP: a proxy between two WireGuard ends that limits, delays, loses, shuffles, doubles
//! and spoils datagrams, from a seed.
//!
//! The kernel here has no netem, and this also runs without rights. One client at a time (the last one
//! heard at the front); each direction has a thread that judges what comes and one that lets it go
//! when its time has come, over a queue with a bound in bytes. What a datagram meets is decided by
//! [`Fate`], which is pure: same seed, same datagrams, same times, same fates.

use std::{
    collections::BinaryHeap,
    io::BufRead as _,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use parking_lot::{Condvar, Mutex};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

/// What the line does to each direction.
#[derive(Debug, Clone, clap::Args)]
pub struct Line {
    /// Mbit/s of UDP payload and 28 bytes of headers; 0: unlimited.
    #[arg(long, default_value_t = 0.0)]
    pub rate: f64,
    /// Round-trip time added, ms; half of it in each direction.
    #[arg(long, default_value_t = 0.0)]
    pub rtt: f64,
    /// Random further delay, ms at most, each direction; datagrams may overtake each other.
    #[arg(long, default_value_t = 0.0)]
    pub jitter: f64,
    /// Share lost, 0 to 1.
    #[arg(long, default_value_t = 0.0)]
    pub loss: f64,
    /// Share sent twice.
    #[arg(long, default_value_t = 0.0)]
    pub duplicate: f64,
    /// Share with one byte changed.
    #[arg(long, default_value_t = 0.0)]
    pub corrupt: f64,
    /// Longest datagram that passes, bytes of UDP payload; longer ones vanish.
    #[arg(long, default_value_t = 65_535)]
    pub largest: usize,
    /// Most bytes waiting for the line; 0: one round trip's worth, at least 64 KiB.
    #[arg(long, default_value_t = 0)]
    pub queue: usize,
    /// Where the dice start.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Hidden subcommand.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// Where the dialling end sends.
    #[arg(long)]
    listen: SocketAddr,
    /// The other end.
    #[arg(long)]
    forward: SocketAddr,
    /// What happens in between.
    #[command(flatten)]
    line: Line,
}

/// What becomes of a datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sending {
    /// When each copy leaves.
    pub at: Vec<Instant>,
    /// The byte that is changed.
    pub spoiled: Option<usize>,
}

/// One direction's dice and clock.
pub struct Fate {
    line: Line,
    bytes_per_s: f64,
    queue_s: f64,
    free: Option<Instant>,
    dice: StdRng,
}

impl Fate {
    /// `direction` keeps the two directions' dice apart.
    pub fn new(line: &Line, direction: u64) -> Self {
        let bytes_per_s = line.rate * 125_000.0;
        let queue =
            if line.queue > 0 { line.queue as f64 } else { (bytes_per_s * line.rtt / 1e3).max(65_536.0) };
        Self {
            bytes_per_s,
            queue_s: if bytes_per_s > 0.0 { queue / bytes_per_s } else { f64::INFINITY },
            free: None,
            dice: StdRng::seed_from_u64(line.seed * 2 + direction),
            line: line.clone(),
        }
    }

    /// Judges a datagram of `bytes` that comes at `now`; `None`: it is lost.
    pub fn judge(&mut self, now: Instant, bytes: usize) -> Option<Sending> {
        // The same number of dice for every datagram, so that one setting does not move another's.
        let [lost, doubled, spoiled, late]: [f64; 4] = std::array::from_fn(|_| self.dice.random());
        let place = self.dice.random_range(0..bytes.max(1));
        if bytes > self.line.largest {
            return None;
        }
        let mut leaves = now;
        if self.bytes_per_s > 0.0 {
            let start = self.free.map_or(now, |free| free.max(now));
            if start.saturating_duration_since(now).as_secs_f64() > self.queue_s {
                return None;
            }
            leaves = start + Duration::from_secs_f64((bytes + 28) as f64 / self.bytes_per_s);
            self.free = Some(leaves);
        }
        if lost < self.line.loss {
            return None;
        }
        let arrives = leaves + Duration::from_secs_f64((self.line.rtt / 2.0 + self.line.jitter * late) / 1e3);
        let copies = if doubled < self.line.duplicate { 2 } else { 1 };
        Some(Sending { at: vec![arrives; copies], spoiled: (spoiled < self.line.corrupt).then_some(place) })
    }
}

/// A datagram on its way; the soonest is the greatest.
#[derive(PartialEq, Eq)]
struct OnTheWay(Instant, u64, Vec<u8>);

impl Ord for OnTheWay {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.0, other.1).cmp(&(self.0, self.1))
    }
}

impl PartialOrd for OnTheWay {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

#[derive(Default)]
struct Air {
    queue: Mutex<BinaryHeap<OnTheWay>>,
    bell: Condvar,
    cut: AtomicBool,
}

/// Runs the proxy until its standard input ends. Lines there: `cut up on`, `cut down off`, `cut both on`.
///
/// # Errors
/// When a socket cannot be had.
pub fn run(arguments: &Arguments) -> Result<()> {
    let socket = |address: SocketAddr| -> Result<UdpSocket> {
        let socket = UdpSocket::bind(address).with_context(|| format!("listen on UDP {address}"))?;
        let raw = socket2::SockRef::from(&socket);
        // Less is granted where less is allowed.
        let _ = raw.set_recv_buffer_size(4 << 20);
        let _ = raw.set_send_buffer_size(4 << 20);
        Ok(socket)
    };
    let front = Arc::new(socket(arguments.listen)?);
    let back = Arc::new(socket(SocketAddr::new(arguments.listen.ip(), 0))?);
    let client = Arc::new(Mutex::new(None));
    let (up, down) = (Arc::new(Air::default()), Arc::new(Air::default()));
    let forward = arguments.forward;
    carry(&front, &up, Fate::new(&arguments.line, 0), {
        let client = Arc::clone(&client);
        move |from| {
            *client.lock() = Some(from);
            true
        }
    });
    carry(&back, &down, Fate::new(&arguments.line, 1), move |from| from == forward);
    release(&up, &back, move || Some(forward));
    release(&down, &front, move || *client.lock());
    println!("ready");
    for line in std::io::stdin().lock().lines() {
        let line = line.context("read a command")?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let ["cut", which, on] = words[..] else { continue };
        for (name, air) in [("up", &up), ("down", &down)] {
            if which == name || which == "both" {
                air.cut.store(on == "on", Ordering::Relaxed);
            }
        }
    }
    Ok(())
}

fn carry(
    socket: &Arc<UdpSocket>,
    air: &Arc<Air>,
    mut fate: Fate,
    welcome: impl Fn(SocketAddr) -> bool + Send + 'static,
) {
    let (socket, air) = (Arc::clone(socket), Arc::clone(air));
    thread::spawn(move || {
        let (mut buffer, mut count) = (vec![0; 65_536], 0_u64);
        loop {
            // An error here is an ICMP message about an earlier datagram.
            let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
            if !welcome(from) || air.cut.load(Ordering::Relaxed) {
                continue;
            }
            let Some(sending) = fate.judge(Instant::now(), length) else { continue };
            let mut bytes = buffer[..length].to_vec();
            if let Some(byte) = sending.spoiled.and_then(|at| bytes.get_mut(at)) {
                *byte ^= 0x55;
            }
            let mut queue = air.queue.lock();
            for at in sending.at {
                count += 1;
                queue.push(OnTheWay(at, count, bytes.clone()));
            }
            air.bell.notify_one();
        }
    });
}

fn release(air: &Arc<Air>, socket: &Arc<UdpSocket>, to: impl Fn() -> Option<SocketAddr> + Send + 'static) {
    let (socket, air) = (Arc::clone(socket), Arc::clone(air));
    thread::spawn(move || {
        let mut queue = air.queue.lock();
        loop {
            let now = Instant::now();
            let wait = match queue.peek() {
                None => Duration::from_secs(1),
                Some(next) if next.0 > now => next.0 - now,
                Some(_) => {
                    let next = queue.pop();
                    drop(queue);
                    if let (Some(next), Some(to)) = (next, to()) {
                        // Full buffers lose it, as a line does.
                        let _ = socket.send_to(&next.2, to);
                    }
                    queue = air.queue.lock();
                    continue;
                }
            };
            air.bell.wait_for(&mut queue, wait);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line {
        Line {
            rate: 0.0,
            rtt: 0.0,
            jitter: 0.0,
            loss: 0.0,
            duplicate: 0.0,
            corrupt: 0.0,
            largest: 65_535,
            queue: 0,
            seed: 7,
        }
    }

    #[test]
    fn shares_are_as_asked_and_the_seed_decides() {
        let (start, n) = (Instant::now(), 20_000);
        let line = Line { loss: 0.01, duplicate: 0.02, corrupt: 0.03, rtt: 80.0, ..line() };
        let judged = |seed| {
            let mut fate = Fate::new(&Line { seed, ..line.clone() }, 0);
            (0..n).map(|_| fate.judge(start, 1000)).collect::<Vec<_>>()
        };
        let first = judged(7);
        assert_eq!(first, judged(7));
        assert_ne!(first, judged(8));
        let share =
            |what: fn(&Option<Sending>) -> bool| first.iter().filter(|s| what(s)).count() as f64 / n as f64;
        assert!((share(Option::is_none) - 0.01).abs() < 0.003);
        assert!((share(|s| s.as_ref().is_some_and(|s| s.at.len() == 2)) - 0.02).abs() < 0.005);
        assert!((share(|s| s.as_ref().is_some_and(|s| s.spoiled.is_some())) - 0.03).abs() < 0.006);
        let sent = first.iter().flatten().next().unwrap();
        assert_eq!(sent.at[0] - start, Duration::from_millis(40));
    }

    #[test]
    fn the_rate_holds_and_the_queue_has_an_end() {
        let start = Instant::now();
        let mut fate = Fate::new(&Line { rate: 8.0, ..line() }, 0);
        // Twice what the line carries, for ten seconds.
        let mut passed = 0;
        for n in 0..20_000_u32 {
            let now = start + Duration::from_micros(500) * n;
            if let Some(sending) = fate.judge(now, 972) {
                passed += 1;
                assert!(sending.at[0] - now < Duration::from_millis(70), "64 KiB of queue");
            }
        }
        assert!((9_950..=10_150).contains(&passed), "{passed} KB in 10 s at 1 MB/s");
        let mut fate = Fate::new(&Line { largest: 1300, ..line() }, 0);
        assert!(fate.judge(start, 1301).is_none() && fate.judge(start, 1300).is_some());
    }
}
