//! Further accounts: what they may do is decided by ClickHouse's grants.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test may fail by panicking, and spawns what it awaits itself"
)]

mod engine;

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

async fn ask(engine: &Engine, user: &str, pairs: &[(&str, &str)], sql: &str) -> Answer {
    let client = reqwest::Client::new();
    let request = client.post(&engine.url).query(pairs).basic_auth(user, Some("the reader's"));
    Engine::send(request.body(sql.to_owned())).await
}

#[tokio::test]
async fn an_account_does_what_it_is_granted_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("reader.password"), "the reader's\n").unwrap();
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
