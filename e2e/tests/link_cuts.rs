//! The tunnel between the daemons is cut and restored, or runs over a very bad line, while rows move and
//! questions are asked: what is answered stays right, and everything arrives.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic here is a failed test")]

use std::{
    process::Command,
    time::{Duration, Instant},
};

use testbed::{
    fixture::Fixture,
    lab::pair::Running,
    stack::{StackConfig, free_port},
};

const LIMIT: Duration = Duration::from_secs(240);

/// A line on loopback that can be cut; ends when it is dropped.
fn line(port: u16, to: &str, like: &[&str]) -> Running {
    let program = Command::new(testbed::binaries::path("testbed").unwrap());
    Running::line_between(program, ([127, 0, 0, 1], port).into(), to, like).unwrap()
}

/// Where the gateway's end would dial.
fn service(fixture: &Fixture) -> String {
    fixture.stack.info().service.url.trim_start_matches("http://").trim_end_matches('/').to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_stay_right_on_a_line_that_loses_doubles_spoils_and_shuffles() {
    let port = free_port(&[]).unwrap();
    let fixture = Fixture::with(|config| config.dials = Some(port)).await.unwrap();
    let like = ["--rate", "40", "--rtt", "30", "--jitter", "20", "--loss", "0.03", "--duplicate", "0.02"];
    let _line = line(port, &service(&fixture), &[&like[..], &["--corrupt", "0.01"]].concat());
    let verdict = fixture.moves_and_answers(LIMIT).await.unwrap();
    assert_eq!(verdict.violations, Vec::<String>::new());
    // Of the last echoes none may have been lost: one will be.
    let deadline = Instant::now() + LIMIT;
    loop {
        let link = fixture.service.status().await.unwrap().link.unwrap();
        if link.loss.unwrap() > 0.0 && link.jitter_ms.unwrap() > 1.0 {
            break;
        }
        assert!(Instant::now() < deadline, "was it that line? {link:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    fixture.stack.stop().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_stay_right_while_the_line_comes_and_goes() {
    let port = free_port(&[]).unwrap();
    let change = |config: &mut StackConfig| {
        config.dials = Some(port);
        config.timeout_s = 5;
        // Many chunks, so that cuts fall into them.
        config.chunk_size = "64KiB".to_owned();
    };
    let fixture = Fixture::with(change).await.unwrap();
    let mut cut = line(port, &service(&fixture), &["--rate", "40", "--rtt", "20", "--loss", "0.005"]);
    let mut oracle = fixture.oracle();
    oracle.preload(60_000).await.unwrap();
    oracle.start(1);
    let cuts = async {
        for _ in 0..6 {
            // The pattern of the line is the subject here: it is up 3 s and down 2 s.
            tokio::time::sleep(Duration::from_secs(3)).await;
            cut.tell("cut both on").unwrap();
            tokio::time::sleep(Duration::from_secs(2)).await;
            cut.tell("cut both off").unwrap();
        }
    };
    let (moved, ()) = tokio::join!(fixture.migrate(LIMIT), cuts);
    moved.unwrap();
    oracle.answered_more(8, LIMIT).await.unwrap();
    let verdict = oracle.finish().await.unwrap();
    assert_eq!(verdict.violations, Vec::<String>::new());
    fixture.migrate(LIMIT).await.unwrap();
    fixture.reclaimed().await.unwrap();
    let verdict = fixture.oracle().finish().await.unwrap();
    assert_eq!(verdict.violations, Vec::<String>::new());
    fixture.stack.stop().unwrap();
}
