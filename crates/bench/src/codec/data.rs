//! The rows: the two files of real trades and order books, and the six tables that trickle.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use indicatif::ProgressBar;

use testbed::{
    clients::ClickHouse,
    market::{
        self, Plan, Source,
        tables::{self, Table},
    },
};

/// The migrator's block size, and its types as text.
pub(crate) const SETTINGS: &[(&str, &str)] =
    &[("max_block_size", "65409"), ("output_format_native_encode_types_in_binary_format", "0")];

/// Rows of one table in one order.
pub(super) struct Sample {
    /// `trades_time` and so on.
    pub(super) key: &'static str,
    pub(super) table: &'static str,
    pub(super) order_by: String,
    pub(super) rows: f64,
    pub(super) native: Bytes,
}

/// A table in the cold table's order, whole and by its columns.
pub(super) struct Columns {
    pub(super) name: &'static str,
    pub(super) native: Bytes,
    pub(super) columns: Vec<ColumnBytes>,
}

/// One column of a table as Native of its own.
pub(super) struct ColumnBytes {
    pub(super) name: &'static str,
    pub(super) native: Bytes,
}

/// What was loaded, into the database `bench`.
pub(super) struct Data;

impl Data {
    /// Loads the files of `folder`, or of `shared/data` beside the repository; generated rows when there
    /// are none.
    pub(super) async fn load(hot: &ClickHouse, folder: Option<&Path>) -> Result<Self> {
        tables::create_hot(hot).await?;
        // The files are years old: the hot tables' TTL would delete them.
        hot.query("SYSTEM STOP MERGES").await?;
        let now_ms = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
        let bar = ProgressBar::hidden();
        market::load(hot, &Source::Generated, &Plan::before(69_808, now_ms), now_ms, &bar).await?;
        hot.query("CREATE DATABASE bench").await?;
        let folder = find(folder)?;
        for table in tables::ALL {
            let name = table.name;
            hot.query(format!(
                "CREATE TABLE bench.{name} AS {}.{name} ENGINE = MergeTree ORDER BY ({})",
                tables::HOT,
                table.cold_order_by()
            ))
            .await?;
            let file = folder.as_ref().map(|folder| folder.join(format!("{name}.tsv.gz")));
            match file.filter(|file| file.is_file()) {
                Some(file) => {
                    let mut body = Vec::new();
                    let gz = File::open(&file).with_context(|| format!("open {}", file.display()))?;
                    flate2::read::GzDecoder::new(gz).read_to_end(&mut body).context("unpack market data")?;
                    hot.insert(&format!("INSERT INTO bench.{name} FORMAT TSVWithNames"), &[], body).await?;
                }
                None => {
                    hot.query(format!("INSERT INTO bench.{name} SELECT * FROM {}.{name}", tables::HOT))
                        .await?;
                }
            }
        }
        Ok(Self)
    }

    /// Trades and order books, each in time order and in the cold table's.
    pub(super) async fn samples(&self, hot: &ClickHouse) -> Result<[Sample; 4]> {
        let time = |table: &Table| format!("timestamp, exchange, symbol{}", own_key(table));
        let [trades, books] = [table("trades")?, table("orderbooks")?];
        Ok([
            sample(hot, "trades_time", &trades, time(&trades)).await?,
            sample(hot, "trades_key", &trades, trades.cold_order_by()).await?,
            sample(hot, "orderbooks_time", &books, time(&books)).await?,
            sample(hot, "orderbooks_key", &books, books.cold_order_by()).await?,
        ])
    }

    /// All eight tables, with every column by itself.
    pub(super) async fn tables(&self, hot: &ClickHouse) -> Result<Vec<Columns>> {
        let mut all = Vec::new();
        for table in tables::ALL {
            let order_by = table.cold_order_by();
            let native = native(hot, "*", table.name, &order_by).await?;
            let mut columns = Vec::new();
            for name in table.columns() {
                let native = self::native(hot, name, table.name, &order_by).await?;
                columns.push(ColumnBytes { name, native });
            }
            all.push(Columns { name: table.name, native, columns });
        }
        Ok(all)
    }
}

/// The key's own columns, behind those that all tables share.
fn own_key(table: &Table) -> String {
    let order_by = table.cold_order_by();
    order_by.strip_prefix("exchange, market_type, symbol, timestamp").unwrap_or_default().to_owned()
}

fn table(name: &str) -> Result<Table> {
    tables::ALL.into_iter().find(|table| table.name == name).with_context(|| format!("no table {name}"))
}

async fn sample(hot: &ClickHouse, key: &'static str, table: &Table, order_by: String) -> Result<Sample> {
    let rows = hot.number(&format!("SELECT count() FROM bench.{}", table.name)).await? as f64;
    let native = native(hot, "*", table.name, &order_by).await?;
    Ok(Sample { key, table: table.name, order_by, rows, native })
}

async fn native(hot: &ClickHouse, columns: &str, table: &str, order_by: &str) -> Result<Bytes> {
    let sql = format!("SELECT {columns} FROM bench.{table} ORDER BY {order_by} FORMAT Native");
    hot.bytes(&sql, SETTINGS).await
}

/// The folder given, or `shared/data` beside the repository when it is there.
pub(crate) fn find(given: Option<&Path>) -> Result<Option<PathBuf>> {
    if let Some(given) = given {
        if !given.join("trades.tsv.gz").is_file() {
            bail!("{} holds no trades.tsv.gz", given.display());
        }
        return Ok(Some(given.to_owned()));
    }
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    if beside.join("trades.tsv.gz").is_file() {
        return Ok(Some(beside));
    }
    eprintln!("no shared/data beside the repository: the figures are of generated rows, not of real ones");
    Ok(None)
}
