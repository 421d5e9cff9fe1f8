//! TCP/IP in this process, for where no TUN device is to be had: smoltcp over the peers' sessions.
//!
//! One driver owns the rhythm: datagrams in, stack polled, datagrams out, then a wait for the next of
//! a datagram, a stream that was written or read, and the stack's own timer. Streams reach into the
//! stack under its lock and ring the driver. The lock is never held across a wait.
//!
//! Bounds: at most [`MAX_STREAMS`] streams, each with fixed buffers; a port that is listened on keeps
//! [`BACKLOG`] waiting places; packets wait in bounded queues. A connection on which nothing is heard
//! for [`DEAD`] is given up by the stack and its reader gets an error, never an early end.

use std::{
    collections::{HashMap, VecDeque},
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::{Duration, Instant},
};

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
    lock,
    mender::Mender,
    outbox::Outbox,
    peers::Peers,
    udp::{Inbox, Udp},
};

/// Streams at once, waiting places included.
const MAX_STREAMS: usize = 512;
/// Waiting places of a port that is listened on.
const BACKLOG: usize = 16;
/// Buffers of a stream, bytes, each way.
const STREAM_BYTES: usize = 1 << 20;
/// A connection that hears nothing for so long is dead; keepalives ask four times within it.
const DEAD: Duration = Duration::from_secs(30);
/// A greeting that is not answered in this time is sent again by the stack (its first retransmission timeout,
/// RFC 6298, 2.1).
const GREETING: Duration = Duration::from_secs(1);
/// Longest rest of the driver: the sessions' timers.
const TICK: Duration = Duration::from_millis(100);
/// Datagrams after which what is waiting is sent.
const BURST: usize = 256;
/// First port of outgoing connections (RFC 6335, dynamic ports).
const FIRST_PORT: u16 = 49_152;

/// The stack's wire: packets from and to the sessions.
struct Wire {
    received: VecDeque<Vec<u8>>,
    spare: Vec<Vec<u8>>,
    scratch: Vec<u8>,
    peers: Arc<Mutex<Peers>>,
    outbox: Outbox,
    mender: Mender,
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
    outbox: &'a mut Outbox,
    mender: &'a mut Mender,
    scratch: &'a mut Vec<u8>,
}

impl TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        self.scratch.resize(length, 0);
        let result = f(self.scratch);
        self.mender.sent(self.scratch, Instant::now());
        lock(self.peers).outbound(self.scratch, self.outbox);
        result
    }
}

impl Wire {
    fn sending(&mut self) -> Sending<'_> {
        Sending {
            peers: &self.peers,
            outbox: &mut self.outbox,
            mender: &mut self.mender,
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
        (self.outbox.len() < BURST).then(|| self.sending())
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu;
        // What comes out of a session was authenticated: its sums need no checking.
        let mut sums = ChecksumCapabilities::default();
        sums.tcp = Checksum::Tx;
        sums.ipv4 = Checksum::Tx;
        capabilities.checksum = sums;
        capabilities
    }
}

/// Who waits for connections to a port.
struct Port {
    waiting: Vec<Place>,
    accepted: mpsc::Sender<Stream>,
}

/// A waiting place.
struct Place {
    handle: SocketHandle,
    /// When somebody's greeting came.
    greeted: Option<Instant>,
}

struct Stack {
    interface: Interface,
    sockets: SocketSet<'static>,
    wire: Wire,
    ports: HashMap<u16, Port>,
    /// Streams nobody holds any more: closed by the stack, then removed.
    orphans: Vec<(SocketHandle, Instant)>,
    next_port: u16,
    started: Instant,
}

/// The stack and its driver. Clones are the same.
#[derive(Clone)]
pub(super) struct Userspace(Arc<Inner>);

struct Inner {
    stack: Mutex<Stack>,
    bell: Notify,
    addresses: Vec<Cidr>,
}

