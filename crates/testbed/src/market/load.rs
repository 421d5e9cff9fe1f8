//! Loads market data into the hot tables: pieces of eleven minutes around four places in time, so
//! that a migration meets whole months, windows inside a month, a piece that crosses the very edge
//! of retention, and rows that stay.

use anyhow::Result;
use indicatif::ProgressBar;

use super::{
    files::Files,
    generator::{self, PIECE_MS},
    rows::{ORDERBOOKS_HEADER, Rows, TRADES_HEADER, bodies},
    tables::HOT,
    trickle,
};
use crate::clients::ClickHouse;

const DAY_MS: i64 = 86_400_000;
/// Pieces start this long before midnight, and so cross it.
const BEFORE_MIDNIGHT_MS: i64 = 6 * 60 * 1000;
/// Trades in one generated piece.
const PIECE_TRADES: u64 = 69_808;
/// Size of one insert.
const BODY_BYTES: usize = 16 << 20;

/// Where rows come from.
#[derive(Debug)]
pub enum Source {
    /// The fitted generator.
    Generated,
    /// Real files.
    Files(Files),
}

/// What is to be loaded.
#[derive(Debug)]
pub struct Plan {
    /// Start of each piece, Unix milliseconds.
    starts: Vec<i64>,
    /// Share of a piece's rows (generated ones only).
    scale: f64,
}

impl Plan {
    /// About `trades` trades around `now_ms`; `retention_days` as the service has it. Files are
    /// loaded whole, so at least four copies of them.
    pub fn new(source: &Source, trades: Option<u64>, now_ms: i64, retention_days: u32) -> Self {
        let piece = match source {
            Source::Generated => PIECE_TRADES,
            Source::Files(files) => files.trades(),
        };
        let midnight = now_ms - now_ms.rem_euclid(DAY_MS);
        let retention = i64::from(retention_days);
        // A month and more ago, ten days ago, the edge of retention itself, yesterday.
        let places = [retention + 33, retention + 3, retention, 1]
            .map(|days| midnight - days * DAY_MS - BEFORE_MIDNIGHT_MS);
        let trades = trades.unwrap_or(piece * places.len() as u64);
        let pieces = trades.div_ceil(piece).max(places.len() as u64);
        let starts = (0..pieces)
            .map(|i| places[(i % 4) as usize] - i64::try_from(i / 4).unwrap_or(0) * PIECE_MS)
            .collect();
        Self { starts, scale: (trades as f64 / (pieces * piece) as f64).min(1.0) }
    }

    /// About `trades` generated trades, as consecutive pieces that end at `end_ms`.
    pub fn before(trades: u64, end_ms: i64) -> Self {
        let pieces = trades.div_ceil(PIECE_TRADES).max(1);
        let starts = (1..=pieces).map(|i| end_ms - i64::try_from(i).unwrap_or(0) * PIECE_MS).collect();
        Self { starts, scale: trades as f64 / (pieces * PIECE_TRADES) as f64 }
    }

    /// Pieces to load.
    pub fn pieces(&self) -> u64 {
        self.starts.len() as u64
    }
}

/// What was loaded.
#[derive(Debug, Default, Clone, Copy)]
pub struct Loaded {
    /// Trades.
    pub trades: u64,
    /// Order book updates.
    pub orderbooks: u64,
    /// Rows of the six other tables.
    pub others: u64,
    /// Bytes of text inserted.
    pub text_bytes: u64,
}

impl Loaded {
    /// All rows.
    pub fn rows(&self) -> u64 {
        self.trades + self.orderbooks + self.others
    }
}

/// Loads the pieces, and a trickle into the other six tables.
pub async fn load(
    hot: &ClickHouse,
    source: &Source,
    plan: &Plan,
    now_ms: i64,
    bar: &ProgressBar,
) -> Result<Loaded> {
    let mut loaded = Loaded::default();
    for (serial, start) in plan.starts.iter().enumerate() {
        let rows = match source {
            Source::Generated => generator::piece(*start, serial as u64, plan.scale),
            Source::Files(files) => files.copy(*start, serial as u64)?,
        };
        let Rows { trades, orderbooks } = rows;
        loaded.trades += insert(hot, "trades", TRADES_HEADER, &trades, &mut loaded.text_bytes).await?;
        loaded.orderbooks +=
            insert(hot, "orderbooks", ORDERBOOKS_HEADER, &orderbooks, &mut loaded.text_bytes).await?;
        bar.inc(1);
    }
    loaded.others = trickle::load(hot, now_ms).await?;
    Ok(loaded)
}

/// Loads generated trades only; returns how many.
pub async fn load_trades(hot: &ClickHouse, plan: &Plan) -> Result<u64> {
    let mut loaded = 0;
    for (serial, start) in plan.starts.iter().enumerate() {
        let lines = generator::trades_of(*start, serial as u64, plan.scale);
        loaded += insert(hot, "trades", TRADES_HEADER, &lines, &mut 0).await?;
    }
    Ok(loaded)
}

async fn insert(
    hot: &ClickHouse,
    table: &str,
    header: &str,
    lines: &[String],
    bytes: &mut u64,
) -> Result<u64> {
    let mut inserted = 0;
    for (body, rows) in bodies(header, lines, BODY_BYTES) {
        *bytes += body.len() as u64;
        hot.insert(&format!("INSERT INTO {HOT}.{table} FORMAT TSVWithNames"), &[], body).await?;
        inserted += rows;
    }
    Ok(inserted)
}
