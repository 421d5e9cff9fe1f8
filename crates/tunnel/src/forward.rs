//! Loopback on one side, the tunnel on the other, for ordinary clients and servers that know only the
//! kernel's sockets.
//!
//! A forwarded port is bound to loopback. It gives nobody rights: the server at the other end asks for
//! its token as always. When one direction ends, the other goes on until it ends too; a connection that
//! breaks is broken on both sides, so a cut answer never looks whole.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, copy_bidirectional_with_sizes},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Semaphore,
};

use super::{
    error::TunnelError,
    userspace::{Stream, Userspace},
};
use supervisor::Supervisor;

/// Connections forwarded at once, per port.
const MAX_CONNECTIONS: usize = 128;
/// Receive buffer of a socket on loopback, bytes.
const NEAR_BYTES: u32 = 128 * 1024;
/// Connections that wait to be accepted.
const BACKLOG: u32 = 128;
/// Bytes copied at once in each direction.
const COPY_BYTES: usize = 128 * 1024;

/// Binds a port on loopback whose connections end at `remote` inside the tunnel.
pub(super) async fn to_tunnel(
    stack: Userspace,
    remote: SocketAddr,
    supervisor: &Supervisor,
) -> Result<SocketAddr, TunnelError> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listen = |reason| TunnelError::Listen { address, reason };
    let listener = near(address).and_then(|socket| {
        socket.bind(address)?;
        socket.listen(BACKLOG)
    });
    let listener = listener.map_err(listen)?;
    let local = listener.local_addr().map_err(listen)?;
    let (stop, tasks) = (supervisor.token(), supervisor.clone());
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    supervisor.spawn("tunnel forward", async move {
        loop {
            let accepted = stop.run_until_cancelled(async {
                let slot = Arc::clone(&slots).acquire_owned().await;
                (slot, listener.accept().await)
            });
            match accepted.await {
                None => return,
                Some((slot, Ok((client, _)))) => {
                    let (stack, stop) = (stack.clone(), stop.clone());
                    tasks.spawn_brief(async move {
                        let _slot = slot;
                        let carried = async {
                            match stack.connect(remote).await {
                                Ok(inside) => carry(client, inside, Stream::abort).await,
                                Err(error) => {
                                    reset(&client);
                                    Err(error)
                                }
                            }
                        };
                        ended(stop.run_until_cancelled(carried).await, remote);
                    });
                }
                Some((_, Err(error))) => {
                    tracing::warn!(%error, "a forwarded connection cannot be accepted");
                    tokio::time::sleep(super::PAUSE).await;
                }
            }
        }
    });
    Ok(local)
}

/// Carries connections to `port` of our inner addresses to the server at `to`.
pub(super) fn from_tunnel(
    stack: &Userspace,
    port: u16,
    to: SocketAddr,
    supervisor: &Supervisor,
) -> Result<(), TunnelError> {
    let mut streams = stack.listen(port)?;
    let (stop, tasks) = (supervisor.token(), supervisor.clone());
    supervisor.spawn("tunnel expose", async move {
        while let Some(Some(inside)) = stop.run_until_cancelled(streams.recv()).await {
            let stop = stop.clone();
            tasks.spawn_brief(async move {
                let carried = async {
                    let server = near(to)?.connect(to).await?;
                    carry(server, inside, Stream::abort).await
                };
                ended(stop.run_until_cancelled(carried).await, to);
            });
        }
    });
    Ok(())
}

/// The same where the kernel has our inner addresses.
pub(super) async fn from_device(
    own: &[IpAddr],
    port: u16,
    to: SocketAddr,
    supervisor: &Supervisor,
) -> Result<(), TunnelError> {
    for ip in own {
        let address = SocketAddr::new(*ip, port);
        let listener = match TcpListener::bind(address).await {
            Ok(listener) => listener,
            // The server itself listens on every address.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && to.ip().is_unspecified() => continue,
            Err(reason) => return Err(TunnelError::Listen { address, reason }),
        };
        let (stop, tasks) = (supervisor.token(), supervisor.clone());
        supervisor.spawn("tunnel expose", async move {
            while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
                let Ok((inside, _)) = accepted else {
                    tokio::time::sleep(super::PAUSE).await;
                    continue;
                };
                let stop = stop.clone();
                tasks.spawn_brief(async move {
                    let carried = async {
                        let server = TcpStream::connect(to).await?;
                        carry(server, inside, reset).await
                    };
                    ended(stop.run_until_cancelled(carried).await, to);
                });
            }
        });
    }
    Ok(())
}

/// A socket for the near side of a connection. The kernel would put up to ten megabytes into the buffers
/// between two sockets on loopback, which a slow link takes many seconds to carry: the sender would not
/// notice the link's rate, and what it sends next would wait for all of that.
fn near(other: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if other.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_recv_buffer_size(NEAR_BYTES)?;
    Ok(socket)
}

/// Both directions, to the end of both. `abort` breaks `inside` off.
async fn carry<S: AsyncRead + AsyncWrite + Unpin>(
    mut outside: TcpStream,
    mut inside: S,
    abort: impl FnOnce(&S),
) -> io::Result<()> {
    outside.set_nodelay(true)?;
    let carried = copy_bidirectional_with_sizes(&mut outside, &mut inside, COPY_BYTES, COPY_BYTES).await;
    if carried.is_err() {
        // A reset on both sides, not an end: nobody may take half for the whole.
        abort(&inside);
        reset(&outside);
    }
    carried.map(drop)
}

/// When it is dropped, the other side sees an error.
fn reset(stream: &TcpStream) {
    let _ = socket2::SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO));
}

fn ended(result: Option<io::Result<()>>, at: SocketAddr) {
    if let Some(Err(error)) = result {
        tracing::debug!(%at, %error, "a connection through the tunnel broke off");
    }
}
