//! Native bytes in, container out.

use std::io::{self, Write};

use crate::{
    Effort,
    container::{Footer, FrameKind, GroupBuilder, GroupEntry, PageEntry, Schema, write_frame},
    format::{CODEC, FORMAT_VERSION, MAGIC, MAX_BLOCK_BYTES},
    native::{BlockReader, Progress},
    opaque::OpaqueEncoder,
};

/// Capacity of an empty buffer that is kept for the next block.
const KEPT_BYTES: usize = 16 << 20;

/// What an encoder made.
#[derive(Debug)]
pub struct Encoded<W> {
    /// Bytes written into the encoder.
    pub raw_bytes: u64,
    /// Bytes it wrote out: the length of the batch.
    pub encoded_bytes: u64,
    /// BLAKE3 of the bytes it wrote out, 64 hex digits.
    pub blake3: String,
    /// What each column takes of them, in the order of the columns; empty when none was read.
    pub column_bytes: Vec<u64>,
    /// Where they went.
    pub w: W,
}

/// Writes a batch. Only [`Encoder::finish`] makes it whole: bytes of an encoder that was dropped are
/// refused by every decoder as cut off.
///
/// Blocks of Native are gathered into row groups; what is not Native as it is known here goes out
/// as it is, through zstd, from there to the end.
pub struct Encoder<W: Write> {
    out: Output<W>,
    effort: Effort,
    threads: usize,
    /// Bytes of a block that is not whole yet.
    buffer: Vec<u8>,
    reader: BlockReader,
    group: GroupBuilder,
    schema_is_written: bool,
    opaque: Option<OpaqueEncoder>,
    raw: blake3::Hasher,
    raw_bytes: u64,
    footer: Footer,
    column_bytes: Vec<u64>,
}

/// Counts and hashes what goes out.
struct Output<W> {
    w: W,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl<W: Write> Write for Output<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.w.write_all(bytes)?;
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.w.flush()
    }
}

impl<W: Write> Encoder<W> {
    /// Writes the beginning of the header into `w`.
    pub fn new(w: W, effort: Effort) -> io::Result<Self> {
        Self::with_threads(w, effort, 1)
    }

    /// As [`Encoder::new`], with up to `threads` (at least 1) threads at work on the pages of a row group.
    pub fn with_threads(w: W, effort: Effort, threads: usize) -> io::Result<Self> {
        let mut out = Output { w, hasher: blake3::Hasher::new(), bytes: 0 };
        out.write_all(&MAGIC)?;
        out.write_all(&FORMAT_VERSION.to_le_bytes())?;
        out.write_all(&[CODEC.len() as u8])?;
        out.write_all(CODEC.as_bytes())?;
        Ok(Self {
            out,
            effort,
            threads: threads.max(1),
            buffer: Vec::new(),
            reader: BlockReader::default(),
            group: GroupBuilder::default(),
            schema_is_written: false,
            opaque: None,
            raw: blake3::Hasher::new(),
            raw_bytes: 0,
            footer: Footer::default(),
            column_bytes: Vec::new(),
        })
    }

    /// Bytes written into it so far.
    pub fn raw_bytes(&self) -> u64 {
        self.raw_bytes
    }

    /// Bytes written out so far; the row group that is being gathered is not among them.
    pub fn encoded_bytes(&self) -> u64 {
        self.out.bytes
    }

    /// Encodes what is left, writes the footer and flushes `w`.
    pub fn finish(mut self) -> io::Result<Encoded<W>> {
        self.take_blocks(true)?;
        if !self.buffer.is_empty() {
            self.go_opaque()?;
        }
        self.end_group()?;
        self.write_schema()?;
        if let Some(opaque) = self.opaque.take() {
            opaque.finish(|piece| write_frame(&mut self.out, FrameKind::Opaque, piece))?;
        }
        self.footer.raw_bytes = self.raw_bytes;
        self.footer.blake3 = *self.raw.finalize().as_bytes();
        self.out.write_all(&[FrameKind::End as u8])?;
        self.footer.write(&mut self.out)?;
        self.out.w.flush()?;
        Ok(Encoded {
            raw_bytes: self.raw_bytes,
            encoded_bytes: self.out.bytes,
            blake3: self.out.hasher.finalize().to_hex().to_string(),
            column_bytes: self.column_bytes,
            w: self.out.w,
        })
    }

