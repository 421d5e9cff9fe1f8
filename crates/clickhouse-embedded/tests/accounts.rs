//! Further accounts: what they may do is decided by ClickHouse's grants.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test may fail by panicking, and spawns what it awaits itself"
)]

#[path = "../../clickhouse-sql/tests/corpus/mod.rs"]
mod corpus;
mod engine;

use std::net::TcpListener;
use std::path::Path;

use clickhouse_http::client::{Client, NodeList};
use clickhouse_http::query_account::{self, Calls, Wanted};
use engine::{Answer, Engine};

const ACCOUNTS: &str = "
accounts:
- name: reader
  password_file: reader.password
  grants:
  - GRANT SELECT ON market.*
  - GRANT CREATE TEMPORARY TABLE ON *.*
  settings: {readonly: 1, max_execution_time: 5}
  constraints:
    max_threads: {min: 1, max: 4, changeable_in_readonly: true}
- name: elsewhere
  password_file: reader.password
  networks: ['10.11.12.13']
  grants: ['GRANT SELECT ON market.*']
";

/// An engine with the query account, whose password is that of [`ask`], and with tables in two databases.
async fn engine_with_the_query_account(folder: &Path, arguments: &[&str]) -> Engine {
    let password = folder.join("query.password");
    engine::secret(&password, "the reader's\n");
    let more = [&["--query-password-file", password.to_str().unwrap()], arguments].concat();
    let engine = Engine::start_in(folder, &more);
    for database in ["market", "storage_internal"] {
        engine.ok(&format!("CREATE DATABASE {database}")).await;
        engine.ok(&format!("CREATE TABLE {database}.t (a UInt8) ENGINE = MergeTree ORDER BY a")).await;
        engine.ok(&format!("INSERT INTO {database}.t VALUES (7)")).await;
    }
    engine
}

async fn ask(engine: &Engine, user: &str, pairs: &[(&str, &str)], sql: &str) -> Answer {
    let client = reqwest::Client::new();
    let request = client.post(&engine.url).query(pairs).basic_auth(user, Some("the reader's"));
    Engine::send(request.body(sql.to_owned())).await
}

#[tokio::test]
async fn an_account_does_what_it_is_granted_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    engine::secret(&folder.path().join("reader.password"), "the reader's\n");
    let accounts = folder.path().join("accounts.yaml");
    std::fs::write(&accounts, ACCOUNTS).unwrap();
    let engine = Engine::start_in(folder.path(), &["--accounts", accounts.to_str().unwrap()]);
    engine.ok("CREATE DATABASE market").await;
    engine.ok("CREATE DATABASE other").await;
    for database in ["market", "other"] {
        engine.ok(&format!("CREATE TABLE {database}.t (a UInt8) ENGINE = MergeTree ORDER BY a")).await;
        engine.ok(&format!("INSERT INTO {database}.t VALUES (7)")).await;
    }
    let ok = ask(&engine, "reader", &[], "SELECT a FROM market.t").await;
    assert_eq!((ok.status, ok.text().as_str()), (200, "7"));
    for sql in [
        "SELECT a FROM other.t",
        "SELECT * FROM system.processes",
        "SELECT * FROM system.query_log",
        "SELECT * FROM url('http://127.0.0.1:1/', CSV, 'a UInt8')",
        "SELECT * FROM file('x', CSV, 'a UInt8')",
        "SELECT * FROM remote('127.0.0.1:1', market.t)",
        "SELECT * FROM (SELECT 1 FROM url('http://127.0.0.1:1/', CSV, 'a UInt8') SETTINGS readonly = 0)",
        "INSERT INTO market.t VALUES (1)",
        "DROP TABLE market.t",
        "SYSTEM SHUTDOWN",
    ] {
        let answer = ask(&engine, "reader", &[], sql).await;
        assert!([497, 164, 60].contains(&answer.code()), "{sql}: {}", answer.text());
    }
    assert_eq!(ask(&engine, "reader", &[("max_threads", "3")], "SELECT 1").await.text(), "1");
    assert_eq!(ask(&engine, "reader", &[("max_threads", "5")], "SELECT 1").await.code(), 452);
    assert_eq!(ask(&engine, "reader", &[("readonly", "0")], "SELECT 1").await.code(), 164);
    assert_eq!(ask(&engine, "elsewhere", &[], "SELECT a FROM market.t").await.code(), 516);
    // The owner may do everything but end the engine behind its supervisor's back.
    assert_eq!(engine.ask("SYSTEM SHUTDOWN").await.code(), 497);
}

