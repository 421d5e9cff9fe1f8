//! Fresh proofs of many batches, over lost answers and restarts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic here is a failed test")]

mod support;

use storage_types::{BatchId, Proof, gateway_api::ProofRequest};
use support::{Batch, Gateway, LIVE, Stage};
use testbed::wait::eventually;

/// Asks until the job is done.
async fn proofs(gateway: &Gateway, id: u64, batches: &[&Batch]) -> Vec<(BatchId, Proof)> {
    let batches = batches.iter().map(|batch| batch.manifest.batch).collect();
    let request = ProofRequest { id, batches };
    eventually("the proofs are computed", async || {
        let (status, json) = gateway.post("/v1/proofs", &request).await;
        assert!(matches!(status.as_u16(), 200 | 202), "{json}");
        (status == 200).then(|| serde_json::from_value(json).unwrap())
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_proves_what_is_there_since_it_was_named() {
    let Stage { mut gateway, mut engine, dir: _dir } = Stage::new().await;
    let mut batches = Vec::new();
    for n in 0..20 {
        let batch = Batch::make(&engine, n * 10_000, 500).await;
        gateway.ensure(&batch).await;
        gateway.send(&batch).await;
        gateway.prove(&batch).await;
        batches.push(batch);
    }
    let all: Vec<&Batch> = batches.iter().collect();
    let declared: Vec<_> = all.iter().map(|b| (b.manifest.batch, b.manifest.proof)).collect();
    assert_eq!(proofs(&gateway, 7, &all).await, declared);

    // A row less, and a batch without any: the old job knows nothing of it, a new one does.
    let (short, gone) = (batches[3].manifest.batch, batches[5].manifest.batch);
    engine
        .client
        .query(format!(
            "ALTER TABLE {LIVE} DELETE WHERE (_batch = {short} AND id = 30001) OR _batch = {gone}"
        ))
        .setting("mutations_sync", "2")
        .execute()
        .await
        .unwrap();
    let stranger = Batch::make(&engine, 900_000, 501).await;
    let filler = support::LIVE;
    engine
        .client
        .query(format!(
            "INSERT INTO {filler} (ts, exchange, id, payload, rows) SELECT * FROM ({})",
            Batch::select(900_000, 501)
        ))
        .execute()
        .await
        .unwrap();
    assert_eq!(proofs(&gateway, 7, &all).await, declared);
    // Without its engine nothing is proven, and nothing that was is forgotten.
    engine.kill();
    gateway.restart().await;
    eventually("the journal is whole", async || {
        let request = ProofRequest { id: 8, batches: vec![short] };
        let (status, _) = gateway.post("/v1/proofs", &request).await;
        (status == 202).then_some(())
    })
    .await
    .unwrap();
    assert_eq!(proofs(&gateway, 7, &all).await, declared);
    engine.restart().await;
    let fresh = proofs(&gateway, 9, &all).await;
    for ((batch, proof), (id, before)) in fresh.into_iter().zip(declared) {
        assert_eq!(batch, id);
        match batch {
            batch if batch == gone => assert_eq!(proof, Proof::default()),
            batch if batch == short => assert_eq!(proof.rows, before.rows - 1),
            _ => assert_eq!(proof, before),
        }
    }
    assert_eq!(proofs(&gateway, 8, &[&batches[3]]).await[0].1.rows, 499);
    let request = ProofRequest { id: 10, batches: vec![stranger.manifest.batch] };
    assert_eq!(gateway.post("/v1/proofs", &request).await.0.as_u16(), 404);
}
