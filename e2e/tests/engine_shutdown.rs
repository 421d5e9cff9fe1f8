//! An engine ends in order (SIGTERM) in the midst of a statement of a move: the statement is cut, or gets through
//! before the engine is gone. The move waits, says so, and goes on by itself once the engine is there again.
//!
//! The statement is held up by its disk, whose reads or writes are stuck until the engine has begun to end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic here is a failed test")]

use std::time::{Duration, Instant};

use e2e::{
    broken_disk::{
        Fault::{self, StuckReads, StuckWrites},
        Shim,
    },
    small_disk::{self, SmallDisk},
    waiting::{ends_by_itself, exact, waits_for},
};
use storage_types::{
    MigrationId,
    service_api::{MigrationRequest, MigrationState},
};
use testbed::{
    clients::ClickHouse,
    faults::Point,
    fixture::{COARSE, DAILY, Fixture},
    stack::{Link, Role, StackConfig},
    wait::eventually,
};

const LIMIT: Duration = Duration::from_secs(60);
const ROWS: u64 = 3_000;
/// What an engine says when it ends statements.
const CUT: &str = "statements still running are cut";

/// What becomes of the statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The engine's patience ends before it does.
    Cut,
    /// The same; but should it still get through, nothing of the move needs the engine any more.
    CutLast,
    /// It ends first.
    Drained,
}
use End::{Cut, CutLast, Drained};

/// Something that is in the statement, the point before it, the table that moves, what of the disk is stuck, and how
/// the statement ends.
type Cell = (&'static str, Point, &'static str, Fault, End);

const HOT_READS: [Cell; 2] = [
    ("FORMAT Native", Point::MoveEncodeBefore, DAILY, StuckReads, Cut),
    ("SELECT _part", Point::MovePublishBefore, COARSE, StuckReads, Drained),
];

const HOT_DELETES: [Cell; 2] = [
    ("DROP PART", Point::MoveDeleteBeforeEffect, DAILY, StuckWrites, Cut),
    ("DELETE FROM", Point::MoveDeleteBeforeEffect, COARSE, StuckWrites, Cut),
];

const COLD_LOADS: [Cell; 1] = [("INSERT INTO", Point::GatewayCommitAfterJournal, DAILY, StuckWrites, Cut)];

const COLD_PROVES: [Cell; 2] = [
    ("_stg_", Point::GatewayLoadAfterEffect, COARSE, StuckReads, Drained),
    ("`_batch` IN", Point::MoveDeleteBefore, DAILY, StuckReads, CutLast),
];

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_ends_in_the_midst_of_a_statement_is_waited_for() {
    if let Err(why) = small_disk::possible() {
        println!("SKIPPED: {why:#}");
        return;
    }
    // The slow part is an engine's end, five seconds with connections open: all at a time.
    tokio::join!(
        cells(Role::Hot, &HOT_READS),
        cells(Role::Hot, &HOT_DELETES),
        cells(Role::Cold, &COLD_LOADS),
        cells(Role::Cold, &COLD_PROVES)
    );
}

async fn cells(role: Role, cells: &[Cell]) {
    let (dir, tools) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let disk = SmallDisk::mount(&dir.path().join(role.name()), 512).unwrap();
    let shim = Shim::build(tools.path()).unwrap();
    let change = |config: &mut StackConfig| {
        config.link = Link::Direct;
        config.timeout_s = 5;
        config.gateway_min_free = "1MiB".to_owned();
        config.started_by = shim.starter();
        config.drain_s = Some(1);
    };
    let mut fixture = Fixture::at(dir.path(), change).await.unwrap();
    let engine = if role == Role::Hot { fixture.hot.clone() } else { fixture.cold.clone() };
    let says = if role == Role::Hot { "hot engine: " } else { "the cold ClickHouse: " };
    for (statement, point, table, stuck, end) in cells {
        let (began, what) =
            (Instant::now(), format!("{} ends in {statement} of {table}, {end:?}", role.name()));
        fixture.oracle().preload(ROWS).await.unwrap();
        fixture.faults.arm(*point).unwrap();
        let request = MigrationRequest { tables: vec![(*table).to_owned()], ..Default::default() };
        let id = fixture.service.migrate(&request).await.unwrap();
        fixture.faults.held(*point, LIMIT).await.unwrap();
        let struck = shim.strike(&disk, *stuck).unwrap();
        fixture.faults.release(*point).unwrap();
        running(&engine, statement).await.unwrap_or_else(|error| panic!("{what}: {error:#}"));
        struck.felt().await.unwrap_or_else(|error| panic!("{what}: {error:#}"));
        let log = fixture.stack.log(role);
        let cut = || std::fs::read_to_string(&log).unwrap_or_default().matches(CUT).count();
        let before = cut();
        fixture.stack.ask_to_end(role).unwrap();
        let ends = async || match end {
            Drained => !engine.ping().await,
            Cut | CutLast => cut() > before,
        };
        let began_to_end = eventually("the engine ends", async || ends().await.then_some(())).await;
        began_to_end.unwrap_or_else(|error| panic!("{what}: {error:#}"));
        drop(struck);
        assert!(fixture.stack.stop_one(role).unwrap(), "{what}: it had to be killed");
        assert_eq!(cut() > before, *end != Drained, "{what}");
        match waits_for(&fixture, id, &[says]).await {
            Ok(wait) => assert!(!wait.operator, "{what}: {wait:?}"),
            Err(_) if *end == CutLast && is_over(&fixture, id).await => {}
            Err(error) => panic!("{what}: {error:#}"),
        }
        fixture.stack.restart(role).await.unwrap();
        ends_by_itself(&fixture, id).await.unwrap_or_else(|error| panic!("{what}, afterwards: {error:#}"));
        exact(&fixture).await.unwrap_or_else(|error| panic!("{what}, afterwards: {error:#}"));
        println!("{what}: {:.1} s", began.elapsed().as_secs_f64());
    }
    fixture.migrate(LIMIT).await.unwrap();
    fixture.reclaimed().await.unwrap();
}

async fn is_over(fixture: &Fixture, id: MigrationId) -> bool {
    fixture.service.migration(id).await.is_ok_and(|report| report.state == MigrationState::Done)
}

/// Until a statement with this in it runs.
async fn running(engine: &ClickHouse, statement: &str) -> anyhow::Result<()> {
    let ask = format!(
        "SELECT count() FROM system.processes WHERE position(query, '{statement}') > 0 AND query NOT LIKE '%system.processes%'"
    );
    eventually(&format!("{statement} runs"), async || (engine.number(&ask).await.ok()? > 0).then_some(()))
        .await
}
