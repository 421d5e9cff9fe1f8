//! What happens to rows of the head, told to the truth.

use moves::{BatchState, MoveState, RowSet, Trouble, world::Answer};
use storage_types::MoveId;

use crate::{
    hot::{Changed, Part},
    nas::NasState,
    row::{Row, belongs},
    state::State,
    truth::{Fact, Life},
};

/// DROP PART of a move's deletion.
pub fn drop_moved_part(state: &mut State, id: MoveId, name: &str) -> Answer<()> {
    let Some(part) = state.hot.drop_part(name) else {
        return Err(Trouble::HotRefuses(format!("there is no part {name}")));
    };
    let pending = state.hot.mutations.iter().filter(|m| m.is_foreign() && !m.done);
    let pending: Vec<_> = pending.filter(|m| part.data_version() < m.number).cloned().collect();
    for mutation in pending {
        for row in part.rows.iter().filter(|row| mutation.condition.holds(row)) {
            change_is_lost(state, id, row, mutation.number);
        }
    }
    for row in &part.rows {
        moved(state, id, row);
    }
    Ok(())
}

/// A statement deletes rows of a move, on the looks of the step that is under way.
pub fn deletion_begins(state: &mut State, id: MoveId) {
    let looked = state.looks.get(&id).copied().unwrap_or_default().heeds_mutations();
    state.truth.asked_deletion.insert(id, looked);
}

/// A change that was asked for before the last look is not made.
fn change_is_lost(state: &mut State, id: MoveId, row: &Row, number: u64) {
    let uuid = state.hot.uuid;
    let asked = state.truth.asked.iter().find(|(t, n, _)| (*t, *n) == (uuid, number)).map(|found| found.2);
    let heeded = state.looks.get(&id).map_or(0, crate::truth::Looks::heeds_mutations);
    let forgiven = state.truth.of(row.id).is_some_and(|fact| fact.forgiven);
    if asked.is_some_and(|asked| asked <= heeded) && !forgiven {
        state
            .truth
            .violated(|| format!("a pending change of row {} is lost by the deletion of move {id}", row.id));
    }
}

/// It came under an old number, or by an update of its time, into a window of a table with a TTL: in a merged part
/// it may stand for a row that the TTL took.
fn is_mixed(state: &State, fact: &Fact) -> bool {
    fact.shadow.is_some() && state.plan.states(8)
}

/// Whether such a row is among them.
pub fn has_mixed(state: &State, set: RowSet) -> bool {
    state.hot.in_set(set).any(|row| state.truth.of(row.id).is_some_and(|fact| is_mixed(state, fact)))
}

/// Our deletion has taken a row.
fn moved(state: &mut State, id: MoveId, row: &Row) {
    let looks = state.looks.get(&id).copied().unwrap_or_default();
    let in_cold = state.cold_copies(row.id);
    let Some(fact) = state.truth.of(row.id).cloned() else { return };
    if fact.forgiven {
        return;
    }
    if in_cold.is_empty() {
        // It came under the condition after the last look.
        let looked = state.truth.asked_deletion.get(&id).copied().unwrap_or_default();
        let shifted = fact.shifted.is_some() && fact.touches.iter().any(|touch| touch.asked > looked);
        let came = fact.shadow.is_some_and(|shadow| shadow > looks.heeds_rows());
        if came || shifted || is_mixed(state, &fact) {
            state.truth.change(row.id, |fact| fact.forgiven = true);
        } else {
            state.truth.violated(|| format!("row {} is deleted from the head and is nowhere else", row.id));
        }
        return;
    }
    let cold = in_cold.iter().map(|row| row.version).max().unwrap_or(0);
    // Updates may have come back to what it was.
    let same = in_cold.iter().any(|row| fact.values.last() == Some(&(row.time, row.value)));
    let heeded = state.truth.deleting.get(&id).copied().unwrap_or_default();
    if !(fact.twice || (same && fact.life == Life::Alive))
        && fact.touches.iter().any(|t| t.asked <= heeded && t.version.is_none_or(|version| version > cold))
    {
        state.truth.violated(|| format!("a change of row {} is lost with the head's copy", row.id));
    }
    // What was asked for later than was heeded is settled with it.
    state.truth.change(row.id, |fact| {
        fact.archived = true;
        fact.touches.clear();
    });
}

