//! A tunnel as far as it could be read, and the rules that hold whatever it was written in.
//!
//! A wg-quick file and the YAML both fill a [`Draft`]; what is missing or wrong in it is said once,
//! here, and each reader says where that stands in its own file.

use super::{Cidr, PeerEndpoint, PresharedKey, PrivateKey, PublicKey, TunnelConfig, TunnelPeer};

/// Smallest MTU of a link that carries IPv6 (RFC 8200, section 5), bytes.
const MIN_MTU_IPV6: u16 = 1280;
/// Smallest MTU, bytes: what every IPv4 host can take (RFC 791).
pub const MIN_MTU: u16 = 576;

/// [`TunnelConfig`] with holes.
#[derive(Default)]
pub struct Draft {
    /// Our key.
    pub private_key: Option<PrivateKey>,
    /// Our inner addresses.
    pub addresses: Vec<Cidr>,
    /// UDP port to listen on; `None`: any.
    pub listen_port: Option<u16>,
    /// Inner MTU, bytes.
    pub mtu: Option<u16>,
    /// The other ends.
    pub peers: Vec<DraftPeer>,
}

/// [`TunnelPeer`] with holes.
#[derive(Default)]
pub struct DraftPeer {
    /// Its name.
    pub public_key: Option<PublicKey>,
    /// A second secret, both ends'.
    pub preshared_key: Option<PresharedKey>,
    /// Where to dial; `None`: it dials us.
    pub endpoint: Option<PeerEndpoint>,
    /// Inner addresses that are its own.
    pub allowed_ips: Vec<Cidr>,
    /// Seconds between keepalives; `None`: none.
    pub persistent_keepalive: Option<u16>,
}

/// What a fault is about; peers by their number from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The MTU.
    Mtu,
    /// A peer's public key.
    PublicKey(usize),
    /// A peer's allowed addresses.
    AllowedIps(usize),
}

impl Draft {
    /// What is wrong between values that are right by themselves. At most three a peer, so that a
    /// hostile file costs no more than its own size.
    #[must_use]
    pub fn faults(&self) -> Vec<(Place, String)> {
        let mut faults = Vec::new();
        let ipv6 = self.addresses.iter().any(|cidr| cidr.address.is_ipv6());
        if let Some(mtu) = self.mtu.filter(|mtu| ipv6 && *mtu < MIN_MTU_IPV6) {
            let message = format!("{mtu} is too small for an IPv6 address (at least {MIN_MTU_IPV6})");
            faults.push((Place::Mtu, message));
        }
        for n in 0..self.peers.len() {
            faults.extend(self.key_fault(n).map(|message| (Place::PublicKey(n), message)));
            faults.extend(self.overlap(n).map(|message| (Place::AllowedIps(n), message)));
            faults.extend(self.own_address(n).map(|message| (Place::AllowedIps(n), message)));
        }
        faults
    }

    fn key_fault(&self, n: usize) -> Option<String> {
        let key = self.peers[n].public_key?;
        if self.private_key.as_ref().is_some_and(|own| own.expose() == key.bytes()) {
            // Not shown: it is a secret.
            return Some("is this end's private key (write the other end's public key)".into());
        }
        if self.private_key.as_ref().is_some_and(|own| own.public() == key) {
            return Some("is this end's own public key (write the other end's)".into());
        }
        let earlier = self.peers[..n].iter().any(|peer| peer.public_key == Some(key));
        earlier.then(|| format!("{key} is an earlier peer's key (keep one peer of each key)"))
    }

    fn overlap(&self, n: usize) -> Option<String> {
        let peer = &self.peers[n];
        let others = || {
            self.peers[..n]
                .iter()
                .filter(|other| peer.public_key.is_none() || other.public_key != peer.public_key)
        };
        peer.allowed_ips.iter().find_map(|range| {
            others().find_map(|other| {
                let theirs = other.allowed_ips.iter().find(|theirs| theirs.overlaps(range))?;
                Some(format!(
                    "{range} of {} overlaps {theirs} of {} (give each address to one peer)",
                    self.name(peer),
                    self.name(other)
                ))
            })
        })
    }

    fn own_address(&self, n: usize) -> Option<String> {
        let mut single = self.peers[n].allowed_ips.iter().filter(|range| range.is_single());
        let own = single.find(|range| self.addresses.iter().any(|own| own.address == range.address))?;
        Some(format!("{own} is this end's own address (write the other end's)"))
    }

    fn name(&self, peer: &DraftPeer) -> String {
        let secret =
            |key: &PublicKey| self.private_key.as_ref().is_some_and(|own| own.expose() == key.bytes());
        match &peer.public_key {
            Some(key) if !secret(key) => format!("peer {key}"),
            _ => "a peer without a key".into(),
        }
    }

    /// The whole; `None` when a part is missing.
    #[must_use]
    pub fn finish(self) -> Option<TunnelConfig> {
        let peers: Option<Vec<TunnelPeer>> = self.peers.into_iter().map(DraftPeer::finish).collect();
        Some(TunnelConfig {
            private_key: self.private_key?,
            addresses: Some(self.addresses).filter(|all| !all.is_empty())?,
            listen_port: self.listen_port,
            mtu: self.mtu,
            peers: peers.filter(|all| !all.is_empty())?,
        })
    }
}

impl DraftPeer {
    fn finish(self) -> Option<TunnelPeer> {
        Some(TunnelPeer {
            public_key: self.public_key?,
            preshared_key: self.preshared_key,
            endpoint: self.endpoint,
            allowed_ips: Some(self.allowed_ips).filter(|all| !all.is_empty())?,
            persistent_keepalive: self.persistent_keepalive,
        })
    }
}
