//! Bad input gets a clear error, and nothing is lost.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic here is a failed test")]

use std::time::Duration;

use bytes::Bytes;
use reqwest::Method;
use storage_types::{
    gateway_api::ErrorBody,
    service_api::{MigrationReport, MigrationRequest, MigrationState},
};
use testbed::{
    clients::{Refused, Service},
    fixture::{Fixture, HOT},
    stack::{ManagedTable, Role, StackConfig},
};

const LIMIT: Duration = Duration::from_secs(60);

fn refused(error: &anyhow::Error) -> &Refused {
    error.downcast_ref::<Refused>().unwrap_or_else(|| panic!("not a refusal: {error:#}"))
}

fn body_code(text: &str) -> String {
    serde_json::from_str::<ErrorBody>(text).unwrap_or_else(|e| panic!("not an error body ({e}): {text}")).code
}

fn post(text: &str) -> Option<Bytes> {
    Some(Bytes::copy_from_slice(text.as_bytes()))
}

/// Waits until the newest migration says something that holds `words`.
async fn complaint(fixture: &Fixture, words: &[&str]) -> String {
    let deadline = tokio::time::Instant::now() + LIMIT;
    loop {
        let reports = fixture.service.migrations().await.unwrap();
        let said = reports.first().map(complaints).unwrap_or_default();
        if words.iter().any(|w| said.contains(w)) {
            return said;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "nobody complained of {words:?}: {said:?} {reports:#?}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn complaints(report: &MigrationReport) -> String {
    let moves = report.moves.iter().filter_map(|m| m.waits_for.as_ref().map(|wait| wait.what.clone()));
    report.errors.iter().cloned().chain(moves).collect::<Vec<_>>().join("; ")
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_that_are_not_one_select_are_refused() {
    let fixture = Fixture::with(|config| config.max_body = "64KiB".to_owned()).await.unwrap();
    fixture.oracle().preload(100).await.unwrap();
    for (sql, why) in [
        (format!("INSERT INTO {HOT}.daily SELECT * FROM {HOT}.coarse"), "a write"),
        (format!("DROP TABLE {HOT}.daily"), "a drop"),
        (format!("SELECT 1; DROP TABLE {HOT}.daily"), "two statements"),
        ("SELECT file('/etc/hostname')".to_owned(), "a file"),
        ("SELECT * FROM url('http://127.0.0.1:1/', 'CSV', 'a String')".to_owned(), "a URL"),
        (format!("SELECT * FROM {HOT}.daily INTO OUTFILE 'x'"), "a file to write"),
        ("SELECT".to_owned(), "half a question"),
        (String::new(), "no question"),
    ] {
        let error = fixture.service.query(&sql, "csv").await.expect_err(why);
        let refused = refused(&error);
        assert!((400..500).contains(&refused.status), "{why}: {refused}");
        assert!(!refused.code.is_empty() && !refused.message.is_empty(), "{why}: {refused}");
    }
    let count = fixture.service.query(&format!("SELECT count() AS n FROM {HOT}.daily"), "csv").await.unwrap();
    assert_eq!(count.text(), "\"n\"\n100\n", "nothing was lost");

    let unknown = fixture.service.query("SELECT * FROM nowhere.nothing", "csv").await.unwrap_err();
    assert!((400..500).contains(&refused(&unknown).status), "{unknown:#}");
    for (path, body, status) in [
        ("/api/v1/query", "{\"sql\": \"SELECT 1\", \"sqll\": 1}", 400),
        ("/api/v1/query", "not json", 400),
        ("/api/v1/query", "{\"sql\": \"SELECT 1\", \"format\": \"exe\"}", 400),
        ("/api/v1/migrations", "{\"tables\": [\"nowhere\"]}", 400),
        ("/api/v1/migrations", "{\"before\": \"yesterday-ish\"}", 400),
    ] {
        let (found, text) = fixture.service.raw(Method::POST, path, post(body)).await.unwrap();
        assert!(
            found.as_u16() == status || found.as_u16() == 404 || found.as_u16() == 422,
            "{body}: {found} {text}"
        );
        assert!(!body_code(&text).is_empty());
    }
    let (status, text) = fixture.service.raw(Method::GET, "/api/v1/migrations/..%2Fx", None).await.unwrap();
    assert!((400..500).contains(&status.as_u16()), "{status}");
    assert!(!body_code(&text).is_empty());
    let long = format!("{{\"sql\": \"SELECT '{}'\"}}", "x".repeat(80 << 10));
    let (status, text) = fixture.service.raw(Method::POST, "/api/v1/query", post(&long)).await.unwrap();
    assert_eq!(status.as_u16(), 413, "{text}");
    assert!(!body_code(&text).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_opens_nothing() {
    let fixture = Fixture::start().await.unwrap();
    let info = fixture.stack.info();
    for token in ["", "wrong", &info.gateway.token, &info.service.token[1..]] {
        let stranger = Service::new(&info.service.url, token).unwrap();
        for (method, path) in [
            (Method::POST, "/api/v1/query"),
            (Method::POST, "/api/v1/migrations"),
            (Method::GET, "/api/v1/catalog"),
            (Method::POST, "/internal/v1/heartbeat"),
        ] {
            let (status, text) = stranger.raw(method, path, post("{}")).await.unwrap();
            assert_eq!(status.as_u16(), 401, "{path} with {token:?}: {text}");
        }
        let stranger = Service::new(&info.gateway.url, token).unwrap();
        if token != info.gateway.token {
            let (status, _) = stranger.raw(Method::GET, "/v1/status", None).await.unwrap();
            assert_eq!(status.as_u16(), 401, "the gateway with {token:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_cannot_be_managed_say_why_and_stay_whole() {
    let old = "now() - INTERVAL 20 DAY";
    let tables = [
        format!(
            "CREATE TABLE {HOT}.timeless (id UInt64, at DateTime) ENGINE = MergeTree PARTITION BY toYYYYMM(at) ORDER BY id"
        ),
        format!(
            "CREATE TABLE {HOT}.fading (id UInt64, ts DateTime) ENGINE = MergeTree PARTITION BY toYYYYMM(ts) ORDER BY id TTL ts + INTERVAL 8 DAY"
        ),
        format!("INSERT INTO {HOT}.timeless SELECT number, {old} FROM numbers(10)"),
        format!("INSERT INTO {HOT}.fading SELECT number, now() FROM numbers(10)"),
    ];
    let manage = |config: &mut StackConfig| {
        for name in ["absent", "timeless", "fading"] {
            config.tables.push(ManagedTable::named(name, HOT, "oracle_cold", "ts"));
        }
    };
    let fixture = Fixture::with_tables(manage, &tables).await.unwrap();
    fixture.oracle().preload(2_000).await.unwrap();
    // The good tables move all the same.
    let id = fixture.service.migrate(&MigrationRequest::default()).await.unwrap();
    let report = fixture.service.finished(id, LIMIT, |_| {}).await.unwrap();
    assert!(report.rows_published > 0, "{report:#?}");
    let catalog = fixture.service.catalog().await.unwrap();
    for (name, words) in [
        ("absent", &["absent", "exist", "unknown"][..]),
        ("timeless", &["ts", "time column"]),
        ("fading", &["TTL"]),
    ] {
        let table = catalog.tables.iter().find(|t| t.table == name).unwrap();
        let why = table.refused.clone().unwrap_or_else(|| panic!("{name} is not refused"));
        assert!(words.iter().any(|w| why.contains(w)), "{name}: {why}");
        let asked = MigrationRequest { tables: vec![name.to_owned()], ..MigrationRequest::default() };
        match fixture.service.migrate(&asked).await {
            Err(error) => assert!((400..500).contains(&refused(&error).status), "{name}: {error:#}"),
            Ok(id) => {
                let report = fixture.service.finished(id, LIMIT, |_| {}).await.unwrap();
                assert_ne!(report.state, MigrationState::Done, "{name}: {report:#?}");
                assert!(!complaints(&report).is_empty(), "{name}: {report:#?}");
            }
        }
    }
    for (name, rows) in [("timeless", 10), ("fading", 10)] {
        assert_eq!(
            fixture.hot.number(&format!("SELECT count() FROM {HOT}.{name}")).await.unwrap(),
            rows,
            "{name}"
        );
    }
    // Taking the TTL over is all that `fading` needs.
    let adopted = fixture.service.adopt("fading").await.unwrap();
    assert!(adopted.removed_ttl.is_some_and(|ttl| ttl.contains("toIntervalDay(8)") || ttl.contains("8")));
    let catalog = fixture.service.catalog().await.unwrap();
    assert_eq!(catalog.tables.iter().find(|t| t.table == "fading").unwrap().refused, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_changed_between_two_batches_stops_the_second() {
    let fixture = Fixture::start().await.unwrap();
    let oracle = fixture.oracle_of("daily");
    oracle.preload(5_000).await.unwrap();
    fixture.migrate_table(Some("daily"), LIMIT).await.unwrap();
    fixture.hot.query(format!("ALTER TABLE {HOT}.daily ADD COLUMN note String")).await.unwrap();
    oracle.preload(1_000).await.unwrap();
    let asked = MigrationRequest { tables: vec!["daily".to_owned()], ..MigrationRequest::default() };
    fixture.service.migrate(&asked).await.unwrap();
    complaint(&fixture, &["schema", "column", "note"]).await;
    // As soon as it fits again, everything is there and moves.
    fixture.hot.query(format!("ALTER TABLE {HOT}.daily DROP COLUMN note")).await.unwrap();
    fixture.migrate_table(Some("daily"), LIMIT).await.unwrap();
    let verdict = oracle.finish().await.unwrap();
    assert_eq!(verdict.violations, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_on_either_side_refuses_before_it_is_hit() {
    for role in [Role::Gateway, Role::Service] {
        let mut fixture = Fixture::start().await.unwrap();
        let full = "900TB".to_owned();
        fixture
            .stack
            .reconfigure(|config| match role {
                Role::Gateway => config.gateway_min_free = full,
                _ => config.service_min_free = full,
            })
            .unwrap();
        fixture.stack.stop_one(role).unwrap();
        fixture.stack.relaunch(role).unwrap();
        fixture.stack.answers(role).await.unwrap();
        let oracle = fixture.oracle();
        oracle.preload(5_000).await.unwrap();
        fixture.service.migrate(&MigrationRequest::default()).await.unwrap();
        complaint(&fixture, &["min_free_bytes", "reserve", "free"]).await;
        // With room again the same rows move, and all of them are there.
        fixture
            .stack
            .reconfigure(|config| {
                config.gateway_min_free = "1MiB".to_owned();
                config.service_min_free = "1MiB".to_owned();
            })
            .unwrap();
        fixture.stack.stop_one(role).unwrap();
        fixture.stack.restart(role).await.unwrap();
        fixture.migrate(LIMIT).await.unwrap();
        let verdict = oracle.finish().await.unwrap();
        assert_eq!(verdict.violations, Vec::<String>::new());
        fixture.reclaimed().await.unwrap();
    }
}