/// The server did something on its own.
pub fn background(state: &mut State, changes: &[Changed], deletion: Option<MoveId>) {
    let uuid = state.hot.uuid;
    for changed in changes {
        match changed {
            Changed::Updated(row) | Changed::Deleted(row) | Changed::Shifted(row, _) => {
                let deleted = matches!(changed, Changed::Deleted(_));
                let number = state.hot.mutations.iter().find(|m| !m.done).map_or(0, |m| m.number);
                state.truth.touched(uuid, number, row, deleted);
                if let Changed::Shifted(row, before) = changed {
                    shifted(state, row, *before);
                }
            }
            Changed::Moved(row) => {
                if let Some(id) = deletion {
                    moved(state, id, row);
                }
            }
            Changed::Expired(row) => left(state, row),
        }
    }
}

/// A lightweight update is seen from now on. Nobody can know of it before.
pub fn finish_update(state: &mut State) {
    let mut changed = Vec::new();
    let Some(number) = state.hot.finish_update(&mut changed) else { return };
    state.note(|| format!("UPDATE {number} is seen: {} rows", changed.len()));
    let (uuid, event) = (state.hot.uuid, state.event);
    state.truth.asked.push((uuid, number, event));
    for row in &changed {
        if let Changed::Updated(row) = row {
            state.truth.touched(uuid, number, row, false);
        }
    }
}

/// An update has given a row of the head another time: it may have left the windows of moves, or come into some.
fn shifted(state: &mut State, row: &Row, before: i64) {
    let event = state.event;
    let number = state.hot.rows().find(|(_, r)| r.id == row.id).map_or(0, |(part, row)| part.number(row));
    let of = |time| state.book.open_moves().filter(move |m| m.opened && belongs(m.rows, time, number));
    let (comes, goes) = (of(row.time).next().is_some(), of(before).any(|m| m.state == MoveState::Reclaiming));
    state.truth.change(row.id, |fact| {
        fact.shifted = Some(event);
        if comes {
            fact.shadow = Some(event);
        }
        // Its deletion has begun without it: too late.
        fact.twice |= goes;
    });
}

/// A row left the head by the user's will, or the table's TTL.
pub fn left(state: &mut State, row: &Row) {
    let event = state.event;
    let archived = !state.cold_copies(row.id).is_empty();
    state.truth.change(row.id, |fact| {
        if fact.life == Life::Alive {
            fact.life = Life::Dropped(event);
            fact.archived = false;
        }
        fact.archived |= archived;
    });
}

/// Rows came into the head.
pub fn came(state: &mut State, parts: &[Part]) {
    let event = state.event;
    for (part, row) in parts.iter().flat_map(|part| part.rows.iter().map(move |row| (part, row))) {
        let number = part.number(row);
        // Only numbers that were brought along, or come again, may be ones that a move means.
        let again = part.numbered || state.hot.counts_again;
        let meant = again
            && (!state.catalog.claimed
                || state.book.open_moves().any(|m| m.opened && belongs(m.rows, row.time, number)));
        let was_read = state.truth.encoded.values().flatten().any(|read| read.id == row.id);
        state.truth.change(row.id, |fact| {
            fact.life = Life::Alive;
            fact.born = event;
            fact.twice |= was_read;
            if meant {
                fact.shadow = Some(event);
            }
        });
    }
}

/// A move that means rows of this set is open again: those that came under an old number after it was over are hidden
/// until it looks.
pub fn shadowed(state: &mut State, set: RowSet) {
    let event = state.event;
    let ids: Vec<_> = state.hot.in_set(set).map(|row| row.id).collect();
    for id in ids.into_iter().filter(|id| state.cold_copies(*id).is_empty()).collect::<Vec<_>>() {
        state.truth.change(id, |fact| fact.shadow = Some(event));
    }
}

