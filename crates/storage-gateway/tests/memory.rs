//! Memory does not grow with the data: a large batch in, a large answer out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic here is a failed test")]

mod support;

use std::time::Instant;

use futures::StreamExt as _;
use reqwest::Method;
use serde_json::json;
use storage_types::BatchId;
use support::{Batch, LIVE, Stage, assert_exactly_once};

const ROWS: u64 = 3_000_000;
const MOST_MIB: u64 = 256;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_batch_and_a_large_answer_pass_through_in_bounded_memory() {
    let Stage { gateway, engine, dir: _dir } = Stage::new().await;
    let batch = BatchId::from_parts(1_800_000_000_000, 1);
    // One month: what one batch of the service holds.
    let select = Batch::select(0, ROWS).replace("number % 11000 * 3000", "intDiv(number, 3)");
    let (raw, proof) = Batch::encode_source(&engine, &select, batch).await;
    let batch = Batch::cut_native(batch, &raw, proof, 16 << 20);
    gateway.ensure(&batch).await;
    let started = Instant::now();
    gateway.send(&batch).await;
    let sent = started.elapsed();
    gateway.prove(&batch).await;
    println!(
        "{ROWS} rows, {} MiB raw, {} MiB encoded: sent in {sent:?}, proven in {:?}, peak {} MiB",
        raw.len() >> 20,
        batch.encoded.len() >> 20,
        started.elapsed() - sent,
        gateway.peak_rss_mib()
    );
    assert_exactly_once(&engine, &batch).await;

    let body = json!({"sql": format!("SELECT * FROM {LIVE} CROSS JOIN numbers(4) AS n"), "format": "Native", "query_id": "big"});
    let answer = gateway.request(Method::POST, "/v1/query").json(&body).send().await.unwrap();
    if !answer.status().is_success() {
        panic!("{}", answer.text().await.unwrap());
    }
    let mut answer = answer.bytes_stream();
    let mut bytes = 0;
    while let Some(piece) = answer.next().await {
        bytes += piece.unwrap().len();
    }
    assert!(bytes > 3 * raw.len(), "{bytes} bytes of the answer, {} of the batch", raw.len());
    for line in gateway.log().lines().filter(|line| line.contains("batch attached")) {
        println!("{line}");
    }
    let peak = gateway.peak_rss_mib();
    println!("{} MiB answered, peak {peak} MiB", bytes >> 20);
    assert!(peak < MOST_MIB, "{peak} MiB resident");
}
