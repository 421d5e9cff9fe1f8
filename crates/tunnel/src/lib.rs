//! The tunnel between the daemons: WireGuard in the process, no VPN software and no open port on the
//! NAS.
//!
//! The daemons see addresses inside the tunnel: [`Tunnel::forward`] gives an ordinary client an address to dial,
//! [`Tunnel::expose`] lets the other side reach a local server, [`Tunnel::peers`] reports the state of each peer,
//! and [`Tunnel::yield_to_others`] keeps bulk data from filling the link's queue. How packets travel is chosen
//! once, at the start ([`Mode`]):
//!
//! ```text
//! tun        kernel TCP ── TUN device ──╮
//!                                       ├── peers (keys, routing) ── UDP socket ── the other end
//! userspace  loopback ── smoltcp ───────╯
//! ```
//!
//! The end that has a peer's endpoint dials it, keeps the path through routers open, and resolves the name anew
//! when the peer has not been heard for a while; the other end answers to wherever authenticated datagrams come
//! from. Nothing here is written to disk: after a crash one handshake (one round trip) restores the tunnel.
//!
//! The peers are locked for a burst of packets and never across a wait. Every task belongs to the supervisor that
//! the tunnel was opened with and ends when that is shut down.

mod attach;
mod delay_controller;
mod error;
mod forward;
mod gso_batch;
mod loss_recovery;
mod noise;
mod peers;
mod probe;
#[cfg(any(test, fuzzing))]
pub mod test_pair;
mod tun;
mod udp;
mod userspace;
mod yielding;

use std::{
    fmt,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

pub use attach::{Attached, attach};
pub use error::TunnelError;
use parking_lot::Mutex;
pub use peers::PeerStats;
use peers::Peers;
pub use probe::Echo;
use tokio_util::sync::CancellationToken;
use udp::Udp;
use userspace::Userspace;
use wireguard::{LinkMode, PeerEndpoint, TunnelConfig};

use supervisor::Supervisor;

/// WireGuard's usual inner MTU: 1500 less IPv6, UDP and WireGuard's own headers.
const MTU: u16 = 1420;
/// Interval of the peers' timers.
const TICK: Duration = Duration::from_millis(100);
/// Interval between look-ups of a dialled peer's name while the peer is not heard.
const RESOLVE: Duration = Duration::from_secs(10);
/// A dialled peer that was not heard for this long may have moved: a handshake is overdue (120 s) by
/// a good margin.
const STALE: Duration = Duration::from_secs(135);
/// Longest wait for a name server.
const LOOKUP: Duration = Duration::from_secs(5);
/// Pause after a failure of the system, so that none becomes a busy loop.
const PAUSE: Duration = Duration::from_millis(100);

/// How packets travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A TUN device and the kernel's TCP.
    Tun,
    /// TCP/IP in this process.
    Userspace,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tun => "tun",
            Self::Userspace => "userspace",
        })
    }
}

/// One end of the tunnel. Clones are the same end; it lives until its supervisor is shut down.
#[derive(Clone)]
pub struct Tunnel(Arc<Inner>);

struct Inner {
    udp: SocketAddr,
    peers: Arc<Mutex<Peers>>,
    userspace: Option<Userspace>,
    supervisor: Supervisor,
    own: Vec<std::net::IpAddr>,
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnel").field("mode", &self.mode()).field("udp", &self.0.udp).finish()
    }
}

impl Tunnel {
    /// Opens the socket, makes the device or the stack, starts the tasks. The other end need not be
    /// there. `wanted` decides between device and stack; [`LinkMode::Auto`] takes the device when it
    /// can be had and says why when it can not.
    pub async fn open(
        config: &TunnelConfig,
        wanted: LinkMode,
        supervisor: &Supervisor,
    ) -> Result<Self, TunnelError> {
        if wanted == LinkMode::External {
            return Err(TunnelError::External);
        }
        if config.addresses.is_empty() {
            return Err(TunnelError::NoAddress);
        }
        let mtu = config.mtu.unwrap_or(MTU);
        let udp = Arc::new(Udp::bind(config.listen_port)?);
        let address = udp.address().map_err(TunnelError::Socket)?;
        let peers = Arc::new(Mutex::new(Peers::new(config, mtu)));
        let stop = supervisor.token();
        let device = match wanted {
            LinkMode::Userspace => None,
            _ => match tun::device(config, mtu).await {
                Ok(device) => Some(Arc::new(device)),
                Err(error) if wanted == LinkMode::Tun => return Err(error),
                Err(error) => {
                    tracing::info!("link.mode auto takes the userspace stack: {error}");
                    None
                }
            },
        };
        let resize: Resize;
        let userspace = match device {
            Some(device) => {
                let resized = Arc::clone(&device);
                resize = Box::new(move |mtu| resized.set_mtu(mtu));
                let (from, to) = (Arc::clone(&device), device);
                let out = tun::outbound(from, Arc::clone(&udp), Arc::clone(&peers), stop.clone());
                supervisor.spawn("tunnel out", out);
                let into = tun::inbound(to, Arc::clone(&udp), Arc::clone(&peers), stop.clone());
                supervisor.spawn("tunnel in", into);
                None
            }
            None => {
                let stack = Userspace::new(config, mtu, Arc::clone(&peers));
                let resized = stack.clone();
                resize = Box::new(move |mtu| {
                    resized.set_mtu(mtu);
                    Ok(())
                });
                supervisor.spawn("tunnel stack", stack.clone().drive(Arc::clone(&udp), stop.clone()));
                Some(stack)
            }
        };
        supervisor
            .spawn("tunnel timers", timers(Arc::clone(&udp), Arc::clone(&peers), mtu, resize, stop.clone()));
        supervisor.spawn("tunnel names", names(udp, Arc::clone(&peers), stop));
        let own = config.addresses.iter().map(|own| own.address).collect();
        let inner = Inner { udp: address, peers, userspace, supervisor: supervisor.clone(), own };
        let tunnel = Self(Arc::new(inner));
        tracing::info!(mode = %tunnel.mode(), udp = %address, peers = config.peers.len(), mtu, "the tunnel is open");
        Ok(tunnel)
    }