    fn take_blocks(&mut self, last: bool) -> io::Result<()> {
        while self.opaque.is_none() {
            match self.reader.next(&self.buffer, last) {
                Progress::Block(block) if block.memory() > MAX_BLOCK_BYTES => self.go_opaque()?,
                Progress::Block(block) => {
                    self.buffer.drain(..block.raw_bytes);
                    if self.buffer.is_empty() && self.buffer.capacity() > KEPT_BYTES {
                        self.buffer = Vec::new();
                    }
                    if self.group.is_full_for(&block) {
                        self.end_group()?;
                    }
                    self.group.push(block, self.reader.types());
                    if self.group.is_full() {
                        self.end_group()?;
                    }
                }
                Progress::More if self.buffer.len() > MAX_BLOCK_BYTES => self.go_opaque()?,
                Progress::More => break,
                Progress::Unknown => self.go_opaque()?,
            }
        }
        Ok(())
    }

    fn end_group(&mut self) -> io::Result<()> {
        if self.group.is_empty() {
            return Ok(());
        }
        self.write_schema()?;
        let group = std::mem::take(&mut self.group);
        let (rows, raw_bytes) = (group.rows(), group.raw_bytes());
        let mut entry = GroupEntry { offset: self.out.bytes, rows, raw_bytes, pages: Vec::new() };
        let tuning = self.effort.tuning(raw_bytes);
        for frame in group.encode(&tuning, self.threads)? {
            if frame.kind == FrameKind::Page {
                let (offset, rows) = (self.out.bytes, frame.rows as u64);
                entry.pages.push(PageEntry { offset, rows, key: frame.key });
            }
            self.column_bytes.resize(frame.column_bytes.len(), 0);
            self.column_bytes.iter_mut().zip(&frame.column_bytes).for_each(|(all, one)| *all += one);
            write_frame(&mut self.out, frame.kind, &frame.payload)?;
        }
        self.footer.rows += rows;
        self.footer.groups.push(entry);
        Ok(())
    }

    fn write_schema(&mut self) -> io::Result<()> {
        if self.schema_is_written {
            return Ok(());
        }
        self.schema_is_written = true;
        let schema = if self.group.is_empty() {
            Schema::default()
        } else {
            Schema { names: self.reader.names().to_vec(), types: self.reader.types().to_vec() }
        };
        schema.write(&mut self.out)
    }

    /// From here on bytes go out as they are; those of the block that was begun first.
    fn go_opaque(&mut self) -> io::Result<()> {
        self.end_group()?;
        self.write_schema()?;
        self.opaque = Some(OpaqueEncoder::new(self.effort.opaque_level())?);
        let begun = std::mem::take(&mut self.buffer);
        self.put_opaque(&begun)
    }

    fn put_opaque(&mut self, raw: &[u8]) -> io::Result<()> {
        let Some(opaque) = &mut self.opaque else { return Ok(()) };
        opaque.push(raw, |piece| write_frame(&mut self.out, FrameKind::Opaque, piece))
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, raw: &[u8]) -> io::Result<usize> {
        self.raw.update(raw);
        self.raw_bytes += raw.len() as u64;
        if self.opaque.is_some() {
            self.put_opaque(raw)?;
        } else {
            self.buffer.extend_from_slice(raw);
            self.take_blocks(false)?;
        }
        Ok(raw.len())
    }

    /// Passes on what was written out; a row group that is being gathered stays, for the ratio's sake.
    fn flush(&mut self) -> io::Result<()> {
        self.out.w.flush()
    }
}
