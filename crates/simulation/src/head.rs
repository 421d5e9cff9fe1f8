//! The hot server as the steps see it.

use moves::{
    Batch, ManagedTable, Move, RowSet, Trouble,
    receipt::Deletable,
    record::PartLook,
    world::{Answer, Changes, Deletion, Head, HeadLook, Witness},
};
use storage_types::TimeRange;

use crate::{
    calls::Callee,
    effects,
    hot::{Condition, Effect, Part},
    row::Row,
    state::{Sim, State},
};

impl Head for Sim {
    async fn look(&self, _: &ManagedTable) -> Answer<HeadLook> {
        self.call(Callee::Hot, "look at the head", |state| {
            let highest = state.hot.watermark();
            Ok(HeadLook { place: state.hot.place(), table: state.described(), highest })
        })
        .await
    }

    async fn keep_block_numbers(&self, _: &ManagedTable) -> Answer<()> {
        self.call(Callee::Hot, "keep block numbers", |state| {
            state.hot.keeps_numbers = true;
            state.hot.keeps_empty = true;
            Ok(())
        })
        .await
    }

    async fn watermark(&self, _: &ManagedTable, _: TimeRange) -> Answer<u64> {
        self.call(Callee::Hot, "watermark", |state| Ok(state.hot.watermark())).await
    }

    async fn histogram(&self, _: &ManagedTable, rows: RowSet, seconds: i64) -> Answer<Vec<(TimeRange, u64)>> {
        self.call(Callee::Hot, "histogram", |state| {
            let (seconds, set) = (seconds.max(1), rows.window);
            let mut buckets = std::collections::BTreeMap::<i64, u64>::new();
            for row in state.hot.in_set(rows) {
                *buckets.entry(row.time.div_euclid(seconds)).or_default() += 1;
            }
            let bucket = |(n, rows): (i64, u64)| {
                let range = TimeRange::new(n * seconds, (n + 1) * seconds);
                (range.intersect(set), rows)
            };
            Ok(buckets.into_iter().map(bucket).collect())
        })
        .await
    }

    async fn classes(&self, table: &ManagedTable, rows: RowSet, divisor: u32) -> Answer<Vec<u64>> {
        let columns = table.columns.len();
        self.call(Callee::Hot, "classes", move |state| {
            let mut classes = vec![0; divisor as usize];
            for row in state.hot.in_set(rows) {
                classes[class(row, columns, divisor)] += 1;
            }
            Ok(classes)
        })
        .await
    }

    async fn row_bytes(&self, _: &ManagedTable) -> Answer<u64> {
        // So large that a handful of rows makes a batch.
        self.call(Callee::Hot, "row bytes", |_| Ok(16 << 20)).await
    }

    async fn parts(&self, table: &ManagedTable, rows: RowSet, hashed: bool) -> Answer<Vec<PartLook>> {
        let columns = table.columns.len();
        self.call(Callee::Hot, if hashed { "hash parts" } else { "count parts" }, move |state| {
            let event = state.event;
            state.look(|looks| looks.parts = Some(event));
            Ok(state.hot.look(rows, columns, hashed))
        })
        .await
    }

    async fn changes(&self, _: &ManagedTable, watermark: u64) -> Answer<Changes> {
        self.call(Callee::Hot, "changes", move |state| {
            let event = state.event;
            state.look(|looks| looks.changes = Some(event));
            Ok(state.hot.changes(watermark, state.plan.states(8)))
        })
        .await
    }

    async fn witness(&self, witness: Witness) -> Answer<()> {
        self.call(Callee::Hot, "witness", move |state| {
            state.witness = Some(witness);
            Ok(())
        })
        .await?;
        self.with(|state| {
            if !state.dead {
                state.catalog.noted = Some(witness.version);
            }
        });
        Ok(())
    }

    async fn delete(&self, what: Deletable<'_>) -> Answer<()> {
        let record = what.record();
        let (place, id, set) = (record.place.clone(), record.id, record.rows);
        let (parts, others) = (what.whole_parts().to_vec(), what.others());
        // Each part is a statement of its own.
        for part in parts {
            let place = place.clone();
            self.call(Callee::Hot, "drop part", move |state| {
                is_there(state, &place)?;
                effects::deletion_begins(state, id);
                effects::drop_moved_part(state, id, &part)
            })
            .await?;
        }
        if others {
            self.call(Callee::Hot, "delete rows", move |state| {
                is_there(state, &place)?;
                effects::deletion_begins(state, id);
                let condition = Condition { times: set.window, residue: None };
                state.hot.mutate(Effect::DeleteMoved(id, set), condition);
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    async fn deletion(&self, record: &Move) -> Answer<Deletion> {
        let id = record.id;
        self.call(Callee::Hot, "deletion", move |state| {
            let ours = |effect: &Effect| matches!(effect, Effect::DeleteMoved(of, _) if *of == id);
            let mut found = state.hot.mutations.iter().filter(|mutation| ours(&mutation.effect));
            Ok(match found.try_fold(false, |_, mutation| mutation.done.then_some(true)) {
                Some(false) => Deletion::Absent,
                Some(true) => Deletion::Done,
                None => Deletion::Running(None),
            })
        })
        .await
    }
}

/// Statements that delete, and those that read a batch, ask which table answers to the name.
pub fn is_there(state: &State, place: &moves::Place) -> Answer<()> {
    if state.hot.place() == *place {
        Ok(())
    } else {
        Err(Trouble::HeadReplaced("the table has another UUID".into()))
    }
}

/// The residue of a row's content.
pub fn class(row: &Row, columns: usize, divisor: u32) -> usize {
    usize::try_from(row.hash(columns) % u128::from(divisor.max(1))).unwrap_or(0)
}

/// The rows of a batch, as the head has them now, each with its part.
pub fn slice<'a>(state: &'a State, record: &Move, batch: &Batch) -> Vec<(&'a Part, Row)> {
    let columns = record.table.columns.len();
    let set = RowSet { window: batch.slice.range, ..record.rows };
    let mut rows: Vec<_> = state.hot.rows_of(set).map(|(part, row)| (part, *row)).collect();
    if let Some((residue, divisor)) = batch.slice.class {
        rows.retain(|(_, row)| class(row, columns, divisor) == residue as usize);
    }
    if let Some((skip, take)) = batch.slice.ranks {
        rows.sort_by_key(|(_, row)| (row.hash(columns), row.id));
        let clamp = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        rows = rows.into_iter().skip(clamp(skip)).take(clamp(take)).collect();
    }
    rows
}
