//! The users of the table, and the operator of the moves.

use moves::{Mover, record::Decision};
use storage_types::{MoveId, TimeRange};

use crate::{
    effects,
    hot::{Condition, Effect, PARTITION, Part, Table},
    nas::{Copy, NasState},
    row::{RESIDUES, Row},
    state::{Sim, State},
};

/// Rows there may be: larger worlds find nothing that smaller ones do not.
const MANY_ROWS: usize = 120;

/// One statement by chance.
pub fn act(state: &mut State) {
    if counts_unseen(state) {
        return;
    }
    let bit = u32::try_from(state.random.below(16)).unwrap_or(0);
    if !state.plan.states(bit) {
        return insert(state);
    }
    match bit {
        1 => mutate(state, Effect::Update),
        2 => mutate(state, |_| Effect::Delete),
        3 if state.plan.leaves_empty => drop(take_partition(state)),
        3 => move_all_away(state),
        4 if state.hot.detached.is_empty() => {
            let parts = take_partition(state);
            state.hot.detached.extend(parts);
        }
        4 => {
            let parts = std::mem::take(&mut state.hot.detached);
            state.note(|| "user: ATTACH PARTITION".into());
            attach(state, parts);
        }
        5 => attach_from(state),
        6 => truncate(state),
        7 => {
            state.note(|| "the hot server starts again".into());
            if state.book.open_moves().next().is_none() {
                state.hot.clear_empty_parts();
            }
            state.hot.restart();
        }
        8 => expire(state),
        9 => exchange(state, true),
        10 => exchange(state, false),
        11 if state.hot.columns < 4 => {
            state.hot.columns += 1;
            state.note(|| "user: ALTER TABLE ADD COLUMN".into());
        }
        14 if state.hot.keeps_numbers => update(state),
        15 => {
            let by = some_seconds(state);
            mutate(state, |_| Effect::Shift(by));
        }
        _ => insert(state),
    }
}

/// A table that has lost its parts is about to count past the watermark of a move that has not looked since: then
/// nobody could see that its numbers are others. The model leaves that out.
fn counts_unseen(state: &State) -> bool {
    let soon = state.hot.counter + 4;
    let passes = |watermark: u64| state.hot.counter < watermark && watermark <= soon;
    state.hot.counts_again && state.book.open_moves().any(|record| passes(record.rows.watermark))
}

/// INSERT.
pub fn insert(state: &mut State) {
    if state.truth.facts.len() >= MANY_ROWS {
        return;
    }
    let rows = new_rows(state);
    state
        .note(|| format!("user: INSERT {} rows, the first {}", rows.len(), rows.first().map_or(0, |r| r.id)));
    let before = state.hot.parts.len();
    state.hot.insert(&rows);
    let parts = state.hot.parts[before..].to_vec();
    effects::came(state, &parts);
}

fn new_rows(state: &mut State) -> Vec<Row> {
    let count = 1 + state.random.below(6);
    let day = state.random.below(state.plan.days.cast_unsigned()).cast_signed();
    let mut rows = Vec::new();
    for _ in 0..count {
        let second = state.random.below(state.plan.seconds).cast_signed() * 47;
        let time = state.first_day() + day * 86_400 + second;
        // Few values: rows that are equal are wanted.
        let value = u32::try_from(state.random.below(8)).unwrap_or(0);
        let event = state.event;
        rows.push(state.truth.insert(time, value, event));
    }
    rows
}

/// Rows that an update or a deletion means, and what an update adds to their value.
fn some_rows(state: &mut State) -> (Condition, u32) {
    let day = state.random.below(state.plan.days.cast_unsigned()).cast_signed();
    let first = state.first_day() + day * 86_400;
    let residue = u32::try_from(state.random.below(u64::from(RESIDUES))).ok();
    let times = if state.random.percent(50) { TimeRange::ALL } else { TimeRange::new(first, first + 86_400) };
    let condition = Condition { times, residue: residue.filter(|_| state.random.percent(70)) };
    let add = RESIDUES * (10 + u32::try_from(state.random.below(1_000)).unwrap_or(0));
    (condition, add)
}

