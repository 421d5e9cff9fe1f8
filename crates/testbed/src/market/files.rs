//! Real market data from `trades.tsv.gz` and `orderbooks.tsv.gz` (header line first), repeated with
//! shifted timestamps and raised ids.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use anyhow::{Context, Result, ensure};
use chrono::NaiveDateTime;

use super::rows::{ORDERBOOKS_HEADER, Rows, TRADES_HEADER, time_text};

/// Both files in memory (some 40 MB).
#[derive(Debug)]
pub struct Files {
    trades: Parsed,
    orderbooks: Parsed,
    /// Start of the minute of the first row, Unix milliseconds.
    base_ms: i64,
}

/// Lines split where a copy changes them.
#[derive(Debug)]
struct Parsed {
    lines: Vec<Vec<String>>,
    times: Vec<usize>,
    id: usize,
    /// How far apart the ids of two copies are.
    id_span: u64,
}

impl Files {
    /// Reads both files of the folder `data`.
    pub fn read(data: &Path) -> Result<Self> {
        let trades = Parsed::read(
            &data.join("trades.tsv.gz"),
            TRADES_HEADER,
            &["timestamp", "trade_time", "created_at"],
            "trade_id",
        )?;
        let orderbooks = Parsed::read(
            &data.join("orderbooks.tsv.gz"),
            ORDERBOOKS_HEADER,
            &["timestamp", "created_at"],
            "last_update_id",
        )?;
        let first = trades.first_ms()?.min(orderbooks.first_ms()?);
        Ok(Self { trades, orderbooks, base_ms: first - first.rem_euclid(60_000) })
    }

    /// Trades in one copy.
    pub fn trades(&self) -> u64 {
        self.trades.lines.len() as u64
    }

    /// Copy number `serial`, shifted so that it starts at `start_ms`.
    pub(super) fn copy(&self, start_ms: i64, serial: u64) -> Result<Rows> {
        let shift = start_ms - self.base_ms;
        Ok(Rows {
            trades: self.trades.copy(shift, serial)?,
            orderbooks: self.orderbooks.copy(shift, serial)?,
        })
    }
}

impl Parsed {
    fn read(path: &Path, header: &str, times: &[&str], id: &str) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
        let mut lines = BufReader::new(flate2::read::GzDecoder::new(file)).lines();
        let found = lines.next().with_context(|| format!("{} is empty", path.display()))??;
        ensure!(found == header.trim_end(), "{} has other columns than expected: {found}", path.display());
        let names: Vec<&str> = found.split('\t').collect();
        let place =
            |name: &str| names.iter().position(|n| *n == name).with_context(|| format!("no column {name}"));
        let lines = lines
            .map(|line| Ok(line?.split('\t').map(str::to_owned).collect::<Vec<_>>()))
            .collect::<Result<Vec<_>>>()
            .with_context(|| format!("read {}", path.display()))?;
        ensure!(!lines.is_empty(), "{} has no rows", path.display());
        ensure!(
            lines.iter().all(|l| l.len() == names.len()),
            "a line of {} has too few fields",
            path.display()
        );
        let times = times.iter().map(|t| place(t)).collect::<Result<Vec<_>>>()?;
        let id = place(id)?;
        let ids = lines
            .iter()
            .map(|l| l[id].parse::<u64>().context("ids are numbers"))
            .collect::<Result<Vec<_>>>()?;
        let id_span = ids.iter().max().unwrap_or(&0) - ids.iter().min().unwrap_or(&0) + 1;
        Ok(Self { lines, times, id, id_span })
    }

    fn first_ms(&self) -> Result<i64> {
        let mut first = i64::MAX;
        for line in &self.lines {
            first = first.min(millis(&line[self.times[0]])?);
        }
        Ok(first)
    }

    fn copy(&self, shift_ms: i64, serial: u64) -> Result<Vec<String>> {
        self.lines
            .iter()
            .map(|line| {
                let mut line = line.clone();
                for i in &self.times {
                    line[*i] = time_text(millis(&line[*i])? + shift_ms);
                }
                let id: u64 = line[self.id].parse()?;
                line[self.id] = (id + serial * self.id_span).to_string();
                Ok(line.join("\t") + "\n")
            })
            .collect()
    }
}

fn millis(text: &str) -> Result<i64> {
    let time = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f")
        .with_context(|| format!("time {text:?}"))?;
    Ok(time.and_utc().timestamp_millis())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn write(dir: &Path, name: &str, text: &str) {
        let file = File::create(dir.join(name)).unwrap();
        let mut gz = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        gz.write_all(text.as_bytes()).unwrap();
        gz.finish().unwrap();
    }

    #[test]
    fn copies_are_shifted_and_their_ids_never_meet() {
        let dir = tempfile::tempdir().unwrap();
        let time = |t: &str| format!("2024-08-08 23:54:{t}");
        let trade = |t: &str, id: u64| {
            let t = time(t);
            format!("{t}\tbinance\tspot\tBTCUSDT\t{id}\t1\t2\tbuy\tfalse\t{t}\tmarketprism\t{t}\n")
        };
        write(
            dir.path(),
            "trades.tsv.gz",
            &format!("{TRADES_HEADER}{}{}", trade("15.342", 7), trade("16.000", 9)),
        );
        let t = time("15.208");
        let book = format!("{t}\tbinance\tspot\tBTCUSDT\t5\t0\t0\t0\t0\t0\t0\t[]\t[]\tmarketprism\t{t}\n");
        write(dir.path(), "orderbooks.tsv.gz", &format!("{ORDERBOOKS_HEADER}{book}"));

        let files = Files::read(dir.path()).unwrap();
        assert_eq!(files.trades(), 2);
        let rows = files.copy(files.base_ms + PIECE, 2).unwrap();
        assert!(rows.trades[0].starts_with("2024-08-09 00:05:15.342\t"), "{}", rows.trades[0]);
        assert_eq!(rows.trades[0].split('\t').nth(4), Some("13"), "7 + 2 copies of a span of 3");
        assert!(rows.orderbooks[0].ends_with("2024-08-09 00:05:15.208\n"));
    }

    const PIECE: i64 = 11 * 60 * 1000;

    #[test]
    fn other_columns_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "trades.tsv.gz", "a\tb\n");
        let error = Files::read(dir.path()).unwrap_err();
        assert!(format!("{error:#}").contains("other columns"), "{error:#}");
    }
}
