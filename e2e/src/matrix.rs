//! The crash matrix: at every point, every process is killed once, while the oracle writes and asks.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use testbed::{
    faults::Point,
    fixture::{COARSE, COLD, DAILY, Fixture, HOT},
    oracle::Oracle,
    stack::Role,
};

/// Set for a run of the whole matrix (`cargo xtask test --crash-matrix` does); a part of a point's name runs
/// the cells of the points that contain it.
pub const WHOLE: &str = "CRASH_MATRIX";
/// Longest wait for a point to be reached, and for a migration to get done after a crash.
const LIMIT: Duration = Duration::from_secs(90);
/// Rows written before the oracle starts.
const PRELOAD: u64 = 20_000;
/// Rows written where a point needs some.
const EXTRA: u64 = 400;

/// One cell.
#[derive(Debug, Clone, Copy)]
pub struct Cell {
    /// Where a daemon is held.
    pub point: Point,
    /// Who is killed then.
    pub victim: Role,
}

/// All cells: every point, every victim.
pub fn whole() -> Vec<Cell> {
    Point::ALL
        .iter()
        .flat_map(|&point| Role::ALL.into_iter().map(move |victim| Cell { point, victim }))
        .collect()
}

/// Cells that between them kill everybody and cross every step that changes who sees what.
pub fn subset() -> Vec<Cell> {
    [
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
    .map(|(point, victim)| Cell { point, victim })
    .to_vec()
}

/// What came of some cells.
#[derive(Debug, Default)]
pub struct Tally {
    /// Cells run.
    pub runs: u32,
    /// Processes killed.
    pub kills: u32,
    /// Points somebody was held at.
    pub reached: BTreeSet<Point>,
    /// Cells that failed, in words.
    pub failures: Vec<String>,
}

impl Tally {
    /// Adds another.
    pub fn add(&mut self, other: Self) {
        self.runs += other.runs;
        self.kills += other.kills;
        self.reached.extend(other.reached);
        self.failures.extend(other.failures);
    }
}

/// Runs cells on one stack, one after the other, with the oracle at work all the time.
pub async fn run(cells: &[Cell]) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut fixture = Fixture::with(|config| config.timeout_s = 5).await?;
    let mut oracle = fixture.oracle();
    finer_cold_table(&fixture).await?;
    oracle.preload(PRELOAD).await?;
    oracle.start(true);
    for cell in cells {
        let started = Instant::now();
        tally.runs += 1;
        let known = oracle.report().violations().len();
        let ran = one(&mut fixture, &oracle, cell, &mut tally).await;
        let answered = oracle.answered_more(6, LIMIT).await;
        let wrong = oracle.report().violations()[known..].join("; ");
        for problem in [ran.err(), answered.err()].into_iter().flatten() {
            tally.failures.push(format!("{} killed at {}: {problem:#}", cell.victim.name(), cell.point));
        }
        if !wrong.is_empty() {
            tally.failures.push(format!("{} killed at {}: {wrong}", cell.victim.name(), cell.point));
        }
        eprintln!(
            "{:<8} killed at {:<36} {:.1} s",
            cell.victim.name(),
            cell.point.name(),
            started.elapsed().as_secs_f64()
        );
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

/// Makes the cold side of the coarse table in daily partitions: each batch of it, two days of a month,
/// is then attached in two moves.
async fn finer_cold_table(fixture: &Fixture) -> Result<()> {
    fixture.cold.query(format!("CREATE DATABASE IF NOT EXISTS {COLD}")).await?;
    fixture
        .cold
        .query(format!(
            "CREATE TABLE {COLD}.{COARSE} (id UInt64, ts DateTime64(3, 'UTC'), venue LowCardinality(String), \
             payload UInt64) ENGINE = MergeTree PARTITION BY toYYYYMMDD(ts) ORDER BY (venue, ts, id)"
        ))
        .await?;
    Ok(())
}

/// What a point needs so that the next migration reaches it in the middle of what it stands in.
async fn prepare(fixture: &Fixture, oracle: &Oracle, point: Point) -> Result<()> {
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
    let id = fixture.service.migrate(&Default::default()).await.context("start a migration")?;
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
    fixture.stack.kill(cell.victim)?;
    tally.kills += 1;
    fixture.faults.disarm(cell.point)?;
    fixture.stack.restart(cell.victim).await?;
    fixture.settled(id, LIMIT).await?;
    if cell.point == Point::MoveDeletePartDropped {
        fixture.hot.query(format!("SYSTEM START MERGES {HOT}.{DAILY}")).await?;
    }
    Ok(())
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
