//! What the service says of its line, on the status page and to Prometheus, while the NAS is there, away,
//! and there again; and what a migration does meanwhile.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic here is a failed test")]

use std::time::Duration;

use reqwest::Method;
use storage_types::service_api::{LinkStatus, MigrationRequest, MigrationState};
use testbed::{
    fixture::{DAILY, Fixture, HOT},
    stack::Role,
    wait::within,
};

const LIMIT: Duration = Duration::from_secs(90);

/// Waits until the status page says it.
async fn until(fixture: &Fixture, what: &str, wanted: impl Fn(&LinkStatus) -> bool) -> LinkStatus {
    let mut last = None;
    let found = within(LIMIT, what, async || {
        let link = fixture.service.status().await.unwrap().link.unwrap();
        last = Some(link.clone());
        wanted(&link).then_some(link)
    });
    match found.await {
        Ok(link) => link,
        Err(error) => panic!("{error}: {last:?}"),
    }
}

async fn metric(fixture: &Fixture, series: &str) -> Option<f64> {
    let (status, text) = fixture.service.raw(Method::GET, "/metrics", None).await.unwrap();
    assert!(status.is_success() && text.ends_with("# EOF\n"), "{status}: {text}");
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("hybrid_storage_{series} ")));
    line.map(|value| value.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_is_measured_lost_and_found() {
    let mut fixture = Fixture::with(|config| config.timeout_s = 5).await.unwrap();
    fixture.oracle_of(DAILY).preload(20_000).await.unwrap();
    let up = until(&fixture, "measured", |link| {
        link.state == "up" && link.rtt_ms.is_some() && link.bandwidth_bytes_s.is_some()
    })
    .await;
    assert!(up.is_stable && up.stability.unwrap() > 0.6 && up.loss == Some(0.0), "{up:?}");
    assert!(up.bandwidth_bytes_s.unwrap() > 1e5, "nothing was moved yet: a probe's figure {up:?}");
    assert_eq!(metric(&fixture, "link_state{state=\"up\"}").await, Some(1.0));
    assert_eq!(metric(&fixture, "link_state{state=\"down\"}").await, Some(0.0));
    assert_eq!(metric(&fixture, "link_stable").await, Some(1.0));
    assert!(metric(&fixture, "link_handshake_age_seconds").await.is_some());
    assert!(metric(&fixture, "link_sent_bytes_total").await.unwrap() >= 256.0 * 1024.0);

    fixture.stack.kill(Role::Gateway).unwrap();
    let away = until(&fixture, "unstable", |link| !link.is_stable).await;
    assert!(away.stability.unwrap() < 0.3, "{away:?}");
    assert_eq!(metric(&fixture, "link_stable").await, Some(0.0));
    let id = fixture.service.migrate(&MigrationRequest::default()).await.unwrap();
    // The process is gone, and the tunnel's end with it; its last session would be good for 3 minutes.
    until(&fixture, "named", |link| link.state == "http_dead").await;
    assert_eq!(metric(&fixture, "link_state{state=\"http_dead\"}").await, Some(1.0));
    let hot = format!("SELECT count() AS n FROM {HOT}.{DAILY} WHERE ts > now()");
    assert!(fixture.service.query(&hot, "csv").await.is_ok(), "hot questions need no NAS");
    let waiting = fixture.service.migration(id).await.unwrap();
    assert_eq!(waiting.state, MigrationState::Running, "{waiting:?}");

    fixture.stack.restart(Role::Gateway).await.unwrap();
    until(&fixture, "stable again", |link| link.is_stable && link.state == "up").await;
    let moved = fixture.service.finished(id, LIMIT, |_| {}).await.unwrap();
    assert!(moved.state == MigrationState::Done && moved.rows_published > 0, "{moved:?}");
    fixture.stack.stop().unwrap();
}
