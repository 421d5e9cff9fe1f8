//! The rules of ClickHouse's HTTP interface that our clients count on, one test per group.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test may fail by panicking, and spawns what it awaits itself"
)]

mod engine;

use engine::{Engine, PASSWORD, USER};
use reqwest::Method;

#[tokio::test]
async fn paths_that_need_no_query() {
    let engine = Engine::start();
    for path in ["/ping", "/", "/replicas_status"] {
        assert_eq!(
            reqwest::get(format!("{}{path}", engine.url)).await.unwrap().text().await.unwrap(),
            "Ok.\n"
        );
    }
    assert_eq!(reqwest::get(format!("{}/nope", engine.url)).await.unwrap().status(), 404);
}

#[tokio::test]
async fn a_query_comes_by_url_body_or_both() {
    let engine = Engine::start();
    let get = Engine::send(engine.request(Method::GET, &[("query", "SELECT 1")])).await;
    assert_eq!((get.status, get.text().as_str()), (200, "1"));
    assert_eq!(engine.ok("SELECT 2").await, "2");
    assert_eq!(engine.ask_with(&[("query", "SELECT 3 +")], "4").await.text(), "7");
    let long = format!("SELECT length('{}')", "x".repeat(1 << 20));
    let refused = engine.ask(&long).await;
    assert_eq!((refused.status, refused.code()), (400, 62), "{}", refused.text());
    assert_eq!(engine.ask_with(&[("max_query_size", "2000000")], long).await.text(), "1048576");
}

