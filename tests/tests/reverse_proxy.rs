//! The alternative to a tunnel: nginx between the service and the gateway, as shipped, with its
//! buffering left on for answers and off for uploads.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic here is a failed test")]

use std::{
    fs,
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::Duration,
};

use e2e::scene::Scene;
use xtask::stack::{Knobs, Link};

const LIMIT: Duration = Duration::from_secs(120);

struct Nginx {
    process: Child,
    _dir: tempfile::TempDir,
}

impl Nginx {
    fn start(port: u16, gateway: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let conf = format!(
            "daemon off; master_process off; pid nginx.pid; error_log error.log;\n\
             events {{ worker_connections 64; }}\n\
             http {{ access_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; \
             uwsgi_temp_path u; scgi_temp_path s;\n\
             server {{ listen 127.0.0.1:{port}; client_max_body_size 0;\n\
             location / {{ proxy_pass {gateway}; proxy_http_version 1.1; proxy_request_buffering off; \
             proxy_read_timeout 300s; }} }} }}\n"
        );
        fs::write(dir.path().join("nginx.conf"), conf).unwrap();
        let process = Command::new("nginx")
            .arg("-p")
            .arg(dir.path())
            .args(["-c", "nginx.conf", "-e", "error.log"])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, _dir: dir }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_move_and_answers_come_through_a_proxy() {
    if Command::new("nginx").arg("-v").stderr(Stdio::null()).status().is_err() {
        println!("SKIPPED: nginx is not installed (Debian: nginx-light)");
        return;
    }
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let change = |knobs: &mut Knobs| {
        knobs.link = Link::Direct;
        knobs.proxy = Some(port);
    };
    let scene = Scene::with(change).await.unwrap();
    let gateway = scene.stack.info().gateway.url;
    let nginx = Nginx::start(port, gateway.trim_end_matches('/'));
    let mut oracle = scene.oracle();
    oracle.preload(60_000).await.unwrap();
    oracle.start(true);
    let moved = scene.migrate(LIMIT).await.unwrap();
    assert!(moved.rows_published > 0, "{moved:#?}");
    oracle.answered_more(8, LIMIT).await.unwrap();
    let verdict = oracle.finish().await.unwrap();
    assert_eq!(verdict.violations, Vec::<String>::new());
    // The rows did come that way: without the proxy cold questions have no answer.
    drop(nginx);
    let all = format!("SELECT count() AS n FROM {}", scene.truths[0].table);
    assert!(scene.service.query(&all, "csv").await.is_err());
    scene.stack.stop().unwrap();
}
