//! TCP/IP in this process, for where no TUN device is to be had: smoltcp over the peers' sessions.
//!
//! One driver owns the rhythm: datagrams in, stack polled, datagrams out, then a wait for the next of
//! a datagram, a stream that was written or read, and the stack's own timer. Streams reach into the
//! stack under its lock and wake the driver. The lock is never held across a wait.
//!
//! Bounds: at most [`MAX_STREAMS`] streams, each with fixed buffers; a port that is listened on keeps
//! [`BACKLOG`] listening sockets; packets wait in bounded queues. A connection on which nothing is heard
//! for [`DEAD`] is given up by the stack and its reader gets an error, never an early end.

use std::{
    collections::{HashMap, VecDeque},
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use smoltcp::{
    iface::{Config, Interface, PollResult, SocketHandle, SocketSet},
    phy::{Checksum, ChecksumCapabilities, Device, DeviceCapabilities, Medium, RxToken, TxToken},
    socket::tcp::{CongestionControl, RecvError, Socket, SocketBuffer, State},
    time::{Duration as StackDuration, Instant as StackInstant},
    wire::{HardwareAddress, IpAddress, IpCidr, IpEndpoint},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::{Notify, mpsc},
};
use tokio_util::sync::CancellationToken;
use wireguard::{Cidr, TunnelConfig};

use super::{
    error::TunnelError,
    gso_batch::SendQueue,
    loss_recovery::LossRecovery,
    peers::Peers,
    udp::{Inbox, Udp},
};

/// Streams at once, listening sockets included.
const MAX_STREAMS: usize = 512;
/// Listening sockets of a port.
const BACKLOG: usize = 16;
/// Buffers of a stream, bytes, each way.
const STREAM_BYTES: usize = 1 << 20;
/// A connection that receives nothing for this time is dead; four keepalives are sent within it.
const DEAD: Duration = Duration::from_secs(30);
/// A SYN or SYN-ACK that is not answered in this time is retransmitted by the stack (its first retransmission
/// timeout, RFC 6298, 2.1).
const SYN_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest rest of the driver: the sessions' timers.
const TICK: Duration = Duration::from_millis(100);
/// Datagrams after which what is waiting is sent.
const BURST: usize = 256;
/// First port of outgoing connections (RFC 6335, dynamic ports).
const FIRST_PORT: u16 = 49_152;

/// The stack's device: packets from and to the sessions.
struct Wire {
    received: VecDeque<Vec<u8>>,
    spare: Vec<Vec<u8>>,
    scratch: Vec<u8>,
    peers: Arc<Mutex<Peers>>,
    queue: SendQueue,
    recovery: LossRecovery,
    mtu: usize,
}

struct Received(Vec<u8>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

struct Sending<'a> {
    peers: &'a Mutex<Peers>,
    queue: &'a mut SendQueue,
    recovery: &'a mut LossRecovery,
    scratch: &'a mut Vec<u8>,
}

impl TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        self.scratch.resize(length, 0);
        let result = f(self.scratch);
        self.recovery.sent(self.scratch, Instant::now());
        self.peers.lock().outbound(self.scratch, self.queue);
        result
    }
}

impl Wire {
    fn sending(&mut self) -> Sending<'_> {
        Sending {
            peers: &self.peers,
            queue: &mut self.queue,
            recovery: &mut self.recovery,
            scratch: &mut self.scratch,
        }
    }
}

impl Device for Wire {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _now: StackInstant) -> Option<(Received, Sending<'_>)> {
        let packet = self.received.pop_front()?;
        Some((Received(packet), self.sending()))
    }

    fn transmit(&mut self, _now: StackInstant) -> Option<Sending<'_>> {
        (self.queue.len() < BURST).then(|| self.sending())
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu;
        // What comes out of a session was authenticated: its checksums need no verification.
        let mut sums = ChecksumCapabilities::default();
        sums.tcp = Checksum::Tx;
        sums.ipv4 = Checksum::Tx;
        capabilities.checksum = sums;
        capabilities
    }
}

/// A port that is listened on.
struct Port {
    listening: Vec<Listening>,
    accepted: mpsc::Sender<Stream>,
}

/// A socket that waits for one connection.
struct Listening {
    handle: SocketHandle,
    /// When its SYN was received.
    syn_received: Option<Instant>,
}

struct Stack {
    interface: Interface,
    sockets: SocketSet<'static>,
    wire: Wire,
    ports: HashMap<u16, Port>,
    /// Sockets whose stream was dropped: closed by the stack, then removed.
    orphans: Vec<(SocketHandle, Instant)>,
    next_port: u16,
    started: Instant,
}