#[tokio::test]
async fn an_url_may_have_a_hundred_kilobytes() {
    use std::io::{Read as _, Write as _};
    let engine = Engine::start();
    let mut stream = std::net::TcpStream::connect(engine.url.strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    let mut ask = |method: &str, length: usize, extra: &str| {
        let query = format!("SELECT%20length('{}')", "x".repeat(length));
        let pairs = format!("user={USER}&password=p%3Ass+w%C3%B6rd&max_query_size=2000000&query={query}");
        let head = format!("{method} /?{pairs} HTTP/1.1\r\nHost: a\r\n{extra}");
        if stream.write_all(head.as_bytes()).is_err() {
            return String::new();
        }
        let mut answer = Vec::new();
        let mut piece = [0; 4096];
        while !answer.ends_with(b"\r\n0\r\n\r\n") {
            match stream.read(&mut piece) {
                Ok(0) | Err(_) => break,
                Ok(count) => answer.extend_from_slice(&piece[..count]),
            }
        }
        String::from_utf8(answer).unwrap()
    };
    // Over one connection: every head is taken as well as the first.
    // ClickHouse takes a value of a parameter up to 128 KiB in a GET's URL.
    let long = 130_000;
    for (method, extra) in [("GET", "\r\n"), ("POST", "Content-Length: 1\r\n\r\n\n"), ("GET", "\r\n")] {
        for length in [10, 40_000, 70_000, long] {
            let answer = ask(method, length, extra);
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{method} {length}: {answer}");
            assert!(answer.contains(&format!("\r\n{length}\n\r\n")), "{method} {length}: {answer}");
        }
    }
    let refused = ask("GET", 2 << 20, "\r\n");
    assert!(refused.is_empty() || refused.starts_with("HTTP/1.1 4"), "{refused}");
    assert_eq!(engine.ok("SELECT 1").await, "1");
}

#[tokio::test]
async fn headers_tell_about_the_answer() {
    let engine = Engine::start();
    let answer = engine.ask_with(&[("query_id", "mine")], "SELECT number FROM numbers(10) FORMAT JSON").await;
    assert_eq!(answer.header("x-clickhouse-query-id"), "mine");
    assert_eq!(answer.header("x-clickhouse-format"), "JSON");
    assert!(!answer.header("x-clickhouse-timezone").is_empty());
    assert!(!answer.header("x-clickhouse-server-display-name").is_empty());
    assert_eq!(answer.header("x-clickhouse-exception-tag").len(), 16);
    let summary: serde_json::Value = serde_json::from_str(answer.header("x-clickhouse-summary")).unwrap();
    assert_eq!(summary["read_rows"], "10");
    assert!(answer.header("content-type").starts_with("application/json"));
    let rows: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(rows["rows"], 10);
    assert!(!engine.ask("SELECT 1").await.header("x-clickhouse-query-id").is_empty());
    let by_header =
        engine.request(Method::POST, &[]).header("X-ClickHouse-Format", "CSV").body("SELECT 1, 'a'");
    assert_eq!(Engine::send(by_header).await.text(), "1,\"a\"");
    assert_eq!(engine.ask_with(&[("default_format", "TSVWithNames")], "SELECT 1 AS x").await.text(), "x\n1");
}

#[tokio::test]
async fn every_format_is_one_document() {
    let engine = Engine::start();
    let sql =
        |format: &str| format!("SELECT number, toString(number) AS s FROM numbers(200000) FORMAT {format}");
    engine.ok("CREATE TABLE t (number UInt64, s String) ENGINE = Memory").await;
    for (times, format) in [
        "Native",
        "RowBinary",
        "RowBinaryWithNamesAndTypes",
        "TSV",
        "CSVWithNames",
        "JSON",
        "JSONEachRow",
        "JSONCompact",
        "Parquet",
        "Arrow",
        "ArrowStream",
        "Values",
        "MsgPack",
    ]
    .into_iter()
    .enumerate()
    {
        let answer = engine.ask(&sql(format)).await;
        assert_eq!(answer.status, 200, "{format}: {}", answer.text());
        let insert = format!("INSERT INTO t FORMAT {format}");
        let inserted = engine.ask_with(&[("query", &insert)], answer.body).await;
        assert_eq!(inserted.status, 200, "{format}: {}", inserted.text());
        let counted = engine.ok("SELECT count(), sum(number = toUInt64(s)), sum(number) FROM t").await;
        let times = times as u64 + 1;
        assert_eq!(counted, format!("{0}\t{0}\t{1}", times * 200_000, times * 19_999_900_000), "{format}");
    }
}

#[tokio::test]
async fn no_rows_still_have_a_header_in_formats_that_carry_one() {
    let engine = Engine::start();
    engine.ok("CREATE TABLE t (a UInt64) ENGINE = Memory").await;
    for (format, body) in [
        ("RowBinaryWithNamesAndTypes", &b"\x01\x01a\x06UInt64"[..]),
        ("TSVWithNames", b"a\n"),
        ("TSV", b""),
        ("Native", b""),
    ] {
        assert_eq!(engine.ask(&format!("SELECT a FROM t FORMAT {format}")).await.body, body, "{format}");
    }
}

#[tokio::test]
async fn parameters_settings_and_database() {
    let engine = Engine::start();
    let sql = "SELECT {a:UInt8}, {b:String}, {c:Array(String)}, {d:Identifier} FROM (SELECT 9 AS z)";
    let pairs = [("param_a", "7"), ("param_b", "x\\ty'\\\\"), ("param_c", "['p','q']"), ("param_d", "z")];
    assert_eq!(engine.ask_with(&pairs, sql).await.text(), "7\tx\\ty\\'\\\\\t['p','q']\t9");
    assert_eq!(
        engine.ask_with(&[("max_threads", "3")], "SELECT getSetting('max_threads')").await.text(),
        "3"
    );
    let both = engine.ask_with(&[("database", "system")], "SELECT currentDatabase(), count() FROM one").await;
    assert_eq!(both.text(), "system\t1");
    let unknown = engine.ask_with(&[("no_such_setting", "1")], "SELECT 1").await;
    assert_eq!((unknown.status, unknown.code()), (404, 115));
    let sql_in_a_name = engine.ask_with(&[("max_threads=1, readonly", "0")], "SELECT 1").await;
    assert_eq!(sql_in_a_name.code(), 115);
    let no_database = engine.ask_with(&[("database", "nope")], "SELECT 1").await;
    assert_eq!((no_database.status, no_database.code()), (404, 81));
    engine.ok("CREATE TABLE p (a UInt8, b String) ENGINE = Memory").await;
    let insert = engine
        .ask_with(&[("param_t", "p")], "INSERT INTO {t:Identifier} VALUES (1, 'x'), (1 + 1, lower('Y'))");
    assert_eq!(insert.await.status, 200);
    assert_eq!(engine.ok("SELECT * FROM p ORDER BY a FORMAT Values").await, "(1,'x'),(2,'y')");
}

#[tokio::test]
async fn only_the_user_with_the_password_is_served() {
    let engine = Engine::start();
    let client = reqwest::Client::new();
    let sql = "SELECT currentUser()";
    let post = || client.post(&engine.url).body(sql);
    for (request, right) in [
        (post().basic_auth(USER, Some("wrong")), false),
        (post().basic_auth("other", Some(PASSWORD)), false),
        (post().query(&[("user", USER), ("password", PASSWORD)]), true),
        (post().query(&[("user", USER), ("password", "")]), false),
        (post().header("X-ClickHouse-User", USER).header("X-ClickHouse-Key", "no"), false),
        (post().basic_auth(USER, Some(PASSWORD)), true),
    ] {
        let answer = Engine::send(request).await;
        let expected = if right { (200, 0) } else { (403, 516) };
        assert_eq!((answer.status, answer.code()), expected, "{}", answer.text());
    }
}

#[tokio::test]
async fn errors_have_clickhouses_codes_and_statuses() {
    let engine = Engine::start();
    for (sql, status, code) in [
        ("SELEC 1", 400, 62),
        ("SELECT 1; SELECT 2", 400, 62),
        ("SELECT * FROM nope", 404, 60),
        ("SELECT nope", 404, 47),
        ("SELECT nope(1)", 404, 46),
        ("SELECT 1 FORMAT Nope", 404, 73),
        ("SELECT 1 INTO OUTFILE 'x'", 500, 358),
        ("SELECT toUInt8('x')", 400, 6),
        ("SELECT throwIf(1)", 500, 395),
        ("quit", 400, 62),
    ] {
        let answer = engine.ask(sql).await;
        assert_eq!((answer.status, answer.code()), (status, code), "{sql}: {}", answer.text());
        assert!(answer.text().starts_with(&format!("Code: {code}. DB::Exception: ")), "{}", answer.text());
    }
    assert_eq!(engine.ok("SELECT 1").await, "1");
}

#[tokio::test]
async fn an_error_behind_data_is_a_tagged_tail_and_a_cut() {
    let engine = Engine::start();
    let sql = "SELECT throwIf(number = 5000000) FROM numbers(10000000)";
    let mut response = engine.request(Method::POST, &[]).body(sql).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let tag = response.headers()["x-clickhouse-exception-tag"].to_str().unwrap().to_owned();
    let mut body = Vec::new();
    let end = loop {
        match response.chunk().await {
            Ok(Some(bytes)) => body.extend_from_slice(&bytes),
            other => break other,
        }
    };
    assert!(end.is_err(), "the connection is cut");
    let text = String::from_utf8(body).unwrap();
    let (_, tail) = text.split_once(&format!("\r\n__exception__\r\n{tag}\r\n")).unwrap();
    let (message, end) = tail.split_at(tail.rfind(&format!(" {tag}")).unwrap());
    let (message, length) = message.rsplit_once('\n').unwrap();
    assert!(message.starts_with("Code: 395. DB::Exception: "), "{message}");
    assert_eq!(length.parse::<usize>().unwrap(), message.len() + 1);
    assert_eq!(end, format!(" {tag}\r\n__exception__\r\n"));

    let waited = engine.ask_with(&[("wait_end_of_query", "1")], sql).await;
    assert_eq!((waited.status, waited.code()), (500, 395));
    let whole = engine.ask_with(&[("wait_end_of_query", "1")], "SELECT number FROM numbers(1000000)").await;
    assert_eq!(whole.text().lines().count(), 1_000_000);
    assert!(whole.header("x-clickhouse-summary").contains("\"read_rows\":\"1000000\""));
}

#[tokio::test]
async fn read_only_is_kept() {
    let engine = Engine::start();
    engine.ok("CREATE TABLE t (a UInt8) ENGINE = Memory").await;
    let writes = ["INSERT INTO t VALUES (1)", "DROP TABLE t", "CREATE TABLE u (a UInt8) ENGINE = Memory"];
    for sql in writes {
        let get = Engine::send(engine.request(Method::GET, &[("query", sql)])).await;
        assert_eq!(get.code(), 164, "{sql}: {}", get.text());
        for level in ["1", "2"] {
            assert_eq!(engine.ask_with(&[("readonly", level)], sql).await.code(), 164, "{sql}");
            let session = [("readonly", level), ("session_id", "s")];
            assert_eq!(engine.ask_with(&session, sql).await.code(), 164, "{sql} in a session");
        }
    }
    let url = "SELECT * FROM url('http://127.0.0.1:1/', CSV, 'a UInt8')";
    for pairs in [vec![("readonly", "1")], vec![("readonly", "1"), ("session_id", "s")]] {
        assert_eq!(engine.ask_with(&pairs, url).await.code(), 164);
        assert_eq!(engine.ask_with(&pairs, "SELECT 1 SETTINGS max_threads = 1").await.code(), 164);
        assert_eq!(engine.ask_with(&pairs, "SELECT 1 SETTINGS readonly = 0").await.code(), 164);
        assert_eq!(engine.ask_with(&pairs, "SELECT 1 FORMAT JSON SETTINGS readonly = 0").await.code(), 164);
        assert_eq!(engine.ask_with(&pairs, "SET readonly = 0").await.code(), 164);
        assert_eq!(engine.ask_with(&pairs, "SELECT count() FROM t").await.text(), "0");
    }
    assert_eq!(engine.ok("SELECT count() FROM t").await, "0");
}

#[tokio::test]
async fn sessions_keep_what_statements_set_and_nothing_else() {
    let engine = Engine::start();
    let in_session = |extra: &[(&'static str, &'static str)], sql: &'static str| {
        let pairs = [&[("session_id", "s")], extra].concat();
        let engine = &engine;
        async move { engine.ask_with(&pairs, sql).await }
    };
    assert_eq!(in_session(&[("session_check", "1")], "SELECT 1").await.code(), 372);
    in_session(&[], "SET max_threads = 5").await;
    in_session(&[], "CREATE TEMPORARY TABLE tt (a UInt8)").await;
    assert_eq!(in_session(&[], "INSERT INTO tt VALUES (1), (2)").await.status, 200);
    assert_eq!(in_session(&[("max_threads", "7")], "SELECT getSetting('max_threads')").await.text(), "7");
    assert_eq!(in_session(&[("database", "system")], "SELECT currentDatabase()").await.text(), "system");
    assert_eq!(in_session(&[("readonly", "1")], "SELECT 1").await.text(), "1");
    let sql = "SELECT getSetting('max_threads'), currentDatabase(), (SELECT sum(a) FROM tt), getSetting('readonly')";
    assert_eq!(in_session(&[], sql).await.text(), "5\tdefault\t3\t0");
    assert_eq!(engine.ask("SELECT * FROM tt").await.code(), 60);

    // A second query at the same time is refused, until the first is over.
    let slow = engine.request(Method::POST, &[("session_id", "s"), ("query_id", "slow")]);
    let slow = slow.body("SELECT sum(sleepEachRow(0.01)) FROM numbers(500) SETTINGS max_block_size = 10");
    let slow = tokio::spawn(Engine::send(slow));
    engine.until("SELECT count() FROM system.processes WHERE query LIKE 'SELECT sum(sleep%'", "1").await;
    assert_eq!(in_session(&[], "SELECT 1").await.code(), 373);
    assert_eq!(engine.ask_with(&[("query_id", "slow")], "SELECT 1").await.code(), 216);
    assert_eq!(slow.await.unwrap().status, 200);
    assert_eq!(in_session(&[], "SELECT 1").await.text(), "1");

    // A session that has made itself read-only works on.
    in_session(&[], "SET readonly = 1").await;
    assert_eq!(in_session(&[], "SELECT 1").await.text(), "1");
    assert_eq!(in_session(&[], "SET readonly = 0").await.code(), 164);

    let too_long = engine.ask_with(&[("session_id", "x"), ("session_timeout", "99999")], "SELECT 1").await;
    assert_eq!(too_long.code(), 374);
}

