//! Version 1: one zstd stream in segments, with a BLAKE3 of the raw bytes at its end. Read, no longer
//! written.

use std::io::Read;

use zstd::stream::raw::{DParameter, Decoder as Zstd, InBuffer, Operation, OutBuffer};

use super::{read_exact, read_some};
use crate::{
    DecodeError, Limits,
    format::{FOOTER_MAGIC, MAX_SEGMENT},
};

/// Footer: magic, raw bytes (u64), payload bytes (u64), BLAKE3 of the raw bytes.
const FOOTER_BYTES: usize = 4 + 8 + 8 + 32;

/// Reads what follows the header.
pub(crate) struct ZstdDecoder<R: Read> {
    r: R,
    zstd: Zstd<'static>,
    limits: Limits,
    segment: Box<[u8]>,
    /// The part of `segment` that zstd has not taken.
    from: usize,
    to: usize,
    /// Every segment was read.
    last_segment_seen: bool,
    /// zstd's frame is complete.
    frame_done: bool,
    /// zstd may hold more output than the last buffer took.
    output_left: bool,
    raw: blake3::Hasher,
    raw_bytes: u64,
    payload_bytes: u64,
}

impl<R: Read> ZstdDecoder<R> {
    pub(crate) fn new(r: R, limits: Limits) -> Result<Self, DecodeError> {
        let mut zstd = Zstd::new().map_err(DecodeError::Io)?;
        zstd.set_parameter(DParameter::WindowLogMax(limits.max_window_log)).map_err(DecodeError::Io)?;
        Ok(Self {
            r,
            zstd,
            limits,
            segment: vec![0; MAX_SEGMENT].into_boxed_slice(),
            from: 0,
            to: 0,
            last_segment_seen: false,
            frame_done: false,
            output_left: false,
            raw: blake3::Hasher::new(),
            raw_bytes: 0,
            payload_bytes: 0,
        })
    }

    /// The next bytes; 0 when all was given out and proven.
    pub(crate) fn next(&mut self, buf: &mut [u8]) -> Result<usize, DecodeError> {
        loop {
            if self.from == self.to && !self.output_left && !self.last_segment_seen {
                self.read_segment()?;
            }
            if self.last_segment_seen && self.from == self.to && !self.output_left {
                self.read_footer()?;
                return Ok(0);
            }
            if self.frame_done && self.from < self.to {
                return Err(DecodeError::Corrupt("there is data behind the zstd frame".into()));
            }
            let got = self.decompress(buf)?;
            if got > 0 {
                return Ok(got);
            }
        }
    }

    /// One step of zstd; 0 when it only took input.
    fn decompress(&mut self, buf: &mut [u8]) -> Result<usize, DecodeError> {
        // One byte beyond the cap is asked for, to see whether there is one.
        let room = self.limits.max_raw_bytes.saturating_sub(self.raw_bytes).saturating_add(1);
        let length = buf.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        let mut input = InBuffer::around(&self.segment[self.from..self.to]);
        let mut output = OutBuffer::around(&mut buf[..length]);
        let hint =
            self.zstd.run(&mut input, &mut output).map_err(|e| DecodeError::Corrupt(format!("zstd: {e}")))?;
        let (took, got) = (input.pos(), output.pos());
        self.from += took;
        self.frame_done = hint == 0;
        self.output_left = got == length && !self.frame_done;
        if self.raw_bytes + got as u64 > self.limits.max_raw_bytes {
            return Err(DecodeError::TooLarge { limit_bytes: self.limits.max_raw_bytes });
        }
        if took == 0 && got == 0 && self.from < self.to {
            return Err(DecodeError::Corrupt("zstd makes no progress".into()));
        }
        self.raw.update(&buf[..got]);
        self.raw_bytes += got as u64;
        Ok(got)
    }

    fn read_segment(&mut self) -> Result<(), DecodeError> {
        let mut length = [0; 4];
        read_exact(&mut self.r, &mut length)?;
        let length = u32::from_le_bytes(length) as usize;
        if length > MAX_SEGMENT {
            return Err(DecodeError::Corrupt(format!("a segment of {length} bytes")));
        }
        if length == 0 {
            self.last_segment_seen = true;
            return Ok(());
        }
        read_exact(&mut self.r, &mut self.segment[..length])?;
        (self.from, self.to) = (0, length);
        self.payload_bytes += length as u64;
        Ok(())
    }

    fn read_footer(&mut self) -> Result<(), DecodeError> {
        if !self.frame_done {
            return Err(DecodeError::Corrupt("the zstd frame is not complete".into()));
        }
        let mut footer = [0; FOOTER_BYTES];
        read_exact(&mut self.r, &mut footer)?;
        let (magic, rest) = footer.split_at(4);
        let (raw_bytes, rest) = rest.split_at(8);
        let (payload_bytes, hash) = rest.split_at(8);
        if magic != FOOTER_MAGIC {
            return Err(DecodeError::Corrupt("wrong footer magic".into()));
        }
        for (what, declared, found) in
            [("raw", raw_bytes, self.raw_bytes), ("payload", payload_bytes, self.payload_bytes)]
        {
            let declared = u64::from_le_bytes(declared.try_into().unwrap_or([0xff; 8]));
            if declared != found {
                return Err(DecodeError::LengthMismatch { what, declared, found });
            }
        }
        if self.raw.finalize().as_bytes() != hash {
            return Err(DecodeError::HashMismatch);
        }
        let mut behind = [0];
        match read_some(&mut self.r, &mut behind)? {
            0 => Ok(()),
            _ => Err(DecodeError::TrailingBytes),
        }
    }
}
