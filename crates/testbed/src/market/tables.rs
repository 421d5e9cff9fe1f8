//! The eight tables of the first user: columns, sorting keys, skip indexes. [`Layout`] says how they are laid
//! out; `deploy/sql` is printed from here.

use anyhow::Result;

use super::layout::Layout;
pub use super::layout::{COLD, HOT};
use crate::{clients::ClickHouse, stack::ManagedTable};

/// Time column of all eight.
pub const TIME: &str = "timestamp";

/// One table: its own columns (between the shared ones) and its sorting key.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    /// Name on both sides.
    pub name: &'static str,
    /// Own columns, `name type [default]`, in order.
    own: &'static [(&'static str, &'static str)],
    /// ORDER BY.
    order_by: &'static str,
    /// Columns with a minmax skip index (hot only).
    indexed: &'static [&'static str],
}

const DECIMAL: &str = "Decimal64(8)";
const TIME64: &str = "DateTime64(3, 'UTC')";
const WORD: &str = "LowCardinality(String)";
const PERIOD: &str = "LowCardinality(String) DEFAULT '5m'";

/// The eight tables.
pub const ALL: [Table; 8] = [
    Table {
        name: "trades",
        own: &[
            ("trade_id", "String"),
            ("price", DECIMAL),
            ("quantity", DECIMAL),
            ("side", WORD),
            ("is_maker", "Bool DEFAULT false"),
            ("trade_time", TIME64),
        ],
        order_by: "timestamp, exchange, symbol, trade_id",
        indexed: &["price", "quantity"],
    },
    Table {
        name: "orderbooks",
        own: &[
            ("last_update_id", "UInt64"),
            ("bids_count", "UInt32"),
            ("asks_count", "UInt32"),
            ("best_bid_price", DECIMAL),
            ("best_ask_price", DECIMAL),
            ("best_bid_quantity", DECIMAL),
            ("best_ask_quantity", DECIMAL),
            ("bids", "String"),
            ("asks", "String"),
        ],
        order_by: "timestamp, exchange, symbol, last_update_id",
        indexed: &["best_bid_price", "best_ask_price"],
    },
    Table {
        name: "funding_rates",
        own: &[
            ("funding_rate", DECIMAL),
            ("funding_time", TIME64),
            ("next_funding_time", TIME64),
            ("mark_price", DECIMAL),
            ("index_price", DECIMAL),
        ],
        order_by: "timestamp, exchange, symbol",
        indexed: &["funding_rate"],
    },
    Table {
        name: "open_interests",
        own: &[("open_interest", DECIMAL), ("open_interest_value", DECIMAL), ("count", "UInt64")],
        order_by: "timestamp, exchange, symbol",
        indexed: &["open_interest"],
    },
    Table {
        name: "liquidations",
        own: &[("side", WORD), ("price", DECIMAL), ("quantity", DECIMAL), ("liquidation_time", TIME64)],
        order_by: "timestamp, exchange, symbol",
        indexed: &["price", "quantity"],
    },
    Table {
        name: "lsr_top_positions",
        own: &[("long_position_ratio", DECIMAL), ("short_position_ratio", DECIMAL), ("period", PERIOD)],
        order_by: "timestamp, exchange, symbol, period",
        indexed: &["long_position_ratio"],
    },
    Table {
        name: "lsr_all_accounts",
        own: &[("long_account_ratio", DECIMAL), ("short_account_ratio", DECIMAL), ("period", PERIOD)],
        order_by: "timestamp, exchange, symbol, period",
        indexed: &["long_account_ratio"],
    },
    Table {
        name: "volatility_indices",
        own: &[("index_value", DECIMAL), ("underlying_asset", WORD), ("maturity_date", "Date")],
        order_by: "timestamp, exchange, symbol",
        indexed: &["index_value"],
    },
];

impl Layout {
    /// Text of its file in `deploy/sql`.
    pub fn sql(self) -> String {
        let mut text = format!("{}\nCREATE DATABASE IF NOT EXISTS {};\n", self.head(), self.database());
        for table in ALL {
            text += &format!("\n{};\n", table.create(self));
        }
        text
    }
}

impl Table {
    /// Its columns, in order.
    pub fn columns(&self) -> Vec<&'static str> {
        self.definitions().map(|(name, _)| name).collect()
    }

    /// ORDER BY of the cold table.
    pub fn cold_order_by(&self) -> String {
        let rest = self.order_by.strip_prefix("timestamp, exchange, symbol").unwrap_or_default();
        format!("exchange, market_type, symbol, timestamp{rest}")
    }

    /// `CREATE TABLE` in one of the layouts, without a semicolon.
    pub fn create(&self, layout: Layout) -> String {
        let mut lines: Vec<String> = self
            .definitions()
            .chain((layout == Layout::ColdFresh).then_some(("_batch", "UInt64 MATERIALIZED 0")))
            .map(|(name, kind)| format!("    {name} {kind} {}", codec(kind)))
            .collect();
        if layout.is_hot() {
            let index = |c: &&str| format!("    INDEX idx_{c} {c} TYPE minmax GRANULARITY 4");
            lines.extend(self.indexed.iter().map(index));
        }
        let order_by = match layout {
            Layout::ColdFresh => self.cold_order_by(),
            _ => self.order_by.to_owned(),
        };
        format!(
            "CREATE TABLE IF NOT EXISTS {}.{}\n(\n{}\n)\nENGINE = MergeTree\nPARTITION BY {}\nORDER BY ({order_by})\n{}",
            layout.database(),
            self.name,
            lines.join(",\n"),
            layout.partition_by(),
            layout.rest(),
        )
    }

    /// All columns with their types and defaults.
    fn definitions(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        [(TIME, TIME64), ("exchange", WORD), ("market_type", WORD), ("symbol", WORD)]
            .into_iter()
            .chain(self.own.iter().copied())
            .chain([
                ("data_source", "LowCardinality(String) DEFAULT 'marketprism'"),
                ("created_at", "DateTime64(3, 'UTC') DEFAULT now64(3)"),
            ])
    }
}

/// Times and batches rise from row to row.
fn codec(kind: &str) -> &'static str {
    let rises = kind.starts_with("DateTime64") || kind.contains("MATERIALIZED");
    if rises { "CODEC(Delta, ZSTD)" } else { "CODEC(ZSTD)" }
}

/// The eight as the shipped configuration lists them: cold tables sorted so that one symbol's rows
/// lie together.
pub fn managed() -> Vec<ManagedTable> {
    ALL.iter()
        .map(|t| ManagedTable {
            cold_order_by: Some(t.cold_order_by()),
            ..ManagedTable::named(t.name, HOT, COLD, TIME)
        })
        .collect()
}

/// Makes the hot database and tables, as they run at the first user, where they are not there.
pub async fn create_hot(hot: &ClickHouse) -> Result<()> {
    hot.query(format!("CREATE DATABASE IF NOT EXISTS {HOT}")).await?;
    for table in ALL {
        hot.query(table.create(Layout::Hot)).await?;
    }
    Ok(())
}