#[tokio::test]
async fn compression_both_ways() {
    use std::io::{Read as _, Write as _};
    let engine = Engine::start();
    engine.ok("CREATE TABLE t (a UInt64) ENGINE = Memory").await;
    let csv: String = (0..50_000).map(|a| format!("{a}\n")).collect();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(csv.as_bytes()).unwrap();
    let insert = [("query", "INSERT INTO t FORMAT CSV")];
    let request = engine.request(Method::POST, &insert).header("Content-Encoding", "gzip");
    assert_eq!(Engine::send(request.body(gzip.finish().unwrap())).await.status, 200);
    assert_eq!(engine.ok("SELECT count(), sum(a) FROM t").await, "50000\t1249975000");

    let ask = |encoding: &'static str| {
        let pairs = [("enable_http_compression", "1")];
        let request = engine.request(Method::POST, &pairs).header("Accept-Encoding", encoding);
        Engine::send(request.body("SELECT * FROM t ORDER BY a FORMAT CSV"))
    };
    let gzipped = ask("gzip").await;
    assert_eq!(gzipped.header("content-encoding"), "gzip");
    let mut back = String::new();
    flate2::read::MultiGzDecoder::new(gzipped.body.as_slice()).read_to_string(&mut back).unwrap();
    assert!(back == csv);
    assert_eq!(ask("br, zstd").await.header("content-encoding"), "zstd");
    assert_eq!(ask("br").await.header("content-encoding"), "br");
    assert_eq!(ask("frob").await.header("content-encoding"), "");

    // Frames: what `compress=1` gives, `decompress=1` takes.
    let frames = engine.ask_with(&[("compress", "1")], "SELECT * FROM t FORMAT Native").await;
    assert_eq!(frames.body[16], 0x82);
    let mut damaged = frames.body.clone();
    let back = [("decompress", "1"), ("query", "INSERT INTO t FORMAT Native")];
    assert_eq!(engine.ask_with(&back, frames.body).await.status, 200);
    damaged[100] ^= 1;
    assert_eq!(engine.ask_with(&back, damaged).await.code(), 271);
    assert_eq!(engine.ok("SELECT count() FROM t").await, "100000");
    let unknown = engine.request(Method::POST, &insert).header("Content-Encoding", "frob").body("x");
    assert_eq!(Engine::send(unknown).await.code(), 48);
}