/// The stack and its driver. Clones are the same.
#[derive(Clone)]
pub(super) struct Userspace(Arc<Inner>);

struct Inner {
    stack: Mutex<Stack>,
    /// Wakes the driver.
    wakeup: Notify,
    addresses: Vec<Cidr>,
}

impl Userspace {
    pub(super) fn new(config: &TunnelConfig, mtu: u16, peers: Arc<Mutex<Peers>>) -> Self {
        let mut wire = Wire {
            received: VecDeque::new(),
            spare: Vec::new(),
            scratch: Vec::new(),
            peers,
            queue: SendQueue::default(),
            recovery: LossRecovery::default(),
            mtu: usize::from(mtu),
        };
        let interface = interface(&mut wire, &config.addresses);
        let stack = Stack {
            interface,
            sockets: SocketSet::new(Vec::new()),
            wire,
            ports: HashMap::new(),
            orphans: Vec::new(),
            next_port: rand::random_range(FIRST_PORT..=u16::MAX),
            started: Instant::now(),
        };
        let addresses = config.addresses.clone();
        Self(Arc::new(Inner { stack: Mutex::new(stack), wakeup: Notify::new(), addresses }))
    }

    /// Connections to `port` of our inner addresses arrive at the receiver.
    pub(super) fn listen(&self, port: u16) -> Result<mpsc::Receiver<Stream>, TunnelError> {
        let (accepted, streams) = mpsc::channel(BACKLOG);
        let mut stack = self.0.stack.lock();
        let taken = |_| TunnelError::Listen {
            address: SocketAddr::new(
                self.0.addresses.first().map_or(IpAddr::from([0; 4]), |own| own.address),
                port,
            ),
            reason: io::ErrorKind::AddrInUse.into(),
        };
        if stack.ports.contains_key(&port) {
            return Err(taken(()));
        }
        let mut listening = Vec::new();
        for _ in 0..BACKLOG {
            listening.push(stack.listen_at(port).map_err(taken)?);
        }
        stack.ports.insert(port, Port { listening, accepted });
        Ok(streams)
    }

    /// Connects to `remote` inside the tunnel; fails at once when its peer is away.
    pub(super) async fn connect(&self, remote: SocketAddr) -> io::Result<Stream> {
        let stream = {
            let mut stack = self.0.stack.lock();
            if stack.wire.peers.lock().is_away(remote.ip()) {
                return Err(io::Error::new(
                    io::ErrorKind::HostUnreachable,
                    "the tunnel's peer does not answer",
                ));
            }
            let handle = stack.dial(remote)?;
            Stream { inner: Arc::clone(&self.0), handle }
        };
        self.0.wakeup.notify_one();
        let dialled = Instant::now();
        std::future::poll_fn(|context| {
            let mut stack = self.0.stack.lock();
            let socket = stack.sockets.get_mut::<Socket<'_>>(stream.handle);
            match socket.state() {
                State::SynSent | State::SynReceived => {
                    socket.register_send_waker(context.waker());
                    Poll::Pending
                }
                State::Closed => Poll::Ready(Err(io::Error::from(io::ErrorKind::ConnectionRefused))),
                _ => {
                    forget_lost_syn(socket, dialled);
                    Poll::Ready(Ok(()))
                }
            }
        })
        .await?;
        Ok(stream)
    }

    /// Packets may have at most `mtu` bytes from now on. The stack reads its device's MTU only once, so it gets
    /// another interface; connections stay.
    pub(super) fn set_mtu(&self, mtu: u16) {
        let mut stack = self.0.stack.lock();
        let Stack { wire, interface: current, .. } = &mut *stack;
        wire.mtu = usize::from(mtu);
        *current = interface(wire, &self.0.addresses);
    }

    /// Drives the stack until `stop`.
    pub(super) async fn drive(self, udp: Arc<Udp>, stop: CancellationToken) {
        let (mut inbox, mut queue) = (Inbox::new(), SendQueue::default());
        loop {
            let rest = self.0.stack.lock().rest();
            tokio::select! {
                () = stop.cancelled() => return,
                ready = udp.readable() => if ready.is_err() { tokio::time::sleep(super::PAUSE).await },
                () = self.0.wakeup.notified() => {}
                () = tokio::time::sleep(rest.min(TICK)) => {}
            }
            let mut received = true;
            let mut busy = true;
            // Both directions take turns as long as there is something to do: neither starves the other.
            while received || busy {
                received = match udp.receive(&mut inbox) {
                    Ok(received) => received,
                    Err(error) => {
                        tracing::warn!(%error, "the tunnel's UDP socket cannot be read");
                        false
                    }
                };
                {
                    let mut stack = self.0.stack.lock();
                    if received {
                        stack.take(&inbox);
                    }
                    stack.retransmit();
                    busy = stack.poll();
                    stack.hand_over(&self.0);
                    std::mem::swap(&mut stack.wire.queue, &mut queue);
                }
                busy |= queue.len() >= BURST;
                if queue.len() > 0 {
                    udp.send(&mut queue).await;
                }
                if stop.is_cancelled() {
                    return;
                }
                tokio::task::yield_now().await;
            }
        }
    }
}

