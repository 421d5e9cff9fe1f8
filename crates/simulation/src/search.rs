//! Many worlds, one seed after the other, on several threads.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use moves::sabotage::{Rule, leave_out};
use parking_lot::Mutex;

use crate::{Violation, world};

/// Which worlds.
#[derive(Debug, Clone, Copy)]
pub struct Search {
    /// The first seed.
    pub from: u64,
    /// So many seeds at most.
    pub worlds: u64,
    /// No longer than this.
    pub length: Duration,
    /// On so many threads.
    pub threads: usize,
    /// Without this rule.
    pub without: Option<Rule>,
    /// Go on after a broken rule.
    pub all: bool,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Found {
    /// So many worlds.
    pub worlds: u64,
    /// So many events in them.
    pub events: u64,
    /// Seeds whose worlds broke a rule.
    pub violations: Vec<(u64, Violation)>,
    /// How long it took.
    pub took: Duration,
}

impl Found {
    /// Worlds a minute.
    pub fn per_minute(&self) -> f64 {
        self.worlds as f64 * 60.0 / self.took.as_secs_f64().max(f64::EPSILON)
    }
}

/// Runs them.
pub fn search(search: Search) -> Found {
    let (next, stop) = (AtomicU64::new(search.from), AtomicBool::new(false));
    let started = Instant::now();
    let found = Mutex::new(Found::default());
    std::thread::scope(|scope| {
        for _ in 0..search.threads.max(1) {
            scope.spawn(|| {
                leave_out(search.without);
                while !stop.load(Ordering::Relaxed) && started.elapsed() < search.length {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed.saturating_sub(search.from) >= search.worlds {
                        return;
                    }
                    let outcome = world(seed, false);
                    let mut found = found.lock();
                    found.worlds += 1;
                    found.events += outcome.events;
                    if let Some(violation) = outcome.violation {
                        found.violations.push((seed, violation));
                        stop.fetch_or(!search.all, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let mut found = found.into_inner();
    found.took = started.elapsed();
    found.violations.sort_by_key(|(seed, _)| *seed);
    found
}
