//! Batches that nobody reads any more, under each rule of the NAS; and many batches at once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic here is a failed test")]

mod support;

use reqwest::{Method, StatusCode};
use serde_json::Value;
use storage_types::{
    BatchId, BatchState,
    gateway_api::{BatchPage, Batches},
};
use support::{Batch, Gateway, LIVE, Settings, Stage, assert_exactly_once, assert_removed};
use testbed::wait::eventually;

async fn bulk(gateway: &Gateway, verb: &str, batches: &[&Batch]) -> (u16, String) {
    let ids = batches.iter().map(|batch| batch.manifest.batch).collect();
    let (status, json) = gateway.post(&format!("/v1/batches/{verb}"), &Batches { batches: ids }).await;
    (status.as_u16(), json["code"].as_str().unwrap_or_default().to_owned())
}

/// Those that were proven once.
async fn listed(gateway: &Gateway) -> Vec<(BatchId, BatchState)> {
    let (_, json) = gateway.call(Method::GET, "/v1/batches", Vec::new()).await;
    let page: BatchPage = serde_json::from_value(json).unwrap();
    let all = page.batches.into_iter().map(|facts| (facts.manifest.batch, facts.state));
    all.filter(|(_, state)| *state != BatchState::Sending).collect()
}

/// What is being removed is listed until it is gone.
async fn only_lists(gateway: &Gateway, wanted: &[(BatchId, BatchState)]) {
    eventually("the list is short", async || (listed(gateway).await == wanted).then_some(())).await.unwrap();
}

async fn proven(gateway: &Gateway, engine: &support::Engine, firsts: &[u64]) -> Vec<Batch> {
    let mut batches = Vec::new();
    for first in firsts {
        let batch = Batch::make(engine, *first, 1_000).await;
        gateway.ensure(&batch).await;
        gateway.send(&batch).await;
        gateway.prove(&batch).await;
        batches.push(batch);
    }
    batches
}

fn ok() -> (u16, String) {
    (204, String::new())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retired_rows_stay_until_the_rule_lets_them_go_and_can_be_taken_back() {
    let settings = Settings { archive: "delayed 7d", ..Settings::default() };
    let Stage { mut gateway, engine, dir: _dir } = Stage::with(settings).await;
    let batches = proven(&gateway, &engine, &[0, 10_000, 20_000]).await;
    let [a, b, c] = [&batches[0], &batches[1], &batches[2]];
    assert_eq!(bulk(&gateway, "published", &[a, b]).await, ok());
    assert_eq!(bulk(&gateway, "published", &[a, b]).await, ok());
    // All of them or none: an unknown one, one that is not proven, too many.
    let stranger = Batch::make(&engine, 90_000, 10).await;
    assert_eq!(bulk(&gateway, "retire", &[a, &stranger]).await, (404, "unknown_batch".into()));
    gateway.announce(&stranger).await;
    assert_eq!(bulk(&gateway, "retire", &[a, &stranger]).await, (409, "not_proven".into()));
    assert_eq!(bulk(&gateway, "retire", &vec![a; 1_001]).await, (400, "invalid_body".into()));
    let states = |states: [BatchState; 3]| {
        vec![(a.manifest.batch, states[0]), (b.manifest.batch, states[1]), (c.manifest.batch, states[2])]
    };
    use BatchState::{Proven, Published, Retired};
    assert_eq!(listed(&gateway).await, states([Published, Published, Proven]));

    assert_eq!(bulk(&gateway, "retire", &[a, c]).await, ok());
    assert_eq!(bulk(&gateway, "retire", &[a]).await, ok());
    assert_eq!(bulk(&gateway, "published", &[a]).await, (409, "retired".into()));
    assert_eq!(gateway.call(Method::DELETE, &c.path(""), Vec::new()).await.0, StatusCode::NO_CONTENT);
    assert_eq!(gateway.commit(c).await.0, StatusCode::CONFLICT);

    // It survives a restart and the loss of the journal, and nothing went meanwhile.
    for lost in [false, true] {
        gateway.kill();
        if lost {
            for suffix in ["", "-wal", "-shm"] {
                let _ = std::fs::remove_file(gateway.data_dir().join(format!("gateway.sqlite{suffix}")));
            }
        }
        gateway.restart().await;
        gateway.ready().await;
        assert_eq!(listed(&gateway).await, states([Retired, Published, Retired]), "journal lost: {lost}");
    }
    assert_eq!(bulk(&gateway, "unretire", &[a, b, c]).await, ok());
    assert_eq!(listed(&gateway).await, states([Published, Published, Proven]));
    for batch in [a, b, c] {
        assert_exactly_once(&engine, batch).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_the_open_rule_they_go_at_once_and_nothing_else_does() {
    let Stage { mut gateway, engine, dir: _dir } = Stage::new().await;
    let batches = proven(&gateway, &engine, &[0, 10_000, 20_000]).await;
    let [a, b, c] = [&batches[0], &batches[1], &batches[2]];
    bulk(&gateway, "published", &[a, b]).await;
    assert_eq!(bulk(&gateway, "retire", &[a, c]).await, ok());
    for batch in [a, c] {
        assert_removed(&engine, batch).await;
    }
    assert_exactly_once(&engine, b).await;
    assert_eq!(bulk(&gateway, "unretire", &[a]).await, (409, "retired".into()));
    only_lists(&gateway, &[(b.manifest.batch, BatchState::Published)]).await;
    // A lost journal does not bring them back.
    gateway.kill();
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(gateway.data_dir().join(format!("gateway.sqlite{suffix}")));
    }
    gateway.restart().await;
    gateway.ready().await;
    only_lists(&gateway, &[(b.manifest.batch, BatchState::Published)]).await;
    let (_, json): (_, Value) = gateway.call(Method::GET, &a.path(""), Vec::new()).await;
    assert_eq!(json["state"], "retired");
    assert_eq!(engine.number(&format!("SELECT count() FROM {LIVE}")).await, 1_000);
    let tables = gateway.status().await.tables;
    assert_eq!((tables.len(), tables[0].batches, tables[0].rows), (1, 1, 1_000), "what went is not missed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_append_only_they_never_go() {
    let settings = Settings { archive: "append_only", ..Settings::default() };
    let Stage { mut gateway, engine, dir: _dir } = Stage::with(settings).await;
    let batches = proven(&gateway, &engine, &[0]).await;
    assert_eq!(bulk(&gateway, "retire", &[&batches[0]]).await, ok());
    // A clean-up runs at the start; the batch after it shows that it is over.
    gateway.restart().await;
    gateway.ready().await;
    proven(&gateway, &engine, &[10_000]).await;
    assert_exactly_once(&engine, &batches[0]).await;
}
