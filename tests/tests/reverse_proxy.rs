//! The alternative to a tunnel: proxies nobody here wrote between the daemons, in both directions.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic here is a failed test")]

use std::time::Duration;

use e2e::{authority::Authority, logs, scene::Scene, ssh};
use storage_types::service_api::MigrationRequest;
use xtask::{
    lab::nginx::{Nginx, Site},
    stack::{Knobs, Link, Proxies, Role, free_port},
};

const LIMIT: Duration = Duration::from_secs(120);

/// A scene behind proxies of the test's own, which are started when the daemons' ports are known.
async fn behind(proxies: Proxies) -> Scene {
    let change = |knobs: &mut Knobs| {
        knobs.link = Link::ReverseProxy;
        knobs.proxies = Some(proxies);
        knobs.heartbeat_s = 1;
        knobs.timeout_s = 5;
    };
    Scene::with(change).await.unwrap()
}

fn two_ports() -> [u16; 2] {
    let first = free_port(&[]).unwrap();
    [first, free_port(&[first]).unwrap()]
}

fn port(url: &str) -> u16 {
    url.trim_end_matches('/').rsplit_once(':').unwrap().1.parse().unwrap()
}

/// Rows move and questions are answered while late rows come, and the gateway's own calls arrive.
async fn works(scene: &Scene) {
    let verdict = scene.moves_and_answers(LIMIT).await.unwrap();
    assert_eq!(verdict.violations, Vec::<String>::new());
    let deadline = tokio::time::Instant::now() + LIMIT;
    while scene.service.status().await.unwrap().gateway_heard_s.is_none() {
        assert!(tokio::time::Instant::now() < deadline, "the gateway's heartbeat does not arrive");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The rows did come that way: without it cold questions have no answer.
async fn needs_it(scene: &Scene) {
    let all = format!("SELECT count() AS n FROM {}", scene.truths[0].table);
    assert!(scene.service.query(&all, "csv").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_move_and_answers_come_through_nginx() {
    if let Err(why) = Link::ReverseProxy.possible() {
        println!("SKIPPED: {why:#}");
        return;
    }
    let change = |knobs: &mut Knobs| {
        knobs.link = Link::ReverseProxy;
        knobs.heartbeat_s = 1;
    };
    let mut scene = Scene::with(change).await.unwrap();
    works(&scene).await;
    let link = scene.service.status().await.unwrap().link.unwrap();
    assert_eq!((link.mode.as_str(), link.state.as_str()), ("reverse_proxy", "up"), "{link:?}");
    scene.stack.end_proxies();
    needs_it(&scene).await;
    scene.stack.stop().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_move_and_answers_come_through_ssh() {
    if let Err(why) = ssh::Tunnel::possible() {
        println!("SKIPPED: {why:#}");
        return;
    }
    let [cloud, nas] = two_ports();
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    let scene = behind(Proxies { to_gateway: url(cloud), to_service: url(nas), ca_file: None }).await;
    let info = scene.stack.info();
    let tunnel = ssh::Tunnel::start((cloud, port(&info.gateway.url)), (nas, port(&info.service.url)));
    let tunnel = tunnel.unwrap();
    works(&scene).await;
    drop(tunnel);
    needs_it(&scene).await;
    scene.stack.stop().unwrap();
}

/// nginx that speaks TLS for both daemons of `scene`, with a certificate of `authority`.
fn tls(scene: &Scene, authority: &Authority, ports: [u16; 2], dir: &std::path::Path) -> Nginx {
    let info = scene.stack.info();
    let identity = authority.issue("proxy", "IP:127.0.0.1").unwrap();
    let sites = [(ports[0], info.gateway.url), (ports[1], info.service.url)].map(|(listen, to)| Site {
        listen,
        to,
        tls: Some(identity.clone()),
    });
    Nginx::start(&dir.join("nginx"), &dir.join("nginx.log"), &sites, false).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn https_is_spoken_to_the_pinned_authority_and_to_no_other() {
    if let Err(why) = Nginx::installed().and(Authority::possible()) {
        println!("SKIPPED: {why:#}");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let [ours, others] = ["ours", "others"].map(|name| Authority::create(&dir.path().join(name)).unwrap());
    let ports = two_ports();
    let url = |port: u16| format!("https://127.0.0.1:{port}");
    let pinned = |authority: &Authority| Proxies {
        to_gateway: url(ports[0]),
        to_service: url(ports[1]),
        ca_file: Some(authority.certificate()),
    };
    // First another's: nothing is called, nothing moves, and both daemons say once what to do.
    let mut scene = behind(pinned(&others)).await;
    let _nginx = tls(&scene, &ours, ports, dir.path());
    scene.oracle().preload(20_000).await.unwrap();
    let id = scene.service.migrate(&MigrationRequest::default()).await.unwrap();
    let refused =
        |text: &str| text.contains("certificate is not accepted") && text.contains("connection.ca_file");
    let deadline = tokio::time::Instant::now() + LIMIT;
    loop {
        let problem = scene.service.status().await.unwrap().link.unwrap().problem.unwrap_or_default();
        let said = logs::unexpected(&scene.stack, &[]);
        let by = |role: Role| said.iter().filter(|l| l.starts_with(role.name()) && refused(l)).count();
        let told = [by(Role::Service), by(Role::Gateway)];
        if refused(&problem) && told.iter().all(|lines| *lines > 0) {
            assert_eq!(told, [1, 1], "{said:#?}");
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "the status says {problem:?}, the logs {said:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let report = scene.service.migration(id).await.unwrap();
    assert_eq!(report.rows_published, 0, "{report:#?}");
    let arrived = "SELECT count() FROM system.tables WHERE database = 'oracle_cold'";
    assert_eq!(scene.cold.number(arrived).await.unwrap(), 0);
    // With the right one in its place the same rows move.
    scene.stack.reconfigure(|knobs| knobs.proxies = Some(pinned(&ours))).unwrap();
    for role in [Role::Gateway, Role::Service] {
        scene.stack.stop_one(role).unwrap();
        scene.stack.restart(role).await.unwrap();
    }
    works(&scene).await;
    scene.stack.stop().unwrap();
}
