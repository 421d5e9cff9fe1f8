//! The questions the demo asks before, during and after the move.
//!
//! Each has one right answer to the byte: sums are of integers and decimals, orders are total. The
//! reference is the hot engine's own answer while it still holds every row.

use anyhow::Result;

use testbed::{
    clients::{ClickHouse, Service},
    market::tables,
};

/// One question.
#[derive(Debug, Clone)]
pub(super) struct Question {
    /// What it is, for the table.
    pub(super) name: String,
    /// SQL, the same for the engine and for the service.
    pub(super) sql: String,
}

/// A question and its right answer (CSV with names).
#[derive(Debug, Clone)]
pub(super) struct Reference {
    /// The question.
    pub(super) question: Question,
    /// The right answer.
    pub(super) answer: String,
}

/// How one asking went.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// Route the service took.
    pub(super) route: String,
    /// The answer was the reference, to the byte.
    pub(super) equal: bool,
    /// What was answered instead (start of it), or the error.
    pub(super) difference: Option<String>,
}

const TRADES: &str = "marketprism_hot.trades";
const BOOKS: &str = "marketprism_hot.orderbooks";

/// The questions; `cut` and `now` are Unix seconds of the edge of retention and of today's midnight.
pub(super) fn questions(cut: i64, midnight: i64) -> Vec<Question> {
    let time = |s: i64| format!("toDateTime64({s}, 3, 'UTC')");
    let recent = format!("timestamp >= {}", time(midnight - 2 * 86_400));
    // Inside what is loaded there, so that after the move the catalog knows it as cold through and through.
    let ten_days =
        format!("timestamp >= {} AND timestamp < {}", time(cut - 3 * 86_400 - 300), time(cut - 2 * 86_400));
    let edge = format!("timestamp >= {} AND timestamp < {}", time(cut - 900), time(cut + 900));
    let month = cut - 33 * 86_400;
    let month = format!("timestamp >= {} AND timestamp < {}", time(month - 300), time(month + 240));
    let mut list: Vec<(String, String)> = vec![
        (
            "all trades".into(),
            format!(
                "SELECT count() AS rows, uniqExact(market_type, symbol, trade_id) AS ids, sum(quantity) AS volume, min(timestamp) AS first, max(timestamp) AS last FROM {TRADES}"
            ),
        ),
        (
            "turnover by day and symbol".into(),
            format!(
                "SELECT toDate(timestamp) AS day, symbol, market_type, count() AS trades, sum(toDecimal128(price, 8) * quantity) AS turnover FROM {TRADES} GROUP BY day, symbol, market_type ORDER BY day, symbol, market_type"
            ),
        ),
        (
            "recent candles".into(),
            format!(
                "SELECT toStartOfMinute(timestamp) AS minute, argMin(price, (timestamp, trade_id)) AS open, max(price) AS high, min(price) AS low, argMax(price, (timestamp, trade_id)) AS close, sum(quantity) AS volume FROM {TRADES} WHERE symbol = 'BTCUSDT' AND market_type = 'spot' AND {recent} GROUP BY minute ORDER BY minute"
            ),
        ),
        (
            "candles ten days ago".into(),
            format!(
                "SELECT toStartOfMinute(timestamp) AS minute, argMin(price, (timestamp, trade_id)) AS open, max(price) AS high, min(price) AS low, argMax(price, (timestamp, trade_id)) AS close, sum(quantity) AS volume FROM {TRADES} WHERE symbol = 'BTCUSDT' AND market_type = 'spot' AND {ten_days} GROUP BY minute ORDER BY minute"
            ),
        ),
        (
            "a month ago, by side".into(),
            format!(
                "SELECT side, is_maker, count() AS trades, avg(price) AS mean, sum(quantity) AS volume FROM {TRADES} WHERE {month} GROUP BY side, is_maker ORDER BY side, is_maker"
            ),
        ),
        (
            "median price by symbol".into(),
            format!(
                "SELECT symbol, quantileExact(0.5)(price) AS median, uniqExact(trade_id) AS ids FROM {TRADES} GROUP BY symbol ORDER BY symbol"
            ),
        ),
        (
            "trades across the edge".into(),
            format!(
                "SELECT * FROM {TRADES} WHERE {edge} AND quantity > 1 ORDER BY timestamp, market_type, symbol, trade_id LIMIT 200"
            ),
        ),
        (
            "newest trades".into(),
            format!(
                "SELECT * FROM {TRADES} ORDER BY timestamp DESC, market_type, symbol, trade_id DESC LIMIT 20"
            ),
        ),
        (
            "running volume (window)".into(),
            format!(
                "SELECT minute, volume, sum(volume) OVER (ORDER BY minute) AS running FROM (SELECT toStartOfMinute(timestamp) AS minute, sum(quantity) AS volume FROM {TRADES} WHERE symbol = 'ETHUSDT' GROUP BY minute) ORDER BY minute"
            ),
        ),
        (
            "spread and depth".into(),
            format!(
                "SELECT symbol, market_type, count() AS updates, sum(best_ask_price - best_bid_price) AS spreads, max(length(bids)) AS widest, sum(bids_count + asks_count) AS levels FROM {BOOKS} GROUP BY symbol, market_type ORDER BY symbol, market_type"
            ),
        ),
        (
            "books across the edge".into(),
            format!(
                "SELECT timestamp, symbol, market_type, last_update_id, bids, asks FROM {BOOKS} WHERE {edge} ORDER BY timestamp, symbol, market_type, last_update_id LIMIT 40"
            ),
        ),
        (
            "trades joined with books".into(),
            format!(
                "SELECT t.minute AS minute, t.trades AS trades, b.updates AS updates FROM (SELECT toStartOfMinute(timestamp) AS minute, count() AS trades FROM {TRADES} GROUP BY minute) AS t INNER JOIN (SELECT toStartOfMinute(timestamp) AS minute, count() AS updates FROM {BOOKS} GROUP BY minute) AS b ON t.minute = b.minute ORDER BY minute"
            ),
        ),
    ];
    for table in tables::ALL {
        list.push((
            format!("every row of {}", table.name),
            format!(
                "SELECT count() AS rows, sum(reinterpretAsUInt128(sipHash128(tuple({})))) AS hash FROM {}.{}",
                table.columns().join(", "),
                tables::HOT,
                table.name
            ),
        ));
    }
    list.into_iter().map(|(name, sql)| Question { name, sql }).collect()
}

/// Asks the hot engine while it holds every row.
pub(super) async fn references(hot: &ClickHouse, questions: Vec<Question>) -> Result<Vec<Reference>> {
    let mut references = Vec::new();
    for question in questions {
        let answer = hot.query(format!("{} FORMAT CSVWithNames", question.sql)).await?;
        references.push(Reference { question, answer });
    }
    Ok(references)
}

/// Asks the service and compares.
pub(super) async fn ask(service: &Service, reference: &Reference) -> Asked {
    match service.query(&reference.question.sql, "csv").await {
        Ok(answer) => {
            let text = answer.text();
            let equal = text == reference.answer && answer.coverage == "complete";
            let difference = (!equal).then(|| first_difference(&reference.answer, &text));
            Asked { route: answer.route, equal, difference }
        }
        Err(error) => Asked { route: String::new(), equal: false, difference: Some(format!("{error:#}")) },
    }
}

fn first_difference(expected: &str, found: &str) -> String {
    let pair = expected.lines().zip(found.lines()).find(|(e, f)| e != f);
    match pair {
        Some((e, f)) => format!("expected {e:?}, found {f:?}"),
        None => format!("expected {} lines, found {}", expected.lines().count(), found.lines().count()),
    }
}
