//! One end of a tunnel as a program: a sink, a source or a pinger of TCP through it.
//!
//! The same three serve our own tunnel in both modes and, as `external`, whatever already carries the
//! addresses (wireguard-go, a plain veth), so that all are measured with one tool.
//!
//! A connection starts with one byte. `D`: data until the end, or until the peer closes; at once, every 100 ms
//! and at the end the sink says how many bytes it has, as a big-endian u64. `P`: every byte comes back.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use link::RateLimiter;
use supervisor::Supervisor;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tunnel::Tunnel;
use wireguard::{Cidr, LinkMode, PeerEndpoint, TunnelConfig, TunnelPeer};

/// What is written at once, bytes.
const BLOCK: usize = 128 * 1024;
/// The longest wait for a connection or an answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// The line is asked so long before anything is sent.
const BEFORE: Duration = Duration::from_secs(2);
/// Between two round trips beside a transfer.
const BETWEEN: Duration = Duration::from_millis(50);
/// Most connections of a sink at a time.
const MOST: u32 = 64;

/// What an end is asked for.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// What carries the packets.
    #[arg(long, value_enum)]
    mode: EndMode,
    /// File with our private key, base64.
    #[arg(long)]
    private_key_file: Option<PathBuf>,
    /// Our inner address, as 10.78.0.1/24; in external mode where the sink listens.
    #[arg(long)]
    address: Option<String>,
    /// UDP port.
    #[arg(long)]
    listen_port: Option<u16>,
    /// The peer's name, base64.
    #[arg(long)]
    peer_public_key: Option<String>,
    /// File with the second secret, base64.
    #[arg(long)]
    peer_preshared_key_file: Option<PathBuf>,
    /// The peer's UDP socket.
    #[arg(long)]
    endpoint: Option<SocketAddr>,
    /// Inner addresses of the peer.
    #[arg(long)]
    allowed_ip: Vec<String>,
    /// Seconds between keepalives.
    #[arg(long)]
    keepalive: Option<u16>,
    /// Listen on this inner TCP port until stopped.
    #[arg(long)]
    serve: Option<u16>,
    /// Send to this inner address.
    #[arg(long)]
    send: Option<SocketAddr>,
    /// Send garbage to this UDP address for `--seconds`, at `--flood-mbit-s`.
    #[arg(long)]
    flood: Option<SocketAddr>,
    /// How much of it.
    #[arg(long, default_value_t = 100.0)]
    flood_mbit_s: f64,
    /// Measure round trips to this inner address.
    #[arg(long)]
    ping: Option<SocketAddr>,
    /// Connections of `--send`.
    #[arg(long, default_value_t = 1)]
    connections: u32,
    /// How long is measured.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// How long is sent before that.
    #[arg(long, default_value_t = 0.0)]
    warmup: f64,
    /// Send no more than this, bytes per second.
    #[arg(long)]
    limit: Option<u64>,
    /// Send less while the line queues, as the daemons do.
    #[arg(long)]
    give_way: bool,
    /// Measure round trips to the sink on a connection of their own while sending.
    #[arg(long)]
    beside: bool,
    /// Ask the kernel for BBR instead of its default.
    #[arg(long)]
    bbr: bool,
}

/// What carries the packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum EndMode {
    /// Our tunnel on a TUN device.
    Tun,
    /// Our tunnel with TCP in the process.
    Userspace,
    /// What is already there.
    External,
}

/// Runs one end.
///
/// # Errors
/// When the tunnel cannot be opened, nobody answers, or the arguments do not fit together.
pub fn run(arguments: &Arguments) -> Result<()> {
    if let Some(to) = arguments.flood {
        return flood(to, arguments.flood_mbit_s, arguments.seconds);
    }
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(end(arguments))
}

async fn end(arguments: &Arguments) -> Result<()> {
    let supervisor = Supervisor::new();
    let tunnel = match arguments.mode {
        EndMode::External => None,
        EndMode::Tun => Some(open(arguments, LinkMode::Tun, &supervisor).await?),
        EndMode::Userspace => Some(open(arguments, LinkMode::Userspace, &supervisor).await?),
    };
    if let Some(port) = arguments.serve {
        serve(arguments, port, tunnel.as_ref(), &supervisor).await?;
    } else if let Some(to) = arguments.send {
        let to = dial_address(tunnel.as_ref(), to).await?;
        let limiter = RateLimiter::new(arguments.limit);
        if let Some(tunnel) = tunnel.clone().filter(|_| arguments.give_way) {
            let limiter = limiter.clone();
            supervisor.spawn_brief(async move { tunnel.yield_to_others(&limiter).await });
        }
        let mut said = send(arguments, to, &limiter, &supervisor).await?;
        if let Some(age) = tunnel.and_then(|tunnel| tunnel.peers().first()?.handshake_age) {
            said["handshake_age_s"] = age.as_secs_f64().into();
        }
        println!("{said}");
    } else if let Some(to) = arguments.ping {
        ping(dial_address(tunnel.as_ref(), to).await?).await?;
    } else {
        bail!("one of --serve, --send and --ping is needed");
    }
    supervisor.shutdown();
    supervisor.wait(Duration::from_secs(2)).await;
    Ok(())
}

