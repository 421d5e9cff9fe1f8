//! How many model worlds of the steps of a move run in a minute on two threads, none of which breaks a rule.

use std::time::Duration;

use anyhow::{Result, ensure};
use simulation::{Search, search};

use crate::{Arguments, Figures};

/// Long enough for worlds of every kind.
const LENGTH: Duration = Duration::from_secs(60);
const QUICK: Duration = Duration::from_secs(10);

/// Runs them.
pub fn run(arguments: &Arguments) -> Result<Figures> {
    let length = if arguments.quick { QUICK } else { LENGTH };
    let found = search(Search { from: 1, worlds: u64::MAX, length, threads: 2, without: None, all: true });
    let broken: Vec<String> =
        found.violations.iter().map(|(seed, violation)| format!("seed {seed}: {violation}")).collect();
    ensure!(broken.is_empty(), "worlds broke rules: {}", broken.join("; "));
    let mut figures = Figures::default();
    figures.add("simulated_worlds_per_minute", found.per_minute(), "worlds a minute on two threads");
    figures.add(
        "simulated_events_per_world",
        found.events as f64 / found.worlds.max(1) as f64,
        "events of one world",
    );
    Ok(figures)
}
