//! The tunnel's UDP socket: many datagrams a call in both directions (`recvmmsg`, UDP generic receive
//! and segmentation offload, by `quinn-udp`).
//!
//! The socket is bound to every address of the machine and not connected, so the kernel chooses route
//! and source anew for each datagram: a network that changes needs nothing of us. Datagrams that
//! cannot be sent are lost, as on the wire; whoever sent them sends them again.

use std::{
    io::{self, IoSliceMut},
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use tokio::{io::Interest, net::UdpSocket};

use super::{error::TunnelError, gso_batch::SendQueue};

/// Kernel buffers, bytes: what a long link has in flight.
const SOCKET_BYTES: usize = 4 << 20;
/// Buffers read at once; each may hold 64 datagrams.
const BUFFERS: usize = 8;
const BUFFER_BYTES: usize = 65_536;

/// Where received datagrams land.
pub(super) struct Inbox {
    buffers: Vec<Box<[u8]>>,
    metas: [RecvMeta; BUFFERS],
    filled: usize,
}

impl Inbox {
    pub(super) fn new() -> Self {
        let buffers = (0..BUFFERS).map(|_| vec![0; BUFFER_BYTES].into_boxed_slice()).collect();
        Self { buffers, metas: [RecvMeta::default(); BUFFERS], filled: 0 }
    }

    /// The datagrams of the last read, with their senders.
    pub(super) fn datagrams(&self) -> impl Iterator<Item = (SocketAddr, &[u8])> {
        let filled = self.buffers.iter().zip(&self.metas).take(self.filled);
        filled.flat_map(|(buffer, meta)| {
            let from = SocketAddr::new(meta.addr.ip().to_canonical(), meta.addr.port());
            let bytes = &buffer[..meta.len.min(buffer.len())];
            bytes.chunks(meta.stride.max(1)).map(move |datagram| (from, datagram))
        })
    }
}

/// The socket.
pub(super) struct Udp {
    socket: UdpSocket,
    state: UdpSocketState,
    /// Bound to `::`: IPv4 addresses are written as mapped ones (RFC 4291, 2.5.5.2).
    dual: bool,
}

impl Udp {
    /// Bound to `port` of every address; `None`: a free port.
    pub(super) fn bind(port: Option<u16>) -> Result<Self, TunnelError> {
        let port = port.unwrap_or(0);
        let dual = open(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port);
        let (socket, dual) = match dual {
            Ok(socket) => (socket, true),
            // Half a port would look like a whole one.
            Err(reason) if reason.kind() == io::ErrorKind::AddrInUse => {
                return Err(TunnelError::Port { port, reason });
            }
            // A machine without IPv6.
            Err(_) => (
                open(IpAddr::from([0, 0, 0, 0]), port)
                    .map_err(|reason| TunnelError::Port { port, reason })?,
                false,
            ),
        };
        let socket = UdpSocket::from_std(socket.into()).map_err(TunnelError::Socket)?;
        let state = UdpSocketState::new(UdpSockRef::from(&socket)).map_err(TunnelError::Socket)?;
        // The kernel caps what it does not allow; smaller buffers only cost speed.
        let _ = state.set_send_buffer_size(UdpSockRef::from(&socket), SOCKET_BYTES);
        let _ = state.set_recv_buffer_size(UdpSockRef::from(&socket), SOCKET_BYTES);
        Ok(Self { socket, state, dual })
    }

    /// Where it is bound.
    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Waits until something can be read.
    pub(super) async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }

    /// Reads what is there; `false` when nothing is.
    pub(super) fn receive(&self, inbox: &mut Inbox) -> io::Result<bool> {
        let Inbox { buffers, metas, filled } = inbox;
        *filled = 0;
        let read = self.socket.try_io(Interest::READABLE, || {
            let mut slices: Vec<IoSliceMut<'_>> =
                buffers.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
            self.state.recv(UdpSockRef::from(&self.socket), &mut slices, metas)
        });
        match read {
            Ok(count) => {
                *filled = count;
                Ok(count > 0)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            // An ICMP message about an earlier datagram.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Sends everything, waiting for room. What the kernel refuses is dropped and counted.
    pub(super) async fn send(&self, queue: &mut SendQueue) -> u64 {
        let mut refused = 0;
        for batch in queue.batches() {
            let to = match (self.dual, batch.to.ip()) {
                (true, IpAddr::V4(ip)) => SocketAddr::new(IpAddr::V6(ip.to_ipv6_mapped()), batch.to.port()),
                _ => batch.to,
            };
            // A machine without segmentation offload takes them one by one.
            let piece = batch.segment.max(1) * self.state.max_gso_segments().max(1);
            for contents in batch.bytes.chunks(piece) {
                let transmit = Transmit {
                    destination: to,
                    ecn: None,
                    contents,
                    segment_size: Some(batch.segment),
                    src_ip: None,
                };
                let sent = self.socket.async_io(Interest::WRITABLE, || {
                    self.state.try_send(UdpSockRef::from(&self.socket), &transmit)
                });
                refused += u64::from(sent.await.is_err());
            }
        }
        queue.clear();
        refused
    }
}

fn open(ip: IpAddr, port: u16) -> io::Result<socket2::Socket> {
    let address = SocketAddr::new(ip, port);
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::DGRAM,
        Some(socket2::Protocol::UDP),
    )?;
    if ip.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}
