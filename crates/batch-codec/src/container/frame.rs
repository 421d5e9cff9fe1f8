//! Frames: a kind, a length, a BLAKE3 and so many bytes.

use std::io::{self, Read, Write};

use crate::{DecodeError, format::MAX_FRAME};

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameKind {
    /// The footer follows.
    End = 0,
    /// What a row group's pages share.
    Group = 1,
    /// A page of the row group before.
    Page = 2,
    /// A piece of the zstd stream of all bytes that were not read as Native.
    Opaque = 3,
}

/// A frame whose hash was right.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: FrameKind,
    pub(crate) payload: Vec<u8>,
}

/// Writes one.
pub(crate) fn write_frame(w: &mut impl Write, kind: FrameKind, payload: &[u8]) -> io::Result<()> {
    let too_long = |_| io::Error::new(io::ErrorKind::InvalidInput, "a frame of over 4 GiB");
    let length = u32::try_from(payload.len()).map_err(too_long)?;
    w.write_all(&[kind as u8])?;
    w.write_all(&length.to_le_bytes())?;
    w.write_all(blake3::hash(payload).as_bytes())?;
    w.write_all(payload)
}

/// Reads one; `number` is for the error.
pub(crate) fn read_frame(r: &mut impl Read, number: u64) -> Result<Frame, DecodeError> {
    let mut kind = [0];
    read_exact(r, &mut kind)?;
    let kind = match kind[0] {
        0 => return Ok(Frame { kind: FrameKind::End, payload: Vec::new() }),
        1 => FrameKind::Group,
        2 => FrameKind::Page,
        3 => FrameKind::Opaque,
        other => return Err(DecodeError::Corrupt(format!("a frame of kind {other}"))),
    };
    let mut length = [0; 4];
    read_exact(r, &mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_FRAME {
        return Err(DecodeError::Corrupt(format!("a frame of {length} bytes")));
    }
    let mut hash = [0; 32];
    read_exact(r, &mut hash)?;
    let payload = read_to(r, length)?;
    if *blake3::hash(&payload).as_bytes() != hash {
        return Err(DecodeError::PageHashMismatch { frame: number });
    }
    Ok(Frame { kind, payload })
}

/// `read_exact` whose early end is [`DecodeError::Truncated`].
pub(crate) fn read_exact(r: &mut impl Read, buf: &mut [u8]) -> Result<(), DecodeError> {
    r.read_exact(buf).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => DecodeError::Truncated,
        _ => DecodeError::Io(error),
    })
}

/// Reads `length` bytes; allocates as they come, not on the length's word.
pub(crate) fn read_to(r: &mut impl Read, length: usize) -> Result<Vec<u8>, DecodeError> {
    let mut bytes = Vec::with_capacity(length.min(1 << 20));
    let got = r.by_ref().take(length as u64).read_to_end(&mut bytes).map_err(DecodeError::Io)?;
    if got < length { Err(DecodeError::Truncated) } else { Ok(bytes) }
}

pub(crate) fn read_some(r: &mut impl Read, buf: &mut [u8]) -> Result<usize, DecodeError> {
    loop {
        match r.read(buf) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other.map_err(DecodeError::Io),
        }
    }
}
