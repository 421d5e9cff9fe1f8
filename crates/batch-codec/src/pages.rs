//! Reads what follows the header of a version 2 container.

use std::io::{self, Read};

use crate::{
    DecodeError, Limits,
    container::{Footer, Frame, FrameKind, Group, GroupEntry, GroupHead, PageEntry, Schema, read_frame},
    format::MAX_INDEX,
    native::BlockWriter,
    opaque::OpaqueDecoder,
};

/// Most raw bytes that are made ready at once, about; only strings are cut within a column of a block.
const READY_BYTES: usize = 256 << 10;

/// Counts what was read, for offsets.
struct Counted<R> {
    r: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let got = self.r.read(buf)?;
        self.bytes += got as u64;
        Ok(got)
    }
}

/// The decoder of version 2.
pub(crate) struct PagesDecoder<R: Read> {
    r: Counted<R>,
    limits: Limits,
    threads: usize,
    schema: Schema,
    /// Raw bytes that wait to be given out, and how many of them were.
    ready: Vec<u8>,
    given: usize,
    stage: Stage,
    frames: u64,
    /// What the index must say, the pages' keys apart.
    groups: Vec<GroupEntry>,
    indexed: usize,
    raw: blake3::Hasher,
    raw_bytes: u64,
    rows: u64,
}

enum Stage {
    /// Between row groups.
    Frames,
    /// Blocks of a row group are being written.
    Blocks(Blocks),
    /// In the opaque part: the piece, and how much of it was taken.
    Opaque(Box<OpaqueDecoder>, Vec<u8>, usize),
    Footer,
    Done,
}

struct Blocks {
    rows: Vec<u32>,
    block: usize,
    column: usize,
    writer: BlockWriter,
    /// Raw bytes the group still owes.
    owed: u64,
}

impl<R: Read> PagesDecoder<R> {
    /// Reads the schema; `header_bytes` were read before it. Pages are decoded by up to `threads` at once.
    pub(crate) fn new(r: R, header_bytes: u64, limits: Limits, threads: usize) -> Result<Self, DecodeError> {
        let mut r = Counted { r, bytes: header_bytes };
        let schema = Schema::read(&mut r)?;
        Ok(Self {
            r,
            limits,
            threads: threads.max(1),
            schema,
            ready: Vec::new(),
            given: 0,
            stage: Stage::Frames,
            frames: 0,
            groups: Vec::new(),
            indexed: 0,
            raw: blake3::Hasher::new(),
            raw_bytes: 0,
            rows: 0,
        })
    }

    /// The next bytes; 0 when all was given out and proven.
    pub(crate) fn next(&mut self, buf: &mut [u8]) -> Result<usize, DecodeError> {
        loop {
            if self.given < self.ready.len() {
                let length = buf.len().min(self.ready.len() - self.given);
                buf[..length].copy_from_slice(&self.ready[self.given..self.given + length]);
                self.given += length;
                return Ok(length);
            }
            self.ready.clear();
            self.given = 0;
            if matches!(self.stage, Stage::Done) {
                return Ok(0);
            }
            self.advance()?;
            self.raw.update(&self.ready);
            self.raw_bytes += self.ready.len() as u64;
            if self.raw_bytes > self.limits.max_raw_bytes {
                return Err(DecodeError::TooLarge { limit_bytes: self.limits.max_raw_bytes });
            }
        }
    }

    /// One bounded step, which may make bytes ready.
    fn advance(&mut self) -> Result<(), DecodeError> {
        match std::mem::replace(&mut self.stage, Stage::Frames) {
            Stage::Frames => self.read_frame(),
            Stage::Blocks(blocks) => self.write_blocks(blocks),
            Stage::Opaque(zstd, piece, taken) => self.expand(zstd, piece, taken),
            Stage::Footer => self.read_footer(),
            Stage::Done => {
                self.stage = Stage::Done;
                Ok(())
            }
        }
    }

    fn frame(&mut self) -> Result<Frame, DecodeError> {
        let frame = read_frame(&mut self.r, self.frames)?;
        self.frames += 1;
        Ok(frame)
    }

    fn read_frame(&mut self) -> Result<(), DecodeError> {
        let offset = self.r.bytes;
        let Frame { kind, payload } = self.frame()?;
        match kind {
            FrameKind::End => self.read_footer(),
            FrameKind::Page => Err(DecodeError::Corrupt("a page without its group".into())),
            FrameKind::Opaque => {
                let zstd = Box::new(OpaqueDecoder::new(self.limits.max_window_log)?);
                self.stage = Stage::Opaque(zstd, payload, 0);
                Ok(())
            }
            FrameKind::Group => self.read_group(&payload, offset),
        }
    }

