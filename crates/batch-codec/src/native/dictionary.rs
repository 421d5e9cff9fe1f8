//! LowCardinality: a block's own dictionary, and the one of a row group that all its blocks share.

use std::collections::HashMap;

use super::{
    Type,
    source::{ReadError, Source, read_numbers, read_text},
};
use crate::column::Text;

/// The only version of the serialisation there is: keys beside the indices.
pub(super) const VERSION: u64 = 1;
/// A dictionary shared by blocks; never in Native.
const NEEDS_GLOBAL: u64 = 1 << 8;
/// The block has keys of its own.
const HAS_KEYS: u64 = 1 << 9;

/// Keys of one block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BlockDictionary {
    /// Width of the indices and what else the engine says.
    pub(crate) flags: u64,
    /// Keys in the block's order, numbers as their bytes.
    pub(crate) keys: Text,
}

/// Bytes an index by the flags.
pub(crate) fn index_width(flags: u64) -> Option<usize> {
    match flags & 0xff {
        0 => Some(1),
        1 => Some(2),
        2 => Some(4),
        3 => Some(8),
        _ => None,
    }
}

/// Reads keys and indices; nothing at all is written for no rows.
pub(super) fn read(
    source: &mut Source<'_>,
    key: &Type,
    rows: usize,
) -> Result<(Option<BlockDictionary>, Vec<u32>), ReadError> {
    if rows == 0 {
        return Ok((None, Vec::new()));
    }
    let flags = source.u64()?;
    let width = index_width(flags).ok_or(ReadError::Unknown("a dictionary index type"))?;
    if flags & NEEDS_GLOBAL != 0 || flags & HAS_KEYS == 0 {
        return Err(ReadError::Unknown("a dictionary of another kind"));
    }
    let count = source.u64()?;
    let count = u32::try_from(count).map_err(|_| ReadError::Unknown("a dictionary without end"))? as usize;
    let keys = match key {
        Type::Text => read_text(source, count)?,
        Type::Number { width, .. } => {
            let numbers = read_numbers(source, *width, count)?.to_le();
            let mut keys = Text::default();
            numbers.chunks_exact(*width).for_each(|value| keys.push(value));
            keys
        }
        _ => return Err(ReadError::Unknown("a dictionary of columns")),
    };
    if source.u64()? != rows as u64 {
        return Err(ReadError::Unknown("a dictionary in pieces"));
    }
    let ids = read_numbers(source, width, rows)?;
    let ids = (0..rows)
        .map(|row| {
            let id = ids.wrapping_u64(row, super::Kind::Unsigned);
            if id < count as u64 { Ok(id as u32) } else { Err(ReadError::Unknown("an index to no key")) }
        })
        .collect::<Result<_, _>>()?;
    Ok((Some(BlockDictionary { flags, keys }), ids))
}

/// The keys of all blocks of a row group, each once, and which of them each block has.
///
/// A block may hold equal keys twice (the NULL of a nullable one looks like the default value); they
/// stay two, so that a block's index is found again from the group's.
#[derive(Debug, Default)]
pub(crate) struct Dictionary {
    /// Every key.
    pub(crate) keys: Text,
    /// Flags of each block that has a dictionary.
    pub(crate) flags: Vec<u64>,
    /// Keys of each such block.
    pub(crate) counts: Vec<u32>,
    /// Indices into `keys`, block after block.
    pub(crate) lists: Vec<u32>,
    by_key: HashMap<(Vec<u8>, u32), u32>,
}

impl Dictionary {
    /// Takes in a block's keys and turns its indices into the group's.
    pub(crate) fn absorb(&mut self, block: &BlockDictionary, ids: &mut [u32]) {
        let mut seen: HashMap<&[u8], u32> = HashMap::new();
        let first = self.lists.len();
        for key in block.keys.iter() {
            let nth = seen.entry(key).and_modify(|n| *n += 1).or_insert(0);
            let next = self.keys.len() as u32;
            let id = *self.by_key.entry((key.to_vec(), *nth)).or_insert(next);
            if id == next {
                self.keys.push(key);
            }
            self.lists.push(id);
        }
        self.flags.push(block.flags);
        self.counts.push(block.keys.len() as u32);
        let list = &self.lists[first..];
        ids.iter_mut().for_each(|id| *id = list[*id as usize]);
    }

    /// Bytes of memory, about.
    pub(crate) fn memory(&self) -> usize {
        2 * self.keys.memory() + self.lists.len() * 4 + self.keys.len() * 64
    }
}
