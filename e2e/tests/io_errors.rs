//! A disk fails with EIO in the midst of a move, one after the other: the move waits, says for what and what would
//! help, no daemon ends, and when the disk is mended it goes on by itself. What was read or written meanwhile is
//! never believed: every row is seen once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic here is a failed test")]

use std::time::{Duration, Instant};

use e2e::{
    broken_disk::{
        Fault::{self, Reads, Syncs, Writes},
        Shim,
    },
    small_disk::{self, Disks},
    waiting::{ends_by_itself, exact, waits_for},
};
use testbed::{
    faults::Point,
    fixture::Fixture,
    stack::{Role, StackConfig},
};

const LIMIT: Duration = Duration::from_secs(60);
const ROWS: u64 = 3_000;

/// What befalls which disk while a daemon is held at a point; what a move then says that it waits for, in these
/// words, and what would help.
type Case = (&'static str, Fault, Point, &'static str, &'static str);

const OF_THE_SERVICE: [Case; 7] = [
    (
        "service/spool",
        Writes,
        Point::MoveEncodeBefore,
        "spool a batch: Input/output error",
        "service.data_dir",
    ),
    (
        "service/spool",
        Syncs,
        Point::MoveEncodeBefore,
        "spool a batch: Input/output error",
        "service.data_dir",
    ),
    // The line is well, and the file is not tried for ever.
    ("service/spool", Reads, Point::MoveSendBefore, "Input/output error", "service.data_dir"),
    // The catalog cannot even note that it fails.
    ("service", Writes, Point::MoveEncodeAfterEffect, "catalog: disk I/O error", "service.data_dir"),
    ("service", Syncs, Point::MovePublishBefore, "catalog: disk I/O error", "service.data_dir"),
    // An engine ends rather than take it for done, and is started again; what it was asked is lost.
    ("hot", Reads, Point::MoveEncodeBefore, "hot engine: ", "start the hot engine"),
    ("hot", Writes, Point::MoveDeleteBeforeEffect, "hot engine: ", "start the hot engine"),
];

const OF_THE_GATEWAY: [Case; 7] = [
    ("gateway/spool", Writes, Point::MoveSendBefore, "spool a manifest: Input/output error", "gateway's log"),
    ("gateway/spool", Syncs, Point::MoveSendBefore, "spool a manifest: Input/output error", "gateway's log"),
    // Its chunks cannot be read: they are asked for again, and not without end.
    ("gateway/spool", Reads, Point::GatewayCommitAfterJournal, "Input/output error", "gateway's data_dir"),
    ("gateway", Writes, Point::GatewayCommitBeforeJournal, "journal: disk I/O error", "gateway's log"),
    ("gateway", Syncs, Point::MoveSendBefore, "journal: disk I/O error", "gateway's log"),
    ("cold", Writes, Point::GatewayCommitAfterJournal, "the cold ClickHouse", "ClickHouse"),
    ("cold", Reads, Point::GatewayLoadAfterEffect, "the cold ClickHouse", "ClickHouse"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_is_waited_for_and_not_believed() {
    if let Err(why) = small_disk::possible() {
        println!("SKIPPED: {why:#}");
        return;
    }
    // They wait most of the time: both at a time.
    tokio::join!(run(&OF_THE_SERVICE), run(&OF_THE_GATEWAY));
}

async fn run(cases: &[Case]) {
    let dir = tempfile::tempdir().unwrap();
    let tools = tempfile::tempdir().unwrap();
    let disks = Disks::under(dir.path()).unwrap();
    let shim = Shim::build(tools.path()).unwrap();
    let change = |config: &mut StackConfig| {
        small_disk::fits(config);
        config.started_by = shim.starter();
    };
    let mut fixture = Fixture::at(dir.path(), change).await.unwrap();
    let daemons = [Role::Gateway, Role::Service].map(|role| fixture.stack.process(role));
    for &(disk, fault, point, says, helps) in cases {
        let (began, what) = (Instant::now(), format!("{disk}, {fault:?} fail at {point}"));
        fixture.oracle().preload(ROWS).await.unwrap();
        fixture.faults.arm(point).unwrap();
        let id = fixture.service.migrate(&Default::default()).await.unwrap();
        fixture.faults.held(point, LIMIT).await.unwrap();
        let struck = shim.strike(disks.get(disk).unwrap(), fault).unwrap();
        fixture.faults.release(point).unwrap();
        struck.felt().await.unwrap_or_else(|error| panic!("{what}: {error:#}"));
        let wait = waits_for(&fixture, id, &[says]).await.unwrap_or_else(|error| panic!("{what}: {error:#}"));
        assert!(wait.help.contains(helps) && !wait.operator, "{what}: {wait:?}");
        // Without its disk an engine answers nothing, and nothing wrong.
        if !["hot", "cold"].contains(&disk) {
            exact(&fixture).await.unwrap_or_else(|error| panic!("{what}, questions: {error:#}"));
        }
        let calls = struck.calls().unwrap();
        drop(struck);
        revive(&mut fixture).await.unwrap_or_else(|error| panic!("{what}: {error:#}"));
        ends_by_itself(&fixture, id).await.unwrap_or_else(|error| panic!("{what}, afterwards: {error:#}"));
        exact(&fixture).await.unwrap_or_else(|error| panic!("{what}, afterwards: {error:#}"));
        println!("{what}: {} ({calls} calls, {:.1} s)", wait.what, began.elapsed().as_secs_f64());
    }
    assert!(
        daemons.into_iter().all(|daemon| daemon.is_some_and(|daemon| daemon.alive())),
        "a daemon has ended"
    );
    fixture.reclaimed().await.unwrap();
}

/// An engine that has died five times in a row is given up by its supervisor; what starts that again in production
/// is nobody here.
async fn revive(fixture: &mut Fixture) -> anyhow::Result<()> {
    for role in [Role::Hot, Role::Cold] {
        if !fixture.stack.process(role).is_some_and(|process| process.alive()) {
            fixture.stack.kill(role)?;
            fixture.stack.restart(role).await?;
        }
    }
    Ok(())
}
