//! Fits the generator's distributions to real data and prints them as `fitted.rs`.
//!
//! Every distribution is kept as its quantile function at `GRID` (interpolated between those
//! points when drawn from), so that the atoms of real data survive: the smallest lots, the steps of
//! one tick, the depth updates every 100 ms.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use anyhow::{Context, Result, ensure};
use chrono::NaiveDateTime;

use super::distribution::GRID;

type Row = BTreeMap<String, String>;

/// Reads both files of `data` and returns the source text of `fitted.rs`.
pub fn fit(data: &Path) -> Result<String> {
    let trades = grouped(&data.join("trades.tsv.gz"))?;
    let books = grouped(&data.join("orderbooks.tsv.gz"))?;
    let mut text = String::from(
        "//! Fitted to real market data; printed by `cargo xtask fit --data DIR`. Do not edit.\n\n\
         use super::distribution::{Book, Quantiles, Stream};\n\n\
         /// The streams of the files, in their order.\n#[rustfmt::skip]\npub(super) const STREAMS: &[Stream] = &[\n",
    );
    for (stream, rows) in &trades {
        let book = books.get(stream).with_context(|| format!("no order books of {stream:?}"))?;
        write_stream(&mut text, stream, rows, book)?;
    }
    text.push_str("];\n");
    Ok(text)
}

/// Rows by (market_type, symbol).
fn grouped(path: &Path) -> Result<BTreeMap<(String, String), Vec<Row>>> {
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let mut lines = BufReader::new(flate2::read::GzDecoder::new(file)).lines();
    let header = lines.next().context("the file is empty")??;
    let names: Vec<&str> = header.split('\t').collect();
    let mut groups: BTreeMap<_, Vec<Row>> = BTreeMap::new();
    for line in lines {
        let line = line?;
        let row: Row =
            names.iter().map(|n| (*n).to_owned()).zip(line.split('\t').map(str::to_owned)).collect();
        ensure!(row.len() == names.len(), "a line of {} has too few fields", path.display());
        groups.entry((row["market_type"].clone(), row["symbol"].clone())).or_default().push(row);
    }
    Ok(groups)
}

fn write_stream(text: &mut String, stream: &(String, String), rows: &[Row], book: &[Row]) -> Result<()> {
    let trades = Trades::read(rows)?;
    writeln!(text, "    Stream {{")?;
    writeln!(text, "        market_type: {:?}, symbol: {:?},", stream.0, stream.1)?;
    writeln!(text, "        trades: {}, updates: {},", rows.len(), book.len())?;
    writeln!(
        text,
        "        first_trade_id: {}, first_update_id: {},",
        rows[0]["trade_id"], book[0]["last_update_id"]
    )?;
    writeln!(text, "        start_price: {:?}, tick: {:?},", trades.prices[0], trades.tick)?;
    writeln!(
        text,
        "        quantity_decimals: {}, buy_share: {:.4},",
        trades.quantity_decimals, trades.buy_share
    )?;
    writeln!(text, "        gap_ms: {},", quantiles(trades.gaps))?;
    writeln!(text, "        burst: {},", quantiles(trades.bursts))?;
    writeln!(
        text,
        "        still_within: {:.4}, still_between: {:.4},",
        still(&trades.within),
        still(&trades.between)
    )?;
    writeln!(text, "        step_within: {},", quantiles(moving(&trades.within)))?;
    writeln!(text, "        step_between: {},", quantiles(moving(&trades.between)))?;
    writeln!(text, "        quantity: {},", quantiles(trades.quantities))?;
    write_book(text, book)?;
    writeln!(text, "    }},")?;
    Ok(())
}

/// What is measured of one stream's trades.
struct Trades {
    prices: Vec<f64>,
    tick: f64,
    quantity_decimals: usize,
    buy_share: f64,
    gaps: Vec<f64>,
    bursts: Vec<f64>,
    /// Steps in ticks between neighbours of one burst, and from burst to burst.
    within: Vec<f64>,
    between: Vec<f64>,
    quantities: Vec<f64>,
}

