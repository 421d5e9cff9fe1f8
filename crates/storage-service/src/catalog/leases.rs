//! Leases: who is reading which version of the catalog.
//!
//! A query holds a lease from before it is planned until its last byte; nothing a leased version names is
//! deleted. No query ever waits for a move: the move waits until older leases are gone.
//!
//! One mutex guards the current version and the leases together: a lease is registered under the very
//! version it is given. It is held for map operations only. A lease that is dropped, by whatever
//! cancellation, is gone.

use std::{collections::HashMap, sync::Arc};

use hybrid_planner::CatalogVersion;
use parking_lot::{Mutex, MutexGuard};
use storage_types::TimeRange;

struct Held {
    version: u64,
    refs: Vec<(String, TimeRange)>,
}

struct State {
    current: Arc<CatalogVersion>,
    held: HashMap<u64, Held>,
    next: u64,
}

/// The register of leases.
pub(super) struct Leases {
    state: Mutex<State>,
}

/// The right to read one version of the catalog, until dropped.
pub struct Lease {
    /// What may be read.
    pub snapshot: Arc<CatalogVersion>,
    number: u64,
    register: Arc<Leases>,
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lease({} of version {})", self.number, self.snapshot.version)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.register.lock().held.remove(&self.number);
    }
}

fn touch(refs: &[(String, TimeRange)], logical: &str, range: TimeRange) -> bool {
    refs.iter().any(|(table, asked)| table == logical && asked.overlaps(range))
}

impl Leases {
    pub(super) fn new(current: Arc<CatalogVersion>) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { current, held: HashMap::new(), next: 0 }) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every update is a single map operation: a panic elsewhere leaves nothing half done.
        self.state.lock()
    }

    pub(super) fn current(&self) -> Arc<CatalogVersion> {
        Arc::clone(&self.lock().current)
    }

    /// A new version is in force: later leases get it.
    pub(super) fn replace(&self, current: Arc<CatalogVersion>) {
        self.lock().current = current;
    }

    /// A lease on `refs`.
    pub(super) fn lease(self: &Arc<Self>, refs: &[(String, TimeRange)]) -> Lease {
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        let held = Held { version: state.current.version, refs: refs.to_vec() };
        state.held.insert(number, held);
        Lease { snapshot: Arc::clone(&state.current), number, register: Arc::clone(self) }
    }

    /// Whether no lease of a version below `version` touches the range.
    pub(super) fn is_drained(&self, logical: &str, range: TimeRange, version: u64) -> bool {
        !self.lock().held.values().any(|h| h.version < version && touch(&h.refs, logical, range))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_older_leases_that_touch_the_range_hold_it() {
        let version = |version| Arc::new(CatalogVersion { version, tables: Vec::new() });
        let leases = Leases::new(version(1));
        let refs = [("trades".to_owned(), TimeRange::new(0, 10))];
        let old = leases.lease(&refs);
        leases.replace(version(2));
        let _new = leases.lease(&refs);
        assert!(!leases.is_drained("trades", TimeRange::new(5, 6), 2));
        assert!(leases.is_drained("trades", TimeRange::new(10, 20), 2));
        assert!(leases.is_drained("books", TimeRange::ALL, 2));
        drop(old);
        assert!(leases.is_drained("trades", TimeRange::new(5, 6), 2));
    }
}
