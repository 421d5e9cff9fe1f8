//! A disk is full, one after the other, in the midst of a move: the move waits, says for what and what would help,
//! every row is still seen once, and when there is room again it goes on by itself.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic here is a failed test")]

use std::time::{Duration, Instant};

use e2e::{
    small_disk::{self, Disks},
    waiting::{ends_by_itself, exact, waits_for},
};
use testbed::{faults::Point, fixture::Fixture, stack::Role};

const LIMIT: Duration = Duration::from_secs(60);
const ROWS: u64 = 3_000;

/// A disk that becomes full while a daemon is held at a point; what a move then says that it waits for, in one of
/// these words, and what would help.
type Case = (&'static str, Point, &'static [&'static str], &'static str);

const OF_THE_SERVICE: [Case; 5] = [
    // The spool's reserve.
    ("service/spool", Point::MoveEncodeBefore, &["free for the spool"], "make room"),
    // The catalog cannot even note that it is full.
    ("service", Point::MoveEncodeAfterEffect, &["catalog: database or disk is full"], "service.data_dir"),
    ("service", Point::MovePublishBefore, &["catalog: database or disk is full"], "service.data_dir"),
    // A batch is only read here, and read whole: nothing is waited for.
    ("hot", Point::MoveEncodeBefore, &[], ""),
    ("hot", Point::MoveDeleteBefore, &["NOT_ENOUGH_SPACE"], "make room"),
];

const OF_THE_GATEWAY: [Case; 5] = [
    ("gateway", Point::MoveSendBefore, &["journal: database or disk is full"], "make room"),
    ("gateway", Point::GatewayCommitBeforeJournal, &["journal: database or disk is full"], "make room"),
    ("gateway/spool", Point::MoveSendBefore, &["the spool's disk has 0 bytes free"], "make room"),
    // Past the look at the reserve.
    (
        "gateway/spool",
        Point::GatewayManifestAfterJournal,
        &["disk_full: spool a manifest: No space left"],
        "make room",
    ),
    ("cold", Point::GatewayCommitAfterJournal, &["NOT_ENOUGH_SPACE", "No space left"], "disk"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_waited_for_and_nothing_is_lost() {
    if let Err(why) = small_disk::possible() {
        println!("SKIPPED: {why:#}");
        return;
    }
    // They wait most of the time: both at a time.
    tokio::join!(run(&OF_THE_SERVICE), run(&OF_THE_GATEWAY));
}

async fn run(cases: &[Case]) {
    let dir = tempfile::tempdir().unwrap();
    let disks = Disks::under(dir.path()).unwrap();
    let fixture = Fixture::at(dir.path(), small_disk::fits).await.unwrap();
    let processes = Role::ALL.map(|role| fixture.stack.process(role));
    for &(disk, point, says, helps) in cases {
        let (began, what) = (Instant::now(), format!("{disk} is full at {point}"));
        fixture.oracle().preload(ROWS).await.unwrap();
        fixture.faults.arm(point).unwrap();
        let id = fixture.service.migrate(&Default::default()).await.unwrap();
        fixture.faults.held(point, LIMIT).await.unwrap();
        let filling = disks.get(disk).unwrap().fill().unwrap();
        fixture.faults.release(point).unwrap();
        if !says.is_empty() {
            let wait = waits_for(&fixture, id, says).await;
            let wait = wait.unwrap_or_else(|error| panic!("{what}: {error:#}"));
            assert!(wait.help.contains(helps) && !wait.operator, "{what}: {wait:?}");
            println!("{what}: {}; {}", wait.what, wait.help);
        }
        exact(&fixture).await.unwrap_or_else(|error| panic!("{what}, questions: {error:#}"));
        let freed = Instant::now();
        drop(filling);
        ends_by_itself(&fixture, id).await.unwrap_or_else(|error| panic!("{what}, afterwards: {error:#}"));
        exact(&fixture).await.unwrap_or_else(|error| panic!("{what}, afterwards: {error:#}"));
        println!(
            "{what}: {:.1} s, {:.1} of them after",
            began.elapsed().as_secs_f64(),
            freed.elapsed().as_secs_f64()
        );
    }
    assert_eq!(Role::ALL.map(|role| fixture.stack.process(role)), processes, "nobody has ended");
    assert!(processes.into_iter().all(|process| process.is_some_and(|process| process.alive())));
    fixture.reclaimed().await.unwrap();
}
