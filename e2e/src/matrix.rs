//! The crash matrix: at every point, every process is killed once, while the oracle writes and asks.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use testbed::{faults, fixture::Fixture, stack::Role};

/// Set for a run of the whole matrix (`cargo xtask test --crash-matrix` does); a part of a point's name runs
/// the cells of the points that contain it.
pub const WHOLE: &str = "CRASH_MATRIX";
/// Longest wait for a point to be reached, and for a migration to get done after a crash.
const LIMIT: Duration = Duration::from_secs(90);
/// Rows written before the oracle starts.
const PRELOAD: u64 = 20_000;

/// One cell.
#[derive(Debug, Clone)]
pub struct Cell {
    /// Where a daemon is held.
    pub point: String,
    /// Who is killed then.
    pub victim: Role,
}

/// All cells: every point, every victim.
pub fn whole() -> Vec<Cell> {
    faults::all()
        .into_iter()
        .flat_map(|point| Role::ALL.into_iter().map(move |victim| Cell { point: point.clone(), victim }))
        .collect()
}

/// Cells that between them kill everybody and cross every step that changes who sees what.
pub fn subset() -> Vec<Cell> {
    [
        ("move.snapshot.after_effect", Role::Hot),
        ("move.send.after_effect", Role::Gateway),
        ("gateway.chunk.after_write", Role::Gateway),
        ("gateway.attach.before_effect", Role::Cold),
        ("gateway.attach.after_effect", Role::Gateway),
        ("move.fence.after_journal", Role::Service),
        ("move.fence.after_effect", Role::Service),
        ("move.fence.after_effect", Role::Hot),
        ("move.publish.after_effect", Role::Service),
        ("move.reclaim.after_effect", Role::Service),
    ]
    .map(|(point, victim)| Cell { point: point.to_owned(), victim })
    .to_vec()
}

/// What came of some cells.
#[derive(Debug, Default)]
pub struct Tally {
    /// Cells run.
    pub runs: u32,
    /// Processes killed.
    pub kills: u32,
    /// Cells that failed, in words.
    pub failures: Vec<String>,
}

impl Tally {
    /// Adds another.
    pub fn add(&mut self, other: Self) {
        self.runs += other.runs;
        self.kills += other.kills;
        self.failures.extend(other.failures);
    }
}

/// Runs cells on one stack, one after the other, with the oracle at work all the time.
pub async fn run(cells: &[Cell]) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut fixture = Fixture::with(|config| config.timeout_s = 5).await?;
    let mut oracle = fixture.oracle();
    oracle.preload(PRELOAD).await?;
    oracle.start(true);
    for cell in cells {
        let started = Instant::now();
        tally.runs += 1;
        let known = oracle.report().violations().len();
        let ran = one(&mut fixture, cell, &mut tally.kills).await;
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
            cell.point,
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

async fn one(fixture: &mut Fixture, cell: &Cell, kills: &mut u32) -> Result<()> {
    fixture.idle(tokio::time::Instant::now() + LIMIT).await.context("an earlier migration")?;
    fixture.faults.arm(&cell.point)?;
    let id = fixture.service.migrate(&Default::default()).await.context("start a migration")?;
    let held = fixture.faults.held(&cell.point, LIMIT).await;
    if held.is_err() {
        fixture.faults.disarm(&cell.point)?;
        let report = fixture.service.migration(id).await;
        return held.with_context(|| format!("the migration stands at {report:#?}"));
    }
    fixture.stack.kill(cell.victim)?;
    *kills += 1;
    fixture.faults.disarm(&cell.point)?;
    fixture.stack.restart(cell.victim).await?;
    fixture.settled(id, LIMIT).await
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
