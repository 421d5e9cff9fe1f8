//! Bytes that are not read as Native: one zstd stream, in pieces.

use std::io;

use zstd::stream::raw::{CParameter, DParameter, Decoder, Encoder, InBuffer, Operation, OutBuffer};

use crate::{
    DecodeError,
    format::{MAX_SEGMENT, WINDOW_LOG},
};

/// Compresses bytes into pieces of at most [`MAX_SEGMENT`].
pub(crate) struct OpaqueEncoder {
    zstd: Encoder<'static>,
    piece: Vec<u8>,
    filled: usize,
}

impl OpaqueEncoder {
    pub(crate) fn new(level: i32) -> io::Result<Self> {
        let mut zstd = Encoder::new(level)?;
        // BLAKE3 covers what zstd's own checksum would.
        zstd.set_parameter(CParameter::ChecksumFlag(false))?;
        if level >= 19 {
            zstd.set_parameter(CParameter::WindowLog(WINDOW_LOG))?;
        }
        Ok(Self { zstd, piece: vec![0; MAX_SEGMENT], filled: 0 })
    }

    /// Takes `raw` in; hands every full piece to `put`.
    pub(crate) fn push(
        &mut self,
        raw: &[u8],
        mut put: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut input = InBuffer::around(raw);
        while input.pos() < raw.len() {
            let mut out = OutBuffer::around(&mut self.piece[self.filled..]);
            self.zstd.run(&mut input, &mut out)?;
            self.filled += out.pos();
            if self.filled == self.piece.len() {
                put(&self.piece)?;
                self.filled = 0;
            }
        }
        Ok(())
    }

    /// Ends the stream.
    pub(crate) fn finish(mut self, mut put: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        loop {
            let mut out = OutBuffer::around(&mut self.piece[self.filled..]);
            let left = self.zstd.finish(&mut out, true)?;
            self.filled += out.pos();
            if self.filled > 0 && (left == 0 || self.filled == self.piece.len()) {
                put(&self.piece[..self.filled])?;
                self.filled = 0;
            }
            if left == 0 {
                return Ok(());
            }
        }
    }
}

/// Undoes [`OpaqueEncoder`], a bounded step at a time.
pub(crate) struct OpaqueDecoder {
    zstd: Decoder<'static>,
    done: bool,
}

impl OpaqueDecoder {
    pub(crate) fn new(max_window_log: u32) -> Result<Self, DecodeError> {
        let mut zstd = Decoder::new().map_err(DecodeError::Io)?;
        zstd.set_parameter(DParameter::WindowLogMax(max_window_log)).map_err(DecodeError::Io)?;
        Ok(Self { zstd, done: false })
    }

    /// The stream has ended.
    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// One step: bytes taken of `piece`, bytes put into `out`.
    pub(crate) fn step(&mut self, piece: &[u8], out: &mut [u8]) -> Result<(usize, usize), DecodeError> {
        if self.done && !piece.is_empty() {
            return Err(DecodeError::Corrupt("there is data behind the zstd frame".into()));
        }
        let (mut input, mut output) = (InBuffer::around(piece), OutBuffer::around(out));
        let hint =
            self.zstd.run(&mut input, &mut output).map_err(|e| DecodeError::Corrupt(format!("zstd: {e}")))?;
        self.done = hint == 0;
        Ok((input.pos(), output.pos()))
    }
}
