//! A fixed set of worlds keeps the rules; the steps without one of their rules do not.

use std::time::Duration;

use moves::sabotage::Rule;
use simulation::{Found, Search, search, world};

/// Far more than is needed: a test that hangs ends.
const LENGTH: Duration = Duration::from_secs(600);

fn run(from: u64, worlds: u64, without: Option<Rule>) -> Found {
    search(Search { from, worlds, length: LENGTH, threads: 2, without, all: false })
}

#[test]
fn a_fixed_set_of_worlds_keeps_the_rules() {
    let found = run(1, 2_000, None);
    assert_eq!(found.violations, []);
    assert_eq!(found.worlds, 2_000);
}

#[test]
fn every_rule_left_out_is_noticed() {
    let unnoticed = |rule: &Rule| run(1, 20_000, Some(*rule)).violations.is_empty();
    let unnoticed: Vec<Rule> = Rule::ALL.into_iter().filter(unnoticed).collect();
    assert_eq!(unnoticed, []);
}

#[test]
fn a_seed_is_a_world() {
    for seed in 1..40 {
        let (first, again) = (world(seed, true), world(seed, true));
        assert_eq!(first.log, again.log);
        assert_eq!(world(seed, false).events, first.events);
    }
}
