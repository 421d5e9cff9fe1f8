//! The chunk table, made while the encoded bytes pass on their way to the spool.

use std::io::{self, Write};

use storage_types::ChunkEntry;

/// Length and BLAKE3 of bytes that come in pieces: one chunk, or a whole batch.
#[derive(Debug, Clone, Default)]
pub struct ChunkHasher {
    hasher: blake3::Hasher,
    bytes: u64,
}

impl ChunkHasher {
    /// Of nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.hasher.update(piece);
        self.bytes += piece.len() as u64;
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Length and hash of everything so far.
    pub fn entry(&self) -> ChunkEntry {
        ChunkEntry { bytes: self.bytes, blake3: self.hasher.finalize().to_hex().to_string() }
    }
}

/// What a cutter found.
#[derive(Debug)]
pub struct Cut<W> {
    /// Every chunk, in order; all but the last of the same length. Empty for no bytes.
    pub chunks: Vec<ChunkEntry>,
    /// All bytes.
    pub encoded_bytes: u64,
    /// BLAKE3 of all bytes, 64 hex digits.
    pub blake3: String,
    /// Where they went.
    pub w: W,
}

/// Passes bytes on to `w` and cuts them, in thought, into chunks of the same length.
#[derive(Debug)]
pub struct ChunkCutter<W> {
    w: W,
    chunk_bytes: u64,
    chunks: Vec<ChunkEntry>,
    chunk: ChunkHasher,
    whole: ChunkHasher,
}

impl<W: Write> ChunkCutter<W> {
    /// Chunks of `chunk_bytes` (at least 1).
    pub fn new(w: W, chunk_bytes: u64) -> Self {
        Self {
            w,
            chunk_bytes: chunk_bytes.max(1),
            chunks: Vec::new(),
            chunk: ChunkHasher::new(),
            whole: ChunkHasher::new(),
        }
    }

    /// Flushes `w` and closes the table.
    pub fn finish(mut self) -> io::Result<Cut<W>> {
        self.w.flush()?;
        if self.chunk.bytes() > 0 {
            self.chunks.push(self.chunk.entry());
        }
        let ChunkEntry { bytes, blake3 } = self.whole.entry();
        Ok(Cut { chunks: self.chunks, encoded_bytes: bytes, blake3, w: self.w })
    }

    fn note(&mut self, mut written: &[u8]) {
        self.whole.update(written);
        while !written.is_empty() {
            let room = usize::try_from(self.chunk_bytes - self.chunk.bytes()).unwrap_or(usize::MAX);
            let (head, rest) = written.split_at(room.min(written.len()));
            self.chunk.update(head);
            if self.chunk.bytes() == self.chunk_bytes {
                self.chunks.push(std::mem::take(&mut self.chunk).entry());
            }
            written = rest;
        }
    }
}

impl<W: Write> Write for ChunkCutter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.w.write(bytes)?;
        self.note(&bytes[..written.min(bytes.len())]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.w.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_add_up_however_the_bytes_come() {
        let bytes: Vec<u8> = (0..1000u32).flat_map(u32::to_le_bytes).collect();
        for piece in [1, 7, 999, 1000, 4000] {
            let mut cutter = ChunkCutter::new(Vec::new(), 1000);
            bytes.chunks(piece).for_each(|p| cutter.write_all(p).unwrap());
            let cut = cutter.finish().unwrap();
            assert_eq!(cut.w, bytes);
            assert_eq!(cut.blake3, blake3::hash(&bytes).to_hex().to_string());
            assert_eq!(cut.chunks.len(), 4, "no empty chunk at an exact end");
            for (chunk, bytes) in cut.chunks.iter().zip(bytes.chunks(1000)) {
                assert_eq!(chunk.bytes, 1000);
                assert_eq!(chunk.blake3, blake3::hash(bytes).to_hex().to_string());
            }
        }
        assert!(ChunkCutter::new(Vec::new(), 10).finish().unwrap().chunks.is_empty());
    }
}
