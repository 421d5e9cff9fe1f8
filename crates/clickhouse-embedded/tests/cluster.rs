//! Three engines on one machine are a cluster: `remote_servers`, and a `Distributed` table over them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test may fail by panicking, and spawns what it awaits itself"
)]

mod engine;

use std::net::TcpListener;

use engine::Engine;

/// Ports of below the ephemeral range that nobody has at the moment.
fn free_ports(count: usize) -> Vec<u16> {
    let start = 12_000 + (std::process::id() % 1000) as u16 * 16;
    (start..32_000).filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).take(count).collect()
}

#[tokio::test]
async fn a_distributed_table_over_three_engines_answers() {
    let folder = tempfile::tempdir().unwrap();
    let ports = free_ports(3);
    let replica =
        |port: &u16| format!("<shard><replica><host>127.0.0.1</host><port>{port}</port></replica></shard>");
    let shards: String = ports.iter().map(replica).collect();
    let cluster = folder.path().join("cluster.xml");
    let text = format!(
        "<clickhouse><remote_servers><three><secret>between us</secret>{shards}</three></remote_servers></clickhouse>"
    );
    std::fs::write(&cluster, text).unwrap();
    let engines: Vec<Engine> = ports
        .iter()
        .map(|port| {
            let tcp = format!("127.0.0.1:{port}");
            Engine::start_with(&["--tcp-listen", &tcp, "--config", cluster.to_str().unwrap()])
        })
        .collect();
    for engine in &engines {
        engine.ok("CREATE TABLE t (a UInt64, s String) ENGINE = MergeTree ORDER BY a").await;
        engine.ok("CREATE TABLE everywhere AS t ENGINE = Distributed(three, default, t, a)").await;
    }
    // Queued in the background by default: each shard gets its own.
    engines[0].ok("INSERT INTO everywhere SELECT number, toString(number) FROM numbers(90000)").await;
    for engine in &engines {
        engine.until("SELECT count() FROM t", "30000").await;
    }
    for engine in &engines {
        assert_eq!(
            engine.ok("SELECT count(), sum(a), uniqExact(s), uniqExact(_shard_num) FROM everywhere").await,
            "90000\t4049955000\t90000\t3"
        );
        let joined =
            "SELECT count() FROM everywhere AS x GLOBAL JOIN (SELECT a FROM everywhere) AS y USING a";
        assert_eq!(engine.ok(joined).await, "90000");
        assert_eq!(engine.ok("SELECT sum(a) FROM clusterAllReplicas(three, default.t)").await, "4049955000");
    }
    let mut engines = engines;
    engines.pop().unwrap().kill_hard();
    assert_eq!(engines[0].ask("SELECT count() FROM everywhere").await.code(), 279);
    let rest =
        engines[0].ask_with(&[("skip_unavailable_shards", "1")], "SELECT count() FROM everywhere").await;
    assert_eq!(rest.text(), "60000");
}
