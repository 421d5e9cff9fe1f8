//! The tunnel between the daemons: WireGuard in the process.
//!
//! The rest of the code sees tunnel addresses: [`Tunnel::forward`] gives an ordinary client an address
//! to dial, [`Tunnel::expose`] lets the other side reach a local server.

use std::net::SocketAddr;

use storage_config::wireguard::{LinkMode, TunnelConfig};

use crate::Supervisor;

/// How packets travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A TUN device and the kernel's TCP.
    Tun,
    /// TCP/IP in this process.
    Userspace,
}

/// Why a tunnel cannot be opened. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    /// Not yet told apart.
    #[error("{0}")]
    Other(String),
}

/// One end of the tunnel. Clones are the same end; it lives as long as its supervisor's tasks.
#[derive(Debug, Clone)]
pub struct Tunnel {
    mode: Mode,
    udp: SocketAddr,
}

impl Tunnel {
    /// Opens the socket and starts the tasks. The other end need not be there.
    pub async fn open(
        _config: &TunnelConfig,
        _wanted: LinkMode,
        _supervisor: &Supervisor,
    ) -> Result<Self, TunnelError> {
        Err(TunnelError::Other("not yet".into()))
    }

    /// What was chosen.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Our UDP socket.
    #[must_use]
    pub fn udp_address(&self) -> SocketAddr {
        self.udp
    }

    /// Where an ordinary client on this machine reaches `remote`, an address inside the tunnel: in tun
    /// mode that address itself, in userspace mode a port on loopback.
    pub async fn forward(&self, remote: SocketAddr) -> Result<SocketAddr, TunnelError> {
        Ok(remote)
    }

    /// Lets the peers reach the local server at `to` (loopback) under our inner address and `port`.
    pub async fn expose(&self, _port: u16, _to: SocketAddr) -> Result<(), TunnelError> {
        Ok(())
    }
}
