//! Blocks out of bytes that come in pieces.

use super::{
    BlockDictionary, ColumnName, Type,
    read::{read_column, read_strings},
    source::{ReadError, Source},
};
use crate::column::{Column, Text};

/// Most columns of a block that are read.
const MAX_COLUMNS: usize = 10_000;
/// Longest column or type name that is read.
const MAX_NAME: usize = 1 << 20;
/// Most rows of a block that are read: as many as a row group holds.
pub(crate) const MAX_BLOCK_ROWS: usize = 1 << 20;

/// A whole block.
#[derive(Debug)]
pub(crate) struct Block {
    /// May be none: such blocks are empty.
    pub(crate) rows: usize,
    /// Its length as Native.
    pub(crate) raw_bytes: usize,
    /// Indices are the block's own.
    pub(crate) columns: Vec<Column>,
    /// By column and depth first; `None` where there was nothing to index.
    pub(crate) dictionaries: Vec<Option<BlockDictionary>>,
}

impl Block {
    /// Bytes of memory, about.
    pub(crate) fn memory(&self) -> usize {
        let keys = |dictionary: &BlockDictionary| 2 * dictionary.keys.memory() + 64 * dictionary.keys.len();
        self.columns.iter().map(Column::memory).sum::<usize>()
            + self.dictionaries.iter().flatten().map(keys).sum::<usize>()
    }
}

/// What a step came to.
#[derive(Debug)]
pub(crate) enum Progress {
    /// A block; its bytes are still at the front of the buffer.
    Block(Block),
    /// More bytes are needed.
    More,
    /// What is in the buffer is not Native as it is known here, or has other columns than before.
    Unknown,
}

/// Reads blocks off a buffer. Within a block, columns that were read are not read again, nor strings: they
/// are taken while their bytes are still near.
#[derive(Debug, Default)]
pub(crate) struct BlockReader {
    names: Vec<ColumnName>,
    types: Vec<Type>,
    open: Option<Open>,
    /// Nothing is tried before the buffer is this long.
    wanted: usize,
}

/// A block of which some columns are read.
#[derive(Debug)]
struct Open {
    rows: usize,
    /// How many columns there will be.
    count: usize,
    columns: Vec<Column>,
    dictionaries: Vec<Option<BlockDictionary>>,
    /// What there is of a column of strings whose name was read.
    strings: Option<Text>,
    /// Where the next column begins, or the next string.
    at: usize,
}

impl BlockReader {
    /// Columns of the first block; empty before it was seen.
    pub(crate) fn names(&self) -> &[ColumnName] {
        &self.names
    }

    /// Their types.
    pub(crate) fn types(&self) -> &[Type] {
        &self.types
    }

    /// Reads one block at the front of `buffer`. `last` says that no more bytes will come.
    pub(crate) fn next(&mut self, buffer: &[u8], last: bool) -> Progress {
        if buffer.is_empty() || (!last && buffer.len() < self.wanted) {
            return Progress::More;
        }
        match self.read(buffer) {
            Ok(block) => {
                self.wanted = 0;
                Progress::Block(block)
            }
            Err(ReadError::More) => {
                // A column that is read in vain is read again only when twice as much is there.
                let from = self.open.as_ref().map_or(0, |open| open.at);
                self.wanted = buffer.len() + (buffer.len() - from);
                Progress::More
            }
            Err(ReadError::Unknown(_)) => Progress::Unknown,
        }
    }

    fn read(&mut self, buffer: &[u8]) -> Result<Block, ReadError> {
        let mut source = Source::new(buffer);
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.begin(&mut source)?,
        };
        if let Err(error) = self.read_columns(buffer, &mut open) {
            self.open = Some(open);
            return Err(error);
        }
        let Open { rows, columns, dictionaries, at, .. } = open;
        Ok(Block { rows, raw_bytes: at, columns, dictionaries })
    }

    fn begin(&self, source: &mut Source<'_>) -> Result<Open, ReadError> {
        let count = source.length()?;
        let rows = source.length()?;
        if count == 0 || count > MAX_COLUMNS {
            return Err(ReadError::Unknown("a block of no columns or too many"));
        }
        if !self.names.is_empty() && count != self.names.len() {
            return Err(ReadError::Unknown("a block of other columns"));
        }
        if rows > MAX_BLOCK_ROWS {
            return Err(ReadError::Unknown("a block of too many rows"));
        }
        let at = source.position();
        Ok(Open { rows, count, columns: Vec::new(), dictionaries: Vec::new(), strings: None, at })
    }

    fn read_columns(&mut self, buffer: &[u8], open: &mut Open) -> Result<(), ReadError> {
        while open.columns.len() < open.count {
            let mut source = Source::new(&buffer[open.at..]);
            let index = open.columns.len();
            if open.strings.is_none() {
                self.read_name(index, &mut source)?;
            }
            let ty = &self.types[index];
            if *ty == Type::Text {
                let strings = open.strings.get_or_insert_default();
                let read = read_strings(&mut source, open.rows, strings);
                open.at += source.position();
                read?;
                open.columns.extend(open.strings.take().map(Column::Text));
                continue;
            }
            let before = open.dictionaries.len();
            let column = if open.rows == 0 {
                open.dictionaries.extend((0..ty.dictionaries()).map(|_| None));
                Ok(Column::empty(ty))
            } else {
                read_column(&mut source, ty, open.rows, &mut open.dictionaries)
            };
            match column {
                Ok(column) => open.columns.push(column),
                Err(error) => {
                    open.dictionaries.truncate(before);
                    return Err(error);
                }
            }
            open.at += source.position();
        }
        Ok(())
    }

    /// Reads a column's name and type, which must be those of the blocks before.
    fn read_name(&mut self, index: usize, source: &mut Source<'_>) -> Result<(), ReadError> {
        let name = ColumnName { name: word(source)?, type_name: word(source)? };
        if index == self.names.len() {
            let ty = std::str::from_utf8(&name.type_name).ok().and_then(Type::parse);
            self.types.push(ty.ok_or(ReadError::Unknown("a type"))?);
            self.names.push(name);
        } else if self.names[index] != name {
            return Err(ReadError::Unknown("a block of other columns"));
        }
        Ok(())
    }
}

fn word(source: &mut Source<'_>) -> Result<Vec<u8>, ReadError> {
    let length = source.length()?;
    if length > MAX_NAME {
        return Err(ReadError::Unknown("a long name"));
    }
    Ok(source.take(length)?.to_vec())
}