    /// How packets travel.
    #[must_use]
    pub fn mode(&self) -> Mode {
        if self.0.userspace.is_some() { Mode::Userspace } else { Mode::Tun }
    }

    /// Local address of the UDP socket.
    #[must_use]
    pub fn udp_address(&self) -> SocketAddr {
        self.0.udp
    }

    /// The state of every peer, in the order of the configuration.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerStats> {
        self.0.peers.lock().stats()
    }

    /// Where an ordinary client on this machine reaches `remote`, an address inside the tunnel: in tun
    /// mode that address itself, in userspace mode a new port on loopback, which lives as long as the
    /// tunnel.
    pub async fn forward(&self, remote: SocketAddr) -> Result<SocketAddr, TunnelError> {
        match &self.0.userspace {
            None => Ok(remote),
            Some(stack) => forward::to_tunnel(stack.clone(), remote, &self.0.supervisor).await,
        }
    }

    /// Lets the peers reach the local server at `to` under our inner address and `port`. In tun mode a
    /// server that listens on every address is reached already, and nothing is done.
    pub async fn expose(&self, port: u16, to: SocketAddr) -> Result<(), TunnelError> {
        match &self.0.userspace {
            Some(stack) => forward::from_tunnel(stack, port, to, &self.0.supervisor),
            None => forward::from_device(&self.0.own, port, to, &self.0.supervisor).await,
        }
    }
}

/// Sets the MTU of the device or the stack.
type Resize = Box<dyn Fn(u16) -> std::io::Result<()> + Send>;

/// Sends the handshakes, rekeys, keepalives and echoes that are due; applies the MTU when it changes.
async fn timers(
    udp: Arc<Udp>,
    peers: Arc<Mutex<Peers>>,
    mut mtu: u16,
    resize: Resize,
    stop: CancellationToken,
) {
    let mut queue = gso_batch::SendQueue::default();
    while stop.run_until_cancelled(tokio::time::sleep(TICK)).await.is_some() {
        let found = {
            let mut peers = peers.lock();
            peers.tick(Instant::now(), &mut queue);
            peers.mtu().unwrap_or(mtu)
        };
        udp.send(&mut queue).await;
        if found != mtu {
            match resize(found) {
                Ok(()) => tracing::info!(
                    "the tunnel's MTU is {found} bytes now, it was {mtu} (packets of full size were probed)"
                ),
                Err(error) => tracing::warn!(%error, "the tunnel's MTU cannot be set to {found}"),
            }
            mtu = found;
        }
    }
}

/// Looks up the addresses of the peers that are dialled: at once, and again while one is not heard.
async fn names(udp: Arc<Udp>, peers: Arc<Mutex<Peers>>, stop: CancellationToken) {
    let mut queue = gso_batch::SendQueue::default();
    loop {
        let dialled = peers.lock().dialled();
        for (index, endpoint, heard) in dialled {
            if heard.is_some_and(|heard| heard < STALE) {
                continue;
            }
            match lookup(&endpoint).await {
                Ok(address) => peers.lock().resolved(index, address, &mut queue),
                Err(reason) => {
                    let problem = format!(
                        "the peer's endpoint {endpoint} cannot be resolved: {reason} (check Endpoint and this \
                         machine's name servers; it is tried again every {} s)",
                        RESOLVE.as_secs()
                    );
                    // Logged once, until it works again.
                    if peers.lock().unresolved(index, problem.clone()) {
                        tracing::warn!("{problem}");
                    } else {
                        tracing::debug!("still: {problem}");
                    }
                }
            }
        }
        udp.send(&mut queue).await;
        if stop.run_until_cancelled(tokio::time::sleep(RESOLVE)).await.is_none() {
            return;
        }
    }
}

async fn lookup(endpoint: &PeerEndpoint) -> Result<SocketAddr, String> {
    let found = tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port));
    match tokio::time::timeout(LOOKUP, found).await {
        Ok(Ok(mut addresses)) => addresses.next().ok_or_else(|| "the name has no address".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", LOOKUP.as_secs())),
    }
}