    fn read_group(&mut self, payload: &[u8], offset: u64) -> Result<(), DecodeError> {
        let allowed = self.limits.max_raw_bytes.saturating_sub(self.raw_bytes);
        let head = GroupHead::read(payload, &self.schema.types, allowed).map_err(|error| match error {
            // What counts is the cap on the whole batch.
            DecodeError::TooLarge { limit_bytes } if limit_bytes == allowed => {
                DecodeError::TooLarge { limit_bytes: self.limits.max_raw_bytes }
            }
            other => other,
        })?;
        self.rows += head.rows as u64;
        let mut group = Group::new(head, &self.schema.types);
        let mut pages = Vec::new();
        while group.missing() > 0 {
            let (mut offsets, mut payloads) = (Vec::new(), Vec::new());
            for _ in 0..group.missing().min(self.threads) {
                offsets.push(self.r.bytes);
                let frame = self.frame()?;
                if frame.kind != FrameKind::Page {
                    return Err(DecodeError::Corrupt("a group without all its pages".into()));
                }
                payloads.push(frame.payload);
            }
            let rows = group.push(&payloads, &self.schema.types)?;
            let entry = |(offset, rows)| PageEntry { offset, rows: rows as u64, key: Vec::new() };
            pages.extend(offsets.into_iter().zip(rows).map(entry));
        }
        self.indexed += 1 + pages.len();
        if self.indexed > MAX_INDEX {
            return Err(DecodeError::Corrupt(format!("more than {MAX_INDEX} groups and pages")));
        }
        let rows = group.rows() as u64;
        let (block_rows, owed, writer) = group.finish()?;
        self.groups.push(GroupEntry { offset, rows, raw_bytes: owed, pages });
        self.stage = Stage::Blocks(Blocks { rows: block_rows, block: 0, column: 0, writer, owed });
        Ok(())
    }

    fn write_blocks(&mut self, mut blocks: Blocks) -> Result<(), DecodeError> {
        let shape = (self.schema.names.as_slice(), self.schema.types.as_slice());
        while let Some(rows) = blocks.rows.get(blocks.block)
            && self.ready.len() < READY_BYTES
        {
            let done = blocks
                .writer
                .write(shape, *rows as usize, blocks.column, READY_BYTES, &mut self.ready)
                .map_err(|what| DecodeError::Corrupt(what.into()))?;
            blocks.column += usize::from(done);
            if blocks.column == self.schema.names.len() {
                (blocks.block, blocks.column) = (blocks.block + 1, 0);
            }
            if self.ready.len() as u64 > blocks.owed {
                break;
            }
        }
        let mismatch = |found| DecodeError::LengthMismatch { what: "group", declared: blocks.owed, found };
        let made = self.ready.len() as u64;
        let owed = blocks.owed.checked_sub(made).ok_or_else(|| mismatch(made))?;
        if blocks.block < blocks.rows.len() {
            blocks.owed = owed;
            self.stage = Stage::Blocks(blocks);
        } else if owed > 0 {
            return Err(mismatch(made));
        }
        Ok(())
    }

    fn expand(
        &mut self,
        mut zstd: Box<OpaqueDecoder>,
        mut piece: Vec<u8>,
        mut taken: usize,
    ) -> Result<(), DecodeError> {
        // One byte beyond the cap is asked for, to see whether there is one.
        let room = self.limits.max_raw_bytes.saturating_sub(self.raw_bytes).saturating_add(1);
        self.ready.resize(READY_BYTES.min(usize::try_from(room).unwrap_or(READY_BYTES)), 0);
        let (took, got) = zstd.step(&piece[taken..], &mut self.ready)?;
        let full = got == self.ready.len();
        self.ready.truncate(got);
        taken += took;
        if taken == piece.len() && (zstd.is_done() || !full) {
            let frame = self.frame()?;
            match frame.kind {
                FrameKind::Opaque => (piece, taken) = (frame.payload, 0),
                FrameKind::End if zstd.is_done() => {
                    self.stage = Stage::Footer;
                    return Ok(());
                }
                FrameKind::End => return Err(DecodeError::Corrupt("the zstd frame is not complete".into())),
                _ => return Err(DecodeError::Corrupt("a frame behind the opaque part".into())),
            }
        } else if took == 0 && got == 0 {
            return Err(DecodeError::Corrupt("zstd makes no progress".into()));
        }
        self.stage = Stage::Opaque(zstd, piece, taken);
        Ok(())
    }

    /// Compares what was given out with what the footer says.
    fn read_footer(&mut self) -> Result<(), DecodeError> {
        let footer = Footer::read(&mut self.r, &self.groups)?;
        for (what, declared, found) in
            [("raw", footer.raw_bytes, self.raw_bytes), ("rows'", footer.rows, self.rows)]
        {
            if declared != found {
                return Err(DecodeError::LengthMismatch { what, declared, found });
            }
        }
        if *self.raw.finalize().as_bytes() != footer.blake3 {
            return Err(DecodeError::HashMismatch);
        }
        self.stage = Stage::Done;
        Ok(())
    }
}
