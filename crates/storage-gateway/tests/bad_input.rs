//! Whatever comes from outside gets a clear error, and nothing is lost by it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic here is a failed test")]

mod support;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use storage_types::{BatchId, ContentHash, TimeRange, schema_hash};
use support::{Batch, LIVE, SENDER, Settings, Stage, TOKEN, assert_exactly_once, assert_tidy};
use testbed::{wait::eventually, wire::exchange};

/// What is wrong with a batch, and how to make it so.
type Change = (&'static str, fn(&mut Batch));

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_are_taken_only_when_they_are_right() {
    let Stage { gateway, engine, dir: _dir } = Stage::new().await;
    let batch = Batch::make(&engine, 0, 10_000).await;
    gateway.ensure(&batch).await;
    assert_eq!(gateway.put(&batch, 0).await, (404, "unknown_batch".into()));
    gateway.announce(&batch).await;

    let put = |path: String, body: Vec<u8>| gateway.refused(Method::PUT, path_of(path), body);
    let right = batch.chunk(0).to_vec();
    let mut wrong = right.clone();
    wrong[100] ^= 1;
    assert_eq!(put(batch.path("/chunks/0"), wrong).await, (422, "wrong_chunk_hash".into()));
    assert_eq!(put(batch.path("/chunks/0"), right[1..].to_vec()).await, (422, "wrong_length".into()));
    assert_eq!(put(batch.path("/chunks/0"), [&right[..], b"x"].concat()).await, (422, "wrong_length".into()));
    assert_eq!(put(batch.path("/chunks/9999"), right.clone()).await, (404, "unknown_chunk".into()));
    assert_eq!(put(batch.path("/chunks/-1"), right.clone()).await, (400, "invalid_id".into()));
    assert_eq!(put(batch.path("/chunks/+0"), right.clone()).await, (400, "invalid_id".into()));
    for path in [
        "/v1/batches/..%2Fx/chunks/0",
        "/v1/batches/1e3/chunks/0",
        "/v1/batches/99999999999999999999/chunks/0",
    ] {
        assert_eq!(put(path.into(), right.clone()).await, (400, "invalid_id".into()), "{path}");
    }
    // Without a length, as chunked transfer: cut off as soon as it is too long.
    let endless = futures::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![0_u8; 1 << 16]));
    let request = gateway.request(Method::PUT, &batch.path("/chunks/0"));
    if let Ok(answer) = request.body(reqwest::Body::wrap_stream(endless)).send().await {
        assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY);
    }
    let digest = "blake3=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:";
    let request = gateway.request(Method::PUT, &batch.path("/chunks/0")).header("content-digest", digest);
    assert_eq!(request.body(right.clone()).send().await.unwrap().status(), StatusCode::UNPROCESSABLE_ENTITY);

    // None of that was kept, and a wrong repeat does not spoil a chunk that is held.
    let (_, status) = gateway.call(Method::GET, &batch.path(""), Vec::new()).await;
    assert_eq!(status["missing"][0]["first"], 0);
    gateway.send(&batch).await;
    let mut wrong = right.clone();
    wrong[0] ^= 1;
    assert_eq!(put(batch.path("/chunks/0"), wrong).await, (422, "wrong_chunk_hash".into()));

    // The same chunk many times at once.
    let all = futures::future::join_all((0..8).map(|_| gateway.put(&batch, 1))).await;
    assert!(all.iter().all(|(status, _)| *status == 204), "{all:?}");
    gateway.prove(&batch).await;
    assert_eq!(gateway.put(&batch, 0).await, (409, "committed".into()));
    assert_exactly_once(&engine, &batch).await;
    assert_tidy(&engine, &gateway).await;
}