/// An interface with our addresses and default routes: the peers decide who gets a packet.
fn interface(wire: &mut Wire, own: &[Cidr]) -> Interface {
    let mut settings = Config::new(HardwareAddress::Ip);
    settings.random_seed = rand::random();
    let mut interface = Interface::new(settings, wire, StackInstant::ZERO);
    interface.update_ip_addrs(|all| {
        for address in own {
            // A full table leaves the rest out.
            let _ = all.push(IpCidr::new(address.address.into(), address.prefix));
        }
    });
    let routes = interface.routes_mut();
    for own in own {
        let _ = match own.address {
            IpAddr::V4(ip) => routes.add_default_ipv4_route(ip).map(drop),
            IpAddr::V6(ip) => routes.add_default_ipv6_route(ip).map(drop),
        };
    }
    interface
}

impl Stack {
    fn now(&self) -> StackInstant {
        StackInstant::from_micros(i64::try_from(self.started.elapsed().as_micros()).unwrap_or(i64::MAX))
    }

    fn rest(&mut self) -> Duration {
        let now = self.now();
        let rest = self.interface.poll_delay(now, &self.sockets);
        let rest = rest.map_or(TICK, |rest| Duration::from_micros(rest.total_micros()));
        self.wire.recovery.rest(Instant::now()).map_or(rest, |due| rest.min(due))
    }

    /// Retransmits segments that are due.
    fn retransmit(&mut self) {
        let Wire { peers, queue, recovery, .. } = &mut self.wire;
        let mut again = Vec::new();
        recovery.due(Instant::now(), &mut again);
        again.iter().for_each(|packet| peers.lock().outbound(packet, queue));
    }

    fn take(&mut self, inbox: &Inbox) {
        let Wire { received, spare, peers, queue, recovery, .. } = &mut self.wire;
        let (mut peers, mut again) = (peers.lock(), Vec::new());
        for (from, datagram) in inbox.datagrams() {
            let mut packet = spare.pop().unwrap_or_default();
            packet.resize(datagram.len().max(super::noise::MIN_OUT), 0);
            if let Some(length) = peers.inbound(from, datagram, &mut packet, queue) {
                packet.truncate(length);
                if recovery.received(&packet, Instant::now(), &mut again) {
                    received.push_back(packet);
                    continue;
                }
            }
            spare.push(packet);
        }
        again.iter().for_each(|packet| peers.outbound(packet, queue));
        spare.truncate(8);
    }

    /// `true` when sockets changed: there may be more to do.
    fn poll(&mut self) -> bool {
        let now = self.now();
        let polled = self.interface.poll(now, &mut self.wire, &mut self.sockets);
        matches!(polled, PollResult::SocketStateChanged) && !self.wire.received.is_empty()
    }