/// So much later, within the partition: another day, or another of the seconds that have rows.
fn some_seconds(state: &mut State) -> i64 {
    let by = state.random.below(state.plan.seconds).cast_signed() * 47;
    if by == 0 || state.random.percent(50) { by + 86_400 } else { by }
}

fn mutate(state: &mut State, effect: impl FnOnce(u32) -> Effect) {
    let (condition, add) = some_rows(state);
    let effect = effect(add);
    let number = state.hot.mutate(effect, condition);
    let (uuid, event) = (state.hot.uuid, state.event);
    state.truth.asked.push((uuid, number, event));
    state.note(|| format!("user: mutation {number} {effect:?} {condition:?}"));
}

/// A lightweight UPDATE, which needs the numbers.
fn update(state: &mut State) {
    let (condition, add) = some_rows(state);
    let number = state.hot.update(add, condition);
    state.note(|| format!("user: UPDATE {number} by {add} {condition:?}"));
}

fn take_partition(state: &mut State) -> Vec<Part> {
    let partitions: Vec<i64> = state.hot.parts.iter().map(|part| part.partition).collect();
    let Some(partition) = state.random.pick(&partitions).copied() else { return Vec::new() };
    state.note(|| format!("user: DROP or DETACH PARTITION {partition}"));
    let parts = state.hot.take_partition(partition);
    all_left(state, &parts);
    parts
}

/// MOVE PARTITION TO TABLE of every partition, on a server that leaves no empty parts for it, which may start again.
fn move_all_away(state: &mut State) {
    // Moves that are learnt have watermarks that nobody could look for meanwhile.
    if state.truth.forgotten > 0 {
        return;
    }
    state.note(|| "user: MOVE PARTITION of all".into());
    let parts = std::mem::take(&mut state.hot.parts);
    all_left(state, &parts);
    if state.random.percent(50) {
        state.note(|| "the hot server starts again".into());
        state.hot.restart();
    }
}

fn all_left(state: &mut State, parts: &[Part]) {
    for row in parts.iter().flat_map(|part| &part.rows) {
        effects::left(state, row);
    }
}

fn attach(state: &mut State, parts: Vec<Part>) {
    state.truth.attached |= parts.iter().any(|part| part.numbered);
    let before = state.hot.parts.len();
    state.hot.attach(parts);
    let parts = state.hot.parts[before..].to_vec();
    effects::came(state, &parts);
}

/// ATTACH PARTITION FROM a table in which the rows had numbers of their own, low or high.
fn attach_from(state: &mut State) {
    if state.truth.facts.len() >= MANY_ROWS {
        return;
    }
    let mut rows = new_rows(state);
    for row in &mut rows {
        row.block = 1 + state.random.below(state.hot.counter.max(8));
    }
    let partition = rows.first().map_or(0, |row| row.time.div_euclid(PARTITION));
    state.note(|| format!("user: ATTACH PARTITION FROM, the first row {}", rows.first().map_or(0, |r| r.id)));
    let part = Part { partition, min: 0, max: 0, level: 1, mutation: 0, numbered: true, patch: None, rows };
    attach(state, vec![part]);
}

fn truncate(state: &mut State) {
    state.note(|| "user: TRUNCATE".into());
    let parts = state.hot.truncate();
    all_left(state, &parts);
}

/// The table's TTL, in the parts of one merge: some days, or some seconds of one, are old enough.
fn expire(state: &mut State) {
    let days = state.random.below(state.plan.days.cast_unsigned() + 1).cast_signed();
    let seconds = state.random.below(state.plan.seconds).cast_signed() * 47;
    let before = state.first_day() + days * 86_400 + seconds;
    let mut changed = Vec::new();
    let State { hot, random, .. } = state;
    hot.merge(random, Some(before), &mut changed);
    state.note(|| format!("TTL: {} rows", changed.len()));
    effects::background(state, &changed, None);
}