#[tokio::test]
async fn the_query_account_reads_tables_and_cold_rows_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", service.local_addr().unwrap());
    let engine = engine_with_the_query_account(folder.path(), &["--query-url", &url]).await;
    for sql in [
        "SELECT a FROM market.t",
        "SELECT a FROM storage_internal.t",
        "SELECT a FROM merge('market', 't')",
        "SHOW TABLES FROM market",
        "DESCRIBE market.t",
        "EXPLAIN json = 1 SELECT a FROM market.t",
        "SELECT count() > 0 FROM system.tables WHERE database = 'market'",
        "SELECT count() FROM system.columns WHERE database = 'market' AND table = 't'",
        "SELECT count() > 0 FROM system.functions",
        "SELECT sum(number) FROM numbers(10)",
    ] {
        let answer = ask(&engine, "query", &[], sql).await;
        assert_eq!(answer.status, 200, "{sql}: {}", answer.text());
    }
    let external = reqwest::Client::new()
        .post(&engine.url)
        .query(&[("query", "SELECT sum(a) FROM cold"), ("cold_structure", "a UInt8"), ("readonly", "2")])
        .basic_auth("query", Some("the reader's"))
        .header("Content-Type", "multipart/form-data; boundary=b")
        .body("--b\r\nContent-Disposition: form-data; name=\"cold\"; filename=\"f\"\r\n\r\n5\n\r\n--b--\r\n");
    assert_eq!(Engine::send(external).await.text(), "5");
    for sql in [
        "SELECT * FROM system.processes",
        "SELECT * FROM system.users",
        "SELECT * FROM system.parts",
        "SELECT * FROM information_schema.tables",
        "INSERT INTO market.t VALUES (1)",
        "ALTER TABLE market.t DELETE WHERE 1",
        "DROP TABLE market.t",
        "CREATE TABLE market.u (a UInt8) ENGINE = Memory",
        "CREATE FUNCTION f AS x -> x",
        "KILL QUERY WHERE 1",
        "SYSTEM FLUSH LOGS",
        "GRANT ALL ON *.* TO query",
        "SELECT * FROM remote('127.0.0.1:1', market.t)",
        "SELECT * FROM url('http://127.0.0.1:1/', CSV, 'a UInt8')",
        "SELECT 1 SETTINGS output_format_schema = 'x'",
        "SELECT 1 SETTINGS allow_introspection_functions = 1",
    ] {
        let answer = ask(&engine, "query", &[], sql).await;
        assert!([497, 452].contains(&answer.code()), "{sql}: {}", answer.text());
    }
    // By `url()` it reaches the one place that it must, and not a path beside it.
    let cold = |path: &str| format!("SELECT * FROM url('{url}{path}', CSV, 'a UInt8')");
    let answering = std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        let (mut stream, _) = service.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n9\n").unwrap();
        service
    });
    let once = [("http_max_tries", "1"), ("http_make_head_request", "0")];
    let rows = ask(&engine, "query", &once, &cold("/internal/v1/cold/ticket")).await;
    assert_eq!(rows.text(), "9");
    let service = answering.join().unwrap();
    for path in ["/api/v1/status", "/internal/v1/confirmations", "/x/internal/v1/cold/ticket"] {
        assert_eq!(ask(&engine, "query", &once, &cold(path)).await.code(), 497, "{path}");
    }
    service.set_nonblocking(true).unwrap();
    assert!(service.accept().is_err(), "somebody called");
}

