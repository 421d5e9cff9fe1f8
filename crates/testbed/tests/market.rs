//! Generated rows are what the tables take, and look like what they were fitted to.

use testbed::{
    market::{self, Plan, Source, tables},
    progress,
    stack::{Options, Stack},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_generated_piece_looks_like_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let stack = Stack::engines(Options::new(dir.path())).await.unwrap();
    let hot = stack.hot().unwrap();
    tables::create_hot(&hot).await.unwrap();
    for table in tables::ALL {
        hot.query(format!("ALTER TABLE {}.{} REMOVE TTL", tables::HOT, table.name)).await.unwrap();
    }
    let now_ms = 1_763_900_000_000;
    let plan = Plan::new(&Source::Generated, None, now_ms, 7);
    let bar = progress::count(plan.pieces(), "loading", "pieces");
    let loaded = market::load(&hot, &Source::Generated, &plan, now_ms, &bar).await.unwrap();
    assert_eq!(loaded.trades, 4 * 69_808, "four whole pieces");

    // Figures of the real files, with room for chance: bursts of 2.8 to 4.1 trades, two thirds of
    // neighbours at one price, spreads of a tick, some twenty levels a side.
    let per_burst = hot
        .number("SELECT toUInt64(100 * count() / uniqExact(timestamp, symbol, market_type)) FROM marketprism_hot.trades")
        .await
        .unwrap();
    assert!((250..450).contains(&per_burst), "{per_burst} hundredths of a trade a burst");
    let still = hot
        .number(
            "SELECT toUInt64(100 * avg(price = before)) FROM (SELECT price, lagInFrame(price) OVER (PARTITION BY symbol, market_type ORDER BY toUInt64(trade_id)) AS before FROM marketprism_hot.trades)",
        )
        .await
        .unwrap();
    assert!((55..80).contains(&still), "{still} % of neighbours at one price");
    let levels = hot
        .number("SELECT toUInt64(quantileExact(0.5)(bids_count)) FROM marketprism_hot.orderbooks")
        .await
        .unwrap();
    assert!((5..25).contains(&levels), "{levels} levels");
    let parsed = hot
        .number("SELECT countIf(length(JSONExtract(bids, 'Array(Tuple(String, String))')) != bids_count) FROM marketprism_hot.orderbooks")
        .await
        .unwrap();
    assert_eq!(parsed, 0, "bids are JSON pairs, as many as bids_count says");
    for table in tables::ALL {
        assert!(
            hot.number(&format!("SELECT count() FROM {}.{}", tables::HOT, table.name)).await.unwrap() > 0
        );
    }
    stack.stop().unwrap();
}