    fn socket() -> Socket<'static> {
        let buffer = || SocketBuffer::new(vec![0; STREAM_BYTES]);
        let mut socket = Socket::new(buffer(), buffer());
        socket.set_congestion_control(CongestionControl::Cubic);
        socket.set_nagle_enabled(false);
        let dead = StackDuration::from_millis(DEAD.as_millis() as u64);
        socket.set_timeout(Some(dead));
        socket.set_keep_alive(Some(dead / 4));
        socket
    }

    fn listen_at(&mut self, port: u16) -> Result<Listening, ()> {
        if self.sockets.iter().count() >= MAX_STREAMS {
            return Err(());
        }
        let mut socket = Self::socket();
        socket.listen(port).map_err(drop)?;
        Ok(Listening { handle: self.sockets.add(socket), syn_received: None })
    }

    fn dial(&mut self, remote: SocketAddr) -> io::Result<SocketHandle> {
        if self.sockets.iter().count() >= MAX_STREAMS {
            return Err(io::Error::other("too many connections through the tunnel"));
        }
        let port = self.next_port;
        self.next_port = port.checked_add(1).unwrap_or(FIRST_PORT);
        let mut socket = Self::socket();
        let target = IpEndpoint::new(IpAddress::from(remote.ip()), remote.port());
        let dialled = socket.connect(self.interface.context(), target, port);
        dialled.map_err(|error| io::Error::new(io::ErrorKind::AddrNotAvailable, error.to_string()))?;
        Ok(self.sockets.add(socket))
    }

    /// Hands over connections that were made, replaces their listening sockets, removes orphans.
    fn hand_over(&mut self, inner: &Arc<Inner>) {
        let ports: Vec<u16> = self.ports.keys().copied().collect();
        for number in ports {
            let Some(mut port) = self.ports.remove(&number) else { continue };
            port.listening.retain_mut(|Listening { handle, syn_received }| {
                let socket = self.sockets.get_mut::<Socket<'_>>(*handle);
                match socket.state() {
                    State::Listen => true,
                    State::SynReceived => {
                        syn_received.get_or_insert_with(Instant::now);
                        true
                    }
                    State::Closed => {
                        self.sockets.remove(*handle);
                        false
                    }
                    _ => {
                        forget_lost_syn(socket, syn_received.unwrap_or_else(Instant::now));
                        // The receiver is full: the caller sees a reset and tries again.
                        match port.accepted.try_reserve() {
                            Ok(permit) => permit.send(Stream { inner: Arc::clone(inner), handle: *handle }),
                            Err(_) => {
                                self.sockets.get_mut::<Socket<'_>>(*handle).abort();
                                self.orphans.push((*handle, Instant::now()));
                            }
                        }
                        false
                    }
                }
            });
            while port.listening.len() < BACKLOG {
                let Ok(socket) = self.listen_at(number) else { break };
                port.listening.push(socket);
            }
            self.ports.insert(number, port);
        }
        self.orphans.retain(|(handle, since)| {
            let socket = self.sockets.get_mut::<Socket<'_>>(*handle);
            if !matches!(socket.state(), State::Closed | State::TimeWait) && since.elapsed() < DEAD {
                return true;
            }
            self.sockets.remove(*handle);
            false
        });
    }
}

/// A connection inside the tunnel. Dropping it closes it: what was written still arrives, what was not
/// read is lost.
pub(super) struct Stream {
    inner: Arc<Inner>,
    handle: SocketHandle,
}

impl Stream {
    fn with<R>(&self, f: impl FnOnce(&mut Socket<'static>) -> R) -> R {
        f(self.inner.stack.lock().sockets.get_mut::<Socket<'static>>(self.handle))
    }

    /// Resets the connection: the other side sees an error, not an end.
    pub(super) fn abort(&self) {
        self.with(Socket::abort);
        self.wake();
    }

    fn wake(&self) {
        self.inner.wakeup.notify_one();
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        {
            let mut stack = self.inner.stack.lock();
            stack.sockets.get_mut::<Socket<'_>>(self.handle).close();
            stack.orphans.push((self.handle, Instant::now()));
        }
        self.wake();
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = self.with(|socket| {
            if !socket.can_recv() && (socket.may_recv() || opening(socket.state())) {
                socket.register_recv_waker(context.waker());
                return Poll::Pending;
            }
            Poll::Ready(match socket.recv_slice(buffer.initialize_unfilled()) {
                Ok(count) => Ok(count),
                // The other side said that this was all.
                Err(RecvError::Finished) => Ok(0),
                Err(RecvError::InvalidState) => Err(io::ErrorKind::ConnectionReset.into()),
            })
        });
        read.map_ok(|count| {
            buffer.advance(count);
            if count > 0 {
                self.wake();
            }
        })
    }
}

/// Gives a connection whose SYN was sent at `syn` a fresh congestion controller when that SYN, or the answer to
/// it, was lost. smoltcp takes such a loss for congestion and would never open its window by more than a packet a
/// round trip again (RFC 5681, 3.1, asks only for a small first window).
fn forget_lost_syn(socket: &mut Socket<'_>, syn: Instant) {
    if syn.elapsed() >= SYN_TIMEOUT {
        socket.set_congestion_control(CongestionControl::Cubic);
    }
}

fn opening(state: State) -> bool {
    matches!(state, State::SynSent | State::SynReceived)
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = self.with(|socket| {
            if !socket.may_send() && !opening(socket.state()) {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            if !socket.can_send() {
                socket.register_send_waker(context.waker());
                return Poll::Pending;
            }
            Poll::Ready(socket.send_slice(bytes).map_err(|_| io::ErrorKind::BrokenPipe.into()))
        });
        if written.is_ready() {
            self.wake();
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(Socket::close);
        self.wake();
        Poll::Ready(Ok(()))
    }
}
