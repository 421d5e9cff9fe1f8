//! Both ends of a new tunnel, made together so that they fit.

use super::{Cidr, PeerEndpoint, PresharedKey, PrivateKey, TunnelConfig, TunnelPeer};

/// WireGuard's usual UDP port.
pub const DEFAULT_PORT: u16 = 51_820;
/// Seconds between the NAS's keepalives: shorter than NAT tables forget UDP (wg(8) recommends 25).
pub const NAS_KEEPALIVE_S: u16 = 25;
/// The cloud's end unless told otherwise.
pub const CLOUD_ADDRESS: &str = "10.0.1.1/24";
/// The NAS's end unless told otherwise.
pub const NAS_ADDRESS: &str = "10.0.1.2/24";

/// Both ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// For storage-service: listens, never dials.
    pub cloud: TunnelConfig,
    /// For storage-gateway: dials and keeps alive, so that a NAT in between stays open.
    pub nas: TunnelConfig,
}

/// Inner addresses that make no tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PairError {
    /// Both ends have one address.
    #[error("both ends have the address {0} (give the NAS another)")]
    SameAddress(Cidr),
    /// An end's network does not hold the other end.
    #[error("{0} and {1} are not in one network (for example 10.0.1.1/24 and 10.0.1.2/24)")]
    Apart(Cidr, Cidr),
}

/// Makes fresh keys for both ends. The cloud listens on the UDP port of `endpoint`, which is where
/// the NAS dials.
pub fn pair(endpoint: PeerEndpoint, cloud_address: Cidr, nas_address: Cidr) -> Result<Pair, PairError> {
    if cloud_address.address == nas_address.address {
        return Err(PairError::SameAddress(cloud_address));
    }
    if !cloud_address.contains(nas_address.address) || !nas_address.contains(cloud_address.address) {
        return Err(PairError::Apart(cloud_address, nas_address));
    }
    let (cloud_key, nas_key) = (PrivateKey::generate(), PrivateKey::generate());
    let preshared_key = Some(PresharedKey::generate());
    let to_nas = TunnelPeer {
        public_key: nas_key.public(),
        preshared_key: preshared_key.clone(),
        endpoint: None,
        allowed_ips: vec![Cidr::single(nas_address.address)],
        persistent_keepalive: None,
    };
    let listen_port = Some(endpoint.port);
    let to_cloud = TunnelPeer {
        public_key: cloud_key.public(),
        preshared_key,
        endpoint: Some(endpoint),
        allowed_ips: vec![Cidr::single(cloud_address.address)],
        persistent_keepalive: Some(NAS_KEEPALIVE_S),
    };
    let end = |private_key, address, listen_port, peer| TunnelConfig {
        private_key,
        addresses: vec![address],
        listen_port,
        mtu: None,
        peers: vec![peer],
    };
    Ok(Pair {
        cloud: end(cloud_key, cloud_address, listen_port, to_nas),
        nas: end(nas_key, nas_address, None, to_cloud),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse_wg_quick;

    #[test]
    fn the_ends_fit_each_other() {
        let endpoint = PeerEndpoint::with_default_port("vpn.example.org", DEFAULT_PORT).unwrap();
        let Pair { cloud, nas } =
            pair(endpoint, CLOUD_ADDRESS.parse().unwrap(), NAS_ADDRESS.parse().unwrap()).unwrap();
        let (to_nas, to_cloud) = (&cloud.peers[0], &nas.peers[0]);
        assert_eq!(to_nas.public_key, nas.private_key.public());
        assert_eq!(to_cloud.public_key, cloud.private_key.public());
        assert!(to_nas.preshared_key.is_some() && to_nas.preshared_key == to_cloud.preshared_key);
        assert_eq!(cloud.listen_port, Some(51_820));
        assert_eq!(to_cloud.endpoint.as_ref().unwrap().to_string(), "vpn.example.org:51820");
        assert_eq!((to_cloud.persistent_keepalive, to_nas.persistent_keepalive), (Some(25), None));
        assert_eq!(to_nas.allowed_ips, ["10.0.1.2/32".parse().unwrap()]);
        assert_eq!(to_cloud.allowed_ips, ["10.0.1.1/32".parse().unwrap()]);
        for end in [&cloud, &nas] {
            assert_eq!(&parse_wg_quick(end.expose_wg_quick().as_bytes(), None).unwrap().tunnel, end);
        }
    }

    #[test]
    fn ends_that_cannot_meet_are_refused() {
        let endpoint = || PeerEndpoint { host: "h".into(), port: 1 };
        let cidr = |text: &str| text.parse::<Cidr>().unwrap();
        let one = cidr("10.0.1.1/24");
        assert_eq!(pair(endpoint(), one, one), Err(PairError::SameAddress(one)));
        let far = cidr("10.0.2.2/24");
        assert_eq!(pair(endpoint(), one, far), Err(PairError::Apart(one, far)));
        assert!(pair(endpoint(), one, cidr("fd00::2/64")).is_err());
    }
}
