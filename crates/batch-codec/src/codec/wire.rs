//! Reading a stream's bytes.

use crate::DecodeError;

/// Bytes being read; every way to run out is an error.
#[derive(Debug)]
pub(crate) struct Wire<'a> {
    bytes: &'a [u8],
}

pub(crate) fn corrupt(what: &str) -> DecodeError {
    DecodeError::Corrupt(what.into())
}

impl<'a> Wire<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// What is left.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) =
            self.bytes.split_at_checked(length).ok_or_else(|| corrupt("a stream that ends early"))?;
        self.bytes = rest;
        Ok(taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.take(1)?[0])
    }

    pub(crate) fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(self.take(8)?.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    pub(crate) fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(corrupt("a varint without end"))
    }

    /// A varint that must not exceed `most`.
    pub(crate) fn count(&mut self, most: usize, what: &str) -> Result<usize, DecodeError> {
        let value = self.varint()?;
        usize::try_from(value)
            .ok()
            .filter(|value| *value <= most)
            .ok_or_else(|| DecodeError::Corrupt(format!("{value} {what}; at most {most}")))
    }

    /// Bytes behind their length.
    pub(crate) fn block(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.count(self.bytes.len(), "bytes")?;
        self.take(length)
    }

    /// Nothing may be left.
    pub(crate) fn end(&self) -> Result<(), DecodeError> {
        if self.bytes.is_empty() { Ok(()) } else { Err(corrupt("bytes behind the end of a stream")) }
    }
}

/// Appends bytes behind their length.
pub(crate) fn put_block(bytes: &[u8], out: &mut Vec<u8>) {
    crate::native::put_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// Undoes [`zigzag`].
pub(crate) fn unzigzag(value: u64) -> u64 {
    (value >> 1) ^ (value & 1).wrapping_neg()
}

/// Zigzag: small numbers of either sign become small.
pub(crate) fn zigzag(value: u64) -> u64 {
    (value << 1) ^ ((value.cast_signed() >> 63) as u64)
}
