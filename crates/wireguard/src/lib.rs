//! WireGuard's nouns: keys, inner addresses, endpoints, peers and a whole end of a tunnel, as an operator
//! writes them in a wg-quick file or in the configuration. Values only: nothing here opens a socket, and the
//! one file that is read is the wg-quick file.

mod address;
pub mod draft;
mod key;
mod keygen;
mod pair;
mod quick;
mod suggestion;

use std::{fmt, net::IpAddr};

pub use address::{NotAnAddress, NotAnEndpoint};
pub use key::{NotAKey, PresharedKey, PrivateKey, PublicKey};
pub use keygen::{KeygenError, keygen};
pub use pair::{CLOUD_ADDRESS, DEFAULT_PORT, NAS_ADDRESS, NAS_KEEPALIVE_S, Pair, PairError, pair};
pub use quick::{QuickError, QuickErrors, QuickFile, parse_wg_quick, read_wg_quick};
pub use suggestion::suggestion;

/// An address with a prefix length, as `10.0.1.0/24`; the host bits are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cidr {
    /// The address.
    pub address: IpAddr,
    /// Bits that count, at most 32 or 128.
    pub prefix: u8,
}

impl Cidr {
    /// Whether `address` lies inside.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let shift = 32_u32.saturating_sub(u32::from(self.prefix));
                u32::from(net).checked_shr(shift) == u32::from(ip).checked_shr(shift)
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let shift = 128_u32.saturating_sub(u32::from(self.prefix));
                u128::from(net).checked_shr(shift) == u128::from(ip).checked_shr(shift)
            }
            _ => false,
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// Where a peer's UDP socket is; the host may be a name, resolved when it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerEndpoint {
    /// Name or address (IPv6 without brackets).
    pub host: String,
    /// UDP port.
    pub port: u16,
}

impl fmt::Display for PeerEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// One peer of the tunnel (wg(8), `[Peer]`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunnelPeer {
    /// Its name.
    pub public_key: PublicKey,
    /// A second secret, both ends'.
    pub preshared_key: Option<PresharedKey>,
    /// Where to dial; `None`: it dials us.
    pub endpoint: Option<PeerEndpoint>,
    /// Inner addresses that are its own; disjoint from every other peer's.
    pub allowed_ips: Vec<Cidr>,
    /// Seconds between keepalives; `None`: none.
    pub persistent_keepalive: Option<u16>,
}

/// One end of the tunnel (wg-quick(8)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunnelConfig {
    /// Our key.
    pub private_key: PrivateKey,
    /// Our inner addresses, at least one.
    pub addresses: Vec<Cidr>,
    /// UDP port to listen on; `None`: any.
    pub listen_port: Option<u16>,
    /// Inner MTU, bytes; `None`: 1420, lowered when large packets vanish.
    pub mtu: Option<u16>,
    /// At least one.
    pub peers: Vec<TunnelPeer>,
}

/// `link.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkMode {
    /// `tun` where the process may, else `userspace`.
    Auto,
    /// A TUN device and the kernel's TCP.
    Tun,
    /// TCP/IP in this process; needs no rights.
    Userspace,
    /// The operating system's own VPN: only addresses are used.
    External,
}

/// `link`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkConfig {
    /// How packets travel.
    pub mode: LinkMode,
    /// Keys and peers; `None` exactly when `mode` is [`LinkMode::External`].
    pub tunnel: Option<TunnelConfig>,
}
