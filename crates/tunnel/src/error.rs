//! Why a tunnel cannot be opened or used. Each message says what to do about it.

use std::{io, net::SocketAddr};

/// What is wrong with one end of the tunnel.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    /// The UDP port cannot be had.
    #[error(
        "UDP port {port} cannot be listened on: {reason} (another WireGuard may use it: stop that, or set another ListenPort or link.listen_port)"
    )]
    Port {
        /// The port asked for.
        port: u16,
        /// The system's reason.
        reason: io::Error,
    },
    /// The UDP socket lacks something.
    #[error("the tunnel's UDP socket: {0}")]
    Socket(io::Error),
    /// No TUN device, and it was asked for.
    #[error(
        "no TUN device: {0} (give the process CAP_NET_ADMIN and /dev/net/tun, or set link.mode to auto or userspace)"
    )]
    Device(String),
    /// The API would be open to the peers without a token.
    #[error(
        "a tunnel shows this daemon's API to its peers, and the API asks for no token (write one into service.token_file)"
    )]
    NoToken,
    /// The configuration has no address of ours.
    #[error("the tunnel has no address of its own (write Address = 10.0.1.1/24 into [Interface])")]
    NoAddress,
    /// `link.mode` is `external`, and a tunnel was to be opened.
    #[error("link.mode is external: the operating system's VPN is used, there is no tunnel of ours")]
    External,
    /// A loopback port for a client, or a port inside the tunnel, cannot be had.
    #[error("{address} cannot be listened on: {reason} (stop what uses it)")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// The system's reason.
        reason: io::Error,
    },
    /// Every port of the tunnel's own address is taken.
    #[error("no free port inside the tunnel (too many connections)")]
    NoFreePort,
}
