//! A scripted HTTP server on loopback, byte by byte: what a server does when it dies, stalls or breaks
//! the protocol cannot be asked of a well-behaved one.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinSet,
};
use url::Url;

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) query: HashMap<String, String>,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

/// What the server does next.
#[derive(Clone)]
pub(crate) enum Step {
    Bytes(Vec<u8>),
    Wait(Arc<Notify>),
    /// Tell that the script is here.
    Tell(Arc<Notify>),
    /// Say nothing until the client goes, and tell that.
    Gone(Arc<Notify>),
    /// Say nothing until the client goes.
    Hang,
    Close,
}

type Script = dyn Fn(usize, &Seen) -> Vec<Step> + Send + Sync;

/// Lives as long as the value.
pub(crate) struct Fake {
    pub(crate) url: Url,
    seen: Arc<Mutex<Vec<Seen>>>,
    _tasks: JoinSet<()>,
}

impl Fake {
    /// Answers the n-th request (from 0, over all connections) by the script.
    pub(crate) async fn start(script: impl Fn(usize, &Seen) -> Vec<Step> + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), script).await
    }

    pub(crate) async fn start_at(
        address: SocketAddr,
        script: impl Fn(usize, &Seen) -> Vec<Step> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (script, log): (Arc<Script>, _) = (Arc::new(script), Arc::clone(&seen));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                connections.spawn(serve(socket, Arc::clone(&script), Arc::clone(&log)));
            }
        });
        Self { url, seen, _tasks: tasks }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }
}

async fn serve(mut socket: TcpStream, script: Arc<Script>, log: Arc<Mutex<Vec<Seen>>>) {
    while let Some(request) = read_request(&mut socket).await {
        let n = {
            let mut log = log.lock();
            log.push(request.clone());
            log.len() - 1
        };
        for step in script(n, &request) {
            match step {
                Step::Bytes(bytes) => {
                    if socket.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
                Step::Wait(notify) => notify.notified().await,
                Step::Tell(notify) => notify.notify_one(),
                Step::Gone(notify) => {
                    let _ = socket.read(&mut [0; 1]).await;
                    notify.notify_one();
                    return;
                }
                Step::Hang => {
                    let _ = socket.read(&mut [0; 1]).await;
                    return;
                }
                Step::Close => return,
            }
        }
    }
}

/// `None` when the client went before the request was whole.
async fn read_request(socket: &mut TcpStream) -> Option<Seen> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.lines();
    let target = lines.next()?.split(' ').nth(1)?.to_owned();
    let headers: HashMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let mut body = Vec::new();
    if let Some(length) = headers.get("content-length") {
        body.resize(length.parse().unwrap(), 0);
        socket.read_exact(&mut body).await.ok()?;
    } else if headers.contains_key("transfer-encoding") {
        loop {
            let mut line = Vec::new();
            while !line.ends_with(b"\r\n") {
                line.push(socket.read_u8().await.ok()?);
            }
            let length = usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim(), 16).unwrap();
            let mut chunk = vec![0; length + 2];
            socket.read_exact(&mut chunk).await.ok()?;
            if length == 0 {
                break;
            }
            body.extend_from_slice(&chunk[..length]);
        }
    }
    let url = Url::parse(&format!("http://x{target}")).unwrap();
    let query = url.query_pairs().into_owned().collect();
    Some(Seen { path: url.path().to_owned(), query, headers, body })
}

/// A whole answer.
pub(crate) fn ok(body: &str) -> Vec<Step> {
    answer("200 OK", "", body)
}

/// A whole answer with a status and further header lines (each with its line end).
pub(crate) fn answer(status: &str, headers: &str, body: &str) -> Vec<Step> {
    let text = format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len());
    vec![Step::Bytes(text.into_bytes())]
}

/// The head of a chunked answer.
pub(crate) fn chunked(headers: &str) -> Step {
    Step::Bytes(format!("HTTP/1.1 200 OK\r\n{headers}transfer-encoding: chunked\r\n\r\n").into_bytes())
}

/// One chunk; an empty one ends the answer.
pub(crate) fn chunk(bytes: &[u8]) -> Step {
    let mut out = format!("{:x}\r\n", bytes.len()).into_bytes();
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
    Step::Bytes(out)
}
