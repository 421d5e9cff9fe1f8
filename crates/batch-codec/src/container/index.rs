//! The footer of version 2: where every page is and what it holds, and the proof of the whole.

use std::io::{self, Read, Write};

use super::{read_exact, read_some, read_to};
use crate::{
    DecodeError,
    codec::Wire,
    format::{FOOTER_MAGIC, MAX_FOOTER},
    native::put_varint,
};

/// A page in the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PageEntry {
    /// Where its frame begins, from the start of the batch.
    pub(crate) offset: u64,
    pub(crate) rows: u64,
    /// Values of the key columns when all rows have the same, else empty.
    pub(crate) key: Vec<Vec<u8>>,
}

/// A row group in the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupEntry {
    pub(crate) offset: u64,
    pub(crate) rows: u64,
    pub(crate) raw_bytes: u64,
    pub(crate) pages: Vec<PageEntry>,
}

/// The footer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) groups: Vec<GroupEntry>,
    pub(crate) rows: u64,
    pub(crate) raw_bytes: u64,
    /// BLAKE3 of all raw bytes.
    pub(crate) blake3: [u8; 32],
}

impl Footer {
    /// Length and body, then for those who come from the end: BLAKE3 of the body, length, magic.
    pub(crate) fn write(&self, w: &mut impl Write) -> io::Result<()> {
        let body = self.body();
        let too_long = |_| io::Error::new(io::ErrorKind::InvalidInput, "a footer of over 4 GiB");
        let length = u32::try_from(body.len()).map_err(too_long)?.to_le_bytes();
        w.write_all(&length)?;
        w.write_all(&body)?;
        w.write_all(blake3::hash(&body).as_bytes())?;
        w.write_all(&length)?;
        w.write_all(&FOOTER_MAGIC)
    }

    fn body(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&self.raw_bytes.to_le_bytes());
        out.extend_from_slice(&self.rows.to_le_bytes());
        out.extend_from_slice(&self.blake3);
        put_varint(self.groups.len() as u64, &mut out);
        for group in &self.groups {
            for number in [group.offset, group.rows, group.raw_bytes, group.pages.len() as u64] {
                put_varint(number, &mut out);
            }
            for page in &group.pages {
                for number in [page.offset, page.rows, page.key.len() as u64] {
                    put_varint(number, &mut out);
                }
                for value in &page.key {
                    put_varint(value.len() as u64, &mut out);
                    out.extend_from_slice(value);
                }
            }
        }
        out
    }

    /// Reads it, sees that nothing follows, and that its index is `groups` (whose pages have no keys).
    pub(crate) fn read(r: &mut impl Read, groups: &[GroupEntry]) -> Result<Self, DecodeError> {
        let mut length = [0; 4];
        read_exact(r, &mut length)?;
        let bytes = u32::from_le_bytes(length) as usize;
        if bytes > MAX_FOOTER {
            return Err(DecodeError::Corrupt(format!("a footer of {bytes} bytes")));
        }
        let body = read_to(r, bytes)?;
        let mut trailer = [0; 32 + 4 + 4];
        read_exact(r, &mut trailer)?;
        let (hash, rest) = trailer.split_at(32);
        let (again, magic) = rest.split_at(4);
        if magic != FOOTER_MAGIC || again != length {
            return Err(DecodeError::Corrupt("wrong footer magic".into()));
        }
        if blake3::hash(&body).as_bytes() != hash {
            return Err(DecodeError::HashMismatch);
        }
        match read_some(r, &mut [0])? {
            0 => Self::parse(&body, groups),
            _ => Err(DecodeError::TrailingBytes),
        }
    }

    /// Compares instead of collecting: an index of its own making would be as large as it likes.
    fn parse(body: &[u8], groups: &[GroupEntry]) -> Result<Self, DecodeError> {
        let mut wire = Wire::new(body);
        let raw_bytes = wire.u64()?;
        let rows = wire.u64()?;
        let mut blake3 = [0; 32];
        blake3.copy_from_slice(wire.take(32)?);
        let expect = |wire: &mut Wire<'_>, expected: u64| match wire.varint()? {
            found if found == expected => Ok(()),
            _ => Err(DecodeError::Corrupt("the index is of other pages".into())),
        };
        expect(&mut wire, groups.len() as u64)?;
        for group in groups {
            for number in [group.offset, group.rows, group.raw_bytes, group.pages.len() as u64] {
                expect(&mut wire, number)?;
            }
            for page in &group.pages {
                expect(&mut wire, page.offset)?;
                expect(&mut wire, page.rows)?;
                for _ in 0..wire.count(body.len(), "key columns")? {
                    wire.block()?;
                }
            }
        }
        wire.end()?;
        Ok(Self { groups: Vec::new(), rows, raw_bytes, blake3 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_was_written() {
        let page = PageEntry { offset: 99, rows: 7, key: vec![b"binance".to_vec(), Vec::new()] };
        let mut groups = vec![GroupEntry { offset: 50, rows: 7, raw_bytes: 1 << 40, pages: vec![page] }];
        let footer = Footer { groups: groups.clone(), rows: 7, raw_bytes: 1 << 40, blake3: [7; 32] };
        let mut bytes = Vec::new();
        footer.write(&mut bytes).unwrap();
        let read = Footer::read(&mut bytes.as_slice(), &groups).unwrap();
        assert_eq!((read.rows, read.raw_bytes, read.blake3), (7, 1 << 40, [7; 32]));
        for end in 0..bytes.len() {
            assert!(matches!(Footer::read(&mut &bytes[..end], &groups), Err(DecodeError::Truncated)));
        }
        groups[0].pages[0].offset = 98;
        assert!(matches!(Footer::read(&mut bytes.as_slice(), &groups), Err(DecodeError::Corrupt(_))));
    }
}
