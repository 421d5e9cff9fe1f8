//! ClickHouse's Native format, as `FORMAT Native` over HTTP has it (no protocol revision): blocks of
//! `columns (varint), rows (varint)`, then each column's name, type and data. See
//! <https://clickhouse.com/docs/interfaces/formats/Native>.
//!
//! The reader accepts only what the writer would write the same way, byte for byte; anything else is
//! [`ReadError::Unknown`], and its bytes travel unread.

mod block;
mod dictionary;
mod read;
mod source;
mod types;
mod write;

pub(crate) use block::{Block, BlockReader, Progress};
pub(crate) use dictionary::{BlockDictionary, Dictionary};
pub(crate) use types::{Kind, Type};
pub(crate) use write::{BlockWriter, Keys, Rows, put_varint};

/// A column's name and type, as the block spells them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ColumnName {
    pub(crate) name: Vec<u8>,
    pub(crate) type_name: Vec<u8>,
}
