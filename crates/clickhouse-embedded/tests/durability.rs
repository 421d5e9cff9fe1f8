//! What was acknowledged is there after `kill -9`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test may fail by panicking, and spawns what it awaits itself"
)]

mod engine;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use engine::{Engine, PASSWORD, USER};

#[tokio::test]
async fn acknowledged_rows_survive_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let mut engine = Engine::start_in(folder.path(), &[]);
    engine
        .ok("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a SETTINGS fsync_after_insert = 1")
        .await;
    let acknowledged = Arc::new(AtomicU64::new(0));
    for round in 1..=3u64 {
        let writer = tokio::spawn(insert_until_refused(engine.url.clone(), Arc::clone(&acknowledged)));
        while acknowledged.load(Ordering::SeqCst) < round * 40 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        engine.kill_hard();
        writer.await.unwrap();
        engine = Engine::start_in(folder.path(), &[]);
        let last = acknowledged.load(Ordering::SeqCst);
        let sql = format!(
            "SELECT countIf(a <= {last}), count() = uniqExact(a), count() - {last} <= {round} FROM t"
        );
        assert_eq!(engine.ok(&sql).await, format!("{last}\t1\t1"), "round {round}");
        // The one insert whose answer was lost may have arrived: its number is not used again.
        let highest: u64 = engine.ok("SELECT max(a) FROM t").await.parse().unwrap();
        if highest > last {
            acknowledged.store(highest, Ordering::SeqCst);
        }
    }
}

/// Inserts one row after another, each when the one before was acknowledged.
async fn insert_until_refused(url: String, acknowledged: Arc<AtomicU64>) {
    let client = reqwest::Client::new();
    loop {
        let next = acknowledged.load(Ordering::SeqCst) + 1;
        let request = client.post(&url).basic_auth(USER, Some(PASSWORD));
        match request.body(format!("INSERT INTO t VALUES ({next})")).send().await {
            Ok(response) if response.status() == 200 => {
                acknowledged.store(next, Ordering::SeqCst);
            }
            _ => return,
        }
    }
}

#[tokio::test]
async fn a_second_engine_over_the_same_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::start_in(folder.path(), &[]);
    engine.ok("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a").await;
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_clickhouse-embedded"))
        .args(["--listen", "127.0.0.1:0", "--data"])
        .arg(folder.path().join("engine"))
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("another"), "{second:?}");
    assert_eq!(engine.ok("SELECT count() FROM t").await, "0");
}

#[test]
fn a_missing_library_is_told_with_its_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let missing = std::process::Command::new(env!("CARGO_BIN_EXE_clickhouse-embedded"))
        .args(["--libchdb", "nowhere.so", "--data"])
        .arg(folder.path())
        .output()
        .unwrap();
    assert_eq!(missing.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("cargo xtask fetch-engine"));
    let no_library = folder.path().join("text.so");
    std::fs::write(&no_library, "text").unwrap();
    let wrong = std::process::Command::new(env!("CARGO_BIN_EXE_clickhouse-embedded"))
        .args(["--data", "x", "--libchdb"])
        .arg(&no_library)
        .output()
        .unwrap();
    assert_eq!(wrong.status.code(), Some(78));
}

/// `system` is in memory in the library, its logs are not: they are one table over all runs.
#[tokio::test]
async fn a_query_log_that_is_asked_for_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let piece = folder.path().join("log.xml");
    std::fs::write(
        &piece,
        "<clickhouse><query_log><database>system</database><table>query_log</table></query_log></clickhouse>",
    )
    .unwrap();
    let arguments = ["--config", piece.to_str().unwrap()];
    for run in 1..=3 {
        let engine = Engine::start_in(folder.path(), &arguments);
        engine.ok(&format!("SELECT 'run {run}' AS witness")).await;
        engine.ok("SYSTEM FLUSH LOGS").await;
        let kept = "SELECT uniqExact(query) FROM system.query_log WHERE query LIKE '% AS witness' AND type = 'QueryFinish'";
        assert_eq!(engine.ok(kept).await, run.to_string(), "run {run}");
        assert_eq!(tokio::task::spawn_blocking(move || engine.stop()).await.unwrap(), 0);
    }
}
