//! ClickHouse's compressed frames, as `compress=1` and `decompress=1` speak them, both directions.
//!
//! A frame is a CityHash128 (version 1.0.2, 16 bytes) over the rest, then a method byte, the compressed
//! size with its nine header bytes (u32, little endian), the uncompressed size (u32), and the data. The
//! format is that of ClickHouse's `CompressedWriteBuffer`. Decoding is capped: sizes are checked before
//! anything is allocated, the hash before anything is decompressed.

use std::io::{self, Read};

use bytes::{Buf, Bytes, BytesMut};

/// The hash before each frame, bytes.
const HASH_BYTES: usize = 16;
/// Method and both sizes, bytes; the compressed size counts them.
const HEADER_BYTES: usize = 9;
/// The largest frame taken, compressed or not: ClickHouse writes 1 MiB, some clients a whole block.
pub const MAX_FRAME_BYTES: usize = 128 << 20;
/// How much [`FrameWriter`] collects before it closes a frame: ClickHouse's own block size.
const BLOCK_BYTES: usize = 1 << 20;

/// How a frame's data are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Not at all (0x02).
    None,
    /// LZ4 block (0x82).
    Lz4,
    /// ZSTD (0x90), written at level 1.
    Zstd,
}

impl Method {
    fn byte(self) -> u8 {
        match self {
            Self::None => 0x02,
            Self::Lz4 => 0x82,
            Self::Zstd => 0x90,
        }
    }

    fn of(byte: u8) -> Result<Self, FrameError> {
        match byte {
            0x02 => Ok(Self::None),
            0x82 => Ok(Self::Lz4),
            0x90 => Ok(Self::Zstd),
            method => Err(FrameError::Method { method }),
        }
    }
}

/// Why bytes are no frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The hash does not fit the bytes: damaged on the way, or no frame at all.
    #[error("a compressed frame's checksum does not match its bytes")]
    Checksum,
    /// A compression that we do not know.
    #[error("unknown compression method {method:#04x} of a frame")]
    Method {
        /// The method's byte.
        method: u8,
    },
    /// A declared size beyond [`MAX_FRAME_BYTES`], or below the header's own.
    #[error("a frame declares {bytes} bytes; the limit is {MAX_FRAME_BYTES}")]
    Size {
        /// The declared size.
        bytes: u64,
    },
    /// The data do not decompress to the declared size.
    #[error("a frame's data are damaged: {reason}")]
    Damaged {
        /// The decoder's words.
        reason: String,
    },
    /// The bytes end inside a frame.
    #[error("the data end inside a compressed frame")]
    Truncated,
}

/// ClickHouse's hash as it stands in a frame: the low half first.
fn checksum(bytes: &[u8]) -> [u8; HASH_BYTES] {
    cityhash_rs::cityhash_102_128(bytes).rotate_right(64).to_le_bytes()
}

/// Appends `data` (at most [`MAX_FRAME_BYTES`]) to `out` as one frame.
///
/// # Errors
/// [`FrameError::Size`] for more data than a frame may hold, [`FrameError::Damaged`] when zstd fails.
pub fn encode_frame(method: Method, data: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
    if data.len() > MAX_FRAME_BYTES {
        return Err(FrameError::Size { bytes: data.len() as u64 });
    }
    let compressed = match method {
        Method::None => data.to_vec(),
        Method::Lz4 => lz4_flex::block::compress(data),
        Method::Zstd => zstd::bulk::compress(data, 1)
            .map_err(|error| FrameError::Damaged { reason: error.to_string() })?,
    };
    let mut frame = Vec::with_capacity(HEADER_BYTES + compressed.len());
    frame.push(method.byte());
    frame.extend_from_slice(&size_field(HEADER_BYTES + compressed.len())?);
    frame.extend_from_slice(&size_field(data.len())?);
    frame.extend_from_slice(&compressed);
    out.extend_from_slice(&checksum(&frame));
    out.extend_from_slice(&frame);
    Ok(())
}

fn size_field(bytes: usize) -> Result<[u8; 4], FrameError> {
    u32::try_from(bytes).map(u32::to_le_bytes).map_err(|_| FrameError::Size { bytes: bytes as u64 })
}

/// Takes frames out of a byte stream that arrives in arbitrary pieces.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    pending: BytesMut,
}

impl FrameDecoder {
    /// Adds bytes. Call [`FrameDecoder::next_block`] until it returns `None` before adding more, so that
    /// at most one frame is held.
    pub fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// Whether no bytes wait: the stream may end here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// The next frame's data, or `None` until more bytes arrive.
    ///
    /// # Errors
    /// [`FrameError`]; the stream is then of no further use.
    pub fn next_block(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some(head) = self.pending.get(HASH_BYTES..HASH_BYTES + HEADER_BYTES) else { return Ok(None) };
        let method = Method::of(head[0])?;
        let compressed = declared(&head[1..5])?;
        let uncompressed = declared(&head[5..9])?;
        if compressed < HEADER_BYTES {
            return Err(FrameError::Size { bytes: compressed as u64 });
        }
        if self.pending.len() < HASH_BYTES + compressed {
            self.pending.reserve(HASH_BYTES + compressed - self.pending.len());
            return Ok(None);
        }
        let mut frame = self.pending.split_to(HASH_BYTES + compressed).freeze();
        let hash = frame.split_to(HASH_BYTES);
        if hash[..] != checksum(&frame) {
            return Err(FrameError::Checksum);
        }
        frame.advance(HEADER_BYTES);
        decompress(method, &frame, uncompressed).map(Some)
    }
}

