//! Cold tables that vanish, come back empty or are made anew: never a short answer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic here is a failed test")]

mod support;

use reqwest::Method;
use serde_json::{Value, json};
use storage_types::gateway_api::ColdTableState;
use support::{Batch, Engine, Gateway, LIVE, Stage, assert_exactly_once};
use testbed::wait::eventually;

async fn query(gateway: &Gateway, table: &str) -> (u16, String) {
    let body = json!({"sql": format!("SELECT count() FROM {table}"), "format": "TSV", "query_id": "q"});
    let answer = gateway.request(Method::POST, "/v1/query").json(&body).send().await.unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    let code =
        serde_json::from_str::<Value>(&text).ok().and_then(|json| json["code"].as_str().map(str::to_owned));
    (status, code.unwrap_or_else(|| text.trim().to_owned()))
}

async fn state(gateway: &Gateway, wanted: ColdTableState) {
    eventually("the table's state is seen", async || {
        let tables = gateway.status().await.tables;
        tables.iter().any(|table| table.state == wanted).then_some(())
    })
    .await
    .unwrap();
}

async fn stage() -> (Gateway, Engine, Batch, tempfile::TempDir) {
    let Stage { gateway, engine, dir } = Stage::new().await;
    let batch = Batch::make(&engine, 0, 3_000).await;
    gateway.ensure(&batch).await;
    gateway.send(&batch).await;
    gateway.prove(&batch).await;
    gateway.call(Method::POST, &batch.path("/published"), Vec::new()).await;
    (gateway, engine, batch, dir)
}

/// Everything that reads or writes the table is refused with this code.
async fn refused(gateway: &Gateway, engine: &Engine, batch: &Batch, code: &str) {
    let next = Batch::make(engine, 50_000, 100).await;
    assert_eq!(query(gateway, LIVE).await, (409, code.to_owned()));
    assert_eq!(gateway.refused(Method::GET, &batch.path("/proof"), Vec::new()).await, (409, code.to_owned()));
    for (path, body) in [
        ("/v1/tables", serde_json::to_vec(&batch.table()).unwrap()),
        ("/v1/batches", serde_json::to_vec(&next.manifest).unwrap()),
    ] {
        assert_eq!(gateway.refused(Method::POST, path, body).await, (409, code.to_owned()), "{path}");
    }
    assert_eq!(query(gateway, "numbers(3)").await, (200, "3".into()), "other tables are read");
}

async fn accept(gateway: &Gateway) {
    let accepted = json!({"database": "cold", "table": "trades"});
    assert_eq!(gateway.post("/v1/accept", &accepted).await.0.as_u16(), 204);
}

/// The NAS comes up without its volume: the table is not made anew, whatever asks for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_vanished_is_not_made_anew() {
    let (gateway, engine, batch, _dir) = stage().await;
    engine.run("RENAME TABLE cold.trades TO cold.away").await;
    state(&gateway, ColdTableState::Lost).await;
    refused(&gateway, &engine, &batch, "cold_table_lost").await;
    assert_eq!(engine.number("SELECT count() FROM system.tables WHERE name = 'trades'").await, 0);
    // The volume is there again.
    engine.run("RENAME TABLE cold.away TO cold.trades").await;
    state(&gateway, ColdTableState::Ok).await;
    assert_eq!(query(&gateway, LIVE).await, (200, "3000".into()));
    assert_exactly_once(&engine, &batch).await;

    // It is gone for good, and an operator says so.
    engine.run("DROP TABLE cold.trades SYNC").await;
    state(&gateway, ColdTableState::Lost).await;
    accept(&gateway).await;
    gateway.ensure(&batch).await;
    assert_eq!(query(&gateway, LIVE).await, (200, "0".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_table_of_that_name_is_not_taken_for_it() {
    let (gateway, engine, batch, _dir) = stage().await;
    engine.run("CREATE TABLE cold.other AS cold.trades").await;
    engine.run("EXCHANGE TABLES cold.trades AND cold.other").await;
    state(&gateway, ColdTableState::Replaced).await;
    refused(&gateway, &engine, &batch, "cold_table_replaced").await;
    engine.run("EXCHANGE TABLES cold.trades AND cold.other").await;
    state(&gateway, ColdTableState::Ok).await;
    assert_eq!(query(&gateway, LIVE).await, (200, "3000".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_lost_rows_is_not_read_until_they_are_back_or_given_up() {
    let (mut gateway, engine, batch, _dir) = stage().await;
    let partition = engine
        .text("SELECT partition_id FROM system.parts WHERE active AND table = 'trades' ORDER BY rows LIMIT 1")
        .await;
    engine.run(&format!("ALTER TABLE cold.trades DETACH PARTITION ID '{partition}'")).await;
    state(&gateway, ColdTableState::MissingRows).await;
    assert_eq!(query(&gateway, LIVE).await, (409, "cold_table_missing_rows".into()));
    assert_eq!(query(&gateway, "numbers(3)").await, (200, "3".into()), "other tables are read");
    // What is there can be proven: that says which batches lack rows.
    let (_, proof) = gateway.call(Method::GET, &batch.path("/proof"), Vec::new()).await;
    let rows = proof["rows"].as_u64().unwrap();
    assert!(0 < rows && rows < 3_000, "{proof}");
    // It is seen again after a restart: nothing of it is only in memory.
    gateway.restart().await;
    gateway.ready().await;
    assert_eq!(query(&gateway, LIVE).await.1, "cold_table_missing_rows");
    engine.run(&format!("ALTER TABLE cold.trades ATTACH PARTITION ID '{partition}'")).await;
    state(&gateway, ColdTableState::Ok).await;
    assert_exactly_once(&engine, &batch).await;

    engine.run(&format!("ALTER TABLE cold.trades DROP PARTITION ID '{partition}'")).await;
    state(&gateway, ColdTableState::MissingRows).await;
    accept(&gateway).await;
    assert_eq!(query(&gateway, LIVE).await.0, 200);
    // What is accepted are these rows, not the next ones.
    engine.run("TRUNCATE TABLE cold.trades").await;
    state(&gateway, ColdTableState::MissingRows).await;
}