impl Trades {
    fn read(rows: &[Row]) -> Result<Self> {
        let prices = column(rows, "price")?;
        let decimals = longest_decimals(rows.iter().map(|r| r["price"].as_str()));
        let tick = 10_f64.powi(-i32::try_from(decimals)?);
        let times = rows.iter().map(|r| millis(&r["timestamp"])).collect::<Result<Vec<_>>>()?;
        let (mut gaps, mut bursts, mut within, mut between) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut size = 1.0;
        for (time, price) in times.windows(2).zip(prices.windows(2)) {
            let step = ((price[1] - price[0]) / tick).round();
            if time[0] == time[1] {
                size += 1.0;
                within.push(step);
            } else {
                bursts.push(std::mem::replace(&mut size, 1.0));
                gaps.push((time[1] - time[0]) as f64);
                between.push(step);
            }
        }
        bursts.push(size);
        Ok(Self {
            tick,
            quantity_decimals: longest_decimals(rows.iter().map(|r| r["quantity"].as_str())),
            buy_share: rows.iter().filter(|r| r["side"] == "buy").count() as f64 / rows.len() as f64,
            gaps,
            bursts,
            within,
            between,
            quantities: column(rows, "quantity")?,
            prices,
        })
    }
}

fn write_book(text: &mut String, rows: &[Row]) -> Result<()> {
    let times = rows.iter().map(|r| millis(&r["timestamp"])).collect::<Result<Vec<_>>>()?;
    let ids = column(rows, "last_update_id")?;
    let best = column(rows, "best_bid_price")?;
    let (mut offsets, mut sizes, mut gone, mut levels) = (Vec::new(), Vec::new(), 0.0, 0.0);
    for (row, best) in rows.iter().zip(&best).filter(|(_, best)| **best > 0.0) {
        let bids: Vec<(String, String)> =
            serde_json::from_str(&row["bids"]).context("bids are not JSON pairs")?;
        for (price, size) in bids {
            let (price, size): (f64, f64) = (price.parse()?, size.parse()?);
            levels += 1.0;
            offsets.push((best - price) / best * 1e4);
            if size > 0.0 { sizes.push(size) } else { gone += 1.0 }
        }
    }
    let texts: Vec<(String, String)> = rows
        .iter()
        .map(|r| serde_json::from_str::<Vec<(String, String)>>(&r["asks"]))
        .collect::<Result<Vec<_>, _>>()?
        .into_iter()
        .flatten()
        .take(1000)
        .collect();
    let digits = |t: &str| t.split_once('.').map_or(0, |(_, d)| d.len());
    let steps = |v: &[i64]| v.windows(2).map(|w| (w[1] - w[0]) as f64).collect::<Vec<_>>();
    writeln!(text, "        book: Book {{")?;
    writeln!(
        text,
        "            price_digits: {}, size_digits: {},",
        digits(&texts[0].0),
        digits(&texts[0].1)
    )?;
    writeln!(text, "            gone_share: {:.4},", gone / levels)?;
    writeln!(text, "            gap_ms: {},", quantiles(steps(&times)))?;
    writeln!(text, "            id_step: {},", quantiles(ids.windows(2).map(|w| w[1] - w[0]).collect()))?;
    writeln!(text, "            bids: {},", quantiles(column(rows, "bids_count")?))?;
    writeln!(text, "            asks: {},", quantiles(column(rows, "asks_count")?))?;
    writeln!(text, "            offset_bps: {},", quantiles(offsets))?;
    writeln!(text, "            size: {},", quantiles(sizes))?;
    writeln!(text, "        }},")?;
    Ok(())
}

fn column(rows: &[Row], name: &str) -> Result<Vec<f64>> {
    rows.iter().map(|r| r[name].parse().with_context(|| format!("{name} = {:?}", r[name]))).collect()
}

fn millis(text: &str) -> Result<i64> {
    let time = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f")
        .with_context(|| format!("time {text:?}"))?;
    Ok(time.and_utc().timestamp_millis())
}

/// Decimals that carry something (`1.50` has one).
fn longest_decimals<'a>(texts: impl Iterator<Item = &'a str>) -> usize {
    texts.map(|t| t.split_once('.').map_or(0, |(_, d)| d.trim_end_matches('0').len())).max().unwrap_or(0)
}

fn still(steps: &[f64]) -> f64 {
    steps.iter().filter(|s| **s == 0.0).count() as f64 / steps.len().max(1) as f64
}

fn moving(steps: &[f64]) -> Vec<f64> {
    steps.iter().filter(|s| **s != 0.0).map(|s| s.abs()).collect()
}

fn quantiles(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    let at = |p: f64| {
        let index = (p * (values.len().max(1) - 1) as f64).round() as usize;
        values.get(index).copied().unwrap_or(0.0)
    };
    let list: Vec<String> = GRID.iter().map(|p| format!("{:?}", (at(*p) * 1e6).round() / 1e6)).collect();
    format!("Quantiles([{}])", list.join(", "))
}
