//! Whose batches a gateway takes, over restarts, lost journals and a database of another gateway.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic here is a failed test")]

mod support;

use reqwest::{Method, StatusCode};
use serde_json::Value;
use storage_types::{CatalogId, GatewayId, Sender, gateway_api::Claim};
use support::{Batch, Gateway, SENDER, Settings, Stage, assert_exactly_once};

async fn claim(gateway: &Gateway, sender: Sender, replaces: Option<Sender>) -> (u16, Value) {
    let (status, json) = gateway.post("/v1/claim", &Claim { sender, replaces }).await;
    (status.as_u16(), json)
}

/// What each call that changes something answers to this sender.
async fn refusals(gateway: &Gateway, sender: Sender, batch: &Batch) -> Vec<(u16, String)> {
    let mut answers = Vec::new();
    for (method, path) in [
        (Method::POST, "/v1/tables".to_owned()),
        (Method::POST, "/v1/batches".to_owned()),
        (Method::PUT, batch.path("/chunks/0")),
        (Method::POST, batch.path("/commit")),
        (Method::POST, batch.path("/published")),
        (Method::DELETE, batch.path("")),
    ] {
        let answer = gateway.request_of(sender, method, &path).body("{}").send().await.unwrap();
        let status = answer.status().as_u16();
        let json: Value = answer.json().await.unwrap();
        answers.push((status, json["code"].as_str().unwrap().to_owned()));
    }
    answers
}

fn all(code: &str) -> Vec<(u16, String)> {
    vec![(409, code.to_owned()); 6]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_sender_in_force_changes_anything_and_a_successor_must_know_it() {
    let dir = tempfile::tempdir().unwrap();
    let engine = support::Engine::start(dir.path()).await;
    let mut gateway = Gateway::start(dir.path(), &engine, &Settings::default()).await;
    gateway.ready().await;
    let batch = Batch::make(&engine, 0, 1_000).await;
    assert_eq!(refusals(&gateway, SENDER, &batch).await, all("unclaimed"));
    let id = gateway.status().await.id.expect("its journal is whole");

    let (status, json) = claim(&gateway, SENDER, None).await;
    assert_eq!((status, json["gateway"].as_str()), (200, Some(id.to_string().as_str())));
    assert_eq!(claim(&gateway, SENDER, None).await.0, 200, "asking again changes nothing");
    gateway.ensure(&batch).await;
    gateway.send(&batch).await;
    gateway.prove(&batch).await;

    // The same catalog's next start; yesterday's backup of it; another catalog.
    let next = Sender { epoch: SENDER.epoch + 1, ..SENDER };
    let other = Sender { catalog: CatalogId::from_parts(1_900_000_000_000, 9), epoch: 1 };
    for (sender, replaces) in [(next, None), (other, None), (other, Some(next)), (SENDER, Some(SENDER))] {
        let expected = if sender == SENDER { 200 } else { 409 };
        assert_eq!(claim(&gateway, sender, replaces).await.0, expected, "{sender} {replaces:?}");
    }
    let (status, json) = claim(&gateway, other, None).await;
    assert_eq!((status, json["code"].as_str()), (409, Some("stale_sender")));
    assert!(json["message"].as_str().unwrap().contains(&SENDER.to_string()), "{json}");

    assert_eq!(claim(&gateway, next, Some(SENDER)).await.0, 200);
    assert_eq!(refusals(&gateway, SENDER, &batch).await, all("stale_sender"));
    assert_eq!(claim(&gateway, SENDER, Some(next)).await.0, 409, "an epoch never goes back");
    // Reads need no sender.
    let (status, _) = gateway.call(Method::GET, "/v1/batches", Vec::new()).await;
    assert_eq!(status, StatusCode::OK);

    // All of it survives a restart, and the loss of the journal: it stands beside the rows.
    for lost in [false, true] {
        gateway.kill();
        if lost {
            for suffix in ["", "-wal", "-shm"] {
                let _ = std::fs::remove_file(gateway.data_dir().join(format!("gateway.sqlite{suffix}")));
            }
        }
        gateway.restart().await;
        gateway.ready().await;
        let status = gateway.status().await;
        assert_eq!((status.id, status.sender), (Some(id), Some(next)), "journal lost: {lost}");
        assert_eq!(refusals(&gateway, SENDER, &batch).await, all("stale_sender"));
    }
    assert_exactly_once(&engine, &batch).await;
    assert_eq!(claim(&gateway, other, Some(next)).await.0, 200);
    assert_eq!(gateway.status().await.sender, Some(other));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_of_another_gateway_is_not_touched() {
    let Stage { gateway, engine, dir: _dir } = Stage::new().await;
    let batch = Batch::make(&engine, 0, 1_000).await;
    gateway.ensure(&batch).await;
    let stranger = GatewayId::from_parts(1_900_000_000_000, 3);
    engine
        .run(&format!("INSERT INTO cold._storage_owner (gateway, catalog, epoch, noted_at) VALUES ({stranger}, 1, 1, now64(3) + 60)"))
        .await;
    let (status, json) = gateway.post("/v1/tables", &batch.table()).await;
    assert_eq!((status.as_u16(), json["code"].as_str()), (409, Some("foreign_database")), "{json}");
    assert!(json["message"].as_str().unwrap().contains(&stranger.to_string()), "{json}");
}
