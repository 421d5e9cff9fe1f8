//! Bytes of a block on their way in, and what every column is made of: numbers and strings.

use crate::column::{Numbers, Text};

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
