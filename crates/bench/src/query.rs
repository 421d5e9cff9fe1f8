//! What the service adds to a hot-only query.
//!
//! One question of realistic cost, candles by the minute of one symbol over the last day on a table of
//! a million trades, is asked of the engine and of the service in turn, over kept-alive connections,
//! after a warm-up. All three figures are of that question: the difference of the medians, the
//! difference of the 99th percentiles, and the ratio of the medians.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};

use super::{Arguments, Figures};
use testbed::{
    market::{self, Plan, tables},
    stack::Stack,
};

const WARM_UP: u32 = 40;

pub(super) async fn run(arguments: &Arguments) -> Result<Figures> {
    let dir = tempfile::Builder::new().prefix("hybrid-storage-bench-").tempdir()?;
    let mut stack = Stack::engines(market::options(dir.path())).await?;
    let (hot, service) = (stack.hot()?, stack.service()?);
    tables::create_hot(&hot).await?;
    stack.daemons().await?;
    let now_ms = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    let rows = market::load_trades(&hot, &Plan::before(arguments.rows.unwrap_or(1_000_000), now_ms)).await?;
    hot.query(format!("OPTIMIZE TABLE {}.trades FINAL", tables::HOT)).await?;

    let sql = format!(
        "SELECT toStartOfMinute(timestamp) AS minute, argMin(price, timestamp) AS open, max(price) AS high, \
         min(price) AS low, argMax(price, timestamp) AS close, sum(quantity) AS volume FROM {}.trades \
         WHERE symbol = 'BTCUSDT' AND market_type = 'spot' AND timestamp >= toDateTime64({}, 3, 'UTC') \
         GROUP BY minute ORDER BY minute",
        tables::HOT,
        now_ms / 1000 - 86_400
    );
    let direct_sql = format!("{sql} FORMAT JSONEachRow");
    let (mut direct, mut through) = (Vec::new(), Vec::new());
    for round in 0..arguments.asks + WARM_UP {
        let started = Instant::now();
        let plain = hot.query(direct_sql.clone()).await?;
        let direct_ms = started.elapsed().as_secs_f64() * 1e3;
        let started = Instant::now();
        let answer = service.query(&sql, "ndjson").await?;
        let through_ms = started.elapsed().as_secs_f64() * 1e3;
        ensure!(answer.route == "hot", "the route was {}", answer.route);
        ensure!(answer.body.len() == plain.len(), "the answers differ in length");
        if round >= WARM_UP {
            direct.push(direct_ms);
            through.push(through_ms);
        }
    }
    stack.stop()?;
    direct.sort_by(f64::total_cmp);
    through.sort_by(f64::total_cmp);
    let at = |sorted: &[f64], p: f64| sorted[((sorted.len() - 1) as f64 * p).round() as usize];
    let mut figures = Figures::default();
    figures.add("rows", rows as f64, "trades in the hot table");
    figures.add("direct_p50_ms", at(&direct, 0.5), "asked of the engine");
    figures.add("service_p50_ms", at(&through, 0.5), "asked of the service");
    figures.add("hot_overhead_p50_ms", at(&through, 0.5) - at(&direct, 0.5), "difference of the medians");
    figures.add(
        "hot_overhead_p99_ms",
        at(&through, 0.99) - at(&direct, 0.99),
        "difference of the 99th percentiles",
    );
    figures.add("hot_vs_direct_p50", at(&through, 0.5) / at(&direct, 0.5), "ratio of the medians");
    Ok(figures)
}