async fn dial_address(tunnel: Option<&Tunnel>, to: SocketAddr) -> Result<SocketAddr> {
    match tunnel {
        None => Ok(to),
        Some(tunnel) => tunnel.forward(to).await.context("forward through the tunnel"),
    }
}

async fn open(arguments: &Arguments, mode: LinkMode, supervisor: &Supervisor) -> Result<Tunnel> {
    Tunnel::open(&config(arguments)?, mode, supervisor).await.context("open the tunnel")
}

fn text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

fn cidr(text: &str) -> Result<Cidr> {
    let (address, prefix) = text.split_once('/').context("an address with a prefix length")?;
    Ok(Cidr { address: address.parse()?, prefix: prefix.parse()? })
}

fn config(arguments: &Arguments) -> Result<TunnelConfig> {
    let key = arguments.private_key_file.as_deref().context("--private-key-file is needed")?;
    let peer = arguments.peer_public_key.as_deref().context("--peer-public-key is needed")?;
    let preshared_key = match arguments.peer_preshared_key_file.as_deref() {
        Some(path) => Some(text(path)?.trim().parse().context("the preshared key")?),
        None => None,
    };
    let address = arguments.address.as_deref().context("--address is needed")?;
    Ok(TunnelConfig {
        private_key: text(key)?.trim().parse().context("the private key")?,
        addresses: vec![cidr(address)?],
        listen_port: arguments.listen_port,
        mtu: None,
        peers: vec![TunnelPeer {
            public_key: peer.parse().context("the peer's key")?,
            preshared_key,
            endpoint: arguments
                .endpoint
                .map(|at| PeerEndpoint { host: at.ip().to_string(), port: at.port() }),
            allowed_ips: arguments.allowed_ip.iter().map(|t| cidr(t)).collect::<Result<_>>()?,
            persistent_keepalive: arguments.keepalive,
        }],
    })
}

async fn serve(
    arguments: &Arguments,
    port: u16,
    tunnel: Option<&Tunnel>,
    supervisor: &Supervisor,
) -> Result<()> {
    let inner = match arguments.address.as_deref() {
        Some(address) => cidr(address)?.address,
        None => IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    let at = match tunnel {
        None => SocketAddr::new(inner, port),
        Some(_) => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
    };
    let listener = TcpListener::bind(at).await.with_context(|| format!("listen on {at}"))?;
    if let Some(tunnel) = tunnel {
        tunnel.expose(port, listener.local_addr()?).await.context("expose the sink")?;
    }
    // Whoever started us waits for this line.
    println!("ready");
    let places = Arc::new(tokio::sync::Semaphore::new(MOST as usize));
    loop {
        let place = Arc::clone(&places).acquire_owned().await?;
        let (stream, _) = listener.accept().await.context("accept")?;
        supervisor.spawn_brief(async move {
            if let Err(error) = sink(stream).await {
                eprintln!("a connection ended: {error:#}");
            }
            drop(place);
        });
    }
}

async fn sink(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    if stream.read_u8().await? == b'P' {
        let (mut read, mut write) = stream.split();
        tokio::io::copy(&mut read, &mut write).await?;
        return Ok(());
    }
    let (mut read, mut write) = stream.split();
    let (mut block, mut total) = (vec![0; BLOCK], 0_u64);
    write.write_u64(total).await?;
    let mut told = Instant::now();
    loop {
        let n = read.read(&mut block).await?;
        total += n as u64;
        if n == 0 || told.elapsed() >= Duration::from_millis(100) {
            told = Instant::now();
            write.write_u64(total).await?;
        }
        if n == 0 {
            return Ok(write.shutdown().await?);
        }
    }
}

async fn connect(to: SocketAddr, bbr: bool) -> Result<TcpStream> {
    let stream = tokio::time::timeout(PATIENCE, TcpStream::connect(to))
        .await
        .with_context(|| format!("{to} did not answer"))?
        .with_context(|| format!("dial {to}"))?;
    stream.set_nodelay(true)?;
    if bbr {
        socket2::SockRef::from(&stream).set_tcp_congestion(b"bbr").context("ask for BBR")?;
    }
    Ok(stream)
}

/// Sends, and says what was measured.
async fn send(
    arguments: &Arguments,
    to: SocketAddr,
    limiter: &RateLimiter,
    supervisor: &Supervisor,
) -> Result<serde_json::Value> {
    ensure!((1..=MOST).contains(&arguments.connections), "1 to {MOST} connections");
    let span = Duration::try_from_secs_f64(arguments.warmup + arguments.seconds)?;
    let mut counts = Vec::new();
    let mut streams = Vec::new();
    for _ in 0..arguments.connections {
        let mut stream = connect(to, arguments.bbr && arguments.mode != EndMode::Userspace).await?;
        stream.write_u8(b'D').await?;
        streams.push(stream);
    }
    // Connected is only the forwarder of a tunnel that may still be shaking hands.
    for stream in &mut streams {
        let greeting = tokio::time::timeout(PATIENCE, stream.read_u64()).await;
        greeting.context("the sink did not answer")?.context("the sink hung up")?;
    }
    let quiet = if arguments.beside { Some(round_trips(to, BEFORE, Duration::ZERO).await?) } else { None };
    let end = tokio::time::Instant::now() + span;
    let warmup = Duration::try_from_secs_f64(arguments.warmup)?;
    let mut beside = tokio::task::JoinSet::new();
    if quiet.is_some() {
        beside.spawn(round_trips(to, span, warmup));
    }
    for stream in streams {
        let count = Arc::new(AtomicU64::new(0));
        counts.push(Arc::clone(&count));
        let (mut read, mut write) = stream.into_split();
        let limiter = limiter.clone();
        supervisor.spawn_brief(async move {
            let block = vec![0xa5; BLOCK];
            let fill = async {
                loop {
                    let piece = if limiter.effective().is_some() { limiter.slice_bytes() } else { BLOCK };
                    limiter.acquire(piece).await;
                    if write.write_all(&block[..piece.min(BLOCK)]).await.is_err() {
                        return;
                    }
                }
            };
            drop(tokio::time::timeout_at(end, fill).await);
            drop(write.shutdown().await);
        });
        supervisor.spawn_brief(async move {
            while let Ok(total) = read.read_u64().await {
                count.store(total, Ordering::Relaxed);
            }
        });
    }
    let acknowledged = || counts.iter().map(|c| c.load(Ordering::Relaxed)).sum::<u64>();
    tokio::time::sleep_until(end - Duration::try_from_secs_f64(arguments.seconds)?).await;
    let (before, started) = (acknowledged(), Instant::now());
    let (mut moved, mut last, mut longest_stall) = (started, before, Duration::ZERO);
    while tokio::time::Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let now = acknowledged();
        longest_stall = longest_stall.max(moved.elapsed());
        if now != last {
            (last, moved) = (now, Instant::now());
        }
    }
    let (bytes, seconds) = (acknowledged().saturating_sub(before), started.elapsed().as_secs_f64());
    ensure!(bytes > 0, "nothing arrived");
    let mbit_s = bytes as f64 * 8e-6 / seconds;
    let cpu_s = super::cpu::seconds(std::process::id())?;
    let mut said = serde_json::json!({ "bytes": bytes, "seconds": seconds, "mbit_s": mbit_s, "cpu_s": cpu_s,
        "longest_stall_s": longest_stall.as_secs_f64() });
    if let (Some(quiet), Some(beside)) = (quiet, beside.join_next().await) {
        let beside = beside.context("the round trips beside")??;
        let at = |share: f64| beside[((beside.len() - 1) as f64 * share) as usize] - quiet[0];
        said["added_rtt_ms"] = at(0.5).into();
        said["added_rtt_p95_ms"] = at(0.95).into();
    }
    Ok(said)
}

