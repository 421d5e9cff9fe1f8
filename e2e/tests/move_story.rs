//! The main job, told by the oracle: rows move, late rows come, nothing is lost or doubled.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic here is a failed test")]

use std::time::Duration;

use testbed::{fixture::Fixture, logs, stack::Role};

const LIMIT: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn rows_move_once_while_others_come_late() {
    let fixture = Fixture::start().await.unwrap();
    let mut oracle = fixture.oracle();
    oracle.preload(100_000).await.unwrap();
    oracle.start(1);
    oracle.answered_more(8, LIMIT).await.unwrap();
    for _ in 0..3 {
        let report = fixture.migrate(LIMIT).await.unwrap();
        assert!(report.rows_published > 0, "{report:#?}");
        oracle.answered_more(8, LIMIT).await.unwrap();
    }
    let verdict = oracle.finish().await.unwrap();
    assert_eq!(verdict.violations, Vec::<String>::new());
    assert_eq!(verdict.failed, 0, "nothing was down, and yet: {:?}", verdict.last_error);
    assert_eq!(logs::unexpected(&fixture.stack, &[]), Vec::<String>::new());
    // Nobody writes any more: one more migration takes the last late rows, and nothing is left.
    fixture.migrate(LIMIT).await.unwrap();
    fixture.reclaimed().await.unwrap();
    let verdict = fixture.oracle().finish().await.unwrap();
    assert_eq!(verdict.violations, Vec::<String>::new());
    fixture.stack.stop().unwrap();
}

/// Seconds that the next test takes instead of ten; `SOAK_SECONDS=600` is ten minutes.
const SOAK: &str = "SOAK_SECONDS";

/// Writers of every kind insert rows of all ages, by four to a table, while one watermark after the other is taken:
/// every acknowledged row is seen once at every moment.
#[tokio::test(flavor = "multi_thread")]
async fn many_writers_lose_nothing_to_the_watermarks() {
    let seconds = std::env::var(SOAK).ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    let until = tokio::time::Instant::now() + Duration::from_secs(seconds);
    let fixture = Fixture::with(|config| config.batch_rows = 2_000).await.unwrap();
    let mut oracle = fixture.oracle();
    oracle.start(4);
    let (mut migrations, mut moved) = (0, 0);
    while tokio::time::Instant::now() < until || migrations < 3 {
        moved += fixture.migrate(LIMIT).await.unwrap().rows_published;
        migrations += 1;
        assert_eq!(oracle.report().violations(), Vec::<String>::new());
    }
    let verdict = oracle.finish().await.unwrap();
    assert_eq!(verdict.violations, Vec::<String>::new());
    assert_eq!(verdict.failed, 0, "nothing was down, and yet: {:?}", verdict.last_error);
    assert!(moved > 0 && verdict.answered > 0, "{moved} rows moved, {} questions answered", verdict.answered);
    println!(
        "{} rows written, {moved} of them moved by {migrations} migrations, {} questions answered",
        verdict.written, verdict.answered
    );
    fixture.stack.stop().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_nas_hurts_only_cold_questions() {
    let mut fixture = Fixture::with(|config| config.timeout_s = 3).await.unwrap();
    fixture.oracle().preload(20_000).await.unwrap();
    fixture.migrate(LIMIT).await.unwrap();
    fixture.stack.kill(Role::Gateway).unwrap();
    let written = &fixture.written[0];
    let middle = testbed::expected_rows::time_text(written.start_ms + written.span_ms / 2 + 86_400_000);
    let recent =
        format!("SELECT count() AS n FROM {} WHERE ts >= toDateTime64('{middle}', 3, 'UTC')", written.table);
    let all = format!("SELECT count() AS n FROM {}", written.table);
    let answer = fixture.service.query(&recent, "csv").await.unwrap();
    assert_eq!(answer.route, "hot");
    let refused = fixture.service.query(&all, "csv").await.unwrap_err();
    let refused = refused.downcast_ref::<testbed::clients::Refused>().expect("an error body").clone();
    assert_eq!(refused.code, "cold_unavailable", "{refused}");
    // The service starts without the NAS, inserts go on, and the whole answer is back with the NAS.
    fixture.stack.kill(Role::Service).unwrap();
    fixture.stack.restart(Role::Service).await.unwrap();
    assert_eq!(fixture.service.query(&recent, "csv").await.unwrap().route, "hot");
    fixture.stack.restart(Role::Gateway).await.unwrap();
    assert_eq!(fixture.service.query(&all, "csv").await.unwrap().text(), "\"n\"\n20000\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn cold_tables_are_ordinary_tables() {
    let fixture = Fixture::start().await.unwrap();
    fixture.oracle().preload(10_000).await.unwrap();
    fixture.migrate(LIMIT).await.unwrap();
    let hot = fixture.hot.query("DESCRIBE TABLE (SELECT * FROM oracle_hot.daily) FORMAT TSV").await.unwrap();
    let cold =
        fixture.cold.query("DESCRIBE TABLE (SELECT * FROM oracle_cold.daily) FORMAT TSV").await.unwrap();
    assert_eq!(hot, cold, "SELECT * returns the user's own columns");
    let rows = fixture.cold.number("SELECT count() FROM oracle_cold.daily").await.unwrap();
    assert!(rows > 0);
    // The catalog knows where a question belongs.
    let start = fixture.written[1].start_ms;
    let time = |hours: u64| {
        format!("toDateTime64('{}', 3, 'UTC')", testbed::expected_rows::time_text(start + hours * 3_600_000))
    };
    for (from, to, route) in [(2, 20, "cold"), (2, 60, "hybrid"), (50, 90, "hot")] {
        let sql = format!(
            "SELECT count() AS n, sum(id) AS ids FROM oracle_hot.daily WHERE ts >= {} AND ts < {}",
            time(from),
            time(to)
        );
        let answer = fixture.service.query(&sql, "csv").await.unwrap();
        assert_eq!(
            (answer.route.as_str(), answer.coverage.as_str()),
            (route, "complete"),
            "hours {from} to {to}"
        );
    }
}
