//! The crash matrix: at every point, every process is killed once, while the oracle writes and asks. Beside it
//! processes are killed in the middle of statements, asked to end, and frozen for longer than every timeout.
//! Every move has several batches, and waits for its grace.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use storage_types::service_api::MigrationRequest;
use testbed::{
    faults::Point,
    fixture::{COARSE, COLD, DAILY, Fixture, HOT},
    oracle::Oracle,
    stack::{Role, StackConfig},
};

/// Set for a run of the whole matrix (`cargo xtask test --crash-matrix` does); a part of a point's name runs
/// the cells of the points that contain it.
pub const WHOLE: &str = "CRASH_MATRIX";
/// Longest wait for a point to be reached, and for a migration to get done after a crash.
const LIMIT: Duration = Duration::from_secs(90);
/// Rows written before the oracle starts, and before every cell: half of them have expired.
const PRELOAD: u64 = 4_000;
/// A move has three to five batches: what was preloaded, and what the oracle writes meanwhile.
const BATCH_ROWS: u64 = 1_500;
/// Longer than the connections' timeout, and than a link without a heartbeat lives.
const FROZEN: Duration = Duration::from_secs(8);
/// Times after which a statement is under way, milliseconds.
const INTO_MS: [u64; 8] = [0, 2, 5, 10, 15, 25, 35, 50];
/// Rows written where a point needs some.
const EXTRA: u64 = 400;

/// What befalls a victim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    /// `kill -9` while a daemon is held at the point: no statement is under way.
    Kill,
    /// `kill -9` so long after the daemon was let go, into what it does next.
    KillInto(Duration),
    /// SIGTERM once the daemon was let go.
    Terminate,
    /// SIGSTOP once the daemon was let go; it goes on 8 s later, after every timeout.
    Freeze,
}

/// One cell.
#[derive(Debug, Clone, Copy)]
pub struct Cell {
    /// Where a daemon is held.
    pub point: Point,
    /// Whom it befalls.
    pub victim: Role,
    /// What.
    pub blow: Blow,
}

impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { point, victim, blow } = self;
        let victim = victim.name();
        match blow {
            Blow::Kill => write!(f, "{victim} killed at {point}"),
            Blow::KillInto(after) => write!(f, "{victim} killed {} ms after {point}", after.as_millis()),
            Blow::Terminate => write!(f, "{victim} asked to end after {point}"),
            Blow::Freeze => write!(f, "{victim} frozen after {point}"),
        }
    }
}

/// Whose next statement, or next piece of work, comes after which point: DELETE and DROP PART, the next DROP PART,
/// MOVE PARTITION, the INSERT into a staging table, the SELECT of a batch.
const STATEMENTS: [(Point, Role); 8] = [
    (Point::MoveDeleteBeforeEffect, Role::Hot),
    (Point::MoveDeleteBeforeEffect, Role::Service),
    (Point::MoveDeletePartDropped, Role::Hot),
    (Point::GatewayAttachBeforeEffect, Role::Cold),
    (Point::GatewayAttachBeforeEffect, Role::Gateway),
    (Point::GatewayCommitAfterJournal, Role::Cold),
    (Point::GatewayCommitAfterJournal, Role::Gateway),
    (Point::MoveEncodeBefore, Role::Hot),
];

/// Where else a process is asked to end, and frozen.
const STEPS: [(Point, Role); 8] = [
    (Point::MoveEncodeBefore, Role::Service),
    (Point::MoveSendBefore, Role::Service),
    (Point::MovePublishBefore, Role::Service),
    (Point::MoveTellBefore, Role::Gateway),
    (Point::MoveFinishBefore, Role::Service),
    (Point::GatewayChunkAfterWrite, Role::Gateway),
    (Point::GatewayProveAfterEffect, Role::Cold),
    (Point::MoveReproveAfterEffect, Role::Hot),
];

/// Every point, every victim, killed while a daemon is held there.
fn kills() -> impl Iterator<Item = Cell> {
    let at = |point| Role::ALL.into_iter().map(move |victim| Cell { point, victim, blow: Blow::Kill });
    Point::ALL.iter().flat_map(move |&point| at(point))
}

/// All cells.
pub fn whole() -> Vec<Cell> {
    let into = STATEMENTS.into_iter().flat_map(|(point, victim)| {
        INTO_MS.map(|ms| Cell { point, victim, blow: Blow::KillInto(Duration::from_millis(ms)) })
    });
    let others = STATEMENTS
        .into_iter()
        .chain(STEPS)
        .flat_map(|(point, victim)| [Blow::Terminate, Blow::Freeze].map(|blow| Cell { point, victim, blow }));
    kills().chain(into).chain(others).collect()
}

