//! Rows and their content hash.

use moves::RowSet;
use storage_types::{ContentHash, Proof};

use crate::random::mix;

/// A row's identity, for the books of [`crate::truth`] only: nothing that is simulated looks at it.
pub type RowId = u32;

/// A row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Which row.
    pub id: RowId,
    /// How often the user has updated it.
    pub version: u16,
    /// Its time, Unix seconds.
    pub time: i64,
    /// All its other columns. Updates keep its residue of [`RESIDUES`].
    pub value: u32,
    /// Its own block number, where its part keeps one for each row.
    pub block: u64,
}

/// Conditions of mutations are over times and this residue of the value, which no update changes.
pub const RESIDUES: u32 = 4;

impl Row {
    /// Adds up, like the real one; `columns`: how many the reader knows.
    pub fn hash(&self, columns: usize) -> u128 {
        let seed = mix(self.time.cast_unsigned() ^ ((columns as u64) << 56));
        let low = mix(seed ^ u64::from(self.value));
        (u128::from(mix(low ^ 0x5eed)) << 64) | u128::from(low)
    }
}

/// Count and hash.
pub fn proof<'a>(rows: impl IntoIterator<Item = &'a Row>, columns: usize) -> Proof {
    rows.into_iter().fold(Proof::default(), |sum, row| {
        sum.plus(Proof { rows: 1, content_hash: ContentHash(row.hash(columns)) })
    })
}

/// Whether a row of this time and number belongs.
pub fn belongs(set: RowSet, time: i64, number: u64) -> bool {
    set.window.lo <= time && time < set.window.hi && number <= set.watermark
}