#[tokio::test]
async fn external_tables_come_as_multipart() {
    let engine = Engine::start();
    let body = |name: &str, data: &str| {
        format!(
            "--b\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"f\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n{data}\r\n--b--\r\n"
        )
    };
    let send = |pairs: &[(&str, &str)], body: String| {
        let request = engine.request(Method::POST, pairs);
        Engine::send(request.header("Content-Type", "multipart/form-data; boundary=b").body(body))
    };
    let query = ("query", "SELECT sum(a), max(b) FROM ext");
    let structured = [query, ("ext_structure", "a UInt32, b String"), ("ext_format", "CSV")];
    for pairs in [structured.to_vec(), [&structured[..], &[("readonly", "1")]].concat()] {
        let answer = send(&pairs, body("ext", "1,\"x\"\n2,\"y\"")).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "3\ty"), "{}", answer.text());
    }
    let typed =
        [("query", "SELECT sum(_1), max(_2) FROM ext"), ("ext_types", "UInt32,Tuple(a Int8, b Int8)")];
    assert_eq!(send(&typed, body("ext", "1\t(1,2)\n2\t(3,4)")).await.text(), "3\t(3,4)");
    let session = [&structured[..], &[("session_id", "s")]].concat();
    assert_eq!(send(&session, body("ext", "1,x")).await.text(), "1\tx");
    assert_eq!(send(&session, body("ext", "5,z")).await.text(), "5\tz");
    assert_eq!(send(&[query], body("ext", "1\tx")).await.code(), 36);
    assert_eq!(engine.ask("SELECT * FROM ext").await.code(), 60);
}