/// Cells that between them kill everybody and cross every step that changes who sees what, and some of every
/// other kind.
pub fn subset() -> Vec<Cell> {
    let killed = [
        (Point::MoveOpenAfterJournal, Role::Hot),
        (Point::MoveEncodeAfterEffect, Role::Hot),
        (Point::MoveSendAfterEffect, Role::Gateway),
        (Point::GatewayChunkAfterWrite, Role::Gateway),
        (Point::GatewayAttachBeforeEffect, Role::Cold),
        (Point::GatewayAttachAfterEffect, Role::Gateway),
        (Point::MovePublishAfterJournal, Role::Service),
        (Point::MoveDeleteBeforeEffect, Role::Service),
        (Point::MoveDeletePartDropped, Role::Hot),
        (Point::MoveDeleteAfterEffect, Role::Service),
        (Point::MoveFinishAfterJournal, Role::Service),
        (Point::MoveRetireAfterEffect, Role::Gateway),
    ]
    .map(|(point, victim)| Cell { point, victim, blow: Blow::Kill });
    let into = |ms| Blow::KillInto(Duration::from_millis(ms));
    let others = [
        (Point::MoveDeleteBeforeEffect, Role::Hot, into(5)),
        (Point::GatewayAttachBeforeEffect, Role::Cold, into(2)),
        (Point::GatewayCommitAfterJournal, Role::Cold, into(15)),
        (Point::MovePublishBefore, Role::Service, Blow::Terminate),
        (Point::GatewayCommitAfterJournal, Role::Cold, Blow::Terminate),
        (Point::MoveDeleteBeforeEffect, Role::Hot, Blow::Freeze),
        (Point::GatewayProveAfterEffect, Role::Cold, Blow::Freeze),
    ]
    .map(|(point, victim, blow)| Cell { point, victim, blow });
    killed.into_iter().chain(others).collect()
}

/// What came of some cells.
#[derive(Debug, Default)]
pub struct Tally {
    /// Cells run.
    pub runs: u32,
    /// Processes killed, asked to end, or frozen.
    pub blows: u32,
    /// Points somebody was held at.
    pub reached: BTreeSet<Point>,
    /// Cells that failed, in words.
    pub failures: Vec<String>,
}

impl Tally {
    /// Adds another.
    pub fn add(&mut self, other: Self) {
        self.runs += other.runs;
        self.blows += other.blows;
        self.reached.extend(other.reached);
        self.failures.extend(other.failures);
    }
}

/// Runs cells on one stack, one after the other, with the oracle at work all the time.
pub async fn run(cells: &[Cell]) -> Result<Tally> {
    let mut tally = Tally::default();
    let change = |config: &mut StackConfig| {
        config.timeout_s = 5;
        config.batch_rows = BATCH_ROWS;
        config.grace = "1s".to_owned();
    };
    let mut fixture = Fixture::with(change).await?;
    let mut oracle = fixture.oracle();
    finer_cold_table(&fixture).await?;
    oracle.preload(PRELOAD).await?;
    oracle.start(1);
    for cell in cells {
        let started = Instant::now();
        tally.runs += 1;
        let known = oracle.report().violations().len();
        let ran = one(&mut fixture, &oracle, cell, &mut tally).await;
        let answered = oracle.answered_more(6, LIMIT).await;
        let wrong = oracle.report().violations()[known..].join("; ");
        for problem in [ran.err(), answered.err()].into_iter().flatten() {
            tally.failures.push(format!("{cell}: {problem:#}"));
        }
        if !wrong.is_empty() {
            tally.failures.push(format!("{cell}: {wrong}"));
        }
        eprintln!("{:<64} {:.1} s", cell.to_string(), started.elapsed().as_secs_f64());
        if !tally.failures.is_empty() {
            // What follows on this stack would only repeat it.
            keep_logs(&fixture);
            return Ok(tally);
        }
    }
    let verdict = oracle.finish().await?;
    if let Err(error) = fixture.migrate(LIMIT).await.and(fixture.reclaimed().await) {
        tally.failures.push(format!("after all cells: {error:#}"));
    }
    tally.failures.extend(verdict.violations);
    if !tally.failures.is_empty() {
        keep_logs(&fixture);
    }
    ensure!(verdict.answered > 0, "the oracle got no answer at all");
    eprintln!(
        "oracle: {} rows written, {} questions answered, {} failed while something was down",
        verdict.written, verdict.answered, verdict.failed
    );
    Ok(tally)
}

/// Makes the cold side of the coarse table in partitions of a day and a venue: each batch of it is then attached in
/// several moves.
async fn finer_cold_table(fixture: &Fixture) -> Result<()> {
    fixture.cold.query(format!("CREATE DATABASE IF NOT EXISTS {COLD}")).await?;
    fixture
        .cold
        .query(format!(
            "CREATE TABLE {COLD}.{COARSE} (id UInt64, ts DateTime64(3, 'UTC'), venue LowCardinality(String), \
             payload UInt64) ENGINE = MergeTree PARTITION BY (toYYYYMMDD(ts), venue) ORDER BY (venue, ts, id)"
        ))
        .await?;
    Ok(())
}

