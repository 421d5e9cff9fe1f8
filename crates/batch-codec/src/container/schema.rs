//! Columns of a batch, in its header.

use std::io::{self, Read, Write};

use super::{read_exact, read_to};
use crate::{
    DecodeError,
    codec::Wire,
    format::{MAX_COLUMNS, MAX_SCHEMA},
    native::{ColumnName, Type, put_varint},
};

/// Names and types. Without columns when nothing was read as Native.
#[derive(Debug, Clone, Default)]
pub(crate) struct Schema {
    pub(crate) names: Vec<ColumnName>,
    pub(crate) types: Vec<Type>,
}

impl Schema {
    /// Length, BLAKE3, then each name and type behind its length.
    pub(crate) fn write(&self, w: &mut impl Write) -> io::Result<()> {
        let mut body = Vec::new();
        put_varint(self.names.len() as u64, &mut body);
        for word in self.names.iter().flat_map(|column| [&column.name, &column.type_name]) {
            put_varint(word.len() as u64, &mut body);
            body.extend_from_slice(word);
        }
        let too_long = |_| io::Error::new(io::ErrorKind::InvalidInput, "a schema of over 4 GiB");
        w.write_all(&u32::try_from(body.len()).map_err(too_long)?.to_le_bytes())?;
        w.write_all(blake3::hash(&body).as_bytes())?;
        w.write_all(&body)
    }

    pub(crate) fn read(r: &mut impl Read) -> Result<Self, DecodeError> {
        let mut length = [0; 4];
        read_exact(r, &mut length)?;
        let length = u32::from_le_bytes(length) as usize;
        if length > MAX_SCHEMA {
            return Err(DecodeError::Corrupt(format!("a schema of {length} bytes")));
        }
        let mut hash = [0; 32];
        read_exact(r, &mut hash)?;
        let body = read_to(r, length)?;
        if *blake3::hash(&body).as_bytes() != hash {
            return Err(DecodeError::HashMismatch);
        }
        let mut wire = Wire::new(&body);
        let count = wire.count(MAX_COLUMNS, "columns")?;
        let mut schema = Self::default();
        for _ in 0..count {
            let name = ColumnName { name: wire.block()?.to_vec(), type_name: wire.block()?.to_vec() };
            let text = String::from_utf8_lossy(&name.type_name);
            let ty = Type::parse(&text)
                .ok_or_else(|| DecodeError::Corrupt(format!("type {text:?} is unknown in pages")))?;
            schema.types.push(ty);
            schema.names.push(name);
        }
        wire.end()?;
        Ok(schema)
    }
}
