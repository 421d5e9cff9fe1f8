//! Two userspace ends on loopback: an ordinary client reaches an ordinary server through the tunnel.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic here is a failed test")]

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use supervisor::Supervisor;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::watch,
    time::timeout,
};
use tunnel::{Mode, Tunnel, TunnelError};
use wireguard::{Cidr, LinkMode, PeerEndpoint, PresharedKey, PrivateKey, TunnelConfig, TunnelPeer};

const LIMIT: Duration = Duration::from_secs(60);

fn cidr(text: &str) -> Cidr {
    Cidr { address: text.parse().unwrap(), prefix: 32 }
}

/// A cloud that listens and a NAS that dials it at `cloud_port`.
fn pair(cloud_port: u16) -> (TunnelConfig, TunnelConfig) {
    let (cloud, nas, shared) = (PrivateKey::generate(), PrivateKey::generate(), PresharedKey::generate());
    let peer = |key: &PrivateKey, ip: &str, endpoint| TunnelPeer {
        public_key: key.public(),
        preshared_key: Some(shared.clone()),
        endpoint,
        allowed_ips: vec![cidr(ip)],
        persistent_keepalive: None,
    };
    let dial = Some(PeerEndpoint { host: "127.0.0.1".into(), port: cloud_port });
    let peers = (peer(&nas, "10.0.1.2", None), peer(&cloud, "10.0.1.1", dial));
    let end = |key: PrivateKey, ip: &str, listen_port, peer| TunnelConfig {
        private_key: key,
        addresses: vec![cidr(ip)],
        listen_port,
        mtu: None,
        peers: vec![peer],
    };
    (end(cloud, "10.0.1.1", None, peers.0), end(nas, "10.0.1.2", None, peers.1))
}

async fn open(config: &TunnelConfig, supervisor: &Supervisor) -> Tunnel {
    Tunnel::open(config, LinkMode::Userspace, supervisor).await.unwrap()
}

struct Ends {
    cloud: Tunnel,
    nas: Tunnel,
    supervisor: Supervisor,
}

async fn ends() -> Ends {
    let supervisor = Supervisor::new();
    let (cloud, mut nas) = pair(0);
    let cloud = open(&cloud, &supervisor).await;
    nas.peers[0].endpoint.as_mut().unwrap().port = cloud.udp_address().port();
    let nas = open(&nas, &supervisor).await;
    Ends { cloud, nas, supervisor }
}

/// A server that sends back what it gets.
async fn echo(supervisor: &Supervisor) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tasks = supervisor.clone();
    supervisor.spawn("echo", async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tasks.spawn_brief(async move {
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
                let _ = to.shutdown().await;
            });
        }
    });
    address
}

