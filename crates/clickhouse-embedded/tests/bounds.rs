//! What keeps the process in bounds: cancellation, concurrency, memory, broken clients, clean ends.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test may fail by panicking, and spawns what it awaits itself"
)]

mod engine;

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use engine::{Engine, USER};
use futures::StreamExt as _;
use reqwest::Method;

const SLOW: &str = "SELECT sum(sleepEachRow(0.01)) FROM numbers(100000) SETTINGS max_block_size = 10";
const RUNNING: &str = "SELECT count() FROM system.processes WHERE query NOT LIKE '%system.processes%'";

/// ClickHouse sees that a client is gone when it next writes to it; while it is silent it looks only for
/// statements that cannot write (`cancel_http_readonly_queries_on_client_close`, on by default here).
#[tokio::test]
async fn a_client_that_hangs_up_cancels_its_query() {
    let engine = Engine::start();
    let endless = "SELECT number FROM numbers(100000000000)";
    for (method, pairs, sql) in [
        (Method::GET, vec![("query", SLOW)], ""),
        (Method::POST, vec![("readonly", "2")], SLOW),
        (Method::POST, vec![("readonly", "2"), ("session_id", "s")], SLOW),
        (Method::POST, vec![("log_comment", "the caller's own")], endless),
        (Method::POST, vec![("send_progress_in_http_headers", "1")], SLOW),
    ] {
        let asked = tokio::spawn(engine.request(method, &pairs).body(sql).send());
        engine.until(RUNNING, "1").await;
        asked.abort();
        let gone = asked.await;
        let since = Instant::now();
        if let Ok(Ok(response)) = gone {
            // The answer had begun: leave it in the middle.
            drop(response);
        }
        engine.until(RUNNING, "0").await;
        assert!(since.elapsed() < Duration::from_secs(5), "{sql}: {:?}", since.elapsed());
    }
    assert_eq!(engine.ask_with(&[("session_id", "s")], "SELECT 1").await.text(), "1");
}

#[tokio::test]
async fn a_kill_knows_the_callers_ids() {
    let engine = Engine::start();
    for (pairs, kill) in [
        (vec![("query_id", "mine")], "KILL QUERY WHERE query_id = 'mine'"),
        (
            vec![("query_id", "my'n"), ("session_id", "s")],
            "KILL QUERY WHERE query_id IN ('my\\'n', 'x') SYNC",
        ),
    ] {
        let asked = tokio::spawn(Engine::send(engine.request(Method::POST, &pairs).body(SLOW)));
        engine.until(RUNNING, "1").await;
        engine.ok("KILL QUERY WHERE query_id = 'another'").await;
        assert_eq!(engine.ok(RUNNING).await, "1");
        engine.ok(kill).await;
        let answer = asked.await.unwrap();
        assert_eq!(answer.code(), 394, "{}", answer.text());
    }
    // A session that is read-only keeps an old tag; its query is found all the same.
    engine.ask_with(&[("session_id", "r")], "SET max_block_size = 10, readonly = 1").await;
    let pairs = [("session_id", "r"), ("query_id", "third")];
    let slow = "SELECT sum(sleepEachRow(0.01)) FROM numbers(100000)";
    let asked = tokio::spawn(Engine::send(engine.request(Method::POST, &pairs).body(slow)));
    engine.until(RUNNING, "1").await;
    engine.ok("KILL QUERY WHERE query_id = 'third'").await;
    assert_eq!(asked.await.unwrap().code(), 394);
}

#[tokio::test]
async fn queries_run_at_once_up_to_the_limit_and_no_more() {
    let engine = Engine::start_with(&["--max-queries", "4"]);
    let sleeping = |_| Engine::send(engine.request(Method::POST, &[]).body("SELECT sleep(2)"));
    let codes = futures::future::join_all((0..8).map(sleeping)).await;
    let refused = codes.iter().filter(|answer| answer.code() == 202).count();
    let answered = codes.iter().filter(|answer| answer.status == 200).count();
    assert_eq!((answered, refused), (4, 4));
    assert_eq!(engine.ok("SELECT 1").await, "1");
}

