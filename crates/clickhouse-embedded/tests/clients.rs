//! Unchanged clients: the Rust `clickhouse` crate, and clickhouse-connect (Python).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test may fail by panicking, and spawns what it awaits itself"
)]

mod engine;

use std::path::{Path, PathBuf};
use std::process::Command;

use clickhouse::{Client, Row};
use engine::{Engine, PASSWORD, USER};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Row, Serialize, Deserialize)]
struct Trade {
    id: u64,
    symbol: String,
    price: f64,
    side: Option<String>,
    levels: Vec<(u32, f32)>,
}

fn trade(id: u64) -> Trade {
    Trade {
        id,
        symbol: format!("S{}", id % 7),
        price: id as f64 / 3.0,
        side: id.is_multiple_of(2).then(|| "buy".into()),
        levels: vec![(id as u32, 0.5); id as usize % 3],
    }
}

#[tokio::test]
async fn the_rust_client_is_served() {
    let engine = Engine::start();
    let client = Client::default().with_url(&engine.url).with_user(USER).with_password(PASSWORD);
    let create = "CREATE TABLE trades (id UInt64, symbol LowCardinality(String), price Float64, \
                  side Nullable(String), levels Array(Tuple(UInt32, Float32))) ENGINE = MergeTree ORDER BY id";
    client.query(create).execute().await.unwrap();
    let mut insert = client.insert::<Trade>("trades").await.unwrap();
    for id in 0..100_000 {
        insert.write(&trade(id)).await.unwrap();
    }
    insert.end().await.unwrap();
    let found = client
        .query("SELECT ?fields FROM trades WHERE id >= ? AND symbol = ? ORDER BY id LIMIT 3")
        .bind(50_000)
        .bind("S3")
        .fetch_all::<Trade>()
        .await
        .unwrap();
    assert_eq!(found, [trade(50_004), trade(50_011), trade(50_018)]);
    let none =
        client.query("SELECT ?fields FROM trades WHERE id > 1000000").fetch_all::<Trade>().await.unwrap();
    assert!(none.is_empty());
    let mut cursor = client.query("SELECT ?fields FROM trades ORDER BY id").fetch::<Trade>().unwrap();
    let mut count = 0;
    while let Some(row) = cursor.next().await.unwrap() {
        assert_eq!(row, trade(count));
        count += 1;
    }
    assert_eq!(count, 100_000);
    let sum: u64 = client
        .query("SELECT sum(id) FROM trades WHERE id < {top:UInt64}")
        .param("top", 10u64)
        .fetch_one()
        .await
        .unwrap();
    assert_eq!(sum, 45);
    let threads: String = client
        .query("SELECT getSetting('max_threads')::String")
        .with_setting("max_threads", "3")
        .fetch_one()
        .await
        .unwrap();
    assert_eq!(threads, "3");

    let unknown = client.query("SELECT 1 FROM nope").fetch_one::<u8>().await.unwrap_err().to_string();
    assert!(unknown.contains("Code: 60"), "{unknown}");
    let sql = "SELECT throwIf(number = 5000000) FROM numbers(10000000)";
    let mut broken = client.query(sql).fetch::<u8>().unwrap();
    let error = loop {
        match broken.next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a broken answer must not look whole"),
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains("Code: 395"), "{error}");
    let stranger = client.clone().with_password("no").query("SELECT 1").fetch_one::<u8>().await.unwrap_err();
    assert!(stranger.to_string().contains("Code: 516"), "{stranger}");
}

/// A folder under the target folder with `package` installed by `install`, made once; whole or not there.
fn installed(package: &str, install: impl FnOnce(&Path)) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().to_owned();
    let folder = target.join("clients").join(package);
    if !folder.join("complete").is_file() {
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        install(&folder);
        std::fs::write(folder.join("complete"), "").unwrap();
    }
    folder
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// A Python with `package`, in a virtual environment. `None` on a machine without Python, which the project
/// does not ask for; CI owes the proof.
fn python_with(package: &str) -> Option<PathBuf> {
    let python = engine::tool("python3", "python3-venv")?;
    let folder = installed(package, |folder| {
        run(Command::new(python).args(["-m", "venv", "--clear"]).arg(folder));
        run(Command::new(folder.join("bin/python")).args(["-m", "pip", "install", "--quiet", package]));
    });
    Some(folder.join("bin/python"))
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/client_scripts").join(name)
}

#[tokio::test]
async fn clickhouse_connect_is_served() {
    let Some(python) = python_with("clickhouse-connect==1.12.0") else { return };
    let engine = Engine::start();
    let port = engine.url.rsplit(':').next().unwrap();
    let said =
        run(Command::new(python).arg(script("with_clickhouse_connect.py")).args([port, USER, PASSWORD]));
    assert_eq!(said.trim(), "served");
}

#[tokio::test]
async fn clickhouse_driver_is_served_by_the_native_protocol() {
    let Some(python) = python_with("clickhouse-driver[lz4,zstd]==0.2.11") else { return };
    let engine = Engine::start_with(&["--tcp-listen", "127.0.0.1:0"]);
    let port = engine.tcp_port.unwrap().to_string();
    let said =
        run(Command::new(python).arg(script("with_clickhouse_driver.py")).args([&port, USER, PASSWORD]));
    assert_eq!(said.trim(), "served");
}

#[tokio::test]
async fn the_node_client_is_served() {
    let (Some(node), Some(npm)) = (engine::tool("node", "nodejs"), engine::tool("npm", "npm")) else {
        return;
    };
    let folder = installed("clickhouse-node-client-1.23.1", |folder| {
        let install = ["install", "--silent", "--no-audit", "--no-fund", "--prefix"];
        run(Command::new(npm).args(install).arg(folder).arg("@clickhouse/client@1.23.1"));
    });
    let engine = Engine::start();
    let port = engine.url.rsplit(':').next().unwrap();
    let mut command = Command::new(node);
    let said =
        run(command.arg(script("with_clickhouse_client.mjs")).arg(folder).args([port, USER, PASSWORD]));
    assert_eq!(said.trim(), "served");
}