fn declared(field: &[u8]) -> Result<usize, FrameError> {
    let bytes = field.iter().rev().fold(0u64, |value, &byte| value << 8 | u64::from(byte));
    match usize::try_from(bytes) {
        Ok(size) if size <= MAX_FRAME_BYTES => Ok(size),
        _ => Err(FrameError::Size { bytes }),
    }
}

fn decompress(method: Method, data: &Bytes, uncompressed: usize) -> Result<Bytes, FrameError> {
    let damaged = |reason: String| FrameError::Damaged { reason };
    let block = match method {
        Method::None => data.clone(),
        Method::Lz4 => lz4_flex::block::decompress(data, uncompressed)
            .map_err(|error| damaged(error.to_string()))?
            .into(),
        Method::Zstd => {
            zstd::bulk::decompress(data, uncompressed).map_err(|error| damaged(error.to_string()))?.into()
        }
    };
    if block.len() != uncompressed {
        return Err(damaged(format!("{} bytes where {uncompressed} are declared", block.len())));
    }
    Ok(block)
}

/// Reads the data inside a stream of frames.
pub struct FrameReader<R> {
    inner: R,
    decoder: FrameDecoder,
    block: Bytes,
    piece: Vec<u8>,
}

impl<R: Read> FrameReader<R> {
    /// Reads frames from `inner`.
    pub fn new(inner: R) -> Self {
        Self { inner, decoder: FrameDecoder::default(), block: Bytes::new(), piece: vec![0; 64 << 10] }
    }
}

impl<R: Read> Read for FrameReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let invalid = |error: FrameError| io::Error::new(io::ErrorKind::InvalidData, error);
        while self.block.is_empty() {
            if let Some(block) = self.decoder.next_block().map_err(invalid)? {
                self.block = block;
                continue;
            }
            let count = self.inner.read(&mut self.piece)?;
            if count == 0 {
                return if self.decoder.is_empty() { Ok(0) } else { Err(invalid(FrameError::Truncated)) };
            }
            self.decoder.push(&self.piece[..count]);
        }
        let taken = self.block.len().min(buffer.len());
        self.block.copy_to_slice(&mut buffer[..taken]);
        Ok(taken)
    }
}

/// Collects data and turns them into frames of 1 MiB.
pub struct FrameWriter {
    method: Method,
    block: Vec<u8>,
}

impl FrameWriter {
    /// Writes frames compressed by `method`.
    #[must_use]
    pub fn new(method: Method) -> Self {
        Self { method, block: Vec::new() }
    }

    /// Takes `data`, and appends the frames that became full to `out`.
    ///
    /// # Errors
    /// As [`encode_frame`].
    pub fn write(&mut self, mut data: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
        while !data.is_empty() {
            let taken = data.len().min(BLOCK_BYTES - self.block.len());
            self.block.extend_from_slice(&data[..taken]);
            data = &data[taken..];
            if self.block.len() == BLOCK_BYTES {
                self.flush(out)?;
            }
        }
        Ok(())
    }

    /// Appends what is held to `out` as a last, smaller frame.
    ///
    /// # Errors
    /// As [`encode_frame`].
    pub fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), FrameError> {
        if !self.block.is_empty() {
            encode_frame(self.method, &self.block, out)?;
            self.block.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(length: usize) -> Vec<u8> {
        (0..length).map(|i| ((i * i) >> 7) as u8).collect()
    }

    #[test]
    fn what_is_written_is_read() {
        for method in [Method::None, Method::Lz4, Method::Zstd] {
            for length in [0, 1, 1000, BLOCK_BYTES, 3 * BLOCK_BYTES + 5] {
                let (mut writer, mut wire) = (FrameWriter::new(method), Vec::new());
                writer.write(&data(length), &mut wire).unwrap();
                writer.flush(&mut wire).unwrap();
                let mut back = Vec::new();
                FrameReader::new(wire.as_slice()).read_to_end(&mut back).unwrap();
                assert!(back == data(length), "{method:?} {length}");
            }
        }
    }

    #[test]
    fn damage_is_told() {
        let mut wire = Vec::new();
        encode_frame(Method::Lz4, &data(5000), &mut wire).unwrap();
        for at in 0..wire.len() {
            let mut damaged = wire.clone();
            damaged[at] ^= 0x40;
            let read = FrameReader::new(damaged.as_slice()).read_to_end(&mut Vec::new());
            assert!(read.is_err(), "byte {at}");
            let cut = FrameReader::new(&wire[..at]).read_to_end(&mut Vec::new());
            assert_eq!(cut.is_err(), at > 0, "cut at {at}");
        }
    }

    #[test]
    fn a_bomb_is_refused_before_it_is_opened() {
        let mut frame = vec![0; HASH_BYTES];
        frame.push(0x90);
        frame.extend_from_slice(&20u32.to_le_bytes());
        frame.extend_from_slice(&u32::MAX.to_le_bytes());
        let mut decoder = FrameDecoder::default();
        decoder.push(&frame);
        assert!(matches!(decoder.next_block(), Err(FrameError::Size { bytes: 0xffff_ffff })));
    }
}