const CARELESS: &str = "
accounts:
- name: careless
  password_file: query.password
  grants:
  - GRANT CREATE TEMPORARY TABLE ON *.*
  - GRANT INSERT, ALTER ON market.*
  - GRANT SELECT ON system.query_log
  - GRANT READ ON FILE
";

#[tokio::test]
async fn what_a_query_account_can_and_must_not_is_found_with_the_statement_that_mends_it() {
    let folder = tempfile::tempdir().unwrap();
    let accounts = folder.path().join("accounts.yaml");
    std::fs::write(&accounts, CARELESS).unwrap();
    let url = "http://service.internal:8003";
    let engine = engine_with_the_query_account(
        folder.path(),
        &["--query-url", url, "--accounts", accounts.to_str().unwrap()],
    )
    .await;
    let checked = async |account: &str| {
        let node = NodeList::single(engine.url.parse().unwrap(), account, "the reader's".to_owned());
        let wanted = Wanted {
            account: account.to_owned(),
            databases: vec!["market".to_owned()],
            calls: Calls::OnlyService(url.to_owned()),
        };
        query_account::check(&Client::new(node).unwrap(), &wanted).await.unwrap()
    };
    assert_eq!(checked("query").await, []);
    let findings = checked("careless").await;
    for what in [
        "it lacks SELECT ON `market`.*",
        "it has INSERT ON `market`.*",
        "it has ALTER ON `market`.*",
        "it has SELECT ON system.query_log",
        "it reaches beyond the engine by FILE",
        "it cannot fetch cold rows from storage-service",
    ] {
        let finding = findings.iter().find(|finding| finding.what == what);
        let finding = finding.unwrap_or_else(|| panic!("{what}: {findings:#?}"));
        let statement = finding.mend.split(" (before").next().unwrap();
        let parsed = engine.ask_with(&[("param_q", statement)], "SELECT formatQuery({q:String})").await;
        assert_eq!(parsed.status, 200, "{statement}: {}", parsed.text());
    }
    assert_eq!(findings.len(), 6, "{findings:#?}");
}

/// The same texts that both tiers refuse, here with nothing between them and the engine but its grants and
/// the walls around its process: none reads a file, calls anybody, writes, or opens what is shut.
#[tokio::test]
async fn no_attack_gets_past_the_grants() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine_with_the_query_account(folder.path(), &[]).await;
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "the secret of this machine\n").unwrap();
    let outside = TcpListener::bind("127.0.0.1:0").unwrap();
    outside.set_nonblocking(true).unwrap();
    let host = outside.local_addr().unwrap().to_string();
    assert!(corpus::ATTACKS.len() >= 60);
    for attack in corpus::ATTACKS {
        let sql = attack
            .replace("/etc/hostname", secret.to_str().unwrap())
            .replace("/etc/passwd", secret.to_str().unwrap())
            .replace("http://x", &format!("http://{host}"));
        for readonly in ["0", "1"] {
            let pairs = [("max_execution_time", "1"), ("http_max_tries", "1"), ("readonly", readonly)];
            let request = reqwest::Client::new().post(&engine.url).query(&pairs);
            let request = request.basic_auth("query", Some("the reader's")).body(sql.clone());
            let answer = Engine::whatever_comes(request).await;
            assert!(!answer.contains("the secret of"), "{sql}: {answer}");
        }
        assert!(outside.accept().is_err(), "{sql} called somebody");
    }
    let left: Vec<_> = std::fs::read_dir(engine.folder.join("engine/user_files")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(
        engine.ok("SELECT count(), sum(a) FROM merge(REGEXP('market|storage_internal'), '.*')").await,
        "2\t14"
    );
    assert_eq!(
        engine.ok("SELECT count() FROM system.tables WHERE database IN ('market', 'storage_internal')").await,
        "2"
    );
}
