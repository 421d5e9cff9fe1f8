//! The tunnel between the daemons is cut and restored, or runs over a very bad line, while rows move and
//! questions are asked: what is answered stays right, and everything arrives.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic here is a failed test")]

use std::{
    process::Command,
    time::{Duration, Instant},
};

use e2e::scene::Scene;
use xtask::{lab::pair::Running, stack::free_port};

const LIMIT: Duration = Duration::from_secs(240);

/// A line on loopback that can be cut; ends when it is dropped.
fn line(port: u16, to: &str, like: &[&str]) -> Running {
    let xtask = Command::new(xtask::binaries::path("xtask").unwrap());
    Running::line_between(xtask, ([127, 0, 0, 1], port).into(), to, like).unwrap()
}

/// Where the gateway's end would dial.
fn service(scene: &Scene) -> String {
    scene.stack.info().service.url.trim_start_matches("http://").trim_end_matches('/').to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_stay_right_on_a_line_that_loses_doubles_spoils_and_shuffles() {
    let port = free_port(&[]).unwrap();
    let scene = Scene::with(|knobs| knobs.dials = Some(port)).await.unwrap();
    let like = ["--rate", "40", "--rtt", "30", "--jitter", "20", "--loss", "0.03", "--duplicate", "0.02"];
    let _line = line(port, &service(&scene), &[&like[..], &["--corrupt", "0.01"]].concat());
    let verdict = scene.moves_and_answers(LIMIT).await.unwrap();
    assert_eq!(verdict.violations, Vec::<String>::new());
    // Of the last echoes none may have been lost: one will be.
    let deadline = Instant::now() + LIMIT;
    loop {
        let link = scene.service.status().await.unwrap().link.unwrap();
        if link.loss.unwrap() > 0.0 && link.jitter_ms.unwrap() > 1.0 {
            break;
        }
        assert!(Instant::now() < deadline, "was it that line? {link:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    scene.stack.stop().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_stay_right_while_the_line_comes_and_goes() {
    let port = free_port(&[]).unwrap();
    let change = |knobs: &mut xtask::stack::Knobs| {
        knobs.dials = Some(port);
        knobs.timeout_s = 5;
        // Many chunks, so that cuts fall into them.
        knobs.chunk_size = "64KiB".to_owned();
    };
    let scene = Scene::with(change).await.unwrap();
    let mut cut = line(port, &service(&scene), &["--rate", "40", "--rtt", "20", "--loss", "0.005"]);
    let mut oracle = scene.oracle();
    oracle.preload(60_000).await.unwrap();
    oracle.start(true);
    let cuts = async {
        for _ in 0..6 {
            // The pattern of the line is the subject here: it is up 3 s and down 2 s.
            tokio::time::sleep(Duration::from_secs(3)).await;
            cut.tell("cut both on").unwrap();
            tokio::time::sleep(Duration::from_secs(2)).await;
            cut.tell("cut both off").unwrap();
        }
    };
    let (moved, ()) = tokio::join!(scene.migrate(LIMIT), cuts);
    moved.unwrap();
    oracle.answered_more(8, LIMIT).await.unwrap();
    let verdict = oracle.finish().await.unwrap();
    assert_eq!(verdict.violations, Vec::<String>::new());
    scene.migrate(LIMIT).await.unwrap();
    scene.reclaimed().await.unwrap();
    let verdict = scene.oracle().finish().await.unwrap();
    assert_eq!(verdict.violations, Vec::<String>::new());
    scene.stack.stop().unwrap();
}
