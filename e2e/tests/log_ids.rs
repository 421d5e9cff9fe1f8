//! One id leads through the logs of both daemons: a query's, a move's, a batch's.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic here is a failed test")]

use std::{collections::BTreeSet, time::Duration};

use serde_json::Value;
use storage_types::{MoveState, service_api::QueryRequest};
use testbed::{
    fixture::Fixture,
    stack::{Role, Stack},
    wait::eventually,
};

const LIMIT: Duration = Duration::from_secs(120);

/// A daemon's log so far.
struct Log(Vec<Value>);

impl Log {
    fn of(stack: &Stack, role: Role) -> Self {
        let text = std::fs::read_to_string(stack.log(role)).unwrap();
        Self(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    /// Lines whose `field` is `id`.
    fn with<'a>(&'a self, field: &str, id: &str) -> impl Iterator<Item = &'a Value> {
        self.0.iter().filter(move |line| line[field] == id)
    }

    /// Values of `field` in the lines of a move.
    fn of_move(&self, id: &str, field: &str) -> BTreeSet<String> {
        self.with("move_id", id).filter_map(|line| Some(line[field].as_str()?.to_owned())).collect()
    }

    /// Lines of a module that do not carry every one of `fields`.
    fn without(&self, module: &str, fields: &[&str]) -> Vec<&Value> {
        let lines = self.0.iter().filter(|line| line["target"] == module);
        lines.filter(|line| fields.iter().any(|field| line[*field].is_null())).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_id_leads_through_both_logs() {
    let fixture = Fixture::start().await.unwrap();
    fixture.oracle().preload(20_000).await.unwrap();
    let report = fixture.migrate(LIMIT).await.unwrap();
    let sql = format!("SELECT count() AS n FROM {}", fixture.written[1].table);
    let request = QueryRequest {
        sql: Some(sql),
        format: Some("csv".into()),
        query_id: Some("followed".into()),
        ..QueryRequest::default()
    };
    assert_eq!(fixture.service.ask(&request).await.unwrap().text(), "\"n\"\n20000\n");

    // The answer may be here before the line about it is.
    let logs = || (Log::of(&fixture.stack, Role::Service), Log::of(&fixture.stack, Role::Gateway));
    eventually("the query in both logs", async || {
        let (service, gateway) = logs();
        let cold_read = service.with("query_id", "followed").find_map(|line| line["cold_read"].as_str());
        cold_read.is_some_and(|id| gateway.with("query_id", id).next().is_some()).then_some(())
    })
    .await
    .unwrap();

    let (service, gateway) = logs();
    let moved: Vec<_> = report.moves.iter().filter(|m| m.state == MoveState::Reclaimed).collect();
    assert!(!moved.is_empty(), "{report:#?}");
    for id in moved.iter().map(|moved| moved.id.to_string()) {
        let batches = service.of_move(&id, "batch_id");
        assert!(!batches.is_empty(), "the service says nothing of the batches of move {id}");
        assert_eq!(batches, gateway.of_move(&id, "batch_id"), "batches of move {id}");
        for said in ["batch announced", "batch proven"] {
            assert!(gateway.of_move(&id, "message").contains(said), "{said}, of move {id}");
        }
        for said in ["batch proven", "published"] {
            assert!(service.of_move(&id, "message").contains(said), "{said}, of move {id}");
        }
    }
    for (log, module, fields) in [
        (&service, "moves::ship", &["move_id"][..]),
        (&service, "moves::publish", &["move_id"]),
        (&service, "storage_service::router::cold", &["query_id", "cold_read"]),
        (&gateway, "storage_gateway::ingest::admit", &["move_id", "batch_id"]),
        (&gateway, "storage_gateway::ingest::prover", &["move_id", "batch_id"]),
        (&gateway, "storage_gateway::cold::query", &["query_id"]),
    ] {
        assert_eq!(log.without(module, fields), Vec::<&Value>::new(), "{module}");
    }
}
