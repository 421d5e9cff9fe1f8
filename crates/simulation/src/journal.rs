//! The journal and the clocks as the steps see them.

use moves::{
    Book, Change, MoveState, Trouble,
    record::Decision,
    world::{Answer, Journal, World},
};
use storage_types::{MoveId, TimeRange};

use crate::{
    catalog, effects,
    state::{Sim, State},
};

impl Journal for Sim {
    fn read<T>(&self, look: impl FnOnce(&Book) -> T) -> T {
        self.with(|state| look(&state.book))
    }

    fn commit(&self, changes: Vec<Change>) -> Answer<u64> {
        self.with(|state| {
            state.event += 1;
            let fails = state.faults && state.random.below(400) < state.plan.failing;
            if state.dead || fails {
                state.note(|| "  commit: fails".into());
                return Err(Trouble::Local("commit: input/output error".into()));
            }
            let version = write(state, changes)?;
            // A process may die right after a commit, before anything else that it does.
            if state.faults && state.random.one_in(state.plan.crash.saturating_mul(4)) {
                state.note(|| "  the process dies after the commit".into());
                state.dead = true;
            }
            Ok(version)
        })
    }

    fn is_drained(&self, _: &str, range: TimeRange, version: u64) -> bool {
        self.with(|state| {
            !state.leases.iter().any(|lease| lease.version < version && lease.range.overlaps(range))
        })
    }

    fn catalog(&self) -> u64 {
        self.with(|state| state.catalog.id)
    }
}

/// One durable transaction.
pub fn write(state: &mut State, mut changes: Vec<Change>) -> Answer<u64> {
    state.book.check(&changes).map_err(|error| Trouble::Local(error.to_string()))?;
    let version = state.book.version + u64::from(state.book.is_seen(&changes));
    state.book.stamp(&mut changes, version);
    let mut reached: Vec<(MoveId, MoveState)> = Vec::new();
    for change in &changes {
        match change {
            Change::Move(new) => {
                state.catalog.has_moves = true;
                let old = state.book.get(new.id).cloned();
                if old.as_ref().map(|old| old.state) != Some(new.state) {
                    reached.push((new.id, new.state));
                }
                let decided = old.as_ref().is_some_and(|old| old.decision == Some(Decision::KeepCold));
                if decided && new.decision.is_none() {
                    effects::forgive_set(state, new.rows);
                }
                let lost = old.is_some_and(|old| old.cancelled && !new.cancelled && new.state == old.state)
                    && !has_looked(state, new.id);
                if lost {
                    state.truth.violated(|| format!("that move {} is to be given up was forgotten", new.id));
                }
            }
            Change::Batch(new) if state.book.batch(new.id).is_none() => {
                let id = new.id.get();
                if id <= state.truth.last_batch {
                    state.truth.violated(|| format!("batch {id} is older than an earlier one"));
                }
                state.truth.last_batch = state.truth.last_batch.max(id);
            }
            Change::Batch(_) => {}
        }
    }
    state.note(|| format!("  commit {}", shown(&changes)));
    let before = |to: &MoveState| *to == MoveState::Withdrawing;
    for (id, to) in reached.iter().filter(|(_, to)| before(to)) {
        effects::judge(state, *id, *to);
    }
    state.book.apply(changes, version);
    for (id, to) in reached.iter().filter(|(_, to)| !before(to)) {
        effects::judge(state, *id, *to);
    }
    catalog::copy(state);
    Ok(version)
}

/// A cancelled move goes on only when a look has shown that rows have left the head.
fn has_looked(state: &State, id: MoveId) -> bool {
    state.looks.get(&id).is_some_and(|looks| looks.parts.is_some())
}

/// What the NAS knows, in one transaction: it outranks what an older copy of the journal holds.
pub fn take_over(state: &mut State, mut changes: Vec<Change>) {
    let version = state.book.version + u64::from(state.book.is_seen(&changes));
    state.book.stamp(&mut changes, version);
    state.note(|| format!("  learn {}", shown(&changes)));
    state.catalog.has_moves |= changes.iter().any(|change| matches!(change, Change::Move(_)));
    state.book.apply(changes, version);
}

fn shown(changes: &[Change]) -> String {
    let one = |change: &Change| match change {
        Change::Move(m) => {
            let waits = m.waiting.as_ref().map_or(String::new(), |w| format!(" ({})", w.what));
            format!(
                "move {} {}{}{waits}",
                m.id.get() & 0xffff,
                m.state,
                if m.cancelled { " cancelled" } else { "" }
            )
        }
        Change::Batch(b) => format!("batch {} {}", b.id.get() & 0xffff, b.state),
    };
    changes.iter().map(one).collect::<Vec<_>>().join(", ")
}

impl World for Sim {
    type Head = Self;
    type Spool = Self;
    type Nas = Self;
    type Journal = Self;
    fn head(&self) -> &Self {
        self
    }
    fn spool(&self) -> &Self {
        self
    }
    fn nas(&self) -> &Self {
        self
    }
    fn journal(&self) -> &Self {
        self
    }
    fn now_ms(&self) -> u64 {
        self.with(|state| state.now_ms())
    }
    fn uptime_ms(&self) -> u64 {
        self.with(|state| state.uptime_ms)
    }
    fn random(&self) -> u64 {
        self.with(|state| state.random.next())
    }
}
