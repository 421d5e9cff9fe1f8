//! Reads one column of one block.

use super::{BlockDictionary, Type, dictionary};
use crate::column::{Column, Numbers, Text};

/// Why bytes were not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadError {
    /// The block goes on behind the bytes that are there.
    More,
    /// Not what the writer writes; what it is instead.
    Unknown(&'static str),
}

/// Bytes being read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Source<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes taken so far.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], ReadError> {
        let taken = self.bytes[self.at..].get(..length).ok_or(ReadError::More)?;
        self.at += length;
        Ok(taken)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, ReadError> {
        let bytes = self.take(8)?;
        Ok(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    /// A varint in its shortest form.
    pub(crate) fn varint(&mut self) -> Result<u64, ReadError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes.get(self.at).ok_or(ReadError::More)?;
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                let shortest = byte != 0 || shift == 0;
                let fits = shift < 63 || byte <= 1;
                return if shortest && fits { Ok(value) } else { Err(ReadError::Unknown("a long varint")) };
            }
        }
        Err(ReadError::Unknown("a long varint"))
    }

    /// A length or count: more than any block holds is no block.
    pub(crate) fn length(&mut self) -> Result<usize, ReadError> {
        let value = self.varint()?;
        if value > 1 << 32 {
            return Err(ReadError::Unknown("a length of over 4 GiB"));
        }
        usize::try_from(value).map_err(|_| ReadError::Unknown("a length"))
    }
}

/// Reads a column of `rows` (at least one): what precedes its data, then the data.
pub(crate) fn read_column(
    source: &mut Source<'_>,
    ty: &Type,
    rows: usize,
    dictionaries: &mut Vec<Option<BlockDictionary>>,
) -> Result<Column, ReadError> {
    for _ in 0..ty.dictionaries() {
        if source.u64()? != dictionary::VERSION {
            return Err(ReadError::Unknown("a dictionary version"));
        }
    }
    read_data(source, ty, rows, dictionaries)
}

fn read_data(
    source: &mut Source<'_>,
    ty: &Type,
    rows: usize,
    dictionaries: &mut Vec<Option<BlockDictionary>>,
) -> Result<Column, ReadError> {
    Ok(match ty {
        Type::Number { width, kind } => Column::Numbers(read_numbers(source, *width, rows)?, *kind),
        Type::Text => Column::Text(read_text(source, rows)?),
        Type::Nullable(inner) => {
            let nulls = read_numbers(source, 1, rows)?;
            Column::Nullable { nulls, inner: Box::new(read_data(source, inner, rows, dictionaries)?) }
        }
        Type::Array(inner) => {
            let (sizes, elements) = read_sizes(source, rows)?;
            Column::Array { sizes, inner: Box::new(read_data(source, inner, elements, dictionaries)?) }
        }
        Type::Tuple(fields) => {
            let fields = fields.iter().map(|field| read_data(source, field, rows, dictionaries));
            Column::Tuple(fields.collect::<Result<_, _>>()?)
        }
        Type::LowCardinality(key) => {
            let (dictionary, ids) = dictionary::read(source, key, rows)?;
            dictionaries.push(dictionary);
            Column::Coded(ids)
        }
    })
}

pub(super) fn read_numbers(source: &mut Source<'_>, width: usize, rows: usize) -> Result<Numbers, ReadError> {
    let length = rows.checked_mul(width).ok_or(ReadError::Unknown("a block without end"))?;
    let mut numbers = Numbers::empty(width);
    numbers.extend_le(source.take(length)?);
    Ok(numbers)
}

pub(super) fn read_text(source: &mut Source<'_>, rows: usize) -> Result<Text, ReadError> {
    let mut text = Text::default();
    // A byte a row at least: more rows than bytes are not all there.
    if source.bytes.len() - source.at < rows {
        return Err(ReadError::More);
    }
    // Lengths first: a column that is not all there yet costs no copy.
    let mut scan = *source;
    let mut bytes = 0;
    for _ in 0..rows {
        let length = scan.length()?;
        scan.take(length)?;
        bytes += length;
    }
    text.reserve(rows, bytes);
    for _ in 0..rows {
        let length = source.length()?;
        text.push(source.take(length)?);
    }
    Ok(text)
}

/// Reads on until `text` has `rows` strings; those that are there are taken for good.
pub(super) fn read_strings(source: &mut Source<'_>, rows: usize, text: &mut Text) -> Result<(), ReadError> {
    while text.len() < rows {
        let mut next = *source;
        let length = next.length()?;
        text.push(next.take(length)?);
        *source = next;
    }
    Ok(())
}

/// Sizes of arrays out of their cumulative ends, and the sum.
fn read_sizes(source: &mut Source<'_>, rows: usize) -> Result<(Vec<u32>, usize), ReadError> {
    let length = rows.checked_mul(8).ok_or(ReadError::Unknown("a block without end"))?;
    let ends = source.take(length)?;
    let mut start = 0;
    let sizes = ends
        .as_chunks::<8>()
        .0
        .iter()
        .map(|end| {
            let end = u64::from_le_bytes(*end);
            let size = end.checked_sub(start).and_then(|size| u32::try_from(size).ok());
            start = end;
            size.ok_or(ReadError::Unknown("array ends that fall"))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let elements = u32::try_from(start).map_err(|_| ReadError::Unknown("array ends without end"))?;
    Ok((sizes, elements as usize))
}
