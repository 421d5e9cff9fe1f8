//! What carries the link besides the daemons themselves: nothing, nginx, or a network namespace.
//!
//! Over a TUN device both ends need a kernel of their own for their addresses, or the kernel they share
//! would carry the packets by itself. So the NAS's side (gateway and cold engine) stands in a network
//! namespace, with a line to ours:
//!
//! ```text
//! ours: hot, service    10.77.N.1 ── line ── 10.77.N.2    namespace: gateway, cold
//!                       10.78.N.1 ── tunnel ─ 10.78.N.2
//! ```
//!
//! N is one that no route here knows yet. We reach gateway and cold engine by the line; the service
//! reaches the gateway by the tunnel, whose datagrams use the line.

use std::{net::Ipv4Addr, path::Path, process::Command};

use anyhow::{Context, Result, anyhow, bail};
use serde::{Deserialize, Serialize};

use super::{
    Options, ProcessId, Role,
    configuration::Link,
    free_port,
    record::{Ports, Record},
};
use crate::lab::{
    namespace::{self, Namespace, run},
    nginx::{Nginx, Site},
};

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

/// What is remembered of it, for whoever stops the stack later.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Carrier {
    /// Ports on loopback of the proxies in front of the gateway and of the service.
    pub(super) proxies: Option<[u16; 2]>,
    /// nginx.
    pub(super) proxy: Option<ProcessId>,
    /// Where gateway and cold engine stand.
    pub(super) namespace: Option<String>,
    /// See the head of this file.
    pub(super) net: Option<u8>,
}

impl Carrier {
    /// Where a role listens and is reached by us.
    pub(super) fn host(&self, role: Role) -> Ipv4Addr {
        match (role, self.net) {
            (Role::Gateway | Role::Cold, Some(net)) => line(net)[1],
            _ => Ipv4Addr::LOCALHOST,
        }
    }

    /// Where the gateway's end dials the service's.
    pub(super) fn dialled(&self) -> Ipv4Addr {
        self.net.map_or(Ipv4Addr::LOCALHOST, |net| line(net)[0])
    }

    /// Addresses inside the tunnel: the cloud's, the NAS's.
    pub(super) fn inside(&self) -> [Ipv4Addr; 2] {
        let net = self.net.map_or([10, 0, 1], |net| [10, 78, net]);
        [1, 2].map(|end| Ipv4Addr::new(net[0], net[1], net[2], end))
    }

    /// Removes what a stack left; its processes have ended.
    pub(super) fn remove(&self) -> Result<()> {
        let left = self.namespace.as_deref().map(Namespace::adopt).transpose()?;
        match left {
            Some(namespace) if !namespace.exists() => namespace.leave(),
            other => drop(other),
        }
        Ok(())
    }
}

fn line(net: u8) -> [Ipv4Addr; 2] {
    [1, 2].map(|end| Ipv4Addr::new(10, 77, net, end))
}

/// It, while the stack is ours. Dropping it ends and removes everything.
#[derive(Debug, Default)]
pub(super) struct Way {
    nginx: Option<Nginx>,
    namespace: Option<Namespace>,
}

impl Way {
    /// Prepares it, and writes into `record` what configurations and processes must know.
    pub(super) fn prepare(options: &Options, record: &mut Record) -> Result<Self> {
        let knobs = &options.knobs;
        knobs.link.possible()?;
        let mut way = Self::default();
        record.carrier = Carrier::default();
        match knobs.link {
            Link::ReverseProxy if knobs.proxies.is_none() => {
                let first = free_port(&record.ports.all())?;
                let taken = [&record.ports.all()[..], &[first]].concat();
                record.carrier.proxies = Some([first, free_port(&taken)?]);
            }
            Link::Tun => {
                let mut namespace = Namespace::create("nas")?;
                let net = free_net()?;
                namespace.join(line(net)[0], line(net)[1])?;
                record.carrier.namespace = Some(namespace.name().to_owned());
                record.carrier.net = Some(net);
                way.namespace = Some(namespace);
            }
            _ => {}
        }
        Ok(way)
    }

    /// Starts what must run before the daemons do.
    pub(super) fn start(&mut self, options: &Options, record: &mut Record) -> Result<()> {
        let Some([to_gateway, to_service]) = record.carrier.proxies.filter(|_| self.nginx.is_none()) else {
            return Ok(());
        };
        let dir = &options.dir;
        let plain = |listen, role| Site { listen, to: record.url(role), tls: None };
        let sites = [plain(to_gateway, Role::Gateway), plain(to_service, Role::Service)];
        let nginx = Nginx::start(&dir.join("proxy"), &dir.join("logs/proxy.log"), &sites, options.detached)?;
        record.carrier.proxy = Some(nginx.process());
        self.nginx = Some(nginx);
        Ok(())
    }

    /// nginx dies.
    pub(super) fn end_proxies(&mut self) {
        self.nginx = None;
    }

    /// How a program of `role` is started.
    pub(super) fn command(&self, role: Role, program: &Path) -> Command {
        match (&self.namespace, role) {
            (Some(namespace), Role::Gateway | Role::Cold) => namespace.command(program),
            _ => Command::new(program),
        }
    }

    /// Lets it outlive us.
    pub(super) fn leave(self) {
        if let Some(nginx) = self.nginx {
            nginx.leave();
        }
        if let Some(namespace) = self.namespace {
            namespace.leave();
        }
    }
}

/// An N whose two networks no route here touches.
fn free_net() -> Result<u8> {
    for _ in 0..50 {
        let net = rand::random_range(1..=250_u8);
        let mut known = String::new();
        for range in [format!("10.77.{net}.0/24"), format!("10.78.{net}.0/24")] {
            known += &run(Command::new("ip").args(["-4", "route", "show", "table", "all", "root", &range]))?;
        }
        if known.trim().is_empty() {
            return Ok(net);
        }
    }
    bail!("no free network among 10.77.N.0/24 and 10.78.N.0/24")
}

impl Ports {
    fn all(self) -> Vec<u16> {
        Role::ALL.map(|role| self.of(role)).to_vec()
    }
}
