//! Nothing that a client sends, or stops sending, ends the engine: every kind of broken request on both
//! ports, then a minute of random ones beside real work.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test may fail by panicking, and spawns what it awaits itself"
)]

mod engine;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use engine::{Engine, PASSWORD, USER};

/// How a client leaves after it has sent what it has to say.
#[derive(Clone, Copy, Debug)]
enum Leaving {
    /// Closes its sending half and reads what comes.
    Reading,
    /// Closes at once.
    Closing,
    /// Resets the connection.
    Resetting,
}

const LEAVINGS: [Leaving; 3] = [Leaving::Reading, Leaving::Closing, Leaving::Resetting];

fn broken_http() -> Vec<(&'static str, Vec<u8>)> {
    let right = "user=tester&password=p%3Ass+w%C3%B6rd";
    let post =
        |head: &str, body: &str| format!("POST /?{right} HTTP/1.1\r\n{head}\r\n\r\n{body}").into_bytes();
    let text = |text: &str| text.as_bytes().to_vec();
    let mut kinds = vec![
        ("nothing", vec![]),
        ("half a method", text("PO")),
        ("half a request line", text("GET /?user")),
        ("a request line without an end", text("GET / HTTP/1.1")),
        ("no version", text("GET /\r\n\r\n")),
        ("an unknown version", text("GET / HTTP/9.9\r\n\r\n")),
        ("an unknown method", text("FROB / HTTP/1.1\r\nHost: a\r\n\r\n")),
        ("a long method", format!("{} / HTTP/1.1\r\n\r\n", "A".repeat(100_000)).into_bytes()),
        ("spaces only", text("     \r\n\r\n")),
        ("a thousand empty lines", text(&"\r\n".repeat(1000))),
        ("line feeds only", text(&"\n".repeat(1000))),
        ("NUL bytes", vec![0; 4096]),
        ("bytes of all values", (0..=255).cycle().take(8192).collect()),
        ("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec()),
        ("an HTTP/2 preface", text("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")),
        ("a proxy's CONNECT", text("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n")),
        ("a PROXY line", text("PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\n")),
        (
            "a web socket's upgrade",
            text("GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"),
        ),
        ("half a header", text("GET / HTTP/1.1\r\nHo")),
        ("a header without a colon", text("GET / HTTP/1.1\r\nHost\r\n\r\n")),
        ("a header without a name", text("GET / HTTP/1.1\r\n: a\r\n\r\n")),
        ("a folded header", text("GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n")),
        ("a NUL in a header", text("GET / HTTP/1.1\r\nA: b\0c\r\n\r\n")),
        (
            "a header of a mebibyte",
            format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "b".repeat(1 << 20)).into_bytes(),
        ),
        ("five thousand headers", format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(5000)).into_bytes()),
        (
            "a URL of four mebibytes",
            format!("GET /?query={} HTTP/1.1\r\n\r\n", "x".repeat(4 << 20)).into_bytes(),
        ),
        ("broken escapes in the URL", text("GET /?query=%ZZ%1 HTTP/1.1\r\n\r\n")),
        ("a NUL in the URL", text("GET /?query=SELECT%001 HTTP/1.1\r\n\r\n")),
        ("invalid UTF-8 in the URL", b"GET /?query=\xff\xfe HTTP/1.1\r\n\r\n".to_vec()),
        (
            "ten thousand parameters",
            format!("GET /?{right}&{} HTTP/1.1\r\n\r\n", "a=b&".repeat(10_000)).into_bytes(),
        ),
        ("a URL that climbs", text("GET /../../etc/passwd HTTP/1.1\r\n\r\n")),
        ("an absolute URL", text("GET http://127.0.0.1:1/ HTTP/1.1\r\n\r\n")),
        ("half a password", text("GET / HTTP/1.1\r\nAuthorization: Basic dGVzd")),
        ("a password that is no base64", text("GET /?query=1 HTTP/1.1\r\nAuthorization: Basic ***\r\n\r\n")),
        ("an empty authorization", text("GET /?query=1 HTTP/1.1\r\nAuthorization:\r\n\r\n")),
        ("an unknown authorization", text("GET /?query=1 HTTP/1.1\r\nAuthorization: Frob x\r\n\r\n")),
        ("two ways to log in", text("GET /?user=a&query=1 HTTP/1.1\r\nX-ClickHouse-User: b\r\n\r\n")),
        ("a length that is none", post("Content-Length: x", "SELECT 1")),
        ("a negative length", post("Content-Length: -5", "SELECT 1")),
        ("a length of 10^20", post("Content-Length: 100000000000000000000", "SELECT 1")),
        ("two lengths", post("Content-Length: 8\r\nContent-Length: 3", "SELECT 1")),
        (
            "a length and chunks",
            post("Content-Length: 3\r\nTransfer-Encoding: chunked", "8\r\nSELECT 1\r\n0\r\n\r\n"),
        ),
        ("a shorter body than said", post("Content-Length: 1000", "SELECT 1")),
        ("a longer body than said", post("Content-Length: 3", "SELECT 1")),
        ("no body where one is said", post("Content-Length: 8", "")),
        ("an unknown transfer", post("Transfer-Encoding: frob", "SELECT 1")),
        ("a chunk size that is none", post("Transfer-Encoding: chunked", "zz\r\nSELECT 1\r\n")),
        ("a chunk size of 2^70", post("Transfer-Encoding: chunked", "fffffffffffffffff\r\nSELECT 1\r\n")),
        ("a negative chunk size", post("Transfer-Encoding: chunked", "-8\r\nSELECT 1\r\n")),
        ("a chunk without an end", post("Transfer-Encoding: chunked", "8\r\nSELECT 1")),
        ("a chunk that is short", post("Transfer-Encoding: chunked", "80\r\nSELECT 1\r\n0\r\n\r\n")),
        ("a body without a last chunk", post("Transfer-Encoding: chunked", "8\r\nSELECT 1\r\n")),
        ("an encoding that is none", post("Content-Encoding: frob\r\nContent-Length: 8", "SELECT 1")),
        ("gzip that is none", post("Content-Encoding: gzip\r\nContent-Length: 8", "SELECT 1")),
        ("zstd that is none", post("Content-Encoding: zstd\r\nContent-Length: 8", "SELECT 1")),
        ("lz4 that is none", post("Content-Encoding: lz4\r\nContent-Length: 8", "SELECT 1")),
        ("brotli that is none", post("Content-Encoding: br\r\nContent-Length: 8", "SELECT 1")),
        ("Expect without a body", post("Expect: 100-continue\r\nContent-Length: 8", "")),
        ("an unknown Expect", post("Expect: frob\r\nContent-Length: 8", "SELECT 1")),
        (
            "multipart without a boundary",
            post("Content-Type: multipart/form-data\r\nContent-Length: 8", "SELECT 1"),
        ),
        (
            "multipart cut",
            post(
                "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 99",
                "--b\r\nContent-Disposition: form-data; na",
            ),
        ),
        (
            "multipart without parts",
            post("Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 5", "--b--"),
        ),
        ("a query of NUL bytes", post("Content-Length: 4", "\0\0\0\0")),
        ("an unclosed string", post("Content-Length: 8", "SELECT '")),
        ("an unclosed comment", post("Content-Length: 9", "SELECT /*")),
        ("brackets ten thousand deep", {
            let deep = "(".repeat(10_000);
            post(&format!("Content-Length: {}", deep.len()), &deep)
        }),
    ];
    let query = |pairs: &str, body: &[u8]| {
        let head = format!("POST /?{right}&{pairs} HTTP/1.1\r\nContent-Length: {}\r\n\r\n", body.len());
        [head.as_bytes(), body].concat()
    };
    kinds.extend([
        ("frames that are none", query("decompress=1&query=INSERT+INTO+t+FORMAT+Native", &[7; 100])),
        ("a frame that is too long", query("decompress=1&query=INSERT+INTO+t+FORMAT+Native", &[255; 100])),
        ("Native that is none", query("query=INSERT+INTO+t+FORMAT+Native", &[255; 100])),
        ("RowBinary that is cut", query("query=INSERT+INTO+t+FORMAT+RowBinary", &[1, 2, 3])),
        ("Parquet that is none", query("query=INSERT+INTO+t+FORMAT+Parquet", b"PAR1xxxxPAR1")),
        ("Arrow that is none", query("query=INSERT+INTO+t+FORMAT+Arrow", &[255; 64])),
        ("Avro that is none", query("query=INSERT+INTO+t+FORMAT+Avro", b"Obj\x01xxxx")),
        ("ORC that is none", query("query=INSERT+INTO+t+FORMAT+ORC", b"ORCxxxxORC")),
        ("MsgPack that is none", query("query=INSERT+INTO+t+FORMAT+MsgPack", &[0xc1; 64])),
        ("JSON that is none", query("query=INSERT+INTO+t+FORMAT+JSONEachRow", b"{{{{")),
        ("BSON that is none", query("query=INSERT+INTO+t+FORMAT+BSONEachRow", &[255; 64])),
        ("CSV of quotes", query("query=INSERT+INTO+t+FORMAT+CSV", &[b'"'; 4097])),
        ("a setting that is none", query("max_threads=x", b"SELECT 1")),
        ("a setting of 10^30", query(&format!("max_threads=1{}", "0".repeat(30)), b"SELECT 1")),
        (
            "a session's name of a mebibyte",
            query(&format!("session_id={}", "s".repeat(900_000)), b"SELECT 1"),
        ),
        ("a session's time below zero", query("session_id=s&session_timeout=-1", b"SELECT 1")),
        ("a protocol version that is none", query("client_protocol_version=x", b"SELECT 1")),
        ("a role that is none", query("role=nobody", b"SELECT 1")),
        ("a parameter that is broken", query("param_x=%5C", b"SELECT {x:String}")),
        ("a format that is none", query("default_format=Frob", b"SELECT 1")),
        ("a quota key of NULs", query("quota_key=%00%00", b"SELECT 1")),
    ]);
    kinds
}

