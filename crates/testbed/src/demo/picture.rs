//! Where each table's rows are, day by day, before and after the move: one block a day, whose height is the
//! magnitude of the day's rows and whose colour the engine that holds them.
//!
//! Without a terminal, or with `NO_COLOR` set, the engines are told apart by characters alone.

use std::{collections::BTreeMap, fmt::Write as _, io::IsTerminal as _};

use anyhow::Result;
use chrono::DateTime;
use serde::Deserialize;
use testbed::{
    clients::ClickHouse,
    market::tables::{self, ALL},
};

/// Days of the picture, up to today; the rows of older ones stand in the first.
const DAYS: i64 = 42;
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Colours of the terminal's 256: orange and blue, which people who see few colours tell apart.
const HOT: u8 = 208;
const COLD: u8 = 33;

/// Rows of one table on one day (UTC).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Rows {
    hot: u64,
    cold: u64,
}

/// What both engines hold: for each table, by days since 1970.
#[derive(Debug, Default)]
pub(super) struct Holdings(BTreeMap<&'static str, BTreeMap<i64, Rows>>);

#[derive(Deserialize)]
struct Day {
    day: i64,
    rows: u64,
}

impl Holdings {
    /// Asks both engines.
    pub(super) async fn of(hot: &ClickHouse, cold: &ClickHouse) -> Result<Self> {
        let mut held = Self::default();
        for table in ALL {
            let days = held.0.entry(table.name).or_default();
            for Day { day, rows } in by_day(hot, tables::HOT, table.name).await? {
                days.entry(day).or_default().hot = rows;
            }
            for Day { day, rows } in by_day(cold, tables::COLD, table.name).await? {
                days.entry(day).or_default().cold = rows;
            }
        }
        Ok(held)
    }
}

/// A table that is not there (yet) has no days.
async fn by_day(engine: &ClickHouse, database: &str, table: &str) -> Result<Vec<Day>> {
    let known =
        format!("SELECT count() FROM system.tables WHERE database = '{database}' AND name = '{table}'");
    if engine.number(&known).await? == 0 {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT toInt64(toDate({})) AS day, count() AS rows FROM {database}.{table} GROUP BY day",
        tables::TIME
    );
    engine.rows(&sql).await
}

/// Whether stdout shows colours.
pub(super) fn in_colour() -> bool {
    let unset = |name| std::env::var_os(name).is_none_or(|value| value.is_empty());
    std::io::stdout().is_terminal()
        && unset("NO_COLOR")
        && std::env::var_os("TERM").is_none_or(|t| t != "dumb")
}

/// The picture; `cut` and `today` are days since 1970: the first that stays hot, and the last one drawn.
pub(super) fn draw(before: &Holdings, after: &Holdings, cut: i64, today: i64, colour: bool) -> String {
    let first = today - DAYS + 1;
    let block = |rows| block(rows, colour);
    let mut text = format!(
        "where the rows are, by day    {} hot   {} cold   {} both   {} none\n",
        block(Rows { hot: 1 << 30, cold: 0 }),
        block(Rows { hot: 0, cold: 1 << 30 }),
        block(Rows { hot: 1 << 30, cold: 1 << 30 }),
        block(Rows::default()),
    );
    for (title, held) in [("before", before), ("after the move", after)] {
        let _ = writeln!(text, "\n  {title}");
        for table in ALL {
            let mut line = vec![Rows::default(); usize::try_from(DAYS).unwrap_or_default()];
            for (day, rows) in held.0.get(table.name).into_iter().flatten() {
                let at = usize::try_from((day - first).max(0)).unwrap_or_default();
                if let Some(there) = line.get_mut(at) {
                    there.hot += rows.hot;
                    there.cold += rows.cold;
                }
            }
            let blocks: String = line.into_iter().map(block).collect();
            let _ = writeln!(text, "    {:<20} {blocks}", table.name);
        }
        text += &scale(first, cut, today);
    }
    text
}

/// Dates under the blocks: the first day, the first that stays hot, today.
fn scale(first: i64, cut: i64, today: i64) -> String {
    let date =
        |day: i64| DateTime::from_timestamp(day * 86_400, 0).unwrap_or_default().format("%d %b").to_string();
    let column = |day: i64| usize::try_from(day - first).unwrap_or_default();
    let (edge, end) = (column(cut), column(today));
    let marks = format!("{:<edge$}{:<rest$}╵ today", "╵", "╵", rest = end.saturating_sub(edge));
    let dates = format!("{:<edge$}{}: hot from here", date(first), date(cut));
    format!("    {:<20} {marks}\n    {:<20} {dates}\n", "", "")
}

fn block(rows: Rows, colour: bool) -> String {
    let Rows { hot, cold } = rows;
    match (hot > 0, cold > 0, colour) {
        (false, false, false) => "·".to_owned(),
        (false, false, true) => "\x1b[90m·\x1b[0m".to_owned(),
        (true, false, false) => "█".to_owned(),
        (false, true, false) => "░".to_owned(),
        (true, true, false) => "▒".to_owned(),
        (true, false, true) => format!("\x1b[38;5;{HOT}m{}\x1b[0m", height(hot)),
        (false, true, true) => format!("\x1b[38;5;{COLD}m{}\x1b[0m", height(cold)),
        (true, true, true) => format!("\x1b[38;5;{COLD};48;5;{HOT}m▄\x1b[0m"),
    }
}

/// From one row to a million, in steps of the logarithm.
fn height(rows: u64) -> char {
    let step = (rows.max(1) as f64).log10() * 7.0 / 6.0;
    BLOCKS[(step as usize).min(BLOCKS.len() - 1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    const TODAY: i64 = 20_000;

    fn held(days: &[(i64, u64, u64)]) -> Holdings {
        let days = days.iter().map(|(day, hot, cold)| (*day, Rows { hot: *hot, cold: *cold })).collect();
        Holdings([("trades", days)].into())
    }

    fn trades(text: &str) -> Vec<String> {
        let lines = text.lines().filter_map(|line| line.trim_start().strip_prefix("trades"));
        lines.map(|line| line.trim().to_owned()).collect()
    }

    #[test]
    fn rows_change_their_character_where_they_went() {
        let before = held(&[(TODAY - 10, 5, 0), (TODAY - 7, 9, 0), (TODAY, 7, 0)]);
        let after = held(&[(TODAY - 10, 0, 5), (TODAY - 7, 4, 5), (TODAY, 7, 0)]);
        let text = draw(&before, &after, TODAY - 7, TODAY, false);
        let blank = |n| "·".repeat(n);
        let row = |a, b| format!("{}{a}··{b}{}█", blank(31), blank(6));
        assert_eq!(trades(&text), [row("█", "█"), row("░", "▒")]);
        assert!(!text.contains('\x1b'), "{text}");
        assert!(draw(&before, &after, TODAY - 7, TODAY, true).contains("\x1b[38;5;"));
    }

    #[test]
    fn days_before_the_picture_are_in_its_first_block() {
        let text = draw(&held(&[(3, 1, 0)]), &Holdings::default(), TODAY - 7, TODAY, false);
        assert!(trades(&text)[0].starts_with("█·"), "{text}");
        assert!(trades(&text)[1].chars().all(|c| c == '·'), "{text}");
    }

    #[test]
    fn heights_rise_with_the_magnitude() {
        assert_eq!([1, 10, 1_000, 1_000_000, u64::MAX].map(height), ['▁', '▂', '▄', '█', '█']);
    }
}
