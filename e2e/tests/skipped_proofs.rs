//! An oracle that never turns red proves nothing: rows are spoiled on purpose, once with every proof
//! at work and once with one of them skipped.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic here is a failed test")]

use std::time::Duration;

use storage_types::service_api::MigrationRequest;
use testbed::{
    faults::{Point, Skip},
    fixture::{COLD, Fixture, HOT},
};

const LIMIT: Duration = Duration::from_secs(60);
const LOADED: Point = Point::GatewayLoadAfterEffect;
const DELETING: Point = Point::MoveDeleteBefore;

fn daily() -> MigrationRequest {
    MigrationRequest { tables: vec!["daily".to_owned()], ..MigrationRequest::default() }
}

/// Deletes one row of whatever staging table there is, while the gateway is held after loading it.
async fn spoil_staging(fixture: &Fixture) {
    fixture.faults.arm(LOADED).unwrap();
    fixture.service.migrate(&daily()).await.unwrap();
    fixture.faults.held(LOADED, LIMIT).await.unwrap();
    let staging = fixture
        .cold
        .query(format!(
            "SELECT name FROM system.tables WHERE database = '{COLD}' AND name NOT IN ('daily', 'coarse') AND total_rows > 0"
        ))
        .await
        .unwrap();
    let staging = staging.lines().next().expect("a staging table with rows").to_owned();
    fixture
        .cold
        .query(format!(
            "ALTER TABLE {COLD}.`{staging}` DELETE WHERE id = (SELECT min(id) FROM {COLD}.`{staging}`) SETTINGS mutations_sync = 2, allow_nondeterministic_mutations = 1"
        ))
        .await
        .unwrap();
    fixture.faults.release(LOADED).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_lost_on_arrival_is_refuted_and_sent_again() {
    let fixture = Fixture::start().await.unwrap();
    let oracle = fixture.oracle_of("daily");
    oracle.preload(5_000).await.unwrap();
    spoil_staging(&fixture).await;
    fixture.migrate_table(Some("daily"), LIMIT).await.unwrap();
    assert_eq!(oracle.finish().await.unwrap().violations, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_proof_on_arrival_the_oracle_turns_red() {
    let fixture = Fixture::start().await.unwrap();
    let oracle = fixture.oracle_of("daily");
    oracle.preload(5_000).await.unwrap();
    fixture.faults.skip(Skip::GatewayProve).unwrap();
    fixture.faults.arm(DELETING).unwrap();
    spoil_staging(&fixture).await;
    // The reading back before the deletion would still stand between the spoiled batch and the last copy.
    fixture.faults.held(DELETING, LIMIT).await.unwrap();
    let verdict = oracle.finish().await.unwrap();
    assert!(verdict.violations.iter().any(|v| v.contains("lost")), "{verdict:#?}");
    fixture.faults.release(DELETING).unwrap();
}

/// Deletes one published row in the live cold table, before it is read back.
async fn spoil_live(fixture: &Fixture) {
    fixture.faults.arm(DELETING).unwrap();
    fixture.service.migrate(&daily()).await.unwrap();
    fixture.faults.held(DELETING, LIMIT).await.unwrap();
    fixture
        .cold
        .query(format!(
            "ALTER TABLE {COLD}.daily DELETE WHERE id = (SELECT min(id) FROM {COLD}.daily) SETTINGS mutations_sync = 2, allow_nondeterministic_mutations = 1"
        ))
        .await
        .unwrap();
    fixture.faults.release(DELETING).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_lost_on_the_nas_is_sent_again_from_the_hot_copy() {
    let fixture = Fixture::start().await.unwrap();
    fixture.oracle_of("daily").preload(5_000).await.unwrap();
    spoil_live(&fixture).await;
    let deadline = tokio::time::Instant::now() + LIMIT;
    loop {
        let reports = fixture.service.migrations().await.unwrap();
        if reports.iter().flat_map(|r| &r.moves).any(|m| m.reason.is_some()) {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "nobody noticed: {reports:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    fixture.idle(deadline).await.unwrap();
    let written = fixture.written.iter().find(|t| t.table == format!("{HOT}.daily")).unwrap();
    let ask = "SELECT id FROM daily";
    let seen: Vec<std::collections::BTreeMap<String, serde_json::Value>> =
        fixture.service.rows(ask).await.unwrap();
    let seen: std::collections::BTreeSet<u64> =
        seen.iter().filter_map(|row| row.get("id")?.to_string().trim_matches('"').parse().ok()).collect();
    let missing: Vec<u64> = written.expected().ids().filter(|id| !seen.contains(id)).collect();
    assert_eq!(missing, Vec::<u64>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_second_proof_the_oracle_turns_red() {
    let fixture = Fixture::start().await.unwrap();
    let oracle = fixture.oracle_of("daily");
    oracle.preload(5_000).await.unwrap();
    fixture.faults.skip(Skip::ServiceReprove).unwrap();
    spoil_live(&fixture).await;
    fixture.migrate_table(Some("daily"), LIMIT).await.unwrap();
    let verdict = oracle.finish().await.unwrap();
    assert!(verdict.violations.iter().any(|v| v.contains("lost")), "{verdict:#?}");
}
