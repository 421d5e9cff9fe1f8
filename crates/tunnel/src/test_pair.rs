//! Two ends without a network between them, for tests and for fuzzing: what one sends is handed to the
//! other, and what an attacker on the link would send comes from a script.

#![allow(clippy::expect_used, clippy::missing_panics_doc, reason = "what fails here is a failed test")]

use std::net::SocketAddr;

use wireguard::{Cidr, PrivateKey, TunnelConfig, TunnelPeer};

use super::{gso_batch::SendQueue, peers::Peers};

/// An IPv4 packet of 60 bytes.
pub(super) fn packet(from: [u8; 4], to: [u8; 4], body: u8) -> Vec<u8> {
    let mut packet = vec![body; 60];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&60_u16.to_be_bytes());
    packet[12..16].copy_from_slice(&from);
    packet[16..20].copy_from_slice(&to);
    packet
}

/// An end with these peers, each with one inner address.
pub(super) fn config(key: &PrivateKey, peers: &[(&PrivateKey, &str)]) -> TunnelConfig {
    let cidr = |text: &str| Cidr { address: text.parse().expect("an address"), prefix: 32 };
    let peers = peers.iter().map(|(key, ip)| TunnelPeer {
        public_key: key.public(),
        preshared_key: None,
        endpoint: None,
        allowed_ips: vec![cidr(ip)],
        persistent_keepalive: None,
    });
    TunnelConfig {
        private_key: key.clone(),
        addresses: vec![cidr("10.0.1.1")],
        listen_port: None,
        mtu: None,
        peers: peers.collect(),
    }
}

/// Carries datagrams between two ends until both are quiet; the packets that came out at `b`.
pub(super) fn carry(
    a: &mut Peers,
    at_a: SocketAddr,
    b: &mut Peers,
    at_b: SocketAddr,
    first: SendQueue,
) -> Vec<Vec<u8>> {
    let (mut to_b, mut to_a, mut inner) = (first, SendQueue::default(), Vec::new());
    let mut out = vec![0; 4096];
    for _ in 0..10 {
        for batch in to_b.batches() {
            for datagram in batch.bytes.chunks(batch.segment) {
                if let Some(length) = b.inbound(at_a, datagram, &mut out, &mut to_a) {
                    inner.push(out[..length].to_vec());
                }
            }
        }
        to_b.clear();
        for batch in to_a.batches() {
            for datagram in batch.bytes.chunks(batch.segment) {
                a.inbound(at_b, datagram, &mut out, &mut to_b);
            }
        }
        to_a.clear();
    }
    inner
}

const NAS: [u8; 4] = [10, 0, 1, 2];
const CLOUD: [u8; 4] = [10, 0, 1, 1];

/// Plays `script` against two ends with a session: datagrams of any bytes, honest ones that are changed,
/// cut or lengthened, inner packets of any bytes. Afterwards the session still carries, and nobody has
/// roamed to the attacker.
///
/// # Panics
/// When one of that is not so.
pub fn attack(script: &[u8]) {
    // Always the same, so that a script does the same each time.
    let keys = ["AQEB", "AgIC"].map(|group| {
        let text = format!("{}{}=", group.repeat(10), &group[..3]);
        text.parse::<PrivateKey>().expect("a key")
    });
    let mut nas = Peers::new(&config(&keys[0], &[(&keys[1], "10.0.1.1")]), 1420);
    let mut cloud = Peers::new(&config(&keys[1], &[(&keys[0], "10.0.1.2")]), 1420);
    let at = |text: &str| text.parse::<SocketAddr>().expect("an address");
    let (at_nas, at_cloud, stranger) = (at("192.0.2.1:1000"), at("192.0.2.2:51820"), at("203.0.113.9:9"));
    let mut queue = SendQueue::default();
    nas.resolved(0, at_cloud, &mut queue);
    let honest = packet(NAS, CLOUD, 7);
    nas.outbound(&honest, &mut queue);
    assert_eq!(carry(&mut nas, at_nas, &mut cloud, at_cloud, queue).len(), 1, "no session");

    let mut script = script;
    let mut out = vec![0; 4096];
    while let [kind, length, rest @ ..] = script {
        let (bytes, after) = rest.split_at((*length as usize).min(rest.len()));
        script = after;
        let mut answers = SendQueue::default();
        match kind % 4 {
            0 => drop(cloud.inbound(stranger, bytes, &mut out, &mut answers)),
            1 => drop(nas.inbound(stranger, bytes, &mut out, &mut answers)),
            2 => {
                let mut sealed = SendQueue::default();
                nas.outbound(&honest, &mut sealed);
                let mut datagram =
                    sealed.batches().first().map(|batch| batch.bytes.clone()).unwrap_or_default();
                if !spoil(&mut datagram, bytes) {
                    continue;
                }
                let opened = cloud.inbound(stranger, &datagram, &mut out, &mut answers);
                assert_eq!(opened, None, "a changed datagram was opened");
            }
            _ => {
                let mut sealed = SendQueue::default();
                nas.outbound(bytes, &mut sealed);
                for inner in carry(&mut nas, at_nas, &mut cloud, at_cloud, sealed) {
                    assert_eq!(inner.get(12..16), Some(&NAS[..]), "a source that is not the peer's");
                }
            }
        }
    }
    assert_ne!(cloud.stats()[0].address, Some(stranger), "the peer roamed to a stranger");
    let mut queue = SendQueue::default();
    nas.outbound(&honest, &mut queue);
    let carried = carry(&mut nas, at_nas, &mut cloud, at_cloud, queue);
    assert_eq!(carried, [honest], "the session does not carry any more");
}

/// Changes `datagram` as `bytes` say; false when it is as it was.
fn spoil(datagram: &mut Vec<u8>, bytes: &[u8]) -> bool {
    let before = datagram.clone();
    match bytes {
        [0, keep, ..] => datagram.truncate(usize::from(*keep)),
        [1, more @ ..] => datagram.extend_from_slice(more),
        [place, flip, ..] => {
            let at = usize::from(*place) % datagram.len().max(1);
            datagram.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= flip);
        }
        _ => {}
    }
    *datagram != before
}

#[cfg(test)]
mod tests {
    use rand::{Rng as _, RngCore as _, SeedableRng as _, rngs::StdRng};

    use super::*;

    #[test]
    fn an_attacker_on_the_link_changes_nothing() {
        for seed in 0..200 {
            let mut dice = StdRng::seed_from_u64(seed);
            let mut script = vec![0; dice.random_range(0..2_000)];
            dice.fill_bytes(&mut script);
            // Half of them look like WireGuard's by their first bytes.
            if seed % 2 == 0 {
                for chunk in script.chunks_mut(158) {
                    let kind = dice.random_range(1..=4);
                    if let [operation, length, first, zeros @ ..] = chunk {
                        (*operation, *length, *first) = (dice.random_range(0..4), 148, kind);
                        zeros.iter_mut().take(3).for_each(|byte| *byte = 0);
                    }
                }
            }
            attack(&script);
        }
    }
}