/// A container may allow few open files: queries get them, not the accounting of threads.
#[tokio::test]
async fn a_few_hundred_open_files_are_enough() {
    let engine = Engine::start();
    let limit = ["--nofile=512:512", "--pid", &engine.pid().to_string()];
    assert!(std::process::Command::new("prlimit").args(limit).status().unwrap().success());
    engine.signal_engine("KILL");
    engine.until_up().await;
    engine.ok("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a PARTITION BY a % 16").await;
    engine.ok("INSERT INTO t SELECT number FROM numbers(1000)").await;
    for _ in 0..4 {
        let asked = (0..64).map(|_| engine.ok("SELECT sum(a) FROM t"));
        for answer in futures::future::join_all(asked).await {
            assert_eq!(answer, "499500");
        }
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_inserts_nothing() {
    let engine = Engine::start();
    engine.ok("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a").await;
    let rows: Vec<u8> = (0u64..500_000).flat_map(u64::to_le_bytes).collect();
    let declared = |bytes: usize| format!("Content-Length: {bytes}\r\n\r\n");
    let chunk = format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n", rows.len());
    for (head, end) in
        [(declared(rows.len() + 8), ""), (chunk.clone(), "\r\n"), (chunk, "\r\nnot a size\r\n")]
    {
        let mut stream = TcpStream::connect(engine.url.strip_prefix("http://").unwrap()).unwrap();
        let url = format!("/?user={USER}&password=p%3Ass+w%C3%B6rd&query=INSERT+INTO+t+FORMAT+RowBinary");
        stream.write_all(format!("POST {url} HTTP/1.1\r\nHost: a\r\n{head}").as_bytes()).unwrap();
        // Rows beyond what is read before the insert starts: it is under way, with whole rows, when it tears.
        stream.write_all(&rows).unwrap();
        stream.write_all(end.as_bytes()).unwrap();
        engine.until(RUNNING, if end.contains("size") { "0" } else { "1" }).await;
        drop(stream);
        engine.until(RUNNING, "0").await;
        assert_eq!(engine.ok("SELECT count() FROM t").await, "0");
    }
    let bad = engine.ask("INSERT INTO t FORMAT CSV\n1\n2\nx\n").await;
    assert_eq!((bad.status, bad.code()), (400, 117), "{}", bad.text());
    assert_eq!(engine.ok("SELECT count() FROM t").await, "0");
}

#[tokio::test]
async fn two_gigabytes_out_and_one_in_leave_memory_bounded() {
    const ROWS: u64 = 90_000_000;
    let engine = Engine::start_with(&["--memory-limit", "1000000000"]);
    let sql = format!("SELECT number, number * 3 AS x, 'abcdefg' AS s FROM numbers({ROWS}) FORMAT RowBinary");
    let response = engine.request(Method::POST, &[]).body(sql).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let mut stream = response.bytes_stream();
    let mut bytes = 0;
    while let Some(piece) = stream.next().await {
        bytes += piece.unwrap().len() as u64;
    }
    assert_eq!(bytes, ROWS * 24);
    assert!(bytes > 2 << 30);
    let peak = engine.peak_rss_mib();
    assert!(peak < 600, "{peak} MiB after the query");

    engine.ok("CREATE TABLE t (a UInt64, s String) ENGINE = MergeTree ORDER BY tuple()").await;
    let piece: Vec<u8> =
        (0u64..65536).flat_map(|a| [&a.to_le_bytes()[..], b"\x07abcdefg"].concat()).collect();
    let count = (1u64 << 30) / piece.len() as u64 + 1;
    let piece = bytes::Bytes::from(piece);
    let pieces = futures::stream::iter((0..count).map(move |_| Ok::<_, std::io::Error>(piece.clone())));
    let request = engine.request(Method::POST, &[("query", "INSERT INTO t FORMAT RowBinary")]);
    let answer = Engine::send(request.body(reqwest::Body::wrap_stream(pieces))).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let rows = 65536 * count;
    assert!(answer.header("x-clickhouse-summary").contains(&format!("\"written_rows\":\"{rows}\"")));
    assert_eq!(engine.ok("SELECT count(), sum(a = 65535) FROM t").await, format!("{rows}\t{count}"));
    let peak = engine.peak_rss_mib();
    assert!(peak < 900, "{peak} MiB after the insert");
}

#[tokio::test]
async fn a_stop_waits_for_what_runs_and_leaves_nothing_open() {
    let engine = Engine::start();
    let asked = tokio::spawn(Engine::send(engine.request(Method::POST, &[]).body("SELECT sleep(3)")));
    engine.until(RUNNING, "1").await;
    engine.ask_with(&[("session_id", "idle")], "SET max_threads = 1").await;
    let stopped = tokio::task::spawn_blocking(|| engine.stop());
    assert_eq!(asked.await.unwrap().status, 200);
    assert_eq!(stopped.await.unwrap(), 0);
}
