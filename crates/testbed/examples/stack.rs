//! A stack of one's own in a few lines: two engines, both daemons, one managed table.
//!
//! `cargo xtask build`, then `cargo run -p testbed --example stack`. (The build names this example so that
//! cargo chooses the features of a test build: then tests, demo and benchmarks share what is compiled.)

use anyhow::Result;
use testbed::stack::{ManagedTable, Options, Stack};

#[tokio::main]
async fn main() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut options = Options::new(dir.path());
    options.config.tables = vec![ManagedTable::named("ticks", "market", "market_cold", "ts")];
    let mut stack = Stack::engines(options).await?;
    let hot = stack.hot()?;
    hot.query("CREATE DATABASE market").await?;
    hot.query("CREATE TABLE market.ticks (id UInt64, ts DateTime64(3, 'UTC')) ENGINE = MergeTree PARTITION BY toYYYYMMDD(ts) ORDER BY ts").await?;
    hot.query("INSERT INTO market.ticks SELECT number, now64(3) - toIntervalHour(number) FROM numbers(500)")
        .await?;
    stack.daemons().await?;
    let answer = stack.service()?.query("SELECT count() AS rows FROM market.ticks", "csv").await?;
    println!("route {}: {}", answer.route, answer.text());
    stack.stop()
}
