//! `cargo xtask demo`: market data move from a hot ClickHouse to a cold one while the same questions
//! keep getting the same answers.
//!
//! Everything happens in a folder of its own and ends with the processes stopped, unless `--keep`
//! asks for them to stay. The demo fails when any answer differs, at any time.

mod moving;
mod picture;
mod questions;
mod table;

use std::{
    path::PathBuf,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail, ensure};
use storage_types::service_api::{MigrationReport, MigrationRequest};
use tokio::signal::unix::{SignalKind, signal};

use moving::During;
use picture::Holdings;
use questions::{Asked, Reference};
use testbed::{
    clients::{ClickHouse, Service},
    market::{self, Files, Loaded, Plan, Source},
    progress::{self, log},
    stack::{Link, Options, Stack},
};

/// What the demo is asked for.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// Folder with trades.tsv.gz and orderbooks.tsv.gz; without it the fitted generator makes the rows.
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Leave the stack running and its folder in place.
    #[arg(long)]
    pub keep: bool,
    /// About how many trades to load (order books come with them).
    #[arg(long)]
    pub rows: Option<u64>,
    /// The way between the daemons.
    #[arg(long, value_enum, default_value = "userspace")]
    pub link: Link,
    /// Folder of the stack; a temporary one by default.
    #[arg(long)]
    pub dir: Option<PathBuf>,
}

/// Days rows stay hot in the demo, as in the shipped configuration.
const RETENTION_DAYS: u32 = 7;

/// Everything the last table shows.
struct Outcome {
    loaded: Loaded,
    picture: String,
    report: MigrationReport,
    moving_s: f64,
    before: Vec<Asked>,
    during: During,
    after: Vec<Asked>,
}

/// Runs the demo; an error when anything differs.
pub fn run(arguments: &Arguments) -> Result<()> {
    arguments.link.possible()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        // Dropping the demo ends what it started and removes what it made.
        tokio::select! {
            done = whole(arguments) => done,
            _ = interrupt.recv() => bail!("interrupted"),
            _ = terminate.recv() => bail!("ended from outside"),
        }
    })
}

async fn whole(arguments: &Arguments) -> Result<()> {
    let started = Instant::now();
    let temporary = tempfile::Builder::new().prefix("hybrid-storage-demo-").tempdir()?;
    let dir = match &arguments.dir {
        Some(dir) => {
            std::fs::create_dir_all(dir)?;
            dir.canonicalize()?
        }
        None => temporary.path().to_owned(),
    };
    let mut options = Options { detached: arguments.keep, ..market::options(&dir) };
    options.config.retention_days = RETENTION_DAYS;
    options.config.link = arguments.link;
    log(match arguments.link {
        Link::Userspace => "starting two engines and two daemons, joined by a userspace tunnel",
        Link::Tun => {
            "starting two engines and two daemons, joined by TUN devices; the NAS in a network namespace"
        }
        Link::ReverseProxy => "starting two engines and two daemons, with nginx in between",
        Link::Direct => "starting two engines and two daemons on loopback",
    });
    let mut stack = Stack::engines(options).await?;
    market::tables::create_hot(&stack.hot()?).await?;
    stack.daemons().await?;
    let result = on_stack(&stack, arguments).await;
    if arguments.keep {
        let info = stack.leave();
        let _ = temporary.keep();
        log(format!(
            "\nthe stack runs on: service {} (token in {}/secrets/service_token)",
            info.service.url,
            dir.display()
        ));
        log(format!("stop it with: cargo xtask stack down --dir {}", dir.display()));
    } else {
        stack.stop()?;
    }
    let outcome = result?;
    log(format!("\n{}", outcome.picture.trim_end()));
    table::print(&outcome);
    log(format!("the demo took {:.0} s after the build", started.elapsed().as_secs_f64()));
    judge(&outcome)
}

async fn on_stack(stack: &Stack, arguments: &Arguments) -> Result<Outcome> {
    let (hot, service) = (stack.hot()?, stack.service()?);
    let now_ms = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    adopt_all(&service).await?;
    let loaded = load(&hot, arguments, now_ms).await?;

    let midnight = now_ms / 86_400_000 * 86_400;
    let cut = midnight - i64::from(RETENTION_DAYS) * 86_400;
    let references = questions::references(&hot, questions::questions(cut, midnight)).await?;
    log(format!("asked the hot engine {} questions while it holds every row", references.len()));
    let before = ask_all(&service, &references).await;
    let cold = stack.cold()?;
    let held_before = Holdings::of(&hot, &cold).await?;

    let request = MigrationRequest::default();
    let plan = service.dry_run(&request).await.context("dry run")?;
    log(format!("a migration will move {} rows in {} moves", plan.rows, plan.moves.len()));
    for planned in &plan.moves {
        log(format!("  {:<20} {:>9} rows of {}", planned.table, planned.rows, planned.range));
    }
    ensure!(plan.rows > 0, "the dry run finds nothing to move");
    let begun = Instant::now();
    let id = service.migrate(&request).await.context("start the migration")?;
    let (report, during) = moving::watch(&service, id, plan.rows, &references).await?;
    let moving_s = begun.elapsed().as_secs_f64();

    let after = ask_all(&service, &references).await;
    left_behind(stack, &hot, cut).await?;
    let held_after = Holdings::of(&hot, &cold).await?;
    let day = |unix_s: i64| unix_s.div_euclid(86_400);
    let picture = picture::draw(&held_before, &held_after, day(cut), day(midnight), picture::in_colour());
    Ok(Outcome { loaded, picture, report, moving_s, before, during, after })
}

