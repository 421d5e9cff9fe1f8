//! The alternative to a tunnel: proxies nobody here wrote between the daemons, in both directions.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic here is a failed test")]

use std::time::Duration;

use e2e::{ssh, test_ca::TestCa};
use storage_types::service_api::MigrationRequest;
use testbed::{
    fixture::Fixture,
    lab::nginx::{Nginx, Site},
    logs,
    stack::{Link, Proxies, Role, StackConfig, free_port},
};

const LIMIT: Duration = Duration::from_secs(120);

/// A fixture behind proxies of the test's own, which are started when the daemons' ports are known.
async fn behind(proxies: Proxies) -> Fixture {
    let change = |config: &mut StackConfig| {
        config.link = Link::ReverseProxy;
        config.proxies = Some(proxies);
        config.heartbeat_s = 1;
        config.timeout_s = 5;
    };
    Fixture::with(change).await.unwrap()
}

fn two_ports() -> [u16; 2] {
    let first = free_port(&[]).unwrap();
    [first, free_port(&[first]).unwrap()]
}

fn port(url: &str) -> u16 {
    url.trim_end_matches('/').rsplit_once(':').unwrap().1.parse().unwrap()
}

/// Rows move and questions are answered while late rows come, and the gateway's own calls arrive.
async fn works(fixture: &Fixture) {
    let verdict = fixture.moves_and_answers(LIMIT).await.unwrap();
    assert_eq!(verdict.violations, Vec::<String>::new());
    let deadline = tokio::time::Instant::now() + LIMIT;
    while fixture.service.status().await.unwrap().gateway_heard_s.is_none() {
        assert!(tokio::time::Instant::now() < deadline, "the gateway's heartbeat does not arrive");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The rows did come that way: without it cold questions have no answer.
async fn needs_it(fixture: &Fixture) {
    let all = format!("SELECT count() AS n FROM {}", fixture.written[0].table);
    assert!(fixture.service.query(&all, "csv").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_move_and_answers_come_through_nginx() {
    if let Err(why) = Link::ReverseProxy.possible() {
        println!("SKIPPED: {why:#}");
        return;
    }
    let change = |config: &mut StackConfig| {
        config.link = Link::ReverseProxy;
        config.heartbeat_s = 1;
    };
    let mut fixture = Fixture::with(change).await.unwrap();
    works(&fixture).await;
    let link = fixture.service.status().await.unwrap().link.unwrap();
    assert_eq!((link.mode.as_str(), link.state.as_str()), ("reverse_proxy", "up"), "{link:?}");
    fixture.stack.end_proxies();
    needs_it(&fixture).await;
    fixture.stack.stop().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_move_and_answers_come_through_ssh() {
    if let Err(why) = ssh::Tunnel::possible() {
        println!("SKIPPED: {why:#}");
        return;
    }
    let [cloud, nas] = two_ports();
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    let fixture = behind(Proxies { to_gateway: url(cloud), to_service: url(nas), ca_file: None }).await;
    let info = fixture.stack.info();
    let tunnel = ssh::Tunnel::start((cloud, port(&info.gateway.url)), (nas, port(&info.service.url)));
    let tunnel = tunnel.unwrap();
    works(&fixture).await;
    drop(tunnel);
    needs_it(&fixture).await;
    fixture.stack.stop().unwrap();
}

/// nginx that speaks TLS for both daemons of `fixture`, with a certificate of `test_ca`.
fn tls(fixture: &Fixture, test_ca: &TestCa, ports: [u16; 2], dir: &std::path::Path) -> Nginx {
    let info = fixture.stack.info();
    let identity = test_ca.issue("proxy", "IP:127.0.0.1").unwrap();
    let sites = [(ports[0], info.gateway.url), (ports[1], info.service.url)].map(|(listen, to)| Site {
        listen,
        to,
        tls: Some(identity.clone()),
    });
    Nginx::start(&dir.join("nginx"), &dir.join("nginx.log"), &sites, false).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn https_is_spoken_to_the_pinned_authority_and_to_no_other() {
    if let Err(why) = Nginx::installed().and(TestCa::possible()) {
        println!("SKIPPED: {why:#}");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let [ours, others] = ["ours", "others"].map(|name| TestCa::create(&dir.path().join(name)).unwrap());
    let ports = two_ports();
    let url = |port: u16| format!("https://127.0.0.1:{port}");
    let pinned = |test_ca: &TestCa| Proxies {
        to_gateway: url(ports[0]),
        to_service: url(ports[1]),
        ca_file: Some(test_ca.certificate()),
    };
    // First another's: nothing is called, nothing moves, and both daemons say once what to do.
    let mut fixture = behind(pinned(&others)).await;
    let _nginx = tls(&fixture, &ours, ports, dir.path());
    fixture.oracle().preload(20_000).await.unwrap();
    let id = fixture.service.migrate(&MigrationRequest::default()).await.unwrap();
    let refused =
        |text: &str| text.contains("certificate is not accepted") && text.contains("connection.ca_file");
    let deadline = tokio::time::Instant::now() + LIMIT;
    loop {
        let problem = fixture.service.status().await.unwrap().link.unwrap().problem.unwrap_or_default();
        let said = logs::unexpected(&fixture.stack, &[]);
        let by = |role: Role| said.iter().filter(|l| l.starts_with(role.name()) && refused(l)).count();
        let told = [by(Role::Service), by(Role::Gateway)];
        if refused(&problem) && told.iter().all(|lines| *lines > 0) {
            assert_eq!(told, [1, 1], "{said:#?}");
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "the status says {problem:?}, the logs {said:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let report = fixture.service.migration(id).await.unwrap();
    assert_eq!(report.rows_published, 0, "{report:#?}");
    let arrived = "SELECT count() FROM system.tables WHERE database = 'oracle_cold'";
    assert_eq!(fixture.cold.number(arrived).await.unwrap(), 0);
    // With the right one in its place the same rows move.
    fixture.stack.reconfigure(|config| config.proxies = Some(pinned(&ours))).unwrap();
    for role in [Role::Gateway, Role::Service] {
        fixture.stack.stop_one(role).unwrap();
        fixture.stack.restart(role).await.unwrap();
    }
    works(&fixture).await;
    fixture.stack.stop().unwrap();
}
