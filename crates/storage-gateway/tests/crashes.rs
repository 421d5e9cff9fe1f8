//! `kill -9` of the gateway or of its engine at every step: the batch ends proven, exactly once.
#![cfg(feature = "fault-injection")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic here is a failed test")]

mod support;

use reqwest::{Method, StatusCode};
use support::{Batch, Gateway, LIVE, Stage, assert_exactly_once, assert_removed, assert_tidy};
use testbed::{
    faults::{Daemon, Point, Skip},
    wait::eventually,
};

/// Everything a sender does, from wherever things stand; a killed gateway only breaks calls off.
async fn attempt(gateway: &Gateway, batch: &Batch) {
    let call = async |method: Method, path: String, body: Vec<u8>| {
        gateway.request(method, &path).body(body).send().await.ok()
    };
    let manifest = serde_json::to_vec(&batch.manifest).unwrap();
    let Some(_) = call(Method::POST, "/v1/batches".into(), manifest).await else { return };
    for n in 0..batch.manifest.chunks.len() {
        let path = batch.path(&format!("/chunks/{n}"));
        let Some(_) = call(Method::PUT, path, batch.chunk(n).to_vec()).await else { return };
    }
    call(Method::POST, batch.path("/commit"), Vec::new()).await;
}

/// Every point of the gateway, in the order a batch comes to them.
fn points() -> impl Iterator<Item = Point> {
    Point::ALL.iter().copied().filter(|point| point.daemon() == Daemon::Gateway)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_dies_at_every_point() {
    let Stage { mut gateway, engine, dir: _dir } = Stage::new().await;
    let first = Batch::make(&engine, 0, 3_000).await;
    gateway.ensure(&first).await;
    let mut batches = Vec::new();
    for (n, point) in (1_u64..).zip(points()) {
        let batch = Batch::make(&engine, n * 100_000, 3_000).await;
        gateway.arm(point);
        {
            let (sending, reached) = (attempt(&gateway, &batch), gateway.reached(point));
            futures::pin_mut!(sending);
            futures::pin_mut!(reached);
            // The sender hangs at the point; it must not end before the point is reached.
            let mut sender_done = false;
            loop {
                tokio::select! {
                    () = &mut reached => break,
                    () = &mut sending, if !sender_done => sender_done = true,
                }
            }
        }
        gateway.kill();
        gateway.release(point);
        gateway.restart().await;
        gateway.ready().await;
        // A sender that knows nothing of the crash asks and goes on.
        eventually(point.name(), async || {
            attempt(&gateway, &batch).await;
            let (status, _) = gateway.commit(&batch).await;
            (status == StatusCode::OK).then_some(())
        })
        .await
        .unwrap();
        assert_exactly_once(&engine, &batch).await;
        assert_tidy(&engine, &gateway).await;
        batches.push(batch);
    }
    for batch in &batches {
        assert_exactly_once(&engine, batch).await;
    }
    assert_eq!(engine.number(&format!("SELECT count() FROM {LIVE}")).await, 3_000 * batches.len() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_engine_dies_at_every_point() {
    let Stage { gateway, mut engine, dir: _dir } = Stage::new().await;
    let first = Batch::make(&engine, 0, 3_000).await;
    gateway.ensure(&first).await;
    let points = [
        Point::GatewayLoadAfterEffect,
        Point::GatewayProveAfterEffect,
        Point::GatewayAttachBeforeEffect,
        Point::GatewayAttachPartitionMoved,
        Point::GatewayAttachAfterEffect,
    ];
    for (n, point) in (1_u64..).zip(points) {
        let batch = Batch::make(&engine, n * 100_000, 3_000).await;
        gateway.arm(point);
        gateway.send(&batch).await;
        gateway.commit(&batch).await;
        gateway.reached(point).await;
        engine.kill();
        gateway.release(point);
        engine.restart().await;
        gateway.prove(&batch).await;
        assert_exactly_once(&engine, &batch).await;
    }
    assert_tidy(&engine, &gateway).await;
    assert_eq!(engine.number(&format!("SELECT count() FROM {LIVE}")).await, 3_000 * points.len() as u64);
}

/// A partition moved half: rows in both tables, and rows that only look like the batch's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_left_by_a_torn_move_are_taken_out_and_loaded_again() {
    let Stage { mut gateway, engine, dir: _dir } = Stage::new().await;
    let batch = Batch::make(&engine, 0, 3_000).await;
    gateway.ensure(&batch).await;
    let point = Point::GatewayAttachPartitionMoved;
    gateway.arm(point);
    gateway.send(&batch).await;
    gateway.commit(&batch).await;
    gateway.reached(point).await;
    gateway.kill();
    gateway.release(point);
    // What a crash inside MOVE can leave: the moved rows a second time in the live table.
    let staging = engine.text("SELECT name FROM system.tables WHERE name LIKE '\\_stg\\_%'").await;
    engine
        .client
        .query(format!(
            "INSERT INTO {LIVE} (ts, exchange, id, payload, rows, _batch) \
             SELECT ts, exchange, id, payload, rows, _batch FROM {LIVE} \
             UNION ALL SELECT ts, exchange, id, payload, rows, _batch FROM cold.{staging}"
        ))
        .setting("insert_allow_materialized_columns", "1")
        .execute()
        .await
        .unwrap();
    gateway.restart().await;
    gateway.ready().await;
    gateway.prove(&batch).await;
    assert_exactly_once(&engine, &batch).await;
    assert_tidy(&engine, &gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_lost_in_the_middle_of_an_attach_is_rebuilt() {
    let Stage { mut gateway, engine, dir: _dir } = Stage::new().await;
    let batch = Batch::make(&engine, 0, 3_000).await;
    gateway.ensure(&batch).await;
    let point = Point::GatewayAttachPartitionMoved;
    gateway.arm(point);
    gateway.send(&batch).await;
    gateway.commit(&batch).await;
    gateway.reached(point).await;
    gateway.kill();
    gateway.release(point);
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(gateway.data_dir().join(format!("gateway.sqlite{suffix}")));
    }
    gateway.restart().await;
    gateway.ready().await;
    gateway.prove(&batch).await;
    assert_exactly_once(&engine, &batch).await;
    assert_tidy(&engine, &gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_given_up_while_it_loads_leaves_nothing() {
    let Stage { mut gateway, engine, dir: _dir } = Stage::new().await;
    let batch = Batch::make(&engine, 0, 3_000).await;
    gateway.ensure(&batch).await;
    let point = Point::GatewayAttachPartitionMoved;
    gateway.arm(point);
    gateway.send(&batch).await;
    gateway.commit(&batch).await;
    gateway.reached(point).await;
    gateway.kill();
    gateway.release(point);
    gateway.restart().await;
    gateway.ready().await;
    // Either the prover was first and the batch is proven, or not: both may be given up.
    let (status, json) = gateway.call(Method::DELETE, &batch.path(""), Vec::new()).await;
    assert_eq!(status, StatusCode::NO_CONTENT, "{json}");
    assert_removed(&engine, &batch).await;
    assert_tidy(&engine, &gateway).await;
}

/// The proof is what catches a batch whose rows are not what its manifest says: without it, wrong
/// rows go live. (The check of the live table compares with what was loaded, and sees nothing.)
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_proof_wrong_rows_go_live() {
    let Stage { gateway, engine, dir: _dir } = Stage::new().await;
    let mut batch = Batch::make(&engine, 0, 3_000).await;
    batch.manifest.proof.rows -= 1;
    gateway.ensure(&batch).await;
    gateway.faults().skip(Skip::GatewayProve).unwrap();
    gateway.send(&batch).await;
    assert_eq!(gateway.settle(&batch).await.0, StatusCode::OK);
    assert_eq!(engine.number(&format!("SELECT count() FROM {LIVE}")).await, 3_000);
}
