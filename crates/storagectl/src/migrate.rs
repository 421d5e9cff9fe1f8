//! `migrate`: start, and with `--wait` watch until the end.
//!
//! Watching only reads: leaving (Ctrl-C, a lost terminal, the deadline) does not touch the
//! migration. A service that restarts meanwhile is waited for, since it goes on with the migration.

use std::{
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use link::Peer;
use storage_types::{
    MigrationId, MoveState,
    service_api::{DryRun, MigrationAccepted, MigrationReport, MigrationRequest, MigrationState},
};

use crate::{
    args::MigrateArgs,
    failure::Failure,
    report,
    text::{self, print_json},
};

const POLL: Duration = Duration::from_millis(500);
/// How long a service may be away while its migration is watched.
const AWAY: Duration = Duration::from_secs(120);

/// `migrate`.
pub async fn run(peer: &Peer, args: MigrateArgs, json: bool, out: &mut impl Write) -> Result<(), Failure> {
    let request = MigrationRequest { tables: args.tables, before: args.before, dry_run: args.dry_run };
    if args.dry_run {
        let (_, plan) = peer.post::<_, DryRun>("/api/v1/migrations", &request).await?;
        return if json { print_json(out, &plan) } else { Ok(report::dry_run(out, &plan)?) };
    }
    let (_, accepted) = peer.post::<_, MigrationAccepted>("/api/v1/migrations", &request).await?;
    if !args.wait {
        if json {
            return print_json(out, &accepted);
        }
        writeln!(out, "migration {} runs (storagectl migration {0})", accepted.id)?;
        return Ok(());
    }
    let end = watch(peer, accepted.id, Duration::from_secs(args.wait_seconds)).await?;
    if json {
        print_json(out, &end)?;
    } else {
        report::migration(out, &end)?;
    }
    match end.state {
        MigrationState::Done => Ok(()),
        other => Err(Failure::Failed(format!("migration {} ended {}", end.id, report::state(other)))),
    }
}

async fn watch(peer: &Peer, id: MigrationId, longest: Duration) -> Result<MigrationReport, Failure> {
    let path = format!("/api/v1/migrations/{id}");
    let started = Instant::now();
    let mut heard = started;
    let mut progress = Progress::new();
    loop {
        match peer.get::<MigrationReport>(&path).await {
            Ok(report) => {
                heard = Instant::now();
                progress.show(&report);
                if report.state != MigrationState::Running {
                    progress.end();
                    return Ok(report);
                }
            }
            Err(error) if error.is_retryable() && heard.elapsed() < AWAY => progress.away(),
            Err(error) => return Err(error.into()),
        }
        if started.elapsed() > longest {
            return Err(Failure::Failed(format!("migration {id} still runs after {} s", longest.as_secs())));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// A bar on a terminal, a line per change elsewhere; both on standard error.
struct Progress {
    bar: Option<ProgressBar>,
    last: String,
}

impl Progress {
    fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} moves  {msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Self { bar, last: String::new() }
    }

    fn show(&mut self, report: &MigrationReport) {
        let total = report.moves.len() as u64;
        let ended = |state: MoveState| state.is_over();
        let done = report.moves.iter().filter(|m| ended(m.state)).count() as u64;
        let current = report.moves.iter().find(|m| !ended(m.state));
        let step = current
            .map_or_else(String::new, |m| format!("{} {}: {}", m.table, text::range(m.range), m.state));
        let rows = text::count(report.rows_published);
        let message =
            format!("{rows} rows published, {} on the wire  {step}", text::bytes(report.wire_bytes));
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
            bar.set_message(message);
            return;
        }
        let line = format!("{done}/{total} moves  {message}");
        if line != self.last {
            eprintln!("{line}");
            self.last = line;
        }
    }

    fn away(&mut self) {
        let line = "the service does not answer; waiting for it";
        match &self.bar {
            Some(bar) => bar.set_message(line),
            None if self.last != line => {
                eprintln!("{line}");
                line.clone_into(&mut self.last);
            }
            None => {}
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