/// Milliseconds of every round trip to the sink over `span` but its first `warmup`, sorted; at least one.
async fn round_trips(to: SocketAddr, span: Duration, warmup: Duration) -> Result<Vec<f64>> {
    let mut stream = connect(to, false).await?;
    stream.write_u8(b'P').await?;
    let (started, mut times) = (Instant::now(), Vec::new());
    while started.elapsed() < span || times.is_empty() {
        let asked = Instant::now();
        stream.write_u8(1).await?;
        tokio::time::timeout(PATIENCE, stream.read_u8()).await.context("no echo")??;
        if started.elapsed() >= warmup {
            times.push(asked.elapsed().as_secs_f64() * 1e3);
        }
        tokio::time::sleep(BETWEEN).await;
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}

/// Datagrams that look like WireGuard's by their first byte and are not.
fn flood(to: SocketAddr, mbit_s: f64, seconds: f64) -> Result<()> {
    use rand::{RngCore as _, SeedableRng as _};
    ensure!(to.ip().is_loopback() || to.ip().to_string().starts_with("10.77."), "only addresses of the lab");
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").context("a socket for garbage")?;
    let mut dice = rand::rngs::StdRng::seed_from_u64(1);
    let mut datagram = vec![0; 1452];
    let (started, mut sent) = (Instant::now(), 0.0);
    while started.elapsed().as_secs_f64() < seconds {
        while sent < started.elapsed().as_secs_f64() * mbit_s * 125_000.0 {
            dice.fill_bytes(&mut datagram);
            datagram[..4].copy_from_slice(&[1 + (sent as u64 % 4) as u8, 0, 0, 0]);
            let length = [148, 92, 64, 1452][(sent as usize / 7) % 4];
            // Full buffers lose it.
            let _ = socket.send_to(&datagram[..length], to);
            sent += length as f64;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

async fn ping(to: SocketAddr) -> Result<()> {
    let mut stream = connect(to, false).await?;
    stream.write_u8(b'P').await?;
    let mut times = Vec::new();
    for _ in 0..25 {
        let started = Instant::now();
        stream.write_u8(1).await?;
        tokio::time::timeout(PATIENCE, stream.read_u8()).await.context("no echo")??;
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    println!("{}", serde_json::json!({ "rtt_ms": times[times.len() / 2] }));
    Ok(())
}
