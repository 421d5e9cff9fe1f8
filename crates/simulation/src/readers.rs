//! Queries: a version of the book is taken, then the head and cold are read, at different moments, and what
//! comes of it is held against the truth.

use storage_types::TimeRange;

use crate::{
    nas::NasState,
    row::{Row, belongs},
    state::{LOGICAL, Lease, State},
    truth::Life,
};

/// Most queries at a time.
const MANY: usize = 4;

/// A query begins, or one goes on.
pub fn act(state: &mut State) {
    if state.leases.len() < MANY && state.random.percent(40) {
        let lo = state.random.below(state.plan.days.cast_unsigned()).cast_signed();
        let first = state.first_day() + lo * 86_400;
        let range =
            if state.random.percent(50) { TimeRange::ALL } else { TimeRange::new(first, first + 86_400) };
        begin(state, range);
        return;
    }
    let at = state.random.index(state.leases.len());
    go_on(state, at);
}

fn begin(state: &mut State, range: TimeRange) {
    if !state.catalog.trusted || state.book.refused(LOGICAL).iter().any(|(window, _)| window.overlaps(range))
    {
        return;
    }
    let shown = state.book.batches().filter(|batch| batch.state == moves::BatchState::Published);
    let lease = Lease {
        version: state.book.version,
        range,
        began: state.event,
        hidden: state.book.hiding(LOGICAL).map(|record| (record.rows, record.place.clone())).collect(),
        batches: shown.map(|batch| batch.id).collect(),
        head: None,
        cold: None,
    };
    state.note(|| format!("query of {range} begins at version {}", lease.version));
    state.leases.push(lease);
}

fn go_on(state: &mut State, at: usize) {
    let Some(mut lease) = state.leases.get(at).cloned() else { return };
    let heads = lease.head.is_none() && (lease.cold.is_some() || state.random.percent(50));
    let read = if heads { read_head(state, &lease) } else { read_cold(state, &lease) };
    let Some(read) = read else {
        state.note(|| format!("the query begun at {} is refused", lease.began));
        state.leases.remove(at);
        return;
    };
    *(if heads { &mut lease.head } else { &mut lease.cold }) = Some(read);
    match lease.head.as_ref().zip(lease.cold.as_ref()) {
        Some((head, cold)) => {
            state.leases.remove(at);
            check(state, &lease, head, cold, false);
        }
        None => state.leases[at] = lease,
    }
}

/// `None`: refused. The engine asks which table it is where it meets a row in the time of a hidden set.
fn read_head(state: &State, lease: &Lease) -> Option<Vec<Row>> {
    let place = state.hot.place();
    let mut read = Vec::new();
    for (part, row) in state.hot.rows().filter(|(_, row)| inside(lease.range, row)) {
        let mut sets = lease.hidden.iter().filter(|(set, _)| inside(set.window, row));
        if sets.clone().any(|(_, of)| *of != place) {
            return None;
        }
        if !sets.any(|(set, _)| belongs(*set, row.time, part.number(row))) {
            read.push(*row);
        }
    }
    Some(read)
}

/// `None`: refused. The NAS knows when it has lost a batch that it is asked for.
fn read_cold(state: &State, lease: &Lease) -> Option<Vec<Row>> {
    let known = |id| {
        state.nas.batches.get(id).is_some_and(|copy| {
            matches!(copy.state, NasState::Proven | NasState::Published | NasState::Retired)
        })
    };
    let lost = state.nas.restored && !lease.batches.iter().all(known);
    let rows = state.nas.read(&lease.batches).filter(|row| inside(lease.range, row));
    (!lost).then(|| rows.copied().collect())
}

fn inside(range: TimeRange, row: &Row) -> bool {
    range.lo <= row.time && row.time < range.hi
}

/// The answer against the truth. `last`: nothing is under way any more, and nothing is late.
fn check(state: &mut State, lease: &Lease, head: &[Row], cold: &[Row], last: bool) {
    let mut seen = vec![0_u32; state.truth.facts.len()];
    for row in head.iter().chain(cold) {
        seen[row.id as usize] += 1;
    }
    let damaged: Vec<u32> = state
        .nas
        .batches
        .values()
        .filter(|copy| copy.damaged.is_some())
        .flat_map(|copy| copy.sent.iter().map(|row| row.id))
        .collect();
    for row in head.iter().chain(cold) {
        if !damaged.contains(&row.id) && !state.truth.is_intact(row) {
            state.truth.violated(|| format!("row {} is read with content it never had: {row:?}", row.id));
        }
    }
    for (id, count) in seen.iter().enumerate() {
        let Some(fact) = state.truth.facts.get(id) else { continue };
        if !(lease.range.lo <= fact.time && fact.time < lease.range.hi) {
            continue;
        }
        let (twice, forgiven) = (fact.twice, fact.forgiven);
        // In which of two windows it is, and whether that one hides it, is not known while moves are under way.
        let shifted = fact.shifted.is_some() && !last;
        let there = fact.life == Life::Alive
            && fact.born < lease.began
            && (!shifted || (lease.range == TimeRange::ALL && fact.shifted < Some(lease.began)));
        let kept = last && matches!(fact.life, Life::Dropped(_)) && fact.archived;
        let late = !last && (fact.shadow.is_some() || damaged.contains(&u32::try_from(id).unwrap_or(0)));
        // Whose operator kept the cold copy while the head's has another time.
        let kept_both = forgiven && fact.shifted.is_some();
        if *count > 1 && !twice && !shifted && !kept_both {
            state
                .truth
                .violated(|| format!("row {id} is seen {count} times (query begun at {})", lease.began));
        }
        if *count == 0 && (there || kept) && !forgiven && !late {
            state.truth.violated(|| format!("row {id} is not seen (query begun at {})", lease.began));
        }
    }
}

/// The last question, when every move is over.
pub fn last(state: &mut State) {
    state.leases.clear();
    state.event += 1;
    if state.book.hiding(LOGICAL).next().is_some() || !state.book.refused(LOGICAL).is_empty() {
        state.truth.violated(|| "rows of the head are hidden although every move is over".into());
    }
    begin(state, TimeRange::ALL);
    let Some(lease) = state.leases.pop() else { return };
    let (head, cold) = (read_head(state, &lease), read_cold(state, &lease));
    match head.zip(cold) {
        Some((head, cold)) => check(state, &lease, &head, &cold, true),
        None => state.truth.violated(|| "the last question is refused".into()),
    }
}