#[tokio::test]
async fn files_outside_the_folders_are_out_of_reach() {
    let engine = Engine::start();
    let secret = engine.folder.join("secret.csv");
    std::fs::write(&secret, "1\n").unwrap();
    let secret = secret.to_str().unwrap();
    for sql in [
        "SELECT file('/etc/hostname')".to_owned(),
        // What is written to the supervisor; a second reader would wait there for ever.
        "SELECT file('/proc/self/fd/1')".to_owned(),
        "SELECT file('/proc/thread-self/fd/2')".to_owned(),
        // Other callers' texts.
        "SELECT file('../log/engine.log')".to_owned(),
        "SELECT * FROM file('/etc/hostname', LineAsString)".to_owned(),
        "SELECT * FROM file('/proc/self/environ', LineAsString)".to_owned(),
        format!("SELECT * FROM file('{secret}', CSV, 'a UInt8')"),
        format!("SELECT * FROM `{secret}`"),
        format!("INSERT INTO FUNCTION file('{secret}.new', CSV, 'a UInt8') SELECT 1"),
        format!("CREATE TABLE f (a UInt8) ENGINE = File(CSV, '{secret}')"),
        "SELECT * FROM executable('/bin/sh -c id', LineAsString, 'a String')".to_owned(),
        "SELECT * FROM file('../../secret.csv', CSV, 'a UInt8')".to_owned(),
    ] {
        let answer = engine.ask(&sql).await;
        if sql.starts_with("CREATE") && answer.status == 200 {
            assert_ne!(engine.ask("SELECT * FROM f").await.status, 200, "{sql}");
            continue;
        }
        assert_ne!(answer.status, 200, "{sql}: {}", answer.text());
    }
    assert!(!engine.folder.join("secret.csv.new").exists());
    // A format that makes a file for a moment finds a place for it.
    assert_eq!(engine.ask("SELECT 1 AS a FORMAT Protobuf").await.status, 200);
    // Its own folder of files is within reach.
    // What ClickHouse looks up with every query is there, and gives nothing of the supervisor's environment away.
    engine.ok("SELECT file('/proc/thread-self/schedstat')").await;
    let environment = engine.ok("SELECT file('/proc/thread-self/environ')").await;
    assert!(environment.starts_with("TMPDIR=") && !environment.contains("PATH"), "{environment}");
    assert_eq!(
        engine.ok("SELECT count() FROM system.errors WHERE last_error_message ILIKE '%thread-self%'").await,
        "0"
    );
    engine.ok("INSERT INTO FUNCTION file('own.csv', CSV, 'a UInt8') SELECT 7").await;
    assert_eq!(engine.ok("SELECT * FROM file('own.csv', CSV, 'a UInt8')").await, "7");
    assert!(engine.folder.join("engine/user_files/own.csv").exists());
}
