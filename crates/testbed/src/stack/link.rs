//! The ways there are between the two daemons of a stack.

use anyhow::{Context, Result, anyhow};

use crate::lab::{namespace, nginx::Nginx};

/// The way between the two daemons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Link {
    /// WireGuard and TCP/IP inside the daemons: no rights needed.
    Userspace,
    /// WireGuard inside the daemons, TUN devices and the kernel's TCP: needs root, since the NAS's side
    /// stands in a network namespace of its own.
    Tun,
    /// Plain HTTP by way of nginx, in both directions.
    ReverseProxy,
    /// Plain HTTP on loopback, as behind a VPN of the operator's own.
    Direct,
}

impl Link {
    /// Whether a stack over it can be made here.
    ///
    /// # Errors
    /// What is missing and what to do.
    pub fn possible(self) -> Result<()> {
        match self {
            Self::Userspace | Self::Direct => Ok(()),
            Self::ReverseProxy => Nginx::installed().map(drop).context("link reverse-proxy needs nginx"),
            Self::Tun => namespace::possible().map_err(|why| {
                anyhow!(
                    "link tun cannot be had here: {why} (it needs root, /dev/net/tun and Debian's iproute2; \
                     link userspace needs none of them)"
                )
            }),
        }
    }
}
