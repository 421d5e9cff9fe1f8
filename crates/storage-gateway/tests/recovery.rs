//! Lost journals, vanished engines, stopped processes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic here is a failed test")]

mod support;

use std::{fs, sync::Arc};

use axum::{Json, Router, extract::State, http::StatusCode as Code, routing::post};
use parking_lot::Mutex;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use support::{Batch, LIVE, Settings, Stage, assert_exactly_once, assert_removed, assert_tidy};
use testbed::{stack::free_port, wait::eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_journal_comes_back_from_the_tables_and_the_spool() {
    let Stage { mut gateway, engine, dir: _dir } = Stage::new().await;
    let [published, proven, given_up, sending] = [
        Batch::make(&engine, 0, 3_000).await,
        Batch::make(&engine, 10_000, 3_000).await,
        Batch::make(&engine, 20_000, 3_000).await,
        Batch::make(&engine, 30_000, 10_000).await,
    ];
    gateway.ensure(&published).await;
    for batch in [&published, &proven, &given_up] {
        gateway.send(batch).await;
        gateway.prove(batch).await;
    }
    gateway.call(Method::POST, &published.path("/published"), Vec::new()).await;
    gateway.call(Method::DELETE, &given_up.path(""), Vec::new()).await;
    gateway.announce(&sending).await;
    assert_eq!(gateway.put(&sending, 0).await.0, 204);

    for damage in [Damage::Removed, Damage::Torn] {
        gateway.kill();
        damage.inflict(&gateway);
        gateway.restart().await;
        gateway.ready().await;
        let state = async |batch: &Batch| {
            let (_, json) = gateway.call(Method::GET, &batch.path(""), Vec::new()).await;
            json["state"].as_str().unwrap_or("unknown").to_owned()
        };
        assert_eq!(state(&published).await, "published");
        assert_eq!(state(&proven).await, "proven");
        assert_eq!(state(&given_up).await, "retired");
        assert_eq!(state(&sending).await, "sending");
        let (_, json) = gateway.call(Method::GET, &sending.path(""), Vec::new()).await;
        assert_eq!(json["missing"][0]["first"], 1, "chunk 0 is still held");
    }
    let (_, listed) = gateway.call(Method::GET, "/v1/batches", Vec::new()).await;
    let mut states: Vec<_> =
        listed["batches"].as_array().unwrap().iter().map(|b| b["state"].clone()).collect();
    states.sort_by_key(ToString::to_string);
    assert_eq!(states, ["proven", "published", "retired", "sending"]);
    assert_eq!(gateway.refused(Method::DELETE, &published.path(""), Vec::new()).await.1, "published");
    for batch in [&published, &proven] {
        assert_exactly_once(&engine, batch).await;
        let (_, proof) = gateway.call(Method::GET, &batch.path("/proof"), Vec::new()).await;
        assert_eq!(proof, serde_json::to_value(batch.manifest.proof).unwrap());
    }
    gateway.send(&sending).await;
    gateway.prove(&sending).await;
    assert_exactly_once(&engine, &sending).await;
    assert_tidy(&engine, &gateway).await;
}

#[derive(Clone, Copy)]
enum Damage {
    Removed,
    Torn,
}

impl Damage {
    fn inflict(self, gateway: &support::Gateway) {
        let journal = gateway.data_dir().join("gateway.sqlite");
        for suffix in ["-wal", "-shm"] {
            let _ = fs::remove_file(gateway.data_dir().join(format!("gateway.sqlite{suffix}")));
        }
        match self {
            Self::Removed => fs::remove_file(journal).unwrap(),
            Self::Torn => fs::write(journal, vec![0xa5; 8_192]).unwrap(),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_that_rot_on_disk_are_asked_for_again() {
    let Stage { mut gateway, engine, dir: _dir } = Stage::new().await;
    let batch = Batch::make(&engine, 0, 40_000).await;
    gateway.ensure(&batch).await;
    gateway.send(&batch).await;
    gateway.kill();
    let chunk = gateway.data_dir().join("spool").join(batch.manifest.batch.to_string()).join("1");
    let mut bytes = fs::read(&chunk).unwrap();
    bytes[10] ^= 1;
    fs::write(&chunk, bytes).unwrap();
    fs::write(chunk.with_file_name("0.7.part"), b"cut off").unwrap();
    // Another cannot be read at all: what a bad sector does, a folder in its place does too.
    fs::remove_file(chunk.with_file_name("2")).unwrap();
    fs::create_dir(chunk.with_file_name("2")).unwrap();
    gateway.restart().await;
    gateway.ready().await;
    let (status, json) = gateway.commit(&batch).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert_eq!(json["missing"], json!([{"first": 1, "last": 2}]));
    gateway.send(&batch).await;
    gateway.prove(&batch).await;
    assert_exactly_once(&engine, &batch).await;
}

/// Bytes that were right when they came and are not any more say nothing of what was sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_that_rot_after_the_commit_are_asked_for_again() {
    let Stage { gateway, mut engine, dir: _dir } = Stage::new().await;
    let batch = Batch::make(&engine, 0, 40_000).await;
    gateway.ensure(&batch).await;
    gateway.send(&batch).await;
    // Committed while the engine is away, so that it is loaded later.
    engine.kill();
    assert_eq!(gateway.commit(&batch).await.0, StatusCode::ACCEPTED);
    let folder = gateway.data_dir().join("spool").join(batch.manifest.batch.to_string());
    let mut bytes = fs::read(folder.join("0")).unwrap();
    bytes[50] ^= 1;
    fs::write(folder.join("0"), bytes).unwrap();
    fs::remove_file(folder.join("2")).unwrap();
    fs::create_dir(folder.join("2")).unwrap();
    engine.restart().await;
    eventually("both are asked for again", async || {
        let (_, json) = gateway.call(Method::GET, &batch.path(""), Vec::new()).await;
        let missing = json!([{"first": 0, "last": 0}, {"first": 2, "last": 2}]);
        (json["state"] == "sending" && json["missing"] == missing && json["error"].is_string()).then_some(())
    })
    .await
    .unwrap();
    gateway.send(&batch).await;
    gateway.prove(&batch).await;
    assert_exactly_once(&engine, &batch).await;
    assert_tidy(&engine, &gateway).await;
}

/// What the engine cannot do now is no word on the batch: it waits and says why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_outlasts_an_engine_that_refuses_everything() {
    let Stage { gateway, engine, dir: _dir } = Stage::new().await;
    let batch = Batch::make(&engine, 0, 3_000).await;
    gateway.ensure(&batch).await;
    gateway.send(&batch).await;
    // No insert into its staging table can succeed: the code is none that passes by itself.
    engine.run(&format!("ALTER TABLE {LIVE} ADD CONSTRAINT never CHECK id > 1000000000")).await;
    gateway.commit(&batch).await;
    let refused = async || {
        let log = gateway.log();
        (log.matches("batch not proven yet").count() > 4).then_some(())
    };
    eventually("it was refused again and again", refused).await.unwrap();
    let (_, json) = gateway.call(Method::GET, &batch.path(""), Vec::new()).await;
    assert_eq!(json["state"], "received", "{json}");
    assert!(json["error"].as_str().unwrap().contains("VIOLATED_CONSTRAINT"), "{json}");
    engine.run(&format!("ALTER TABLE {LIVE} DROP CONSTRAINT never")).await;
    gateway.prove(&batch).await;
    assert_exactly_once(&engine, &batch).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_waits_for_the_engine_and_can_be_given_up_afterwards() {
    let Stage { mut gateway, mut engine, dir: _dir } = Stage::new().await;
    let batch = Batch::make(&engine, 0, 3_000).await;
    gateway.ensure(&batch).await;
    gateway.send(&batch).await;
    engine.kill();
    let (status, json) = gateway.commit(&batch).await;
    assert_eq!((status, json["state"].as_str()), (StatusCode::ACCEPTED, Some("received")));
    // Restarted without its engine it knows the batch all the same, since the journal is whole.
    gateway.restart().await;
    let (status, _) = gateway.call(Method::GET, "/readyz", Vec::new()).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    eventually("the journal is opened", async || {
        let (_, json) = gateway.call(Method::GET, &batch.path(""), Vec::new()).await;
        (json["state"] == "received").then_some(())
    })
    .await
    .unwrap();
    engine.restart().await;
    gateway.prove(&batch).await;
    assert_exactly_once(&engine, &batch).await;

    let (status, _) = gateway.call(Method::DELETE, &batch.path(""), Vec::new()).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_removed(&engine, &batch).await;
    assert_eq!(
        gateway.refused(Method::GET, &batch.path("/proof"), Vec::new()).await,
        (409, "not_proven".into())
    );
}

#[derive(Clone, Default)]
struct Cloud {
    heard: Arc<Mutex<Vec<Value>>>,
}

impl Cloud {
    async fn serve(self, listener: tokio::net::TcpListener) {
        let hear = async |State(cloud): State<Self>, Json(body): Json<Value>| {
            cloud.heard.lock().push(body);
            Code::NO_CONTENT
        };
        let router = Router::new()
            .route("/internal/v1/heartbeat", post(hear))
            .route("/internal/v1/confirmations", post(hear))
            .with_state(self);
        axum::serve(listener, router).await.unwrap();
    }

    fn find(&self, wanted: impl Fn(&Value) -> bool) -> Option<Value> {
        self.heard.lock().iter().find(|body| wanted(body)).cloned()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cloud_hears_heartbeats_and_how_every_commit_ended_even_if_it_was_away() {
    // Nobody answers there until later.
    let address = format!("127.0.0.1:{}", free_port(&[]).unwrap());
    let settings = Settings { cloud: format!("http://{address}"), ..Settings::default() };
    let Stage { mut gateway, engine, dir: _dir } = Stage::with(settings).await;
    let proven = Batch::make(&engine, 0, 1_000).await;
    let mut refuted = Batch::make(&engine, 10_000, 1_000).await;
    refuted.manifest.proof.rows += 1;
    gateway.ensure(&proven).await;
    for batch in [&proven, &refuted] {
        gateway.send(batch).await;
        gateway.settle(batch).await;
    }
    // What is owed survives a restart.
    gateway.restart().await;
    gateway.ready().await;
    let away = "the cloud does not answer";
    eventually("it was missed at each start", async || {
        (gateway.log().matches(away).count() == 2).then_some(())
    })
    .await
    .unwrap();

    let cloud = Cloud::default();
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    #[allow(clippy::disallowed_methods, reason = "a server of this test, gone with its runtime")]
    tokio::spawn(cloud.clone().serve(listener));
    let heartbeat =
        eventually("a heartbeat", async || cloud.find(|b| b["uptime_s"].is_number())).await.unwrap();
    assert_eq!(
        (&heartbeat["status"]["name"], &heartbeat["status"]["batches_held"]),
        (&json!("gw"), &json!(1))
    );
    for (batch, state) in [(&proven, "proven"), (&refuted, "aborted")] {
        let id = batch.manifest.batch.to_string();
        let told = eventually("a confirmation", async || cloud.find(|b| b["status"]["batch"] == id.as_str()))
            .await
            .unwrap();
        assert_eq!(told["status"]["state"], state);
    }
    assert_eq!(gateway.log().matches(away).count(), 2, "once per start, not per beat");
    assert_eq!(gateway.terminate().await, Some(0));
}
