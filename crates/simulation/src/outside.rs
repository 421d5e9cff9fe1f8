//! What goes wrong outside the process: machines that do not answer, bytes that rot, files that are put back.

use moves::MoveState;

use crate::{
    catalog,
    nas::{Copy, NasState},
    state::State,
};

/// One of this world's troubles by chance.
pub fn act(state: &mut State) {
    let bit = match u32::try_from(state.random.below(12)).unwrap_or(0) {
        // Wanted more often: little comes of most of them.
        10 | 11 => 8,
        bit => bit,
    };
    if !state.plan.suffers(bit) {
        return;
    }
    match bit {
        0 => state.hot_up = !state.hot_up,
        1 => state.nas_up = !state.nas_up,
        2 => lose_chunks(state),
        3 => garble(state),
        4 => damage(state),
        5 => restore_nas(state),
        6 => jump(state),
        8 if state.catalog.refused => catalog::forget(state),
        8 => catalog::lose(state),
        9 => state.second_starts = true,
        _ => lose_spool(state),
    }
}

fn lose_chunks(state: &mut State) {
    for (id, copy) in &mut state.nas.batches {
        if copy.state == NasState::Held {
            copy.state = NasState::Announced;
            let id = *id;
            state.note(|| format!("the NAS loses chunks of batch {}", id.get() & 0xffff));
            return;
        }
    }
}

/// Bytes that are wrong, under a manifest that is right.
fn garble(state: &mut State) {
    let held = state.nas.batches.values_mut().find(|copy| copy.state == NasState::Held);
    if let Some(row) = held.and_then(|copy| copy.rows.first_mut()) {
        row.value ^= 1 << 31;
        state.note(|| "bytes on the NAS are wrong".into());
    }
}

/// Rows of the cold table change or go.
fn damage(state: &mut State) {
    let event = state.event;
    let at_work = |state: &State, id| {
        let record = state.book.batch(id).and_then(|batch| state.book.get(batch.move_id));
        record.is_some_and(|m| m.state != MoveState::Reclaimed)
    };
    let ids: Vec<_> = state
        .nas
        .batches
        .iter()
        .filter(|(_, c)| {
            matches!(c.state, NasState::Proven | NasState::Published)
                && c.damaged.is_none()
                && !c.rows.is_empty()
        })
        .map(|(id, _)| *id)
        .collect();
    let ids: Vec<_> = ids.into_iter().filter(|id| at_work(state, *id)).collect();
    let Some(id) = state.random.pick(&ids).copied() else { return };
    let gone = state.random.percent(30);
    if let Some(copy) = state.nas.batches.get_mut(&id) {
        match copy.rows.first_mut() {
            Some(row) if !gone => row.value ^= 1 << 31,
            _ => drop(copy.rows.pop()),
        }
        copy.damaged.get_or_insert(event);
    }
    state.note(|| format!("the cold copy of batch {} is damaged", id.get() & 0xffff));
}

/// The NAS is put back to how it stood; what is the only copy by now it keeps (it cannot be had back).
fn restore_nas(state: &mut State) {
    let Some(backup) = state.nas.backup.take() else {
        state.nas.backup = Some(state.nas.batches.clone());
        return;
    };
    state.note(|| "the NAS is put back to an older state".into());
    state.nas.restored = true;
    // Queries that have read what was damaged are of no interest.
    state.leases.clear();
    let ids: Vec<_> = state.nas.batches.keys().copied().collect();
    for id in ids {
        let of = state.book.batch(id).and_then(|batch| state.book.get(batch.move_id));
        let head_is_truth = of.is_some_and(|m| {
            matches!(m.state, MoveState::Planned | MoveState::Published | MoveState::Withdrawing)
        });
        let archived = state.nas.batches.get(&id).is_some_and(|copy| {
            copy.sent.iter().any(|row| {
                state
                    .truth
                    .of(row.id)
                    .is_some_and(|f| !state.hot.rows().any(|(_, r)| r.id == row.id) || f.archived)
            })
        });
        // What was proven a moment ago may be deleted from the head now.
        let asked = state.nas.jobs.iter().any(|job| job.batches.contains(&id));
        if !head_is_truth || archived || asked {
            continue;
        }
        let proven = |copy: &&Copy| matches!(copy.state, NasState::Proven | NasState::Published);
        if let Some(copy) = state.nas.batches.get(&id).filter(proven).cloned() {
            state.nas.lost.insert(id, copy);
        }
        match backup.get(&id) {
            Some(copy) => drop(state.nas.batches.insert(id, copy.clone())),
            None => drop(state.nas.batches.remove(&id)),
        }
    }
}

fn jump(state: &mut State) {
    let by = state.random.below(7_200_000).cast_signed() - 3_600_000;
    state.clock_ms += by;
    state.note(|| format!("the clock jumps by {by} ms"));
}

fn lose_spool(state: &mut State) {
    let ids: Vec<_> = state.spool.keys().copied().collect();
    if let Some(id) = state.random.pick(&ids) {
        state.spool.remove(id);
    }
}
