//! Both ends of a tunnel in one go: two key pairs, a preshared key, and two files that fit each other.

use super::{Cidr, PeerEndpoint, PresharedKey, PrivateKey, TunnelConfig, TunnelPeer};

/// Seconds between the NAS's keepalives: below the shortest time in which home routers forget a UDP
/// mapping (30 s; RFC 4787 asks for two minutes).
pub const KEEPALIVE_SECONDS: u16 = 25;

/// What [`pair`] made.
#[derive(Debug, Clone)]
pub struct Pair {
    /// Listens.
    pub cloud: TunnelConfig,
    /// Dials, and needs no open port.
    pub nas: TunnelConfig,
}

/// Makes both ends. `endpoint` is where the NAS finds the cloud; the cloud listens on its port.
#[must_use]
pub fn pair(endpoint: PeerEndpoint, cloud: Cidr, nas: Cidr) -> Pair {
    let (cloud_key, nas_key, shared) =
        (PrivateKey::generate(), PrivateKey::generate(), PresharedKey::generate());
    let only = |range: Cidr| Cidr { prefix: if range.address.is_ipv4() { 32 } else { 128 }, ..range };
    let peer = |key: &PrivateKey, address, endpoint, persistent_keepalive| TunnelPeer {
        public_key: key.public(),
        preshared_key: Some(shared.clone()),
        endpoint,
        allowed_ips: vec![only(address)],
        persistent_keepalive,
    };
    let port = endpoint.port;
    let (to_nas, to_cloud) =
        (peer(&nas_key, nas, None, None), peer(&cloud_key, cloud, Some(endpoint), Some(KEEPALIVE_SECONDS)));
    let end = |private_key, address, listen_port, peer| TunnelConfig {
        private_key,
        addresses: vec![address],
        listen_port,
        mtu: None,
        peers: vec![peer],
    };
    Pair { cloud: end(cloud_key, cloud, Some(port), to_nas), nas: end(nas_key, nas, None, to_cloud) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_fit_each_other() {
        let Pair { cloud, nas } = pair(
            "cloud.example:51820".parse().unwrap(),
            "10.0.1.1/24".parse().unwrap(),
            "10.0.1.2/24".parse().unwrap(),
        );
        assert_eq!((cloud.contradictions(), nas.contradictions()), (vec![], vec![]));
        assert_eq!(cloud.peers[0].public_key, nas.private_key.public());
        assert_eq!(nas.peers[0].public_key, cloud.private_key.public());
        assert_eq!(cloud.peers[0].preshared_key, nas.peers[0].preshared_key);
        assert!(cloud.peers[0].allowed_ips[0].contains(nas.addresses[0].address));
        assert!(nas.peers[0].allowed_ips[0].contains(cloud.addresses[0].address));
        assert_eq!((cloud.listen_port, cloud.peers[0].endpoint.as_ref()), (Some(51820), None));
    }
}
