//! The rate of a move with all its proofs, against the least any move must do: read the rows and
//! write them into a table of the same definition, in one engine. Then the memory of both daemons
//! while a large partition moves.
//!
//! Compression is `fast` and the bandwidth unlimited, so that the figure is of the daemons and not of
//! a line or of zstd's strongest level. The reference table is made by the very statement that made
//! the cold one, durability settings included.
//!
//! While the large partition moves, a query of hot rows is asked all the time. The cold side is another
//! machine in life: here its two processes get what the hot side leaves of this one.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, Datelike, Months, NaiveDate, Utc};
use storage_types::service_api::{MigrationRequest, MigrationState};

use super::{Arguments, Figures};
use testbed::{
    clients::{ClickHouse, Service},
    market::{self, Plan, tables},
    stack::{Role, Stack},
};

const LIMIT: Duration = Duration::from_secs(1800);

pub(super) async fn run(arguments: &Arguments) -> Result<Figures> {
    let dir = tempfile::Builder::new().prefix("hybrid-storage-bench-").tempdir()?;
    let mut options = market::options(dir.path());
    options.config.compression_level = "fast".to_owned();
    if let Some(rows) = arguments.batch_rows {
        options.config.batch_rows = rows;
    }
    let mut stack = Stack::engines(options).await?;
    let (hot, service) = (stack.hot()?, stack.service()?);
    tables::create_hot(&hot).await?;
    stack.daemons().await?;
    service.adopt("trades").await?;
    let mut figures = Figures::default();

    rate(&stack, &hot, &service, arguments.rows.unwrap_or(2_000_000), &mut figures).await?;
    if arguments.memory_rows > 0 {
        memory(&mut stack, &hot, arguments.memory_rows, &mut figures).await?;
    }
    stack.stop()?;
    Ok(figures)
}

/// Processor time that a move takes, by process.
const ROLES: [Role; 4] = [Role::Hot, Role::Cold, Role::Service, Role::Gateway];
const CPU: [(&str, &str); 4] = [
    ("hot_cpu_s_per_mrow", "processor seconds of the hot engine per million rows moved"),
    ("cold_cpu_s_per_mrow", "the same of the cold engine"),
    ("service_cpu_s_per_mrow", "the same of storage-service"),
    ("gateway_cpu_s_per_mrow", "the same of storage-gateway"),
];

fn cpu_s(stack: &Stack) -> Result<Vec<f64>> {
    let of = |role| stack.process(role).context("a process of the stack")?.cpu_s();
    ROLES.into_iter().map(of).collect()
}

/// The middle of the month `back` months ago, UTC midnight, Unix milliseconds.
pub(super) fn mid_month(back: u32) -> Result<i64> {
    let now: DateTime<Utc> = SystemTime::now().into();
    let month = now.date_naive().checked_sub_months(Months::new(back)).context("a month long ago")?;
    let middle = NaiveDate::from_ymd_opt(month.year(), month.month(), 15).context("a 15th")?;
    Ok(middle.and_hms_opt(0, 0, 0).context("midnight")?.and_utc().timestamp_millis())
}

async fn rate(
    stack: &Stack,
    hot: &ClickHouse,
    service: &Service,
    rows: u64,
    figures: &mut Figures,
) -> Result<()> {
    eprintln!("loading {rows} generated trades into one partition");
    let loaded = market::load_trades(hot, &Plan::before(rows, mid_month(2)?)).await?;
    hot.query("CREATE DATABASE bench").await?;
    hot.query(format!("CREATE TABLE bench.source AS {}.trades", tables::HOT)).await?;
    hot.query(format!("INSERT INTO bench.source SELECT * FROM {}.trades", tables::HOT)).await?;
    quiet(hot).await?;

    eprintln!("moving them");
    let used = cpu_s(stack)?;
    let started = Instant::now();
    let report = migrate(service, "trades").await?;
    let moved_s = started.elapsed().as_secs_f64();
    ensure!(report == loaded, "{report} rows were moved, {loaded} loaded");
    for ((key, what), (before, after)) in CPU.iter().zip(used.into_iter().zip(cpu_s(stack)?)) {
        figures.add(key, (after - before) / loaded as f64 * 1e6, what);
    }

    let create =
        stack.cold()?.query(format!("SHOW CREATE TABLE {}.trades FORMAT TSVRaw", tables::COLD)).await?;
    let create = create.replacen(&format!("{}.trades", tables::COLD), "bench.cold", 1);
    let mut plain = Vec::new();
    for _ in 0..3 {
        hot.query("DROP TABLE IF EXISTS bench.cold SYNC").await?;
        hot.query(create.clone()).await?;
        quiet(hot).await?;
        let started = Instant::now();
        hot.query("INSERT INTO bench.cold SELECT * FROM bench.source").await?;
        plain.push(started.elapsed().as_secs_f64());
    }
    plain.sort_by(f64::total_cmp);
    let plain_rate = loaded as f64 / plain[1];
    let moved_rate = loaded as f64 / moved_s;
    figures.add("rows", loaded as f64, "trades moved");
    figures.add("move_rows_per_s", moved_rate, "whole move through both daemons, proofs included");
    figures.add(
        "insert_select_rows_per_s",
        plain_rate,
        "INSERT INTO cold SELECT * FROM hot in one engine (median of 3)",
    );
    figures.add("move_vs_insert_select", moved_rate / plain_rate, "the first over the second");
    hot.query("DROP DATABASE bench SYNC").await?;
    Ok(())
}