/// Shows the guard, then takes the TTL of every table over.
async fn adopt_all(service: &Service) -> Result<()> {
    // The service looks at its tables one after the other once it has started.
    let deadline = Instant::now() + Duration::from_secs(15);
    loop {
        let reasons: Vec<String> =
            service.catalog().await?.tables.into_iter().filter_map(|t| t.refused).collect();
        let guarded = reasons.iter().filter(|r| r.contains("TTL")).count();
        if guarded == market::tables::ALL.len() {
            log(format!("the service refuses all {guarded} tables: {}", reasons[0]));
            break;
        }
        ensure!(
            Instant::now() < deadline,
            "the TTL guard must refuse all eight tables, it refuses {reasons:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for table in market::tables::ALL {
        let report = service.adopt(table.name).await.with_context(|| format!("adopt {}", table.name))?;
        ensure!(report.removed_ttl.is_some(), "{} had no TTL to take over", table.name);
    }
    let still = service
        .catalog()
        .await?
        .tables
        .into_iter()
        .find_map(|t| t.refused.map(|r| format!("{}: {r}", t.table)));
    if let Some(reason) = still {
        bail!("still refused after its TTL was taken over: {reason}");
    }
    log("took the TTL of all eight over (storagectl table adopt)");
    Ok(())
}

async fn load(hot: &ClickHouse, arguments: &Arguments, now_ms: i64) -> Result<Loaded> {
    let source = match &arguments.data {
        Some(dir) => Source::Files(Files::read(dir)?),
        None => Source::Generated,
    };
    let plan = Plan::new(&source, arguments.rows, now_ms, RETENTION_DAYS);
    let what =
        if arguments.data.is_some() { "loading real market data" } else { "loading generated market data" };
    let bar = progress::count(plan.pieces(), what, "pieces");
    let loaded = market::load(hot, &source, &plan, now_ms, &bar).await.context("load market data")?;
    bar.finish_and_clear();
    log(format!(
        "loaded {} trades, {} order book updates, {} other rows ({:.0} MB of text)",
        loaded.trades,
        loaded.orderbooks,
        loaded.others,
        loaded.text_bytes as f64 / 1e6
    ));
    Ok(loaded)
}

async fn ask_all(service: &Service, references: &[Reference]) -> Vec<Asked> {
    let mut asked = Vec::new();
    for reference in references {
        let one = questions::ask(service, reference).await;
        if let Some(difference) = &one.difference {
            log(format!("  DIFFERS  {}: {difference}", reference.question.name));
        }
        asked.push(one);
    }
    asked
}

/// After the move nothing expired is left in the hot tables.
async fn left_behind(stack: &Stack, hot: &ClickHouse, cut: i64) -> Result<()> {
    for table in market::tables::ALL {
        let sql = format!(
            "SELECT count() FROM {}.{} WHERE timestamp < toDateTime64({cut}, 3, 'UTC')",
            market::tables::HOT,
            table.name
        );
        let left = hot.number(&sql).await?;
        ensure!(left == 0, "{left} expired rows of {} are still in the hot engine", table.name);
    }
    let cold = stack.cold()?;
    let held = cold.number(&format!("SELECT count() FROM {}.trades", market::tables::COLD)).await?;
    ensure!(held > 0, "the cold engine holds no trades");
    Ok(())
}

fn judge(outcome: &Outcome) -> Result<()> {
    let wrong = |asked: &[Asked]| asked.iter().filter(|a| !a.equal).count() as u64;
    let different = wrong(&outcome.before) + outcome.during.different + wrong(&outcome.after);
    ensure!(different == 0, "{different} answers differ");
    ensure!(outcome.during.asked > 0, "no question was asked during the move");
    ensure!(
        outcome.report.state == storage_types::service_api::MigrationState::Done,
        "the migration ended {:?}: {}",
        outcome.report.state,
        outcome.report.errors.join("; ")
    );
    Ok(())
}

/// Longest a demo's migration may take.
const MIGRATION_LIMIT: Duration = Duration::from_secs(600);