/// `refused` wants a `&str` that lives long enough.
fn path_of(path: String) -> &'static str {
    Box::leak(path.into_boxed_str())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_that_climbs_is_no_batch() {
    let Stage { gateway, engine: _engine, dir: _dir } = Stage::new().await;
    // reqwest would tidy the path up, so this is spoken by hand.
    for path in ["/v1/batches/../x", "/v1/batches/../../etc/passwd", "/v1/batches/../chunks/0"] {
        let request = format!(
            "PUT {path} HTTP/1.1\r\nHost: x\r\nX-Sender: {SENDER}\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        let answer = exchange(&gateway.url(""), &request).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400") || answer.starts_with("HTTP/1.1 404"), "{path}: {answer}");
        assert!(answer.contains("invalid_id") || answer.contains("not_found"), "{path}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_must_agree_with_itself_the_table_and_the_limits() {
    let settings = Settings { max_batch_raw_bytes: 4 << 20, ..Settings::default() };
    let Stage { gateway, engine, dir: _dir } = Stage::with(settings).await;
    let good = Batch::make(&engine, 0, 1_000).await;
    assert_eq!(announce(&gateway, &good).await, (404, "unknown_table".into()));
    gateway.ensure(&good).await;

    let changes: [Change; 9] = [
        ("version", |b| b.manifest.version = 9),
        ("sizes", |b| b.manifest.encoded_bytes += 1),
        ("bomb by declaration", |b| b.manifest.raw_bytes = 5 << 20),
        ("codec", |b| b.manifest.codec = "native-lz4/1".into()),
        ("hash", |b| b.manifest.blake3 = "zz".into()),
        ("time column", |b| b.manifest.time_column = "nope".into()),
        ("range", |b| b.manifest.range = TimeRange::new(5, 5)),
        ("schema hash", |b| b.manifest.columns[2].data_type = "Int64".into()),
        ("zero id", |b| b.manifest.batch = BatchId::from_u64(0).unwrap()),
    ];
    for (what, change) in changes {
        let mut batch = Batch { manifest: good.manifest.clone(), encoded: Vec::new() };
        change(&mut batch);
        assert_eq!(announce(&gateway, &batch).await, (422, "invalid_manifest".into()), "{what}");
    }
    let mut batch = Batch { manifest: good.manifest.clone(), encoded: Vec::new() };
    batch.manifest.columns[2].data_type = "Int64".into();
    batch.manifest.schema_hash = schema_hash(&batch.manifest.columns);
    assert_eq!(announce(&gateway, &batch).await, (409, "schema_changed".into()));
    for (database, table) in [("system", "tables"), ("cold", "_stg_1_1"), ("cold", "_storage_batches")] {
        let mut batch = Batch { manifest: good.manifest.clone(), encoded: Vec::new() };
        (batch.manifest.cold_database, batch.manifest.cold_table) = (database.into(), table.into());
        assert_eq!(announce(&gateway, &batch).await, (403, "forbidden_table".into()));
    }
    assert_eq!(
        gateway.refused(Method::POST, "/v1/batches", b"{\"version\": 1".to_vec()).await,
        (400, "invalid_body".into())
    );
    assert_eq!(
        gateway.refused(Method::POST, "/v1/batches", vec![b' '; 17 << 20]).await,
        (413, "body_too_large".into())
    );

    // The same id with another manifest is a conflict, before and after.
    gateway.announce(&good).await;
    let mut other = Batch { manifest: good.manifest.clone(), encoded: Vec::new() };
    other.manifest.partition_ids.push("x".into());
    assert_eq!(announce(&gateway, &other).await, (409, "manifest_differs".into()));
    assert_eq!(gateway.call(Method::DELETE, &good.path(""), Vec::new()).await.0, StatusCode::NO_CONTENT);
    assert_eq!(gateway.call(Method::DELETE, &good.path(""), Vec::new()).await.0, StatusCode::NO_CONTENT);
    assert_eq!(announce(&gateway, &good).await, (409, "aborted".into()));
    assert_eq!(gateway.put(&good, 0).await, (409, "aborted".into()));
    assert_tidy(&engine, &gateway).await;
}

async fn announce(gateway: &support::Gateway, batch: &Batch) -> (u16, String) {
    let (status, json) = gateway.announce(batch).await;
    (status.as_u16(), json["code"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_contradict_their_manifest_are_refuted() {
    let Stage { gateway, engine, dir: _dir } = Stage::new().await;
    let witness = Batch::make(&engine, 500_000, 1_000).await;
    gateway.ensure(&witness).await;
    gateway.send(&witness).await;
    gateway.prove(&witness).await;

    let changes: [Change; 8] = [
        ("one row more declared", |b| b.manifest.proof.rows += 1),
        ("another content", |b| {
            b.manifest.proof.content_hash = ContentHash(b.manifest.proof.content_hash.0 ^ 1)
        }),
        ("rows outside the range", |b| b.manifest.range.hi = support::T0 + 3_000),
        ("less raw bytes declared: a bomb", |b| b.manifest.raw_bytes = 1_000),
        ("more raw bytes declared", |b| b.manifest.raw_bytes += 1),
        ("another hash of the whole", |b| b.manifest.blake3 = "0".repeat(64)),
        ("no container at all", |b| b.replace_bytes(vec![7; 300_000])),
        ("another batch's rows", |b| {
            // The id is in every row: a manifest of another id does not make them its own.
            b.manifest.batch = BatchId::from_u64(b.manifest.batch.get() + 1).unwrap();
        }),
    ];
    for (n, (what, change)) in (1_u64..).zip(changes) {
        let mut batch = Batch::make(&engine, n * 10_000, 2_000).await;
        change(&mut batch);
        gateway.send(&batch).await;
        let (status, json) = gateway.settle(&batch).await;
        assert_eq!(
            (status, json["code"].as_str()),
            (StatusCode::UNPROCESSABLE_ENTITY, Some("refuted")),
            "{what}: {json}"
        );
        assert_eq!((&json["state"], &json["proof"]), (&json!("aborted"), &Value::Null), "{what}");
        let left = engine
            .number(&format!("SELECT count() FROM {LIVE} WHERE _batch = {}", batch.manifest.batch))
            .await;
        assert_eq!(left, 0, "{what}");
        // For good: neither a commit nor the manifest again changes it.
        assert_eq!(gateway.commit(&batch).await.0, StatusCode::UNPROCESSABLE_ENTITY, "{what}");
        assert_eq!(announce(&gateway, &batch).await, (409, "aborted".into()), "{what}");
    }
    assert_exactly_once(&engine, &witness).await;
    assert_tidy(&engine, &gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_that_changes_while_a_batch_is_on_its_way_refutes_it() {
    let Stage { gateway, engine, dir: _dir } = Stage::new().await;
    let batch = Batch::make(&engine, 0, 1_000).await;
    gateway.ensure(&batch).await;
    gateway.send(&batch).await;
    engine.run(&format!("ALTER TABLE {LIVE} ADD COLUMN extra String")).await;
    let (status, json) = gateway.settle(&batch).await;
    assert_eq!((status.as_u16(), json["code"].as_str()), (422, Some("refuted")));
    assert!(json["message"].as_str().unwrap().contains("changed"), "{json}");
    let (status, json) = gateway.post("/v1/tables", &batch.table()).await;
    assert_eq!((status.as_u16(), json["code"].as_str()), (409, Some("schema_changed")));
    assert!(
        json["message"].as_str().unwrap().contains("5 columns are declared; the cold table has 6"),
        "{json}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_that_cannot_hold_batches_are_refused() {
    let Stage { gateway, engine, dir: _dir } = Stage::new().await;
    let batch = Batch::make(&engine, 0, 1_000).await;
    let ensure = async |sql: &str| {
        engine.run("DROP TABLE IF EXISTS cold.trades SYNC").await;
        engine.run(sql).await;
        let (status, json) = gateway.post("/v1/tables", &batch.table()).await;
        (status.as_u16(), json["code"].as_str().unwrap_or_default().to_owned())
    };
    engine.run("CREATE DATABASE cold").await;
    let structure = "CREATE TABLE cold.trades (ts DateTime64(3, 'UTC'), exchange LowCardinality(String), \
                     id UInt64, payload String DEFAULT 'a TTL b', rows Nullable(Int32)) ENGINE =";
    let keys = "PARTITION BY toYYYYMM(ts) ORDER BY ts";
    assert_eq!(
        ensure(&format!("{structure} ReplacingMergeTree {keys}")).await,
        (409, "unsuitable_table".into())
    );
    assert_eq!(
        ensure(&format!("{structure} MergeTree {keys} TTL toDateTime(ts) + INTERVAL 3 DAY")).await,
        (409, "unsuitable_table".into())
    );
    assert_eq!(ensure(&format!("{structure} MergeTree ORDER BY ts")).await, (409, "unsuitable_table".into()));
    // A table that was there before gets the column; its rows are no batch's.
    assert_eq!(ensure(&format!("{structure} MergeTree {keys}")).await, (200, String::new()));
    let facts = engine.text("SELECT type, default_kind FROM system.columns WHERE table = 'trades' AND name = '_batch' FORMAT TSV").await;
    assert_eq!(facts, "UInt64\tMATERIALIZED");
    gateway.send(&batch).await;
    gateway.prove(&batch).await;
    assert_exactly_once(&engine, &batch).await;

    let mut table = batch.table();
    table.columns[0].data_type = "String DEFAULT file('/etc/passwd')".into();
    let (status, json) = gateway.post("/v1/tables", &table).await;
    assert_eq!((status.as_u16(), json["code"].as_str()), (400, Some("invalid_body")));
    let mut table = batch.table();
    table.partition_by = "ts) ORDER BY ts; DROP TABLE x --".into();
    assert_eq!(gateway.post("/v1/tables", &table).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_disk_reserve_is_refused_before_it_is_hit() {
    let settings = Settings { min_free_bytes: 1 << 49, ..Settings::default() };
    let dir = tempfile::tempdir().unwrap();
    let engine = support::Engine::start(dir.path()).await;
    let gateway = support::Gateway::start(dir.path(), &engine, &settings).await;
    let batch = Batch::make(&engine, 0, 1_000).await;
    eventually("the journal is whole", async || {
        let (status, json) = gateway.announce(&batch).await;
        (json["code"] != "starting").then_some(status)
    })
    .await
    .unwrap();
    gateway.claim().await;
    gateway.ensure(&batch).await;
    assert_eq!(announce(&gateway, &batch).await, (507, "disk_reserve".into()));
    let (status, json) = gateway.call(Method::GET, "/readyz", Vec::new()).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(json["reasons"][0].as_str().unwrap().contains("must stay free"), "{json}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_token_gets_nothing() {
    let Stage { gateway, engine: _engine, dir: _dir } = Stage::new().await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    for path in ["/v1/status", "/v1/batches", "/v1/batches/1", "/nowhere"] {
        for token in [None, Some("wrong"), Some(""), Some(&TOKEN[1..])] {
            let mut request = http.get(gateway.url(path));
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{path}");
            assert_eq!(answer.json::<Value>().await.unwrap()["code"], "unauthorized");
        }
    }
    assert_eq!(http.get(gateway.url("/healthz")).send().await.unwrap().status(), StatusCode::OK);
    let (status, json) = gateway.call(Method::GET, "/v1/status", Vec::new()).await;
    assert_eq!((status, json["name"].as_str()), (StatusCode::OK, Some("gw")));
    assert_eq!(gateway.refused(Method::GET, "/nowhere", Vec::new()).await, (404, "not_found".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_queries_than_places_are_told_to_come_back() {
    use futures::StreamExt as _;
    let Stage { gateway, engine: _engine, dir: _dir } = Stage::new().await;
    let ask = |id: &str| {
        let sql = "SELECT number FROM numbers(100000000000)";
        let body = json!({"sql": sql, "format": "TSV", "query_id": id});
        gateway.request(Method::POST, "/v1/query").json(&body).send()
    };
    // Two places, taken by callers that do not read on.
    let mut taken = Vec::new();
    for id in ["first", "second"] {
        let mut body = ask(id).await.unwrap().bytes_stream();
        assert!(body.next().await.unwrap().is_ok());
        taken.push(body);
    }
    let refused = ask("third").await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(refused.json::<Value>().await.unwrap()["code"], "busy");
    // A caller that hangs up makes room.
    drop(taken);
    let mut body = ask("fourth").await.unwrap().bytes_stream();
    assert!(body.next().await.unwrap().is_ok());
}

#[test]
fn a_wrong_configuration_ends_with_its_own_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("local_storage.yaml");
    std::fs::write(&config, "service: {name: 1\n").unwrap();
    for path in [config.as_path(), &dir.path().join("absent.yaml")] {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_storage-gateway"))
            .arg("--config")
            .arg(path)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(78));
        assert!(
            String::from_utf8_lossy(&output.stderr).contains("local_storage.yaml")
                || path.ends_with("absent.yaml")
        );
    }
}