/// Moves whatever of `table` has expired; returns the rows.
pub(super) async fn migrate(service: &Service, table: &str) -> Result<u64> {
    let request = MigrationRequest { tables: vec![table.to_owned()], ..MigrationRequest::default() };
    let id = service.migrate(&request).await?;
    let (started, mut last) = (Instant::now(), String::new());
    let report = service
        .finished(id, LIMIT, |report| {
            let states: Vec<&str> = report.moves.iter().map(|m| m.state.as_str()).collect();
            let now = states.join(" ");
            if now != last {
                eprintln!("  {:>7.2} s  {now}", started.elapsed().as_secs_f64());
                last = now;
            }
        })
        .await?;
    eprintln!("  {:>7.2} s  done", started.elapsed().as_secs_f64());
    ensure!(
        report.state == MigrationState::Done,
        "the migration ended {:?}: {:?}",
        report.state,
        report.errors
    );
    Ok(report.rows_published)
}

/// Waits until no merge runs, so that none disturbs what is measured.
pub(super) async fn quiet(engine: &ClickHouse) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(120);
    while engine.number("SELECT count() FROM system.merges").await? > 0 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Rows that stay hot while the others move.
const HOT_ROWS: u64 = 500_000;
const IDLE_ASKS: usize = 500;

/// Seconds of one query of hot rows.
async fn ask(service: &Service) -> Result<f64> {
    let sql = "SELECT symbol, count(), avg(price) FROM trades WHERE timestamp >= now() - INTERVAL 2 DAY GROUP BY symbol";
    let started = Instant::now();
    service.ask(&serde_json::json!({ "sql": sql })).await?;
    Ok(started.elapsed().as_secs_f64())
}

fn p99_ms(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    let at = (seconds.len() * 99).div_ceil(100).saturating_sub(1);
    seconds.get(at).copied().unwrap_or(f64::NAN) * 1000.0
}

async fn memory(stack: &mut Stack, hot: &ClickHouse, rows: u64, figures: &mut Figures) -> Result<()> {
    eprintln!("making a partition of {rows} rows");
    // Fresh processes: the peak is of this move alone.
    for role in [Role::Service, Role::Gateway] {
        stack.stop_one(role)?;
        stack.restart(role).await?;
    }
    let start = mid_month(3)? / 1000;
    for from in (0..rows).step_by(1_000_000) {
        let count = (rows - from).min(1_000_000);
        hot.query(format!(
            "INSERT INTO {}.trades (timestamp, exchange, market_type, symbol, trade_id, price, quantity, side, is_maker, trade_time) \
             WITH toDateTime64({start} + number / 100, 3, 'UTC') AS t, cityHash64(number) AS h \
             SELECT t, 'binance', if(h % 2 = 0, 'spot', 'perpetual'), if(h % 3 = 0, 'ETHUSDT', 'BTCUSDT'), toString(3735683259 + number), \
             toDecimal64(61000 + (h % 90000) / 100, 8), toDecimal64(1 / (1 + h % 9973), 8), if(h % 5 < 2, 'sell', 'buy'), h % 5 < 2, t \
             FROM numbers({from}, {count})",
            tables::HOT
        ))
        .await?;
    }
    let service = stack.service()?;
    market::load_trades(
        hot,
        &Plan::before(
            HOT_ROWS,
            (SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64) - 3_600_000,
        ),
    )
    .await?;
    quiet(hot).await?;
    for role in [Role::Cold, Role::Gateway] {
        let process = stack.process(role).context("a process of the cold side")?;
        if let Err(error) = std::fs::write(format!("/proc/{}/autogroup", process.pid), "19") {
            eprintln!("the cold side takes as much of this machine as the hot one: {error}");
        }
    }
    let mut idle = Vec::new();
    while idle.len() < IDLE_ASKS {
        idle.push(ask(&service).await?);
    }
    eprintln!("moving it");
    let started = Instant::now();
    let mut moving = Vec::new();
    let moved = {
        let migration = migrate(&service, "trades");
        tokio::pin!(migration);
        loop {
            tokio::select! {
                moved = &mut migration => break moved?,
                asked = ask(&service) => moving.push(asked?),
            }
        }
    };
    ensure!(moved == rows, "{moved} rows were moved of {rows}");
    figures.add("memory_rows", rows as f64, "rows of the partition moved for the memory figures");
    figures.add("memory_move_s", started.elapsed().as_secs_f64(), "seconds that took");
    let (idle, asks) = (p99_ms(idle), moving.len());
    let moving = p99_ms(moving);
    figures.add("hot_p99_idle_ms", idle, "99th percentile of a query of hot rows through the service, idle");
    figures.add("hot_p99_moving_ms", moving, "the same while the partition moved");
    figures.add("hot_moving_asks", asks as f64, "how often it was asked meanwhile");
    figures.add("hot_p99_moving_vs_idle", moving / idle, "the second over the first");
    for (role, key) in [(Role::Service, "service_peak_rss_mb"), (Role::Gateway, "gateway_peak_rss_mb")] {
        let peak = stack.process(role).and_then(|p| p.peak_rss_bytes()).context("read the peak memory")?;
        figures.add(key, peak as f64 / 1e6, "largest resident memory while it moved, MB");
    }
    Ok(())
}
