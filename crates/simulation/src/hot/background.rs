//! What the server does on its own: merges, mutations of parts, TTL.

use super::{Effect, PARTITION, Part, Table};
use crate::{random::Random, row::Row};

/// What a background task did to a row.
#[derive(Debug, Clone, Copy)]
pub enum Changed {
    /// A user's update.
    Updated(Row),
    /// A user's update of the time, which was this before.
    Shifted(Row, i64),
    /// A user's mutation.
    Deleted(Row),
    /// The deletion of a move.
    Moved(Row),
    /// The table's TTL.
    Expired(Row),
}

impl Table {
    /// Merges two neighbours; rows up to `expired` are left out (TTL). `false`: there is nothing to merge.
    pub fn merge(&mut self, random: &mut Random, expired: Option<i64>, changed: &mut Vec<Changed>) -> bool {
        self.parts.sort_by_key(|part| (part.partition, part.min));
        let pairs: Vec<usize> = (1..self.parts.len()).filter(|at| self.may_merge(at - 1, *at)).collect();
        let Some(at) = random.pick(&pairs).copied() else { return false };
        let (second, first) = (self.parts.remove(at), self.parts.remove(at - 1));
        let keeps = self.keeps_numbers;
        let (version, patch) = self.merged_patches(&first, &second);
        let mut merged = Part {
            partition: first.partition,
            min: first.min,
            max: second.max,
            level: first.level.max(second.level) + 1,
            mutation: first.mutation.max(second.mutation).max(version),
            patch,
            // Without the setting the column is lost.
            numbered: keeps,
            rows: Vec::with_capacity(first.rows.len() + second.rows.len()),
        };
        for part in [&first, &second] {
            merged.rows.extend(part.rows.iter().map(|row| Row { block: part.number(row), ..*row }));
        }
        if let Some(expired) = expired {
            changed
                .extend(merged.rows.iter().filter(|row| row.time < expired).copied().map(Changed::Expired));
            merged.rows.retain(|row| row.time >= expired);
        }
        if merged.rows.is_empty() {
            self.emptied(merged.max);
        } else {
            self.parts.push(merged);
        }
        true
    }

    /// Parts are merged only when the same mutations are still to be applied to them.
    fn may_merge(&self, a: usize, b: usize) -> bool {
        let (a, b) = (&self.parts[a], &self.parts[b]);
        let between = |number: u64| {
            let (low, high) =
                (a.data_version().min(b.data_version()), a.data_version().max(b.data_version()));
            low < number && number <= high
        };
        a.partition == b.partition && !self.mutations.iter().any(|m| !m.done && between(m.number))
    }

    /// Applies the next mutation to one part. `false`: none is left to do.
    pub fn apply_mutation(&mut self, random: &mut Random, changed: &mut Vec<Changed>) -> bool {
        let Some(at) = self.mutations.iter().position(|mutation| !mutation.done) else { return false };
        let mutation = self.mutations[at].clone();
        // It waits for older updates that are being written.
        if self.updates.iter().any(|update| update.number < mutation.number) {
            return false;
        }
        let behind: Vec<usize> =
            (0..self.parts.len()).filter(|n| self.parts[*n].data_version() < mutation.number).collect();
        let Some(n) = random.pick(&behind).copied() else {
            self.mutations[at].done = true;
            return true;
        };
        let part = &mut self.parts[n];
        part.mutation = mutation.number;
        part.patch = part.patch.filter(|patch| patch.version > mutation.number);
        let (numbered, min) = (part.numbered, part.min);
        let number = |row: &Row| if numbered { row.block } else { min };
        match mutation.effect {
            Effect::Update(add) => {
                for row in part.rows.iter_mut().filter(|row| mutation.condition.holds(row)) {
                    row.value = row.value.wrapping_add(add);
                    row.version += 1;
                    changed.push(Changed::Updated(*row));
                }
            }
            Effect::Shift(by) => {
                for row in part.rows.iter_mut().filter(|row| mutation.condition.holds(row)) {
                    let (before, first) = (row.time, part.partition * PARTITION);
                    row.time = first + (row.time - first + by).rem_euclid(PARTITION);
                    row.version += 1;
                    changed.push(Changed::Shifted(*row, before));
                }
            }
            Effect::Delete => part.rows.retain(|row| {
                let deleted = mutation.condition.holds(row);
                changed.extend(deleted.then_some(Changed::Deleted(*row)));
                !deleted
            }),
            Effect::DeleteMoved(_, set) => part.rows.retain(|row| {
                let deleted = crate::row::belongs(set, row.time, number(row));
                changed.extend(deleted.then_some(Changed::Moved(*row)));
                !deleted
            }),
        }
        if part.rows.is_empty() {
            let part = self.parts.remove(n);
            self.emptied(part.max);
        }
        true
    }
}
