//! Rows of the six tables that trickle, made inside the engine: the last twenty days, one row every
//! five minutes (funding rates every eight hours, as the exchanges pay them).

use anyhow::Result;

use super::tables::HOT;
use crate::clients::ClickHouse;

/// `table, exchange, market type, seconds between rows, own columns, their values`. In a value `n`
/// is the row's number, `t` its time, `w(k)` a number in [0, 1) that depends on row and `k` alone.
type Trickle = (&'static str, &'static str, &'static str, i64, &'static str, &'static str);

const TABLES: [Trickle; 6] = [
    (
        "funding_rates",
        "okx",
        "perpetual",
        28_800,
        "funding_rate, funding_time, next_funding_time, mark_price, index_price",
        "toDecimal64(0.0001 * (w(1) - 0.3), 8), t, t + INTERVAL 8 HOUR, toDecimal64(61000 + 900 * w(2), 8), toDecimal64(61000 + 900 * w(3), 8)",
    ),
    (
        "open_interests",
        "binance",
        "perpetual",
        300,
        "open_interest, open_interest_value, count",
        "toDecimal64(78000 + 4000 * w(1), 8), toDecimal64(4.8e9 + 2e8 * w(2), 8), n",
    ),
    (
        "liquidations",
        "okx",
        "perpetual",
        700,
        "side, price, quantity, liquidation_time",
        "if(w(1) < 0.5, 'buy', 'sell'), toDecimal64(61000 + 900 * w(2), 8), toDecimal64(exp(6 * w(3) - 4), 8), t",
    ),
    (
        "lsr_top_positions",
        "binance",
        "perpetual",
        300,
        "long_position_ratio, short_position_ratio",
        "toDecimal64(0.4 + 0.2 * w(1), 8), toDecimal64(1 - (0.4 + 0.2 * w(1)), 8)",
    ),
    (
        "lsr_all_accounts",
        "binance",
        "perpetual",
        300,
        "long_account_ratio, short_account_ratio",
        "toDecimal64(0.45 + 0.2 * w(1), 8), toDecimal64(1 - (0.45 + 0.2 * w(1)), 8)",
    ),
    (
        "volatility_indices",
        "deribit",
        "options",
        300,
        "index_value, underlying_asset, maturity_date",
        "toDecimal64(55 + 20 * w(1), 8), if(symbol = 'BTC', 'BTC', 'ETH'), toDate(t) + 30",
    ),
];

const DAYS: i64 = 20;

/// Inserts them; returns the rows.
pub(super) async fn load(hot: &ClickHouse, now_ms: i64) -> Result<u64> {
    let mut rows = 0;
    for (table, exchange, market, every, columns, values) in TABLES {
        let count = DAYS * 86_400 / every;
        let start = now_ms / 1000 / every * every - count * every;
        let symbols = if exchange == "deribit" { "['BTC', 'ETH']" } else { "['BTCUSDT', 'ETHUSDT']" };
        hot.query(format!(
            "INSERT INTO {HOT}.{table} (timestamp, exchange, market_type, symbol, {columns}, created_at) \
             WITH number AS n, k -> (cityHash64('{table}', number, k) % 1000003) / 1000003 AS w, \
             toDateTime64({start} + intDiv(n, 2) * {every}, 3, 'UTC') AS t \
             SELECT t, '{exchange}', '{market}', {symbols}[1 + n % 2] AS symbol, {values}, t FROM numbers({})",
            count * 2
        ))
        .await?;
        rows += u64::try_from(count * 2).unwrap_or(0);
    }
    Ok(rows)
}
