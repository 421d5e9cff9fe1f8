//! What a daemon does with its `link` section: open the tunnel, let the other daemon reach this one's
//! API through it, and learn where to dial the other.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use url::Url;
use wireguard::{LinkConfig, LinkMode, TunnelConfig};

use super::{Tunnel, TunnelError};
use supervisor::Supervisor;

/// A daemon's link to the other daemon.
#[derive(Debug)]
pub struct Attached {
    /// Our tunnel; `None` when something else carries the link.
    pub tunnel: Option<Tunnel>,
    /// Base URL for an ordinary client of the other daemon.
    pub remote: Url,
}

impl Attached {
    /// `tun`, `userspace` or `external`.
    #[must_use]
    pub fn mode(&self) -> String {
        self.tunnel.as_ref().map_or_else(|| "external".to_owned(), |tunnel| tunnel.mode().to_string())
    }
}

/// Opens what `link` asks for. `remote` is the other daemon as the configuration names it; an address
/// that lies inside the tunnel is dialled through it, every other as it stands. `listening` is this
/// daemon's API, which the peers then reach under the tunnel's own address and the same port; without
/// a token of its own (`guarded`) it is not shown to them.
///
/// The tasks are `supervisor`'s: give the tunnel one of its own, shut down after the daemon has
/// drained, so that running requests can end.
pub async fn attach(
    link: &LinkConfig,
    remote: Url,
    listening: SocketAddr,
    guarded: bool,
    supervisor: &Supervisor,
) -> Result<Attached, TunnelError> {
    let config = match (&link.tunnel, link.mode) {
        (Some(config), mode) if mode != LinkMode::External => config,
        _ => return Ok(Attached { tunnel: None, remote }),
    };
    if !guarded {
        return Err(TunnelError::NoToken);
    }
    let tunnel = Tunnel::open(config, link.mode, supervisor).await?;
    let server = if listening.ip().is_unspecified() && tunnel.mode() == super::Mode::Userspace {
        SocketAddr::from((Ipv4Addr::LOCALHOST, listening.port()))
    } else {
        listening
    };
    tunnel.expose(listening.port(), server).await?;
    let remote = match inside(config, &remote) {
        Some(address) => {
            let mut dialled = remote.clone();
            let at = tunnel.forward(address).await?;
            // An address and a port always fit a URL that had both.
            let fits = dialled.set_ip_host(at.ip()).and_then(|()| dialled.set_port(Some(at.port())));
            if fits.is_ok() { dialled } else { remote }
        }
        None => {
            tracing::warn!(%remote, "the other daemon's address is not inside the tunnel: it is dialled directly");
            remote
        }
    };
    Ok(Attached { tunnel: Some(tunnel), remote })
}

/// The address of `url`, when a peer owns it.
fn inside(config: &TunnelConfig, url: &Url) -> Option<SocketAddr> {
    let ip: IpAddr = url.host_str()?.trim_matches(['[', ']']).parse().ok()?;
    let owned = config.peers.iter().flat_map(|peer| &peer.allowed_ips).any(|range| range.contains(ip));
    owned.then_some(SocketAddr::new(ip, url.port_or_known_default()?))
}