/// An operator has said that these rows of the head do not count.
pub fn forgive_set(state: &mut State, set: RowSet) {
    let ids: Vec<_> = state.hot.in_set(set).map(|row| row.id).collect();
    for id in ids {
        state.truth.change(id, |fact| fact.forgiven = true);
    }
}

/// A move has begun to delete, or was published or withdrawn: what its last looks had to see.
pub fn judge(state: &mut State, id: MoveId, to: MoveState) {
    let Some(record) = state.book.get(id).cloned() else { return };
    let looks = state.looks.get(&id).copied().unwrap_or_default();
    let batches: Vec<_> = state.book.batches_of(id).cloned().collect();
    let shown = |state: BatchState| state == BatchState::Published;
    let cold: Vec<Row> = batches
        .iter()
        .filter(|batch| shown(batch.state))
        .filter_map(|batch| state.truth.encoded.get(&batch.id))
        .flatten()
        .copied()
        .collect();
    match to {
        MoveState::Published | MoveState::Reclaiming => {
            let head: Vec<Row> = state.hot.in_set(record.rows).copied().collect();
            if to == MoveState::Reclaiming {
                state.truth.deleting.insert(id, looks.heeds_mutations());
            }
            settle_equal(state, &head, &cold);
            shifts_are_late(state, &cold, looks.heeds_mutations());
            // Who took the rows of a move that was found again, ours or others, is not known any more.
            let found_again = record.left && record.parts.is_empty() && state.truth.forgotten > 0;
            if found_again {
                for row in &cold {
                    state.truth.change(row.id, |fact| fact.twice |= fact.shifted.is_some());
                }
            } else {
                changes_are_heeded(state, id, &head, &cold, looks.heeds_mutations());
            }
            let same = state.hot.place() == record.place;
            for row in head.iter().filter(|_| same) {
                let Some(fact) = state.truth.of(row.id) else { continue };
                let came = fact.born.max(fact.shifted.unwrap_or(0));
                let late = fact.forgiven || came > looks.heeds_rows() || is_mixed(state, fact);
                let missed = !late && fact.life == Life::Alive && !cold.iter().any(|copy| copy.id == row.id);
                // Rows that are equal stand for each other, where one was read and another one left.
                if missed && alike(&head, row) <= alike(&cold, row) {
                    let alike = cold.iter().filter(|r| (r.time, r.value) == (row.time, row.value));
                    for alike in alike.chain([row]) {
                        state.truth.change(alike.id, |fact| fact.forgiven = true);
                    }
                } else if missed {
                    state.truth.violated(|| {
                        format!("row {} is hidden by move {id} ({to}) and is not in its batches", row.id)
                    });
                }
            }
            // Where the head has nothing to lose, nothing hangs on it.
            if to == MoveState::Reclaiming && same && !head.is_empty() {
                cold_is_whole(state, id, &batches, looks.proven);
            }
        }
        MoveState::Withdrawing => {
            let head: Vec<Row> = state.hot.rows().map(|(_, row)| *row).collect();
            let mixed = has_mixed(state, record.rows);
            for row in &cold {
                let Some(fact) = state.truth.of(row.id) else { continue };
                let early = matches!(fact.life, Life::Dropped(event) if event <= looks.heeds_rows());
                // Equal rows stand for each other.
                let replaced = alike(&head, row) >= alike(&cold, row);
                if replaced || mixed {
                    state.truth.change(row.id, |fact| fact.forgiven |= early);
                } else if early && fact.archived && !fact.forgiven {
                    state.truth.violated(|| {
                        format!("move {id} is withdrawn although row {} had left the head", row.id)
                    });
                }
            }
        }
        MoveState::Planned | MoveState::Reclaimed | MoveState::Withdrawn => {}
    }
}

