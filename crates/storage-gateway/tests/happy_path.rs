//! A batch from its manifest to its publication, and reads of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic here is a failed test")]

mod support;

use futures::StreamExt as _;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use storage_types::{
    BatchState, Manifest,
    gateway_api::{BatchFacts, BatchPage, BatchStatus},
};
use support::{Batch, LIVE, Stage, assert_exactly_once, assert_tidy};
use testbed::wait::eventually;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_received_proven_published_and_read() {
    let Stage { gateway, engine, dir: _dir } = Stage::new().await;
    let batch = Batch::make(&engine, 0, 10_000).await;
    assert!(batch.manifest.chunks.len() > 1, "several chunks are needed for this test");
    gateway.ensure(&batch).await;

    let (status, body) = gateway.announce(&batch).await;
    assert_eq!(status, StatusCode::CREATED, "{body}");
    let (status, body) = gateway.announce(&batch).await;
    assert_eq!(status, StatusCode::OK);
    let last = u32::try_from(batch.manifest.chunks.len() - 1).unwrap();
    assert_eq!(body["missing"], json!([{"first": 0, "last": last}]));

    // Any order, repeated, and asked about in between.
    let (status, body) = gateway.commit(&batch).await;
    assert_eq!((status, body["code"].as_str()), (StatusCode::CONFLICT, Some("chunks_missing")));
    let missing: BatchStatus = serde_json::from_value(body).expect("a status is inside the error");
    assert_eq!((missing.missing[0].first, missing.missing[0].last), (0, last));
    for n in (0..batch.manifest.chunks.len()).rev() {
        assert_eq!(gateway.put(&batch, n).await.0, 204);
        assert_eq!(gateway.put(&batch, n).await.0, 204);
    }
    let (_, body) = gateway.call(Method::GET, &batch.path(""), Vec::new()).await;
    assert_eq!(body["missing"], json!([]));

    gateway.prove(&batch).await;
    assert_exactly_once(&engine, &batch).await;
    // A commit is idempotent, and so is everything after it.
    gateway.prove(&batch).await;
    assert_exactly_once(&engine, &batch).await;
    let (status, proof) = gateway.call(Method::GET, &batch.path("/proof"), Vec::new()).await;
    assert_eq!((status, proof), (StatusCode::OK, serde_json::to_value(batch.manifest.proof).unwrap()));

    let (status, listed) = gateway.call(Method::GET, "/v1/batches", Vec::new()).await;
    assert_eq!(status, StatusCode::OK);
    let listed: BatchPage = serde_json::from_value(listed).unwrap();
    let without_chunks = Manifest { chunks: Vec::new(), ..batch.manifest.clone() };
    let facts = BatchFacts { state: BatchState::Proven, manifest: without_chunks };
    assert_eq!(listed, BatchPage { batches: vec![facts], next: None });
    for (path, code) in [
        (format!("/v1/batches?after={}", batch.manifest.batch), 200),
        ("/v1/batches?after=0&limit=0".to_owned(), 200),
        ("/v1/batches?after=../x".to_owned(), 400),
        ("/v1/batches?limit=-1".to_owned(), 400),
    ] {
        assert_eq!(gateway.call(Method::GET, &path, Vec::new()).await.0.as_u16(), code, "{path}");
    }

    for _ in 0..2 {
        let (status, _) = gateway.call(Method::POST, &batch.path("/published"), Vec::new()).await;
        assert_eq!(status, StatusCode::NO_CONTENT);
    }
    assert_eq!(gateway.refused(Method::DELETE, &batch.path(""), Vec::new()).await, (409, "published".into()));
    assert_tidy(&engine, &gateway).await;
    // The user's own columns only.
    assert_eq!(engine.text(&format!("SELECT * FROM {LIVE} LIMIT 1 FORMAT TSV")).await.split('\t').count(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cold_queries_stream_are_limited_and_break_off_when_they_fail() {
    let Stage { mut gateway, engine, dir: _dir } = Stage::new().await;
    let ask = |sql: &str, format: &str| {
        let body = json!({"sql": sql, "format": format, "query_id": format!("q{}", sql.len())});
        gateway.request(Method::POST, "/v1/query").json(&body).send()
    };
    let answer = ask("SELECT sum(number) AS s FROM numbers(10)", "JSONEachRow").await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.json::<Value>().await.unwrap()["s"].to_string().trim_matches('"'), "45");

    for sql in [
        "SELECT * FROM file('/etc/hostname', 'TSV', 'a String')",
        "SELECT file('/etc/hostname')",
        "SELECT * FROM url('http://127.0.0.1:1/', 'TSV', 'a String')",
        "SELECT 1; SELECT 2",
        "DROP TABLE x",
        "INSERT INTO x SELECT 1",
        "SELECT 1 INTO OUTFILE '/tmp/x'",
        "SELECT 1 SETTINGS max_execution_time = 0, readonly = 0",
        "SELECT * // '\n FROM url('http://127.0.0.1:1/', 'TSV', 'a String') // '",
    ] {
        let answer = ask(sql, "TSV").await.unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{sql}");
        assert_eq!(answer.json::<Value>().await.unwrap()["code"], "refused_query");
    }
    // The engine guards as well: settings cannot be widened.
    let answer = ask("SELECT 1 SETTINGS max_execution_time = 0", "TSV").await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(answer.headers()["x-clickhouse-exception-code"], "164");
    let answer = ask("SELECT * FROM cold.nothing", "TSV").await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY);

    // An error behind the first bytes is a broken body, never a short answer.
    let failing = "SELECT throwIf(number = 30000000, 'enough'), number FROM numbers(100000000)";
    let mut body = ask(failing, "TSV").await.unwrap().bytes_stream();
    let (mut bytes, mut failed) = (0, false);
    while let Some(piece) = body.next().await {
        match piece {
            Ok(piece) => bytes += piece.len(),
            Err(_) => failed = true,
        }
    }
    assert!(bytes > 0 && failed, "{bytes} bytes, failed: {failed}");

    // Callers that hang up free their place: two places, ten callers.
    for _ in 0..10 {
        let mut body = ask("SELECT number FROM numbers(100000000000)", "TSV").await.unwrap().bytes_stream();
        assert!(body.next().await.unwrap().is_ok());
    }
    eventually("the engine has cancelled them", async || {
        let running = engine.number("SELECT count() FROM system.processes WHERE query LIKE '%100000000000%' AND query NOT LIKE '%processes%'").await;
        (running == 0).then_some(())
    })
    .await.unwrap();
    assert_eq!(gateway.terminate().await, Some(0));
}