fn broken_native() -> Vec<(&'static str, Vec<u8>)> {
    // Client hello: packet 0, name, version, protocol, database, user, password.
    let hello = |user: &str, password: &str, revision: u64| {
        let mut bytes = vec![0];
        bytes.extend(b"\x06client");
        bytes.extend([varint(24), varint(8), varint(revision)].concat());
        for text in ["", user, password] {
            bytes.extend(varint(text.len() as u64));
            bytes.extend(text.as_bytes());
        }
        bytes
    };
    let right = hello(USER, PASSWORD, 54_400);
    let behind = |bytes: &[u8]| [&right[..], bytes].concat();
    vec![
        ("nothing", vec![]),
        ("an HTTP request", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("a POST", b"POST / HTTP/1.1\r\n\r\n".to_vec()),
        ("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec()),
        ("zeros", vec![0; 4096]),
        ("ones", vec![255; 4096]),
        ("text", b"hello\n".to_vec()),
        ("an endless number", vec![0x80; 4096]),
        ("an unknown packet first", vec![77]),
        ("a query first", vec![1, 0, 0]),
        ("a ping first", vec![4]),
        ("half a hello", right[..3].to_vec()),
        ("a hello without a password", right[..right.len() - 3].to_vec()),
        ("a hello with a name of 2^60", [vec![0], varint(1 << 60), vec![b'x'; 64]].concat()),
        ("a hello with a name of a gibibyte", [vec![0], varint(1 << 30), vec![b'x'; 64]].concat()),
        ("a wrong password", hello(USER, "wrong", 54_400)),
        ("nobody", hello("nobody", "", 54_400)),
        ("an empty user", hello("", "", 54_400)),
        ("the locked account", hello("default", "", 54_400)),
        ("a protocol of version 0", hello(USER, PASSWORD, 0)),
        ("a protocol of version 2^63", hello(USER, PASSWORD, 1 << 63)),
        ("a hello and hang up", right.clone()),
        ("two hellos", behind(&right)),
        ("an unknown packet", behind(&[77])),
        ("a cancel of nothing", behind(&[3])),
        ("data without a query", behind(&[2, 0, 0, 0, 0])),
        ("a ping and hang up", behind(&[4])),
        ("half a query", behind(&[1, 3, b'a'])),
        ("a query's id of 2^60", behind(&[vec![1], varint(1 << 60)].concat())),
        ("a query of rubbish", behind(&[vec![1], vec![255; 300]].concat())),
        ("a query of zeros", behind(&[vec![1], vec![0; 300]].concat())),
        ("a tables' status of 2^60", behind(&[vec![5], varint(1 << 60)].concat())),
        ("a keep-alive", behind(&[6])),
        ("a scalar without a query", behind(&[7, 0, 0])),
        ("parts without a query", behind(&[8, 0])),
        ("an answer to a read task nobody gave", behind(&[9, 0, 0, 0])),
        ("a hello of SSH", b"SSH-2.0-OpenSSH_9\r\n".to_vec()),
    ]
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// Sends `bytes` and leaves. What the engine says, or whether it still listens to this client, is its own
/// affair; that the client can connect at all is not.
fn meet(address: &str, bytes: &[u8], leaving: Leaving) {
    let mut stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("{address}: {error}"));
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
    let _ = stream.write_all(bytes);
    match leaving {
        Leaving::Reading => {
            let _ = stream.shutdown(Shutdown::Write);
            let _ = stream.take(1 << 20).read_to_end(&mut Vec::new());
        }
        Leaving::Closing => {}
        // A close that sends RST: `SO_LINGER` of zero seconds.
        Leaving::Resetting => {
            rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
        }
    }
}

#[tokio::test]
async fn no_broken_request_ends_the_engine() {
    let engine = Engine::start_with(&["--tcp-listen", "127.0.0.1:0"]);
    engine.ok("CREATE TABLE t (a UInt64, s String) ENGINE = MergeTree ORDER BY a").await;
    let pid = engine.engine_pid();
    let native = format!("127.0.0.1:{}", engine.tcp_port.unwrap());
    let (http, tcp) = (broken_http(), broken_native());
    assert!(http.len() + tcp.len() >= 100, "{} kinds", http.len() + tcp.len());
    for (address, kinds) in [(engine.address(), &http), (&native, &tcp)] {
        for (name, bytes) in kinds {
            for leaving in LEAVINGS {
                meet(address, bytes, leaving);
            }
            assert_eq!(engine.ok("SELECT 1").await, "1", "after {name}");
            assert_eq!(engine.engine_pid(), pid, "{name} ended the engine");
        }
    }
    assert_eq!(engine.ok("SELECT count() FROM t").await, "0");
}

#[tokio::test]
async fn a_minute_of_random_requests_beside_real_work() {
    let engine = Engine::start_with(&["--tcp-listen", "127.0.0.1:0"]);
    engine.ok("CREATE TABLE t (a UInt64, b UInt8 DEFAULT 0) ENGINE = MergeTree ORDER BY a").await;
    let pid = engine.engine_pid();
    let over = Arc::new(AtomicBool::new(false));
    let met = Arc::new(AtomicU64::new(0));
    let native = format!("127.0.0.1:{}", engine.tcp_port.unwrap());
    let clients: Vec<_> = (0..16u64)
        .map(|seed| {
            let (http, native) = (engine.address().to_owned(), native.clone());
            let (over, met) = (Arc::clone(&over), Arc::clone(&met));
            std::thread::spawn(move || {
                let kinds = [broken_http(), broken_native()];
                let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
                while !over.load(Ordering::Relaxed) {
                    let side = random.below(2) as usize;
                    let kind = &kinds[side][random.below(kinds[side].len() as u64) as usize].1;
                    let mut bytes = kind[..random.below(kind.len() as u64 + 1) as usize].to_vec();
                    for _ in 0..random.below(4) {
                        if let Some(length) = (bytes.len() as u64).checked_sub(1).filter(|length| *length > 0)
                        {
                            bytes[random.below(length) as usize] = random.below(256) as u8;
                        }
                    }
                    let leaving = [Leaving::Closing, Leaving::Resetting][random.below(2) as usize];
                    // Beyond the most connections the surplus is refused: not every client gets in.
                    let address = if side == 0 { &http } else { &native };
                    if TcpStream::connect(address).is_ok() {
                        meet(address, &bytes, leaving);
                        met.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    let since = Instant::now();
    let mut inserted = 0u64;
    while since.elapsed() < Duration::from_secs(60) {
        engine.ok(&format!("INSERT INTO t (a) SELECT number FROM numbers({inserted}, 100)")).await;
        inserted += 100;
        assert_eq!(
            engine.ok("SELECT count() = uniqExact(a), count() FROM t").await,
            format!("1\t{inserted}")
        );
        if inserted.is_multiple_of(1000) {
            engine.ok("ALTER TABLE t UPDATE b = b + 1 WHERE a % 7 = 0 SETTINGS mutations_sync = 1").await;
        }
    }
    over.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().unwrap();
    }
    assert_eq!(engine.engine_pid(), pid, "the engine was ended");
    assert!(met.load(Ordering::Relaxed) > 1000, "{} requests only", met.load(Ordering::Relaxed));
    let running = "SELECT count() FROM system.processes WHERE query NOT LIKE '%system.processes%'";
    engine.until(running, "0").await;
    assert!(!engine.log().contains("started again"), "{}", engine.log());
}

/// xorshift64 (Marsaglia 2003): the same requests for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound.max(1)
    }
}
