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

/// What the daemons rely on when they ask through `clickhouse-http`, of which the fake servers of its own tests
/// know nothing: settings come in any order, and a status waits for the outcome.
#[tokio::test]
async fn our_client_is_served() {
    use clickhouse_http::client::{Client, Error, NodeList};
    let engine = Engine::start();
    let client =
        Client::new(NodeList::single(engine.url.parse().unwrap(), USER, PASSWORD.to_owned())).unwrap();
    let sql =
        "SELECT getSetting('max_threads')::UInt8 AS n, '?' AS mark, toUInt64(18446744073709551615) AS wide";
    #[derive(Debug, PartialEq, Deserialize)]
    struct Row {
        n: u8,
        mark: String,
        wide: u64,
    }
    for _ in 0..20 {
        let asked = client.query(sql).readonly().setting("max_threads", 3).setting("max_block_size", 7);
        assert_eq!(asked.one::<Row>().await.unwrap(), Row { n: 3, mark: "?".to_owned(), wide: u64::MAX });
    }
    let late = "SELECT throwIf(number = 3000000) FROM numbers(10000000)";
    for format in ["TabSeparated", "JSONEachRow", "Native"] {
        let broken = client.query(late).setting("max_block_size", 1000).format(format).text().await;
        assert_eq!(broken.unwrap_err().code(), Some(395), "{format}");
    }
    client.query("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a").execute().await.unwrap();
    let write = client.query("INSERT INTO t SELECT 1").readonly().execute().await;
    assert!(matches!(write, Err(Error::Server { code: 164, .. })), "{write:?}");
    let lines = |text: &'static [&str]| futures::stream::iter(text.iter().map(|line| Ok((*line).into())));
    let insert = || client.query("INSERT INTO t FORMAT TSV");
    insert().insert(lines(&["1\n2", "\n", "3\n"])).await.unwrap();
    insert().insert(lines(&[])).await.unwrap();
    assert_eq!(insert().insert(lines(&["x\n"])).await.unwrap_err().code(), Some(27));
    let lost = client.query("INSERT INTO nowhere FORMAT TSV").insert(lines(&["1\n"])).await;
    assert_eq!(lost.unwrap_err().code(), Some(60));
    assert_eq!(client.query("SELECT sum(a) FROM t").text().await.unwrap(), "6\n");
    let cold = client.query("SELECT sum(b) FROM beside").external_table("beside", "b UInt8", "TSV", "4\n5\n");
    let rows: Vec<_> = futures::TryStreamExt::try_collect(cold.stream().await.unwrap()).await.unwrap();
    assert_eq!(rows.concat(), b"9\n");
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
