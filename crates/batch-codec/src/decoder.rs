//! Container in, raw Native bytes out; see the crate's opening for what is checked when.

use std::io::{self, Read};

use crate::{
    DecodeError,
    container::{ZstdDecoder, read_exact},
    format::{CODEC, FORMAT_VERSION, MAGIC, MAX_CODEC_NAME, WINDOW_LOG, ZSTD_CODEC},
    pages::PagesDecoder,
};

/// What a decoder may give out and allocate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most raw bytes: the manifest's `raw_bytes`.
    pub max_raw_bytes: u64,
    /// Largest zstd window, as a power of two; the decoder allocates that much.
    pub max_window_log: u32,
}

impl Limits {
    /// `max_raw_bytes` with the window of our own encoders (16 MiB).
    pub fn raw(max_raw_bytes: u64) -> Self {
        Self { max_raw_bytes, max_window_log: WINDOW_LOG }
    }
}

/// Reads a batch; errors are [`DecodeError`]s, found again by [`DecodeError::of`].
pub struct Decoder<R: Read> {
    version: Version<R>,
    raw_bytes: u64,
    state: State,
}

enum Version<R: Read> {
    /// Container 1, `native-zstd/1`.
    Zstd(Box<ZstdDecoder<R>>),
    /// Container 2, `native-pages/1`.
    Pages(Box<PagesDecoder<R>>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    /// Length and hash were right.
    Proven,
    /// An error was given out; there is nothing more to say.
    Failed,
}

impl<R: Read> Decoder<R> {
    /// Reads and checks the header.
    pub fn new(r: R, limits: Limits) -> Result<Self, DecodeError> {
        Self::with_threads(r, limits, 1)
    }

    /// As [`Decoder::new`], with up to `threads` (at least 1) threads at work on the pages of a row group.
    pub fn with_threads(mut r: R, limits: Limits, threads: usize) -> Result<Self, DecodeError> {
        let mut magic = [0; MAGIC.len()];
        read_exact(&mut r, &mut magic)?;
        if magic != MAGIC {
            return Err(DecodeError::BadMagic);
        }
        let mut version = [0; 2];
        read_exact(&mut r, &mut version)?;
        let version = u16::from_le_bytes(version);
        let codec = match version {
            1 => ZSTD_CODEC,
            FORMAT_VERSION => CODEC,
            other => return Err(DecodeError::UnknownVersion(other)),
        };
        let name = read_name(&mut r)?;
        if name != codec.as_bytes() {
            return Err(DecodeError::UnknownCodec(String::from_utf8_lossy(&name).into_owned()));
        }
        let version = match version {
            1 => Version::Zstd(Box::new(ZstdDecoder::new(r, limits)?)),
            _ => {
                let header_bytes = (MAGIC.len() + 2 + 1 + name.len()) as u64;
                Version::Pages(Box::new(PagesDecoder::new(r, header_bytes, limits, threads)?))
            }
        };
        Ok(Self { version, raw_bytes: 0, state: State::Reading })
    }

    /// Codec of the batch, as its manifest names it.
    pub fn codec(&self) -> &'static str {
        match self.version {
            Version::Zstd(_) => ZSTD_CODEC,
            Version::Pages(_) => CODEC,
        }
    }

    /// Raw bytes given out so far.
    pub fn raw_bytes(&self) -> u64 {
        self.raw_bytes
    }

    /// Length and hash in the footer were right: every byte given out is as it was encoded.
    pub fn is_proven(&self) -> bool {
        self.state == State::Proven
    }
}

fn read_name(r: &mut impl Read) -> Result<Vec<u8>, DecodeError> {
    let mut length = [0];
    read_exact(r, &mut length)?;
    let length = usize::from(length[0]);
    if length > MAX_CODEC_NAME {
        return Err(DecodeError::Corrupt(format!("a codec name of {length} bytes")));
    }
    let mut name = vec![0; length];
    read_exact(r, &mut name)?;
    Ok(name)
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.state {
            State::Proven => return Ok(0),
            // A reader that goes on after an error must not take the silence for the end.
            State::Failed => {
                return Err(DecodeError::Corrupt("an earlier read failed".into()).into());
            }
            State::Reading if buf.is_empty() => return Ok(0),
            State::Reading => {}
        }
        let next = match &mut self.version {
            Version::Zstd(decoder) => decoder.next(buf),
            Version::Pages(decoder) => decoder.next(buf),
        };
        match next {
            Ok(0) => {
                self.state = State::Proven;
                Ok(0)
            }
            Ok(got) => {
                self.raw_bytes += got as u64;
                Ok(got)
            }
            Err(error) => {
                self.state = State::Failed;
                Err(error.into())
            }
        }
    }
}
