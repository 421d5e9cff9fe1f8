//! Numbers, times and tables for people, JSON for programs.

use std::io::{self, Write};

use serde::Serialize;
use storage_types::TimeRange;

use crate::failure::Failure;

/// Pretty JSON and a newline.
pub fn print_json(out: &mut impl Write, value: &impl Serialize) -> Result<(), Failure> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)?;
    Ok(())
}

/// `2024-08-01 00:00:00` (UTC) for Unix seconds; the number itself when it is no date.
pub fn time(unix: i64) -> String {
    chrono::DateTime::from_timestamp(unix, 0)
        .map_or_else(|| unix.to_string(), |t| t.format("%Y-%m-%d %H:%M:%S").to_string())
}

/// `2024-08-01 00:00:00 … 2024-08-02 00:00:00`.
pub fn range(range: TimeRange) -> String {
    let bound = |second: i64, open: i64| if second == open { "…".to_owned() } else { time(second) };
    format!("{} to {}", bound(range.lo, i64::MIN), bound(range.hi, i64::MAX))
}

/// `12.3 MB`, decimal units.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{n} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// `1 234 567`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// Writes `rows` under `header`, columns aligned: numbers (by their first character) to the right.
pub fn table(out: &mut impl Write, header: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([header[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let right: Vec<bool> = (0..header.len())
        .map(|n| {
            !rows.is_empty()
                && rows
                    .iter()
                    .all(|row| row[n].chars().all(|c| c.is_ascii_digit() || " .BkMGTP-".contains(c)))
        })
        .collect();
    let line = |cells: Vec<&str>| {
        let mut text = String::new();
        for (n, cell) in cells.into_iter().enumerate() {
            let gap = if n == 0 { "" } else { "  " };
            let width = widths[n];
            text.push_str(&if right[n] {
                format!("{gap}{cell:>width$}")
            } else {
                format!("{gap}{cell:<width$}")
            });
        }
        text.trim_end().to_owned()
    };
    writeln!(out, "{}", line(header.to_vec()))?;
    for row in rows {
        writeln!(out, "{}", line(row.iter().map(String::as_str).collect()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(count(1_234_567), "1 234 567");
        assert_eq!(count(12), "12");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(12_345_678), "12.3 MB");
        assert_eq!(time(1_722_470_400), "2024-08-01 00:00:00");
        assert_eq!(range(TimeRange::new(i64::MIN, 0)), "… to 1970-01-01 00:00:00");
    }

    #[test]
    fn columns_line_up() {
        let mut out = Vec::new();
        table(
            &mut out,
            &["table", "rows"],
            &[vec!["trades".into(), "7".into()], vec!["x".into(), "1 000".into()]],
        )
        .unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "table    rows\ntrades      7\nx       1 000\n");
    }
}
