//! The demo's last table.

use super::{Outcome, questions::Asked};
use testbed::progress::log;

/// Prints it.
pub(super) fn print(outcome: &Outcome) {
    let report = &outcome.report;
    let batches: usize = report.moves.iter().map(|m| m.batches.len()).sum();
    let proven: u32 = report.moves.iter().map(|m| m.batches_proven).sum();
    let reclaimed = report.moves.iter().filter(|m| m.state.as_str() == "reclaimed").count();
    let ratio = report.raw_bytes as f64 / (report.wire_bytes.max(1)) as f64;
    let equal = |asked: &[Asked]| asked.iter().filter(|a| a.equal).count();
    let routes = |asked: &[Asked]| {
        ["hot", "hybrid", "cold"]
            .map(|route| format!("{} {route}", asked.iter().filter(|a| a.route == route).count()))
            .join(", ")
    };
    let during = &outcome.during;
    let lines = [
        ("rows loaded", outcome.loaded.rows().to_string()),
        ("rows moved", format!("{} in {} moves", report.rows_published, report.moves.len())),
        ("batches", batches.to_string()),
        ("bytes raw", megabytes(report.raw_bytes)),
        ("bytes on the wire", megabytes(report.wire_bytes)),
        ("ratio", format!("{ratio:.1} : 1")),
        (
            "rows/s",
            format!(
                "{:.0} ({:.1} s, proofs included)",
                report.rows_published as f64 / outcome.moving_s,
                outcome.moving_s
            ),
        ),
        (
            "proofs",
            format!(
                "{proven}/{batches} on arrival, {reclaimed}/{} moves again before the drop",
                report.moves.len()
            ),
        ),
        (
            "answers before",
            format!(
                "{} of {} equal ({})",
                equal(&outcome.before),
                outcome.before.len(),
                routes(&outcome.before)
            ),
        ),
        ("answers during", format!("{} of {} equal", during.asked - during.different, during.asked)),
        (
            "answers after",
            format!(
                "{} of {} equal ({})",
                equal(&outcome.after),
                outcome.after.len(),
                routes(&outcome.after)
            ),
        ),
        ("rows lost or doubled", lost(outcome)),
    ];
    log("");
    log(format!("┌{}┐", "─".repeat(88)));
    for (name, value) in lines {
        log(format!("│ {name:<20} │ {value:<63} │"));
    }
    log(format!("└{}┘", "─".repeat(88)));
    for (before, after) in outcome.before.iter().zip(&outcome.after) {
        if !before.equal || !after.equal {
            log(format!("  differs: {:?} {:?}", before.difference, after.difference));
        }
    }
}

/// The last eight questions are count and content hash of every table.
fn lost(outcome: &Outcome) -> String {
    let whole = outcome.after.len().saturating_sub(testbed::market::tables::ALL.len());
    match outcome.after[whole..].iter().filter(|a| !a.equal).count() {
        0 => "0 (count and content hash of all eight tables)".to_owned(),
        n => format!("in {n} of eight tables"),
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