/// What a point needs so that the next migration reaches it in the middle of what it stands in.
async fn prepare(fixture: &Fixture, oracle: &Oracle, point: Point) -> Result<()> {
    oracle.preload(PRELOAD).await?;
    match point {
        // Every expired day gets parts that no merge takes away, so that some are left at the point.
        Point::MoveDeletePartDropped => {
            fixture.hot.query(format!("SYSTEM STOP MERGES {HOT}.{DAILY}")).await?;
            for _ in 0..2 {
                oracle.preload(EXTRA).await?;
            }
            let fewest = fixture
                .hot
                .number(&format!(
                    "SELECT min(parts) FROM (SELECT count() AS parts FROM system.parts WHERE database = '{HOT}' \
                     AND table = '{DAILY}' AND active AND rows > 0 GROUP BY partition_id)"
                ))
                .await?;
            ensure!(fewest >= 2, "a day of {HOT}.{DAILY} has {fewest} part");
        }
        // Rows of both expired days, of every venue.
        Point::GatewayAttachPartitionMoved => oracle.preload(EXTRA).await?,
        _ => {}
    }
    Ok(())
}

/// Only a move that is given up comes there.
pub fn withdraws(point: Point) -> bool {
    matches!(point, Point::MoveRetireBefore | Point::MoveRetireAfterEffect | Point::MoveRetireAfterJournal)
}

/// Fails when somebody is held at the point, but not in the middle of what it stands in.
async fn midway(fixture: &Fixture, point: Point) -> Result<()> {
    if point == Point::GatewayAttachPartitionMoved {
        let left = fixture
            .cold
            .number(&format!(
                "SELECT sum(rows) FROM system.parts WHERE database = '{COLD}' AND startsWith(table, '_stg_') AND active"
            ))
            .await?;
        ensure!(left > 0, "the batch had a single partition: nothing is left to attach");
    }
    Ok(())
}

async fn one(fixture: &mut Fixture, oracle: &Oracle, cell: &Cell, tally: &mut Tally) -> Result<()> {
    fixture.idle(tokio::time::Instant::now() + LIMIT).await.context("an earlier migration")?;
    prepare(fixture, oracle, cell.point).await.context("prepare")?;
    fixture.faults.arm(cell.point)?;
    // A batch of the other table has one partition.
    let coarse = cell.point == Point::GatewayAttachPartitionMoved;
    let tables = coarse.then(|| COARSE.to_owned()).into_iter().collect();
    let request = MigrationRequest { tables, ..MigrationRequest::default() };
    let id = fixture.service.migrate(&request).await.context("start a migration")?;
    if withdraws(cell.point) {
        fixture.faults.arm(Point::MovePublishBefore)?;
        fixture.faults.held(Point::MovePublishBefore, LIMIT).await.context("hold what is to be cancelled")?;
        fixture.service.cancel(id).await?;
        fixture.faults.disarm(Point::MovePublishBefore)?;
    }
    let held = fixture.faults.held(cell.point, LIMIT).await;
    if held.is_err() {
        fixture.faults.disarm(cell.point)?;
        let report = fixture.service.migration(id).await;
        return held.with_context(|| format!("the migration stands at {report:#?}"));
    }
    tally.reached.insert(cell.point);
    midway(fixture, cell.point).await?;
    strike(fixture, cell).await?;
    tally.blows += 1;
    fixture.settled(id, LIMIT).await?;
    if cell.point == Point::MoveDeletePartDropped {
        fixture.hot.query(format!("SYSTEM START MERGES {HOT}.{DAILY}")).await?;
    }
    Ok(())
}

/// Deals the blow, and has the victim go on.
async fn strike(fixture: &mut Fixture, cell: &Cell) -> Result<()> {
    let Cell { point, victim, blow } = *cell;
    if blow == Blow::Kill {
        fixture.stack.kill(victim)?;
    }
    fixture.faults.disarm(point)?;
    match blow {
        Blow::Kill => {}
        Blow::KillInto(after) => {
            tokio::time::sleep(after).await;
            fixture.stack.kill(victim)?;
        }
        Blow::Terminate => {
            let clean = fixture.stack.stop_one(victim)?;
            ensure!(clean, "it did not end when it was asked to");
        }
        Blow::Freeze => {
            fixture.stack.freeze(victim)?;
            tokio::time::sleep(FROZEN).await;
            return fixture.stack.thaw(victim);
        }
    }
    fixture.stack.restart(victim).await
}

/// Copies the logs of a failed fixture into the temporary folder's `hybrid-storage-failed`.
fn keep_logs(fixture: &Fixture) {
    let to = std::env::temp_dir().join("hybrid-storage-failed");
    if std::fs::create_dir_all(&to).is_ok() {
        for role in Role::ALL {
            let name = format!("{}-{}.log", std::process::id(), role.name());
            let _ = std::fs::copy(fixture.stack.log(role), to.join(name));
        }
        eprintln!("logs are in {}", to.display());
    }
}
