//! `kill -9` of every process at every point, judged by the oracle.
//!
//! A subset runs always; `cargo xtask test --crash-matrix` runs the whole matrix.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic here is a failed test")]

use std::time::Duration;

use e2e::{
    faults,
    matrix::{self, Tally},
    scene::Scene,
};
use tokio::time::Instant;

fn report(name: &str, tally: &Tally) {
    println!("{name}: {} runs, {} kills, {} failures", tally.runs, tally.kills, tally.failures.len());
    assert!(tally.failures.is_empty(), "{:#?}", tally.failures);
    assert_eq!(tally.runs, tally.kills);
}

#[tokio::test(flavor = "multi_thread")]
async fn subset() {
    if std::env::var_os(xtask::check::WHOLE_MATRIX).is_some() {
        return;
    }
    report("crash matrix, subset", &matrix::run(&matrix::subset()).await.unwrap());
}

/// `CRASH_MATRIX=1` runs every cell; any other value those whose point contains it.
#[tokio::test(flavor = "multi_thread")]
async fn whole() {
    let Ok(wanted) = std::env::var(xtask::check::WHOLE_MATRIX) else { return };
    let mut cells = matrix::whole();
    cells.retain(|cell| wanted == "1" || cell.point.contains(&wanted));
    let mut tally = Tally::default();
    // A fresh stack for every few points: a failure spoils its own stack only.
    for cells in cells.chunks(16) {
        tally.add(matrix::run(cells).await.unwrap());
    }
    report("crash matrix", &tally);
}

/// A point that nobody reaches would make its cells prove nothing.
#[tokio::test(flavor = "multi_thread")]
async fn every_point_is_reached() {
    let scene = Scene::start().await.unwrap();
    scene.oracle().preload(5_000).await.unwrap();
    let mut missing = faults::all();
    for point in &missing {
        scene.faults.arm(point).unwrap();
    }
    let id = scene.service.migrate(&Default::default()).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    while !missing.is_empty() && Instant::now() < deadline {
        for point in scene.faults.holding(&missing.clone()) {
            scene.faults.release(point).unwrap();
            missing.retain(|p| p != point);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(missing.is_empty(), "never reached: {missing:?}; {:#?}", scene.service.migration(id).await);
}