/// Sends `bytes` to `address` and reads until the end.
async fn round(address: SocketAddr, bytes: Vec<u8>) -> Vec<u8> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut from, mut to) = stream.into_split();
    let write = async {
        to.write_all(&bytes).await.unwrap();
        to.shutdown().await.unwrap();
    };
    let mut back = Vec::new();
    let (_, read) = tokio::join!(write, from.read_to_end(&mut back));
    read.unwrap();
    back
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_cross_both_ways_over_many_connections() {
    let ends = ends().await;
    let servers = Supervisor::new();
    assert_eq!(ends.cloud.mode(), Mode::Userspace);
    for (server, client, ip) in [(&ends.cloud, &ends.nas, "10.0.1.1"), (&ends.nas, &ends.cloud, "10.0.1.2")] {
        let to = echo(&servers).await;
        server.expose(7000, to).await.unwrap();
        let at = client.forward(SocketAddr::new(ip.parse().unwrap(), 7000)).await.unwrap();
        assert!(at.ip().is_loopback());
        let bodies = (0..20_u8).map(|n| vec![n; 1_000_000 + usize::from(n)]);
        let rounds = bodies.map(|body| async move { (round(at, body.clone()).await, body) });
        let all = timeout(LIMIT, futures::future::join_all(rounds)).await.unwrap();
        assert!(all.iter().all(|(back, sent)| back == sent), "bytes were lost or changed");
    }
    let peer = &ends.cloud.peers()[0];
    assert!(peer.handshake_age.is_some() && peer.received_bytes > 20_000_000, "{peer:?}");
    ends.supervisor.shutdown();
    assert!(ends.supervisor.wait(Duration::from_secs(10)).await, "a task of the tunnel did not end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_resets_is_not_an_end() {
    let ends = ends().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    ends.cloud.expose(7000, listener.local_addr().unwrap()).await.unwrap();
    let at = ends.nas.forward("10.0.1.1:7000".parse().unwrap()).await.unwrap();
    let mut client = TcpStream::connect(at).await.unwrap();
    let (mut server, _) = timeout(LIMIT, listener.accept()).await.unwrap().unwrap();
    server.write_all(b"half").await.unwrap();
    let mut half = [0; 4];
    timeout(LIMIT, client.read_exact(&mut half)).await.unwrap().unwrap();
    socket2::SockRef::from(&server).set_linger(Some(Duration::ZERO)).unwrap();
    drop(server);
    let end = timeout(LIMIT, client.read(&mut half)).await.unwrap();
    assert!(end.is_err(), "half an answer ended as if it were whole: {end:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_is_refused_and_a_port_is_had_once() {
    let ends = ends().await;
    let at = ends.nas.forward("10.0.1.1:7001".parse().unwrap()).await.unwrap();
    let asked = async { TcpStream::connect(at).await?.read(&mut [0; 1]).await };
    let end = timeout(LIMIT, asked).await.unwrap();
    assert!(end.is_err(), "{end:?}");
    let to = echo(&ends.supervisor).await;
    ends.cloud.expose(7000, to).await.unwrap();
    assert!(matches!(ends.cloud.expose(7000, to).await, Err(TunnelError::Listen { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_and_a_mode_without_a_tunnel_say_what_to_do() {
    let supervisor = Supervisor::new();
    let (mut cloud, _) = pair(0);
    let taken = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    cloud.listen_port = Some(taken.local_addr().unwrap().port());
    let error = Tunnel::open(&cloud, LinkMode::Userspace, &supervisor).await.unwrap_err();
    assert!(error.to_string().contains("ListenPort"), "{error}");
    let error = Tunnel::open(&cloud, LinkMode::External, &supervisor).await.unwrap_err();
    assert!(matches!(error, TunnelError::External));
}

/// A link whose round trip is one of its rounds: what came in one leaves at its end.
struct Rounds {
    /// Where the NAS dials.
    port: u16,
    /// Whether what goes to the cloud, and to the NAS, is lost.
    cut: [watch::Sender<bool>; 2],
    /// Datagrams lost so far.
    lost: watch::Receiver<usize>,
    /// The most datagrams full of data in one round, to the cloud and to the NAS.
    most: Arc<[AtomicUsize; 2]>,
}

impl Rounds {
    const LENGTH: Duration = Duration::from_millis(25);
    /// A datagram of this many bytes is full.
    const FULL: usize = 1200;

    async fn to(cloud: SocketAddr, supervisor: &Supervisor) -> Self {
        let near = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let far = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        far.connect(("127.0.0.1", cloud.port())).await.unwrap();
        let (cut, cuts): (Vec<_>, Vec<_>) = (0..2).map(|_| watch::channel(false)).unzip();
        let (losing, lost) = watch::channel(0);
        let most = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
        let (port, counts) = (near.local_addr().unwrap().port(), Arc::clone(&most));
        supervisor.spawn_brief(async move {
            let mut held: [Vec<Vec<u8>>; 2] = Default::default();
            let (mut nas, mut to_cloud, mut to_nas) = (None, vec![0; 65_536], vec![0; 65_536]);
            let mut clock = tokio::time::interval(Self::LENGTH);
            loop {
                let (direction, length) = tokio::select! {
                    _ = clock.tick() => {
                        for datagram in held[0].drain(..) {
                            let _ = far.send(&datagram).await;
                        }
                        for datagram in held[1].drain(..) {
                            let _ = near.send_to(&datagram, nas.unwrap()).await;
                        }
                        continue;
                    }
                    Ok((length, from)) = near.recv_from(&mut to_cloud) => {
                        nas = Some(from);
                        (0, length)
                    }
                    Ok(length) = far.recv(&mut to_nas) => (1, length),
                };
                if *cuts[direction].borrow() {
                    losing.send_modify(|lost| *lost += 1);
                    continue;
                }
                held[direction].push(if direction == 0 { &to_cloud } else { &to_nas }[..length].to_vec());
                let full = held[direction].iter().filter(|datagram| datagram.len() >= Self::FULL).count();
                counts[direction].fetch_max(full, Ordering::Relaxed);
            }
        });
        Self { port, cut: cut.try_into().unwrap(), lost, most }
    }
}

/// A connection whose first packet, or the answer to it, was lost is as quick as any other: its window
/// grows with every round trip by a share of itself, not by a packet.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_syn_does_not_make_a_connection_slow() {
    /// By windows that grow by a packet a round trip, these are over before one has reached 20 packets.
    const BYTES: usize = 1_000_000;
    for lost_direction in [0, 1] {
        let supervisor = Supervisor::new();
        let (cloud, mut nas) = pair(0);
        let cloud = open(&cloud, &supervisor).await;
        let mut link = Rounds::to(cloud.udp_address(), &supervisor).await;
        nas.peers[0].endpoint.as_mut().unwrap().port = link.port;
        let nas = open(&nas, &supervisor).await;
        cloud.expose(7000, echo(&supervisor).await).await.unwrap();
        let at = nas.forward("10.0.1.1:7000".parse().unwrap()).await.unwrap();
        // A session first: what is lost below is TCP's.
        assert_eq!(timeout(LIMIT, round(at, vec![1])).await.unwrap(), [1]);

        link.lost.mark_unchanged();
        link.cut[lost_direction].send_replace(true);
        let mended = async {
            link.lost.changed().await.unwrap();
            link.cut[lost_direction].send_replace(false);
        };
        let asked = async { tokio::join!(round(at, vec![7; BYTES]), mended) };
        assert_eq!(timeout(LIMIT, asked).await.unwrap().0.len(), BYTES);
        let most = [0, 1].map(|direction| link.most[direction].load(Ordering::Relaxed));
        assert!(most.iter().all(|most| *most >= 30), "SYN {lost_direction} lost: {most:?} datagrams a round");
        supervisor.shutdown();
    }
}
