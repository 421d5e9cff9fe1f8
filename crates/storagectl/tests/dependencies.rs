//! What an operator's command line is built from: it sends JSON, so no part of the tunnel is compiled for it.

#![allow(clippy::unwrap_used, reason = "a panic here is a failed test")]

use std::collections::{BTreeSet, HashMap};

/// Name → names it depends on, of every package in a `Cargo.lock`; versions of one crate are one entry.
fn packages(lock: &str) -> HashMap<&str, Vec<&str>> {
    let mut packages: HashMap<&str, Vec<&str>> = HashMap::new();
    for package in lock.split("[[package]]").skip(1) {
        let quoted = |line: &'static str| package.lines().filter_map(move |l| l.strip_prefix(line));
        let name = quoted("name = \"").next().unwrap().trim_end_matches('"');
        let needs = quoted(" \"").map(|need| need.split([' ', '"']).next().unwrap());
        packages.entry(name).or_default().extend(needs);
    }
    packages
}

#[test]
fn storagectl_needs_no_tunnel() {
    let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.lock")).unwrap();
    let packages = packages(&lock);
    let mut needed = BTreeSet::new();
    let mut open = vec!["storagectl"];
    while let Some(name) = open.pop() {
        if needed.insert(name) {
            open.extend(&packages[name]);
        }
    }
    assert!(needed.contains("link") && needed.contains("reqwest"), "the file is not read right: {needed:?}");
    for heavy in ["tunnel", "smoltcp", "boringtun", "tun-rs", "quinn-udp"] {
        assert!(!needed.contains(heavy), "storagectl compiles {heavy}");
    }
}
