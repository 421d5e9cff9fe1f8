//! `cargo xtask simulate`: runs worlds, and says which rules they break.

use std::{process::ExitCode, time::Duration};

use clap::Parser;
use moves::sabotage::{Rule, leave_out};
use simulation::{Search, search, world};

#[derive(Parser)]
#[command(
    name = "simulation",
    bin_name = "cargo xtask simulate",
    about = "Run the steps of a move in model worlds with random faults"
)]
struct Arguments {
    /// The world of this seed only, with its log.
    #[arg(long)]
    seed: Option<u64>,
    /// The first of many seeds.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// How long, minutes.
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Go on after a world that breaks a rule.
    #[arg(long)]
    all: bool,
    /// Leave a rule of the steps out, to see that it is noticed; `all`: one after the other.
    #[arg(long, value_name = "RULE", value_parser = rules)]
    sabotage: Option<Rules>,
}

/// One rule, or all.
#[derive(Debug, Clone)]
struct Rules(Vec<Rule>);

/// A rule's name, or `all`.
fn rules(text: &str) -> Result<Rules, String> {
    let named = |rule: &Rule| text == "all" || format!("{rule:?}").eq_ignore_ascii_case(text);
    let rules: Vec<Rule> = Rule::ALL.into_iter().filter(named).collect();
    if rules.is_empty() { Err(format!("there are: all, {:?}", Rule::ALL)) } else { Ok(Rules(rules)) }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let passed = match (arguments.seed, &arguments.sabotage) {
        (Some(seed), rules) => one(seed, rules.as_ref().and_then(|rules| rules.0.first().copied())),
        (None, None) => many(&arguments, None) == 0,
        (None, Some(Rules(rules))) => {
            let unnoticed: Vec<Rule> =
                rules.iter().copied().filter(|rule| many(&arguments, Some(*rule)) == 0).collect();
            println!("{} of {} are noticed; not: {unnoticed:?}", rules.len() - unnoticed.len(), rules.len());
            unnoticed.is_empty()
        }
    };
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One world with its log; whether it kept the rules.
fn one(seed: u64, without: Option<Rule>) -> bool {
    leave_out(without);
    let outcome = world(seed, true);
    for line in &outcome.log {
        println!("{line}");
    }
    if let Some(violation) = &outcome.violation {
        println!("seed {seed}: {violation}");
    }
    outcome.violation.is_none()
}

/// Many worlds; how many broke a rule.
fn many(arguments: &Arguments, without: Option<Rule>) -> usize {
    let found = search(Search {
        from: arguments.from,
        worlds: u64::MAX,
        length: Duration::from_secs_f64(arguments.minutes.clamp(0.0, 1e6) * 60.0),
        threads: arguments.threads,
        without,
        all: arguments.all,
    });
    for (seed, violation) in &found.violations {
        println!("seed {seed}: {violation}");
    }
    let rule = without.map_or(String::new(), |rule| format!("without {rule:?}: "));
    println!(
        "{rule}{} worlds in {:.1} s, {} events, {:.0} worlds a minute, {} broke a rule",
        found.worlds,
        found.took.as_secs_f64(),
        found.events,
        found.per_minute(),
        found.violations.len()
    );
    found.violations.len()
}
