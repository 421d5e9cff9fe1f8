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
const REPROVING: Point = Point::MoveReproveBeforeJournal;

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
    spoil_staging(&fixture).await;
    // The reading back before the drop still stands between the spoiled batch and the last copy.
    let deadline = tokio::time::Instant::now() + LIMIT;
    loop {
        let reports = fixture.service.migrations().await.unwrap();
        let published = reports
            .iter()
            .flat_map(|r| &r.moves)
            .any(|m| m.state.as_str() == "published" && m.error.is_some());
        if published {
            break;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "the spoiled move was neither published nor stopped: {reports:#?}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let verdict = oracle.finish().await.unwrap();
    assert!(verdict.violations.iter().any(|v| v.contains("lost")), "{verdict:#?}");
    let kept = fixture
        .hot
        .query("SELECT count() FROM system.tables WHERE database = 'storage_internal'")
        .await
        .unwrap();
    assert_ne!(kept.trim(), "0", "the hot copy is still there");
}

/// Deletes one published row in the live cold table, before it is read back.
async fn spoil_live(fixture: &Fixture) {
    fixture.faults.arm(REPROVING).unwrap();
    fixture.service.migrate(&daily()).await.unwrap();
    fixture.faults.held(REPROVING, LIMIT).await.unwrap();
    fixture
        .cold
        .query(format!(
            "ALTER TABLE {COLD}.daily DELETE WHERE id = (SELECT min(id) FROM {COLD}.daily) SETTINGS mutations_sync = 2, allow_nondeterministic_mutations = 1"
        ))
        .await
        .unwrap();
    fixture.faults.release(REPROVING).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_lost_on_the_nas_keeps_the_hot_copy() {
    let fixture = Fixture::start().await.unwrap();
    let oracle = fixture.oracle_of("daily");
    oracle.preload(5_000).await.unwrap();
    spoil_live(&fixture).await;
    let deadline = tokio::time::Instant::now() + LIMIT;
    let said = loop {
        let reports = fixture.service.migrations().await.unwrap();
        let said = reports.iter().flat_map(|r| &r.moves).find_map(|m| m.error.clone());
        if let Some(said) = said {
            break said;
        }
        assert!(tokio::time::Instant::now() < deadline, "nobody noticed: {reports:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    // The row is still on the hot side, in the table the move set aside.
    let names = fixture
        .hot
        .query("SELECT concat(database, '.`', name, '`') FROM system.tables WHERE database = 'storage_internal' FORMAT TSVRaw")
        .await
        .unwrap();
    let written = fixture.written.iter().find(|t| t.table == format!("{HOT}.daily")).unwrap();
    let mut kept = std::collections::BTreeSet::new();
    for name in names.lines() {
        let ids = fixture.hot.query(format!("SELECT id FROM {name} FORMAT TSV")).await.unwrap();
        kept.extend(ids.lines().map(|id| id.parse::<u64>().unwrap()));
    }
    let cold = fixture.cold.query(format!("SELECT id FROM {COLD}.daily FORMAT TSV")).await.unwrap();
    kept.extend(cold.lines().map(|id| id.parse::<u64>().unwrap()));
    let head = fixture.hot.query(format!("SELECT id FROM {HOT}.daily FORMAT TSV")).await.unwrap();
    kept.extend(head.lines().map(|id| id.parse::<u64>().unwrap()));
    let missing: Vec<u64> = written.expected().ids().filter(|id| !kept.contains(id)).collect();
    assert_eq!(missing, Vec::<u64>::new(), "lost for good, though the service said: {said}");
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
