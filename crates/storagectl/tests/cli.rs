//! The command line against a server that answers as the service's API says, over a real socket.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic here is a failed test")]

use std::{
    io::{Read, Write},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    process::{Command, Output, Stdio},
    thread,
};

use storage_types::{
    gateway_api::ErrorBody,
    service_api::{AdoptReport, LinkStatus, MigrationState, ServiceStatus},
};

const TOKEN: &str = "0123456789abcdef";

/// Answers each connection by `answer(request head)` → `(status line, body)`, then closes it.
fn serve(answer: impl Fn(&str) -> (String, Vec<u8>) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let request = read_request(&mut connection);
            let (head, body) = answer(&request);
            // A caller that hung up is that test's business.
            let _ = connection.write_all(head.as_bytes()).and_then(|()| connection.write_all(&body));
        }
    });
    url
}

fn read_request(connection: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let n = connection.read(&mut buffer).unwrap();
        bytes.extend_from_slice(&buffer[..n]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head
            .lines()
            .find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned))
            .map_or(0, |l| l.trim().parse::<usize>().unwrap());
        if body.len() >= length || n == 0 {
            return text;
        }
    }
}

fn json(status: &str, value: &impl serde::Serialize) -> (String, Vec<u8>) {
    let body = serde_json::to_vec(value).unwrap();
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    (head, body)
}

fn refused(status: &str, code: &str, message: &str) -> (String, Vec<u8>) {
    json(status, &ErrorBody { code: code.into(), message: message.into() })
}

fn ctl(url: &str, args: &[&str]) -> Output {
    let command = |stdout: Stdio| {
        Command::new(env!("CARGO_BIN_EXE_storagectl"))
            .env_remove("STORAGE_URL")
            .env_remove("STORAGE_TOKEN_FILE")
            .args(["--url", url, "--timeout", "10"])
            .args(args)
            .stdout(stdout)
            .output()
            .unwrap()
    };
    command(Stdio::piped())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn status_report() -> ServiceStatus {
    ServiceStatus {
        name: "data-storage-service".into(),
        version: "0.1.0".into(),
        catalog_version: 7,
        hot_nodes: vec![("http://hot:8123/".into(), true)],
        gateway_heard_s: None,
        gateway: None,
        next_migration: Some(1_722_470_400),
        link: Some(LinkStatus {
            mode: "userspace".into(),
            state: "up".into(),
            problem: Some("the endpoint has no address (check Endpoint)".into()),
            http_s: Some(1),
            handshake_s: Some(63),
            rtt_ms: Some(21.4),
            min_rtt_ms: Some(20.1),
            jitter_ms: Some(0.6),
            silent_s: None,
            loss: Some(0.01),
            bandwidth_bytes_s: Some(11_500_000.0),
            capacity_bytes_s: Some(12_000_000.0),
            stability: Some(0.97),
            is_stable: true,
            limit_bytes_s: None,
            pace_bytes_s: Some(9_000_000),
            sent_bytes: Some(1),
            received_bytes: Some(1),
        }),
    }
}

#[test]
fn status_is_readable_and_json_is_the_daemons_own() {
    let url = serve(|request| {
        assert!(request.starts_with("GET /api/v1/status "), "{request}");
        json("200 OK", &status_report())
    });
    let output = ctl(&url, &["status"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    for part in [
        "catalog version 7",
        "http://hot:8123/  answers",
        "not heard",
        "link      up (userspace)",
        "\n          the endpoint has no address (check Endpoint)\n",
        "21.4 ms",
        "1.0 %",
        "stability 0.97",
        "gives way at 9.0 MB/s",
        "2024-08-01 00:00:00 UTC",
    ] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    let output = ctl(&url, &["--json", "status"]);
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["catalog_version"], 7);
}

#[test]
fn the_token_is_presented_and_a_wrong_one_is_explained() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, TOKEN).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let url = serve(|request| {
        if request.to_ascii_lowercase().contains(&format!("authorization: bearer {TOKEN}")) {
            json("200 OK", &AdoptReport { table: "trades".into(), removed_ttl: Some("ts + 3 days".into()) })
        } else {
            refused("401 Unauthorized", "unauthorized", "a bearer token is needed")
        }
    });
    let with = ctl(&url, &["--token-file", file.to_str().unwrap(), "table", "adopt", "trades"]);
    assert!(with.status.success() && text(&with.stdout).contains("ts + 3 days"), "{}", text(&with.stderr));
    let without = ctl(&url, &["table", "adopt", "trades"]);
    assert_eq!(without.status.code(), Some(1));
    assert!(text(&without.stderr).contains("--token-file"), "{}", text(&without.stderr));

    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let readable = ctl(&url, &["--token-file", file.to_str().unwrap(), "status"]);
    assert_eq!(readable.status.code(), Some(1));
    assert!(
        text(&readable.stderr).contains("is readable by others, mode 0644 (chmod 0600 it)"),
        "{}",
        text(&readable.stderr)
    );
}

#[test]
fn a_refusal_is_told_in_the_daemons_words() {
    let url = serve(|_| refused("409 Conflict", "busy", "migration 42 is running"));
    let output = ctl(&url, &["migrate"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stderr), "storagectl: migration 42 is running [busy]\n");
}

#[test]
fn a_daemon_that_is_away_has_its_own_exit_code() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for args in [&["status"][..], &["health"], &["query", "SELECT 1"]] {
        let output = ctl(&format!("http://{free}"), args);
        assert_eq!(output.status.code(), Some(69), "{args:?}: {}", text(&output.stderr));
    }
}

#[test]
fn a_cut_answer_is_never_a_short_answer() {
    let url = serve(|_| {
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        (head.into(), b"4\r\n1\n2\n\r\n".to_vec())
    });
    let output = ctl(&url, &["query", "SELECT number FROM t"]);
    assert!(!output.status.success(), "printed {:?} and said all was well", text(&output.stdout));
}

#[test]
fn a_reader_that_left_is_no_error() {
    let url = serve(|_| {
        let body = vec![b'x'; 1 << 20];
        (format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len()), body)
    });
    let mut child = Command::new(env!("CARGO_BIN_EXE_storagectl"))
        .args(["--url", &url, "query", "SELECT 1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn waiting_ends_with_the_migrations_end() {
    let url = serve(|request| {
        if request.starts_with("POST") {
            assert!(request.contains("\"tables\":[\"trades\"]"), "{request}");
            return json("202 Accepted", &serde_json::json!({"id": "77"}));
        }
        assert!(request.starts_with("GET /api/v1/migrations/77 "), "{request}");
        let report = serde_json::json!({
            "id": "77", "state": MigrationState::Failed, "trigger": "api", "started_at": 0, "finished_at": 1,
            "moves": [], "rows_published": 0, "raw_bytes": 0, "wire_bytes": 0, "errors": ["the NAS is away"]
        });
        json("200 OK", &report)
    });
    let output = ctl(&url, &["migrate", "--table", "trades", "--wait"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("error: the NAS is away"), "{}", text(&output.stdout));
    assert!(text(&output.stderr).contains("migration 77 ended failed"), "{}", text(&output.stderr));
}

#[test]
fn names_and_ids_cannot_leave_their_path() {
    let url = "http://127.0.0.1:9";
    assert_eq!(ctl(url, &["table", "adopt", "../../x"]).status.code(), Some(1));
    assert_eq!(ctl(url, &["cancel", "../x"]).status.code(), Some(2));
}