impl Userspace {
    pub(super) fn new(config: &TunnelConfig, mtu: u16, peers: Arc<Mutex<Peers>>) -> Self {
        let mut wire = Wire {
            received: VecDeque::new(),
            spare: Vec::new(),
            scratch: Vec::new(),
            peers,
            outbox: Outbox::default(),
            mender: Mender::default(),
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
        Self(Arc::new(Inner { stack: Mutex::new(stack), bell: Notify::new(), addresses }))
    }

    /// Connections to `port` of our inner addresses arrive at the receiver.
    pub(super) fn listen(&self, port: u16) -> Result<mpsc::Receiver<Stream>, TunnelError> {
        let (accepted, streams) = mpsc::channel(BACKLOG);
        let mut stack = lock(&self.0.stack);
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
        let mut waiting = Vec::new();
        for _ in 0..BACKLOG {
            waiting.push(stack.wait_at(port).map_err(taken)?);
        }
        stack.ports.insert(port, Port { waiting, accepted });
        Ok(streams)
    }

    /// Connects to `remote` inside the tunnel.
    pub(super) async fn connect(&self, remote: SocketAddr) -> io::Result<Stream> {
        let stream = {
            let mut stack = lock(&self.0.stack);
            if lock(&stack.wire.peers).is_away(remote.ip()) {
                return Err(io::Error::new(
                    io::ErrorKind::HostUnreachable,
                    "the tunnel's peer does not answer",
                ));
            }
            let handle = stack.dial(remote)?;
            Stream { inner: Arc::clone(&self.0), handle }
        };
        self.0.bell.notify_one();
        let dialled = Instant::now();
        std::future::poll_fn(|context| {
            let mut stack = lock(&self.0.stack);
            let socket = stack.sockets.get_mut::<Socket<'_>>(stream.handle);
            match socket.state() {
                State::SynSent | State::SynReceived => {
                    socket.register_send_waker(context.waker());
                    Poll::Pending
                }
                State::Closed => Poll::Ready(Err(io::Error::from(io::ErrorKind::ConnectionRefused))),
                _ => {
                    begin_afresh(socket, dialled);
                    Poll::Ready(Ok(()))
                }
            }
        })
        .await?;
        Ok(stream)
    }

    /// Packets may have at most `mtu` bytes from now on. The stack keeps its device's word for good, so
    /// it gets another interface; connections stay.
    pub(super) fn set_mtu(&self, mtu: u16) {
        let mut stack = lock(&self.0.stack);
        let Stack { wire, interface: current, .. } = &mut *stack;
        wire.mtu = usize::from(mtu);
        *current = interface(wire, &self.0.addresses);
    }

    /// Carries everything, until `stop`.
    pub(super) async fn drive(self, udp: Arc<Udp>, stop: CancellationToken) {
        let (mut inbox, mut outbox) = (Inbox::new(), Outbox::default());
        loop {
            let rest = lock(&self.0.stack).rest();
            tokio::select! {
                () = stop.cancelled() => return,
                ready = udp.readable() => if ready.is_err() { tokio::time::sleep(super::PAUSE).await },
                () = self.0.bell.notified() => {}
                () = tokio::time::sleep(rest.min(TICK)) => {}
            }
            let mut received = true;
            let mut busy = true;
            // As long as there is something to do, in turns: nothing starves the other direction.
            while received || busy {
                received = match udp.receive(&mut inbox) {
                    Ok(received) => received,
                    Err(error) => {
                        tracing::warn!(%error, "the tunnel's UDP socket cannot be read");
                        false
                    }
                };
                {
                    let mut stack = lock(&self.0.stack);
                    if received {
                        stack.take(&inbox);
                    }
                    stack.mend();
                    busy = stack.poll();
                    stack.settle(&self.0);
                    std::mem::swap(&mut stack.wire.outbox, &mut outbox);
                }
                busy |= outbox.len() >= BURST;
                if outbox.len() > 0 {
                    udp.send(&mut outbox).await;
                }
                if stop.is_cancelled() {
                    return;
                }
                tokio::task::yield_now().await;
            }
        }
    }
}

/// Our addresses, and every other by the sessions, which know whose it is.
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
        self.wire.mender.rest(Instant::now()).map_or(rest, |mending| rest.min(mending))
    }

    /// Sends again what nothing came back for.
    fn mend(&mut self) {
        let Wire { peers, outbox, mender, .. } = &mut self.wire;
        let mut again = Vec::new();
        mender.due(Instant::now(), &mut again);
        again.iter().for_each(|packet| lock(peers).outbound(packet, outbox));
    }

    fn take(&mut self, inbox: &Inbox) {
        let Wire { received, spare, peers, outbox, mender, .. } = &mut self.wire;
        let (mut peers, mut again) = (lock(peers), Vec::new());
        for (from, datagram) in inbox.datagrams() {
            let mut packet = spare.pop().unwrap_or_default();
            packet.resize(datagram.len().max(super::noise::MIN_OUT), 0);
            if let Some(length) = peers.inbound(from, datagram, &mut packet, outbox) {
                packet.truncate(length);
                if mender.received(&packet, Instant::now(), &mut again) {
                    received.push_back(packet);
                    continue;
                }
            }
            spare.push(packet);
        }
        again.iter().for_each(|packet| peers.outbound(packet, outbox));
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

    fn wait_at(&mut self, port: u16) -> Result<Place, ()> {
        if self.sockets.iter().count() >= MAX_STREAMS {
            return Err(());
        }
        let mut socket = Self::socket();
        socket.listen(port).map_err(drop)?;
        Ok(Place { handle: self.sockets.add(socket), greeted: None })
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

    /// Hands over connections that were made, keeps waiting places filled, buries orphans.
    fn settle(&mut self, inner: &Arc<Inner>) {
        let ports: Vec<u16> = self.ports.keys().copied().collect();
        for number in ports {
            let Some(mut port) = self.ports.remove(&number) else { continue };
            port.waiting.retain_mut(|Place { handle, greeted }| {
                let socket = self.sockets.get_mut::<Socket<'_>>(*handle);
                match socket.state() {
                    State::Listen => true,
                    State::SynReceived => {
                        greeted.get_or_insert_with(Instant::now);
                        true
                    }
                    State::Closed => {
                        self.sockets.remove(*handle);
                        false
                    }
                    _ => {
                        begin_afresh(socket, greeted.unwrap_or_else(Instant::now));
                        // Nobody takes them fast enough: the caller sees a reset and tries again.
                        match port.accepted.try_reserve() {
                            Ok(place) => place.send(Stream { inner: Arc::clone(inner), handle: *handle }),
                            Err(_) => {
                                self.sockets.get_mut::<Socket<'_>>(*handle).abort();
                                self.orphans.push((*handle, Instant::now()));
                            }
                        }
                        false
                    }
                }
            });
            while port.waiting.len() < BACKLOG {
                let Ok(place) = self.wait_at(number) else { break };
                port.waiting.push(place);
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
        f(lock(&self.inner.stack).sockets.get_mut::<Socket<'static>>(self.handle))
    }

    /// Resets the connection: the other side sees an error, not an end.
    pub(super) fn abort(&self) {
        self.with(Socket::abort);
        self.ring();
    }

    fn ring(&self) {
        self.inner.bell.notify_one();
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        {
            let mut stack = lock(&self.inner.stack);
            stack.sockets.get_mut::<Socket<'_>>(self.handle).close();
            stack.orphans.push((self.handle, Instant::now()));
        }
        self.ring();
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
                self.ring();
            }
        })
    }
}

/// A connection is made whose greeting was sent at `greeted`. smoltcp takes a lost greeting for a full line
/// and would never open its window by more than a packet a round trip again (RFC 5681, 3.1, asks only for a
/// small first window): it forgets that.
fn begin_afresh(socket: &mut Socket<'_>, greeted: Instant) {
    if greeted.elapsed() >= GREETING {
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
            self.ring();
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(Socket::close);
        self.ring();
        Poll::Ready(Ok(()))
    }
}
