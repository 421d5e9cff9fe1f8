//! Raw Native bytes in, container out.

use std::{
    io::{self, Write},
    str::FromStr,
};

use zstd::stream::raw::{CParameter, Encoder as Zstd, InBuffer, Operation, OutBuffer};

use crate::format::{CODEC, FOOTER_MAGIC, FORMAT_VERSION, MAGIC, MAX_SEGMENT, WINDOW_LOG};

/// How hard to squeeze.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Effort {
    /// Least CPU: zstd 1.
    Fast,
    /// Between the two: zstd 3.
    #[default]
    Auto,
    /// Fewest bytes on the line, about 100 MiB of memory: zstd 19 with a window of 16 MiB.
    Ultra,
}

/// The word is not an effort.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an effort (expected fast, auto or ultra)")]
pub struct UnknownEffort(pub String);

impl FromStr for Effort {
    type Err = UnknownEffort;

    fn from_str(word: &str) -> Result<Self, UnknownEffort> {
        match word {
            "fast" => Ok(Self::Fast),
            "auto" => Ok(Self::Auto),
            "ultra" => Ok(Self::Ultra),
            other => Err(UnknownEffort(other.chars().take(40).collect())),
        }
    }
}

/// What an encoder made.
#[derive(Debug)]
pub struct Encoded<W> {
    /// Bytes written into the encoder.
    pub raw_bytes: u64,
    /// Bytes it wrote out: the length of the batch.
    pub encoded_bytes: u64,
    /// BLAKE3 of the bytes it wrote out, 64 hex digits.
    pub blake3: String,
    /// Where they went.
    pub w: W,
}

/// Writes a batch. Only [`Encoder::finish`] makes it whole: bytes of an encoder that was dropped are
/// refused by every decoder as cut off.
pub struct Encoder<W: Write> {
    out: Output<W>,
    zstd: Zstd<'static>,
    /// The segment being filled, and how far.
    segment: Box<[u8]>,
    filled: usize,
    raw: blake3::Hasher,
    raw_bytes: u64,
    payload_bytes: u64,
}

/// Counts and hashes what goes out.
struct Output<W> {
    w: W,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl<W: Write> Output<W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.w.write_all(bytes)?;
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}

impl<W: Write> Encoder<W> {
    /// Writes the header into `w`.
    pub fn new(w: W, effort: Effort) -> io::Result<Self> {
        let mut zstd = Zstd::new(match effort {
            Effort::Fast => 1,
            Effort::Auto => 3,
            Effort::Ultra => 19,
        })?;
        // BLAKE3 covers what zstd's own checksum would.
        zstd.set_parameter(CParameter::ChecksumFlag(false))?;
        if effort == Effort::Ultra {
            zstd.set_parameter(CParameter::WindowLog(WINDOW_LOG))?;
        }
        let mut out = Output { w, hasher: blake3::Hasher::new(), bytes: 0 };
        let mut header = MAGIC.to_vec();
        header.extend(FORMAT_VERSION.to_le_bytes());
        header.push(CODEC.len() as u8);
        header.extend(CODEC.as_bytes());
        out.put(&header)?;
        Ok(Self {
            out,
            zstd,
            segment: vec![0; MAX_SEGMENT].into_boxed_slice(),
            filled: 0,
            raw: blake3::Hasher::new(),
            raw_bytes: 0,
            payload_bytes: 0,
        })
    }

    /// Bytes written into it so far.
    pub fn raw_bytes(&self) -> u64 {
        self.raw_bytes
    }

    /// Bytes written out so far; what zstd still holds back is not counted.
    pub fn encoded_bytes(&self) -> u64 {
        self.out.bytes + self.filled as u64
    }

    /// Ends the frame, writes the footer and flushes `w`.
    pub fn finish(mut self) -> io::Result<Encoded<W>> {
        loop {
            let mut out = OutBuffer::around(&mut self.segment[self.filled..]);
            let left = self.zstd.finish(&mut out, true)?;
            self.filled += out.pos();
            if left == 0 {
                break;
            }
            self.end_segment()?;
        }
        self.end_segment()?;
        let mut footer = 0u32.to_le_bytes().to_vec();
        footer.extend(FOOTER_MAGIC);
        footer.extend(self.raw_bytes.to_le_bytes());
        footer.extend(self.payload_bytes.to_le_bytes());
        footer.extend(self.raw.finalize().as_bytes());
        self.out.put(&footer)?;
        self.out.w.flush()?;
        Ok(Encoded {
            raw_bytes: self.raw_bytes,
            encoded_bytes: self.out.bytes,
            blake3: self.out.hasher.finalize().to_hex().to_string(),
            w: self.out.w,
        })
    }

    fn end_segment(&mut self) -> io::Result<()> {
        if self.filled > 0 {
            self.out.put(&(self.filled as u32).to_le_bytes())?;
            self.out.put(&self.segment[..self.filled])?;
            self.payload_bytes += self.filled as u64;
            self.filled = 0;
        }
        Ok(())
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, raw: &[u8]) -> io::Result<usize> {
        let mut input = InBuffer::around(raw);
        while input.pos() < raw.len() {
            let mut out = OutBuffer::around(&mut self.segment[self.filled..]);
            self.zstd.run(&mut input, &mut out)?;
            self.filled += out.pos();
            if self.filled == self.segment.len() {
                self.end_segment()?;
            }
        }
        self.raw.update(raw);
        self.raw_bytes += raw.len() as u64;
        Ok(raw.len())
    }

    /// Passes whole segments on; what zstd holds back stays there, for the ratio's sake.
    fn flush(&mut self) -> io::Result<()> {
        self.out.w.flush()
    }
}
