//! What `stack.json` remembers of a link, for whoever stops the stack later, and the addresses that follow
//! from it.
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

use std::net::Ipv4Addr;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::{ProcessId, Role};
use crate::lab::namespace::Namespace;

/// Ports, processes and networks of a link.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct LinkRecord {
    /// Ports on loopback of the proxies in front of the gateway and of the service.
    pub(super) proxies: Option<[u16; 2]>,
    /// nginx.
    pub(super) proxy: Option<ProcessId>,
    /// Where gateway and cold engine stand.
    pub(super) namespace: Option<String>,
    /// N of the head of this file.
    pub(super) net: Option<u8>,
}

impl LinkRecord {
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

/// Both ends' addresses on the line of network `net`: ours, the namespace's.
pub(super) fn line(net: u8) -> [Ipv4Addr; 2] {
    [1, 2].map(|end| Ipv4Addr::new(10, 77, net, end))
}
