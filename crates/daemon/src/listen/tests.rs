//! With the clock stopped (`start_paused`) a wait that only time can end is over at once, and one that
//! nothing ends fails at [`PATIENCE`].

use axum::{body::Bytes, extract::Path, routing::get};
use futures::stream;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::{mpsc, oneshot},
    time::{Instant, timeout},
};

use super::*;

const PATIENCE: Duration = Duration::from_secs(86_400);
/// Long enough for what is not to happen.
const A_WHILE: Duration = Duration::from_millis(50);
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

struct Served {
    address: SocketAddr,
    stop: CancellationToken,
    ended: tokio::task::JoinHandle<()>,
}

#[allow(clippy::disallowed_methods, reason = "a server of this test, gone with its runtime")]
async fn served(routes: Router, limits: Limits) -> Served {
    let (listener, address) = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let stop = CancellationToken::new();
    let ended = tokio::spawn(serve(listener, routes, limits, stop.clone()));
    Served { address, stop, ended }
}

fn hello() -> Router {
    Router::new().route("/", get(async || "hello"))
}

async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    let mut piece = [0; 1024];
    while !text.ends_with(end.as_bytes()) {
        match timeout(PATIENCE, stream.read(&mut piece)).await.unwrap() {
            Ok(0) | Err(_) => break,
            Ok(count) => text.extend_from_slice(&piece[..count]),
        }
    }
    String::from_utf8(text).unwrap()
}

/// Whether the other side closed it, having sent nothing more.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let read = timeout(PATIENCE, stream.read(&mut [0; 16])).await.expect("nobody closed it");
    matches!(read, Ok(0) | Err(_))
}

/// Requests that are being worked on, each by its path, until it is told to end.
fn held() -> (Router, mpsc::UnboundedReceiver<(usize, oneshot::Sender<()>)>) {
    let (begun, requests) = mpsc::unbounded_channel();
    let wait = async move |Path(n): Path<usize>| {
        let (end, ended) = oneshot::channel();
        begun.send((n, end)).unwrap();
        ended.await.unwrap();
        "done"
    };
    (Router::new().route("/{n}", get(wait)), requests)
}

async fn ask(address: SocketAddr, n: usize) -> TcpStream {
    let mut caller = TcpStream::connect(address).await.unwrap();
    caller.write_all(format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await.unwrap();
    caller
}

#[tokio::test]
async fn more_connections_than_places_wait_until_one_is_free() {
    let (routes, mut requests) = held();
    let served = served(routes, Limits { connections: 2, ..Limits::default() }).await;
    let mut callers = [ask(served.address, 0).await, ask(served.address, 1).await];
    let (first, end_first) = requests.recv().await.unwrap();
    let _second = requests.recv().await.unwrap();
    let _third = ask(served.address, 2).await;
    assert!(timeout(A_WHILE, requests.recv()).await.is_err());
    // The connection has the place, not the request.
    end_first.send(()).unwrap();
    read_until(&mut callers[first], "done").await;
    assert!(timeout(A_WHILE, requests.recv()).await.is_err());
    callers[first].shutdown().await.unwrap();
    assert_eq!(requests.recv().await.unwrap().0, 2);
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_closed_when_its_time_is_over() {
    let limits = Limits::default();
    let served = served(hello(), limits).await;
    let begun = Instant::now();
    let mut silent = TcpStream::connect(served.address).await.unwrap();
    assert!(is_closed(&mut silent).await);
    assert!(begun.elapsed() >= limits.head && begun.elapsed() < limits.head * 2, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_fell_silent_after_a_request_is_closed() {
    let served = served(hello(), Limits::default()).await;
    let mut caller = TcpStream::connect(served.address).await.unwrap();
    caller.write_all(REQUEST).await.unwrap();
    assert!(read_until(&mut caller, "hello").await.starts_with("HTTP/1.1 200 "));
    assert!(is_closed(&mut caller).await);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_is_only_half_sent_is_not_waited_for() {
    let served = served(hello(), Limits::default()).await;
    let mut half = TcpStream::connect(served.address).await.unwrap();
    half.write_all(b"GET / HTTP/1.1\r\nHost:").await.unwrap();
    assert!(is_closed(&mut half).await);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_reads_is_given_up() {
    let (alive, mut given_up) = mpsc::channel::<()>(1);
    let endless = move || {
        let alive = alive.clone();
        std::future::ready(Body::from_stream(stream::repeat_with(move || {
            let _ = &alive;
            Ok::<_, io::Error>(Bytes::from_static(&[0; 65_536]))
        })))
    };
    let routes = Router::new().route("/", get(endless));
    let served = served(routes, Limits::default()).await;
    let mut caller = TcpStream::connect(served.address).await.unwrap();
    caller.write_all(REQUEST).await.unwrap();
    caller.readable().await.unwrap();
    served.stop.cancel();
    // The routes, and with them the last sender, are gone when the connection is.
    assert_eq!(timeout(PATIENCE, given_up.recv()).await, Ok(None));
    timeout(PATIENCE, served.ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_drain_lets_requests_end_and_closes_connections_without_one() {
    let (routes, mut requests) = held();
    let served = served(routes, Limits::default()).await;
    let mut idle = TcpStream::connect(served.address).await.unwrap();
    let mut busy = ask(served.address, 0).await;
    let (_, end) = requests.recv().await.unwrap();
    served.stop.cancel();
    assert!(is_closed(&mut idle).await);
    assert!(!served.ended.is_finished());
    end.send(()).unwrap();
    assert!(read_until(&mut busy, "done").await.contains("connection: close"));
    served.ended.await.unwrap();
    assert!(TcpStream::connect(served.address).await.is_err());
}

#[tokio::test]
async fn packets_are_not_held_back() {
    let (listener, address) = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let _caller = TcpStream::connect(address).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let serving = connection(stream, hello(), Limits::default());
    assert!(serving.into_parts().io.into_inner().sends_at_once());
}

#[test]
fn the_port_file_holds_the_address() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("port");
    announce(SocketAddr::from(([127, 0, 0, 1], 4711)), "test", Some(&file)).unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "127.0.0.1:4711\n");
}
