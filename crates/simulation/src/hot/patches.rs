//! Lightweight updates: what they change is in a patch that lies beside the parts, whose names stay.
//!
//! An update takes a number, is written, and is seen all at once, when its patch takes another number. Merges and
//! mutations make patches part of the parts, which then have the update's number as their version.

use moves::world::Changes;

use super::{Changed, Condition, Effect, Part, Table};

/// What of an update lies beside a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patch {
    /// Number of the update: the version that the part gets by it.
    pub version: u64,
    /// Number of the patch part.
    pub number: u64,
}

/// A lightweight update that is being written.
#[derive(Debug, Clone)]
pub struct Update {
    /// Rows with lower numbers are meant.
    pub number: u64,
    /// It adds so much to the value.
    pub add: u32,
    /// Which of them.
    pub condition: Condition,
}

impl Table {
    /// A lightweight update begins.
    pub fn update(&mut self, add: u32, condition: Condition) -> u64 {
        let number = self.next_number();
        self.updates.push(Update { number, add, condition });
        number
    }

    /// The oldest update that is being written is seen from now on; its number.
    pub fn finish_update(&mut self, changed: &mut Vec<Changed>) -> Option<u64> {
        if self.updates.is_empty() {
            return None;
        }
        let update = self.updates.remove(0);
        let number = self.next_number();
        for part in &mut self.parts {
            let (numbered, min) = (part.numbered, part.min);
            let meant = |block| if numbered { block < update.number } else { min < update.number };
            let before = changed.len();
            for row in part.rows.iter_mut().filter(|row| meant(row.block) && update.condition.holds(row)) {
                row.value = row.value.wrapping_add(update.add);
                row.version += 1;
                changed.push(Changed::Updated(*row));
            }
            if changed.len() > before {
                part.patch = Some(Patch { version: update.number, number });
            }
        }
        Some(update.number)
    }

    /// What a merge makes of the patches of the parts that it merges: the version that they give it, or the patch
    /// that stays because an older mutation is still to be applied first.
    pub(super) fn merged_patches(&self, first: &Part, second: &Part) -> (u64, Option<Patch>) {
        let patches = [first.patch, second.patch];
        let latest = patches.into_iter().flatten().max_by_key(|patch| patch.number);
        let Some(patch) = latest else { return (0, None) };
        let behind = first.data_version().min(second.data_version());
        let waits = self.mutations.iter().any(|m| !m.done && behind < m.number && m.number < patch.version);
        if waits { (0, Some(patch)) } else { (patch.version, None) }
    }

    /// What others than moves have done since the watermark, as the server can tell it.
    pub fn changes(&self, watermark: u64, expires: bool) -> Changes {
        let foreign = || self.mutations.iter().filter(|mutation| mutation.is_foreign());
        let known = |version| self.mutations.iter().any(|mutation| mutation.number == version);
        // Changed by something that is no longer known: by a patch that was merged.
        let versions =
            self.parts.iter().filter(|part| part.data_version() != part.min).map(Part::data_version);
        let unknown = versions.filter(|version| *version > watermark && !known(*version)).max();
        let patches = self.parts.iter().filter_map(|part| part.patch).map(|patch| patch.number);
        let latest = foreign().map(|m| m.number).chain(patches).filter(|number| *number > watermark).max();
        Changes {
            defaults: false,
            pending: foreign().find(|m| !m.done).map(|m| format!("mutation {}", m.number)),
            expires,
            deletes: unknown.is_some()
                || foreign().any(|m| m.effect == Effect::Delete && m.number > watermark),
            latest: latest.max(unknown).unwrap_or(0),
        }
    }
}