/// Rows that were given another time after the last look are in cold under the old one as well.
fn shifts_are_late(state: &mut State, cold: &[Row], heeded: u64) {
    for row in cold {
        state.truth.change(row.id, |fact| {
            let late =
                fact.touches.iter().any(|t| t.asked > heeded && t.version.is_some_and(|v| v > row.version));
            fact.twice |= late && fact.shifted.is_some();
        });
    }
}

/// The copies are the same by content, and not by row: a row that was read as it was and as it is stands for
/// another one that is equal to it.
fn settle_equal(state: &mut State, head: &[Row], cold: &[Row]) {
    let sorted = |rows: &[Row]| {
        let mut contents: Vec<_> = rows.iter().map(|row| (row.time, row.value)).collect();
        contents.sort_unstable();
        contents
    };
    let is_same = |a: &Row, b: &Row| (a.id, a.time, a.value) == (b.id, b.time, b.value);
    let of = |rows: &[Row], row: &Row| rows.iter().filter(|other| is_same(other, row)).count();
    if head.len() != cold.len()
        || cold.iter().all(|row| of(head, row) == of(cold, row))
        || sorted(head) != sorted(cold)
    {
        return;
    }
    for row in head.iter().chain(cold).filter(|row| of(head, row) != of(cold, row)) {
        state.truth.change(row.id, |fact| (fact.twice, fact.forgiven) = (true, true));
    }
}

/// How many rows have the same content.
pub fn alike(rows: &[Row], row: &Row) -> usize {
    rows.iter().filter(|other| (other.time, other.value) == (row.time, row.value)).count()
}

/// Changes that were asked for before `heeded` are in the copies.
fn changes_are_heeded(state: &mut State, id: MoveId, head: &[Row], cold: &[Row], heeded: u64) {
    for row in cold {
        let Some(fact) = state.truth.of(row.id) else { continue };
        let missed =
            fact.touches.iter().find(|t| t.asked <= heeded && t.version.is_none_or(|v| v > row.version));
        // What was updated and then dropped before anybody looked: the archive keeps what it has.
        // What came back under a new number is another copy.
        let dropped = matches!(fact.life, Life::Dropped(_)) || fact.twice;
        // An equal row that came stands for one that was deleted.
        let replaced = alike(head, row) >= alike(cold, row);
        if missed.is_some() && !fact.forgiven && !dropped && !replaced {
            state.truth.violated(|| format!("a change of row {} was not heeded by move {id}", row.id));
        }
        let uuid = state.hot.uuid;
        let pending = state.hot.mutations.iter().filter(|m| m.is_foreign() && !m.done).find(|m| {
            let asked = state.truth.asked.iter().find(|(t, n, _)| (*t, *n) == (uuid, m.number));
            let concerns = state
                .hot
                .rows()
                .any(|(part, r)| r.id == row.id && part.data_version() < m.number && m.condition.holds(r));
            concerns && asked.is_some_and(|asked| asked.2 <= heeded)
        });
        if pending.is_some() && !state.truth.of(row.id).is_some_and(|fact| fact.forgiven || fact.twice) {
            state
                .truth
                .violated(|| format!("a pending change of row {} was not waited for by move {id}", row.id));
        }
    }
}

/// The batches of a move that begins to delete were whole when they were last proven.
fn cold_is_whole(
    state: &mut State,
    id: MoveId,
    batches: &[std::sync::Arc<moves::Batch>],
    proven: Option<u64>,
) {
    for batch in batches.iter().filter(|batch| batch.state == BatchState::Published) {
        let copy = state.nas.batches.get(&batch.id);
        let there = copy.is_some_and(|copy| matches!(copy.state, NasState::Proven | NasState::Published));
        let spoiled = copy.and_then(|copy| copy.damaged);
        let before = spoiled.is_some_and(|at| proven.is_none_or(|proven| at < proven));
        if !there || before {
            state.truth.violated(|| {
                format!("move {id} begins to delete, and batch {} was not whole on the NAS", batch.id)
            });
        }
    }
}
