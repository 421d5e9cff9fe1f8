//! `kill -9` of every process at every point and into statements, SIGTERM and SIGSTOP, judged by the oracle.
//!
//! A subset runs always; `cargo xtask test --crash-matrix` runs the whole matrix.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic here is a failed test")]

use std::time::Duration;

use e2e::matrix::{self, Tally};
use testbed::{faults::Point, fixture::Fixture};
use tokio::time::Instant;

fn report(name: &str, tally: &Tally) {
    println!("{name}: {} runs, {} blows, {} failures", tally.runs, tally.blows, tally.failures.len());
    assert!(tally.failures.is_empty(), "{:#?}", tally.failures);
    assert_eq!(tally.runs, tally.blows);
}

#[tokio::test(flavor = "multi_thread")]
async fn subset() {
    if std::env::var_os(matrix::WHOLE).is_some() {
        return;
    }
    report("crash matrix, subset", &matrix::run(&matrix::subset()).await.unwrap());
}

/// `CRASH_MATRIX=1` runs every cell; any other value those whose name contains it, e.g. "frozen" or "move.delete".
#[tokio::test(flavor = "multi_thread")]
async fn whole() {
    let Ok(wanted) = std::env::var(matrix::WHOLE) else { return };
    let mut cells = matrix::whole();
    cells.retain(|cell| wanted == "1" || cell.to_string().contains(&wanted));
    assert!(!cells.is_empty(), "no cell's name contains {wanted:?}");
    let mut tally = Tally::default();
    // A fresh stack for every few points: a failure spoils its own stack only.
    for cells in cells.chunks(16) {
        tally.add(matrix::run(cells).await.unwrap());
    }
    let mut missing: Vec<&str> =
        cells.iter().map(|cell| cell.point).filter(|p| !tally.reached.contains(p)).map(Point::name).collect();
    missing.dedup();
    assert!(missing.is_empty(), "never reached: {missing:?}; {:#?}", tally.failures);
    report("crash matrix", &tally);
}

/// A point that nobody reaches would make its cells prove nothing.
#[tokio::test(flavor = "multi_thread")]
async fn every_point_is_reached() {
    let fixture = Fixture::start().await.unwrap();
    let oracle = fixture.oracle();
    oracle.preload(5_000).await.unwrap();
    let (given_up, moved): (Vec<Point>, Vec<Point>) =
        Point::ALL.iter().partition(|point| matrix::withdraws(**point));
    for point in &moved {
        fixture.faults.arm(*point).unwrap();
    }
    fixture.service.migrate(&Default::default()).await.unwrap();
    reach(&fixture, moved).await;
    fixture.idle(Instant::now() + LIMIT).await.unwrap();
    oracle.preload(1_000).await.unwrap();
    for point in given_up.iter().chain([&Point::MovePublishBefore]) {
        fixture.faults.arm(*point).unwrap();
    }
    let id = fixture.service.migrate(&Default::default()).await.unwrap();
    fixture.faults.held(Point::MovePublishBefore, LIMIT).await.unwrap();
    fixture.service.cancel(id).await.unwrap();
    fixture.faults.release(Point::MovePublishBefore).unwrap();
    reach(&fixture, given_up).await;
}

const LIMIT: Duration = Duration::from_secs(120);

/// Lets everybody go on who is held at one of the points, until each was reached.
async fn reach(fixture: &Fixture, mut missing: Vec<Point>) {
    let deadline = Instant::now() + LIMIT;
    while !missing.is_empty() && Instant::now() < deadline {
        for point in fixture.faults.holding(&missing) {
            fixture.faults.release(point).unwrap();
            missing.retain(|p| *p != point);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(missing.is_empty(), "never reached: {missing:?}; {:#?}", fixture.service.migrations().await);
}
