//! Packets by a TUN device: the kernel does TCP.
//!
//! The device hands over and takes whole bursts (virtio headers, TCP segmentation offload), which are
//! cut and joined here, so that a system call carries many packets (tun-rs, after wireguard-go's
//! `tun_linux.go`). The route to the peers names BBR as congestion control (`congctl`, ip-route(8)):
//! every connection through the tunnel uses it, in both directions, with nothing to set on a socket.
//!
//! Two tasks: device → peers → socket, and back. They share the peers under a lock that is held for a
//! burst and never across a wait. The device goes away with the process, and its routes with it.

use std::{net::IpAddr, sync::Arc};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tun_rs::{AsyncDevice, DeviceBuilder, GROTable, IDEAL_BATCH_SIZE, VIRTIO_NET_HDR_LEN};
use wireguard::{Cidr, TunnelConfig};

use super::{
    error::TunnelError,
    gso_batch::SendQueue,
    peers::Peers,
    udp::{Inbox, Udp},
};

/// Longest packet.
const PACKET_BYTES: usize = 65_535;
/// Room for a cut packet: the MTU is never above this.
const SLOT_BYTES: usize = 9_200;

/// Makes the device, with our addresses and the routes to the peers.
pub(super) async fn device(config: &TunnelConfig, mtu: u16) -> Result<AsyncDevice, TunnelError> {
    let failed = |error: std::io::Error| TunnelError::Device(error.to_string());
    let mut builder = DeviceBuilder::new().mtu(mtu).offload(true);
    for address in &config.addresses {
        builder = match address.address {
            IpAddr::V4(ip) => builder.ipv4(ip, address.prefix, None),
            IpAddr::V6(ip) => builder.ipv6(ip, address.prefix),
        };
    }
    let device = builder.build_async().map_err(failed)?;
    let name = device.name().map_err(failed)?;
    for range in config.peers.iter().flat_map(|peer| &peer.allowed_ips) {
        let covered =
            config.addresses.iter().any(|own| own.contains(range.address) && own.prefix <= range.prefix);
        if let Err(reason) = route(&name, range).await {
            if covered {
                tracing::warn!(%range, "no route with BBR ({reason}): the system's own congestion control is used");
            } else {
                return Err(TunnelError::Device(format!("no route to {range}: {reason}")));
            }
        }
    }
    Ok(device)
}

/// `ip route replace RANGE dev NAME congctl bbr`, without BBR where the kernel has none.
async fn route(name: &str, range: &Cidr) -> Result<(), String> {
    let mut last = String::new();
    for extra in [&["congctl", "bbr"][..], &[]] {
        let mut command = tokio::process::Command::new("ip");
        command.args(["route", "replace", &network(range).to_string(), "dev", name]).args(extra);
        let output = command.kill_on_drop(true).output().await.map_err(|error| format!("run ip: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        last = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    }
    Err(last)
}

/// The range without host bits.
fn network(range: &Cidr) -> Cidr {
    let address = match range.address {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(range.prefix.min(32))).unwrap_or(0);
            IpAddr::from((u32::from(ip) & mask).to_be_bytes())
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(range.prefix.min(128))).unwrap_or(0);
            IpAddr::from((u128::from(ip) & mask).to_be_bytes())
        }
    };
    Cidr { address, prefix: range.prefix }
}

/// Device → peers → socket, until `stop`.
pub(super) async fn outbound(
    device: Arc<AsyncDevice>,
    udp: Arc<Udp>,
    peers: Arc<Mutex<Peers>>,
    stop: CancellationToken,
) {
    let mut original = vec![0; VIRTIO_NET_HDR_LEN + PACKET_BYTES];
    let mut slots = vec![vec![0_u8; SLOT_BYTES]; IDEAL_BATCH_SIZE];
    let mut sizes = vec![0; IDEAL_BATCH_SIZE];
    let mut queue = SendQueue::default();
    loop {
        let read = device.recv_multiple(&mut original, &mut slots, &mut sizes, 0);
        let Some(read) = stop.run_until_cancelled(read).await else { return };
        match read {
            Ok(count) => {
                let mut peers = peers.lock();
                for (slot, size) in slots.iter().zip(&sizes).take(count) {
                    peers.outbound(&slot[..*size], &mut queue);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "a packet from the TUN device was lost");
                tokio::time::sleep(super::PAUSE).await;
            }
        }
        udp.send(&mut queue).await;
    }
}

/// Socket → peers → device, until `stop`.
pub(super) async fn inbound(
    device: Arc<AsyncDevice>,
    udp: Arc<Udp>,
    peers: Arc<Mutex<Peers>>,
    stop: CancellationToken,
) {
    let (mut inbox, mut queue) = (Inbox::new(), SendQueue::default());
    let mut table = GROTable::default();
    // Buffers grow when packets are joined; they are taken from here and come back.
    let mut packets: Vec<Vec<u8>> = Vec::new();
    let mut spare: Vec<Vec<u8>> = Vec::new();
    loop {
        let ready = stop.run_until_cancelled(udp.readable()).await;
        let Some(ready) = ready else { return };
        let received = ready.and_then(|()| udp.receive(&mut inbox));
        match received {
            Ok(true) => {}
            Ok(false) => continue,
            Err(error) => {
                tracing::warn!(%error, "the tunnel's UDP socket cannot be read");
                tokio::time::sleep(super::PAUSE).await;
                continue;
            }
        }
        {
            let mut peers = peers.lock();
            for (from, datagram) in inbox.datagrams() {
                let mut buffer = spare.pop().unwrap_or_else(|| Vec::with_capacity(PACKET_BYTES + 64));
                buffer.resize(VIRTIO_NET_HDR_LEN + datagram.len().max(super::noise::MIN_OUT), 0);
                let opened = peers.inbound(from, datagram, &mut buffer[VIRTIO_NET_HDR_LEN..], &mut queue);
                match opened {
                    Some(length) => {
                        buffer.truncate(VIRTIO_NET_HDR_LEN + length);
                        packets.push(buffer);
                    }
                    None => spare.push(buffer),
                }
            }
        }
        if queue.len() > 0 {
            udp.send(&mut queue).await;
        }
        for batch in packets.chunks_mut(IDEAL_BATCH_SIZE) {
            // A packet the kernel does not like is lost, as on any link.
            let _ = device.send_multiple(&mut table, batch, VIRTIO_NET_HDR_LEN).await;
        }
        spare.append(&mut packets);
        spare.truncate(IDEAL_BATCH_SIZE * 4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_has_no_host_bits() {
        let net = |text: &str, prefix| network(&Cidr { address: text.parse().unwrap(), prefix }).to_string();
        assert_eq!(net("10.0.1.2", 24), "10.0.1.0/24");
        assert_eq!(net("10.0.1.2", 32), "10.0.1.2/32");
        assert_eq!(net("10.0.1.2", 0), "0.0.0.0/0");
        assert_eq!(net("fd00::1:2", 64), "fd00::/64");
    }
}
