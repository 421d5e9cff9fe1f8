//! Leases and gates: who is reading which version of the catalog, and who has to wait.
//!
//! A query holds a lease from before it is planned until its last byte; nothing a leased version
//! names is dropped. A gate closes a range of one table to *new* leases while the head's copy of its
//! rows is being set aside; the migrator then waits until the leases already inside have gone.
//!
//! One mutex guards the current version, the leases and the gates together: a lease is registered
//! under the very version it is given, and never slips past a gate. It is held for map operations
//! only. Every wait is woken by a change and has a deadline. A lease that is dropped, by whatever
//! cancellation, is gone.

use std::{collections::HashMap, sync::Arc};

use hybrid_planner::CatalogVersion;
use parking_lot::{Mutex, MutexGuard};
use storage_types::TimeRange;
use tokio::{sync::Notify, time::Instant};

/// A closed range of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gate {
    pub(super) logical: String,
    pub(super) range: TimeRange,
}

struct Held {
    version: u64,
    refs: Vec<(String, TimeRange)>,
}

struct State {
    current: Arc<CatalogVersion>,
    gates: Vec<Gate>,
    held: HashMap<u64, Held>,
    next: u64,
}

/// The register of leases.
pub(super) struct Leases {
    state: Mutex<State>,
    changed: Notify,
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
        self.register.changed.notify_waiters();
    }
}

fn touch(refs: &[(String, TimeRange)], logical: &str, range: TimeRange) -> bool {
    refs.iter().any(|(table, asked)| table == logical && asked.overlaps(range))
}

impl Leases {
    pub(super) fn new(current: Arc<CatalogVersion>, gates: Vec<Gate>) -> Arc<Self> {
        let state = State { current, gates, held: HashMap::new(), next: 0 };
        Arc::new(Self { state: Mutex::new(state), changed: Notify::new() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every update is a single map operation: a panic elsewhere leaves nothing half done.
        self.state.lock()
    }

    pub(super) fn current(&self) -> Arc<CatalogVersion> {
        Arc::clone(&self.lock().current)
    }

    /// A new version is in force: later leases get it and see these gates.
    pub(super) fn replace(&self, current: Arc<CatalogVersion>, gates: Vec<Gate>) {
        let mut state = self.lock();
        state.current = current;
        state.gates = gates;
        drop(state);
        self.changed.notify_waiters();
    }

    /// A lease on `refs`, or the table whose gate stayed closed until `deadline`.
    pub(super) async fn lease(
        self: &Arc<Self>,
        refs: &[(String, TimeRange)],
        deadline: Instant,
    ) -> Result<Lease, String> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let closed = {
                let mut state = self.lock();
                let closed = state.gates.iter().find(|gate| touch(refs, &gate.logical, gate.range));
                match closed.map(|gate| gate.logical.clone()) {
                    Some(logical) => logical,
                    None => {
                        let number = state.next;
                        state.next += 1;
                        let held = Held { version: state.current.version, refs: refs.to_vec() };
                        state.held.insert(number, held);
                        let snapshot = Arc::clone(&state.current);
                        return Ok(Lease { snapshot, number, register: Arc::clone(self) });
                    }
                }
            };
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                return Err(closed);
            }
        }
    }

    /// Waits until no lease of a version below `version` touches the range; `false` at `deadline`.
    pub(super) async fn drained(
        &self,
        logical: &str,
        range: TimeRange,
        version: u64,
        deadline: Instant,
    ) -> bool {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let busy =
                self.lock().held.values().any(|h| h.version < version && touch(&h.refs, logical, range));
            if !busy {
                return true;
            }
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                return false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn version(version: u64) -> Arc<CatalogVersion> {
        Arc::new(CatalogVersion { version, tables: Vec::new() })
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[tokio::test(start_paused = true)]
    async fn a_gate_holds_new_leases_that_touch_it_and_no_others() {
        let gate = Gate { logical: "trades".into(), range: TimeRange::new(0, 100) };
        let leases = Leases::new(version(1), vec![gate]);
        let inside = [("trades".to_owned(), TimeRange::new(99, 200))];
        assert_eq!(leases.lease(&inside, soon()).await.err().as_deref(), Some("trades"));
        for free in [("trades".to_owned(), TimeRange::new(100, 200)), ("books".to_owned(), TimeRange::ALL)] {
            assert!(leases.lease(&[free], soon()).await.is_ok());
        }
        // Lifting the gate wakes the waiter, who gets the version of that moment.
        let (lease, ()) = tokio::join!(leases.lease(&inside, soon()), async {
            tokio::task::yield_now().await;
            leases.replace(version(2), Vec::new());
        });
        assert_eq!(lease.map(|l| l.snapshot.version), Ok(2));
    }

    #[tokio::test(start_paused = true)]
    async fn draining_waits_for_old_leases_only() {
        let leases = Leases::new(version(1), Vec::new());
        let refs = [("trades".to_owned(), TimeRange::new(0, 10))];
        let old = leases.lease(&refs, soon()).await.unwrap();
        leases.replace(version(2), Vec::new());
        let _new = leases.lease(&refs, soon()).await.unwrap();
        let range = TimeRange::new(5, 6);
        assert!(!leases.drained("trades", range, 2, soon()).await);
        assert!(leases.drained("trades", TimeRange::new(10, 20), 2, soon()).await);
        let (drained, ()) = tokio::join!(leases.drained("trades", range, 2, soon()), async {
            tokio::task::yield_now().await;
            drop(old);
        });
        assert!(drained);
    }
}