/// EXCHANGE TABLES with a copy, or with an empty table.
fn exchange(state: &mut State, copied: bool) {
    state.note(|| format!("user: EXCHANGE TABLES, {}", if copied { "a copy" } else { "an empty table" }));
    let old = std::mem::take(&mut state.hot);
    // What was changed in a table and not looked at before it was exchanged cannot be known any more.
    state.truth.forget_changes(state.event);
    state.hot = Table {
        uuid: old.uuid + 1,
        columns: old.columns,
        keeps_numbers: state.random.percent(50),
        ..Table::default()
    };
    if copied {
        let rows: Vec<Row> = old.rows().map(|(_, row)| *row).collect();
        for some in rows.chunks(5) {
            state.hot.insert(some);
        }
        return;
    }
    all_left(state, &old.parts);
}

/// The operator looks at moves that wait for a decision, and decides.
pub fn operate(sim: &Sim, mover: &Mover<Sim>) -> bool {
    let waiting: Vec<(MoveId, String)> = sim.with(|state| {
        let waits = state.book.open_moves().filter_map(|m| {
            let waiting = m.waiting.as_ref().filter(|waiting| waiting.operator)?;
            let restores = waiting.help.contains("restore the cold table");
            let of_copy = state.catalog.is_copy && m.decision.is_none();
            let is_of_use = if restores { !state.nas.is_whole() || of_copy } else { m.decision.is_none() };
            is_of_use.then(|| (m.id, waiting.help.clone()))
        });
        waits.collect()
    });
    let Some((id, help)) = sim.with(|state| state.random.pick(&waiting).cloned()) else { return false };
    let restores = help.contains("restore the cold table");
    if restores && sim.with(|state| !state.nas.is_whole()) {
        sim.with(restore);
        mover.wake();
        return true;
    }
    // What an older copy of the catalog takes for proven may have been retired: nothing can be restored then.
    let hot = restores || sim.with(|state| state.random.percent(50));
    let decision = if hot { Decision::KeepHot } else { Decision::KeepCold };
    sim.with(|state| state.note(|| format!("operator: {decision:?} for move {}", id.get() & 0xffff)));
    if mover.decide(id, decision).is_ok() {
        sim.with(|state| forgive(state, id));
    }
    true
}

/// Somebody gives a move up.
pub fn cancel(sim: &Sim, mover: &Mover<Sim>) {
    let open: Vec<MoveId> = sim.with(|state| state.book.open_moves().map(|m| m.id).collect());
    if let Some(id) = sim.with(|state| state.random.pick(&open).copied()) {
        sim.with(|state| state.note(|| format!("operator: cancel move {}", id.get() & 0xffff)));
        let _ = mover.cancel(id);
    }
}

/// The rows that a decision is about: which copy of them is right, or whether there is one, was asked.
fn forgive(state: &mut State, id: MoveId) {
    let Some(record) = state.book.get(id).cloned() else { return };
    let head = state.hot.rows().map(|(_, row)| row.id).collect::<Vec<_>>();
    let cold = state.book.batches_of(id).filter_map(|batch| state.truth.encoded.get(&batch.id));
    let cold: Vec<u32> = cold.flatten().map(|row| row.id).collect();
    for row in head.into_iter().chain(cold) {
        let window = record.rows.window;
        state.truth.change(row, |fact| {
            fact.forgiven |= fact.values.iter().any(|(time, _)| window.lo <= *time && *time < window.hi);
        });
    }
}

/// A backup of the cold table is put back.
pub fn restore(state: &mut State) {
    state.note(|| "operator: the cold table is restored".into());
    for (id, copy) in std::mem::take(&mut state.nas.lost) {
        let proven = |copy: &Copy| matches!(copy.state, NasState::Proven | NasState::Published);
        if proven(&copy) && !state.nas.batches.get(&id).is_some_and(proven) {
            state.nas.batches.insert(id, copy);
        }
    }
    // Queries that have read the damaged one are of no interest.
    state.leases.clear();
    for copy in state.nas.batches.values_mut().filter(|copy| copy.damaged.is_some()) {
        copy.rows.clone_from(&copy.sent);
        copy.damaged = None;
    }
}
