//! A request's body as bytes to read: out of the async world into a blocking thread, and decoded.
//!
//! The connection's task pushes chunks through a channel of a few entries; the engine's thread reads them
//! as [`std::io::Read`]. A body that breaks off is an error, never an end: a truncated insert must not be
//! taken for a whole one. The end is therefore a message of its own.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use tokio::sync::mpsc;

use crate::frames::FrameReader;

/// What the connection's task sends: bytes, the end, or why there is none.
#[derive(Debug)]
pub enum Piece {
    /// Some bytes.
    Data(Bytes),
    /// The body is complete.
    End,
    /// The body broke off.
    Broken(String),
}

/// The reading end of a body.
pub struct BodyReader {
    pieces: mpsc::Receiver<Piece>,
    current: Bytes,
    ended: bool,
}

impl BodyReader {
    /// A body whose pieces arrive on `pieces`.
    #[must_use]
    pub fn new(pieces: mpsc::Receiver<Piece>) -> Self {
        Self { pieces, current: Bytes::new(), ended: false }
    }
}

impl Read for BodyReader {
    /// Blocks until bytes arrive; the sender's deadline bounds the wait.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            if self.ended {
                return Ok(0);
            }
            match self.pieces.blocking_recv() {
                Some(Piece::Data(bytes)) => self.current = bytes,
                Some(Piece::End) => self.ended = true,
                Some(Piece::Broken(reason)) => {
                    return Err(io::Error::new(io::ErrorKind::ConnectionAborted, reason));
                }
                None => {
                    let reason = "the client closed the connection before the end of its request";
                    return Err(io::Error::new(io::ErrorKind::ConnectionAborted, reason));
                }
            }
        }
        let taken = self.current.len().min(buffer.len());
        self.current.copy_to_slice(&mut buffer[..taken]);
        Ok(taken)
    }
}

/// How a body is packed: the encodings of `Content-Encoding` in the order they were applied, then frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacking {
    encodings: Vec<Encoding>,
    frames: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Gzip,
    Deflate,
    Zstd,
    Lz4,
}

impl Unpacking {
    /// Reads a request's `Content-Encoding`, and whether `decompress=1` says that frames are inside.
    ///
    /// # Errors
    /// The name of an encoding that is not one of `gzip`, `x-gzip`, `deflate`, `zstd`, `lz4`, `identity`.
    pub fn of(content_encoding: Option<&str>, frames: bool) -> Result<Self, String> {
        let mut encodings = Vec::new();
        for name in content_encoding.unwrap_or_default().split(',') {
            encodings.push(match name.trim().to_ascii_lowercase().as_str() {
                "" | "identity" => continue,
                "gzip" | "x-gzip" => Encoding::Gzip,
                "deflate" => Encoding::Deflate,
                "zstd" => Encoding::Zstd,
                "lz4" => Encoding::Lz4,
                unknown => return Err(format!("Unknown compression method {unknown}")),
            });
        }
        Ok(Self { encodings, frames })
    }

    /// The bytes inside `body`. Nothing is read before the first read: some decoders read when they are
    /// made, and `body` may be read only where blocking is allowed.
    #[must_use]
    pub fn reader(self, body: BodyReader) -> UnpackedBody {
        UnpackedBody { packed: Some((body, self)), reader: Box::new(io::empty()) }
    }

    fn open(&self, body: BodyReader) -> io::Result<Box<dyn Read + Send>> {
        let mut reader: Box<dyn Read + Send> = Box::new(body);
        // Applied last, so undone first.
        for encoding in self.encodings.iter().rev() {
            reader = match encoding {
                Encoding::Gzip => Box::new(flate2::read::MultiGzDecoder::new(reader)),
                Encoding::Deflate => Box::new(flate2::read::ZlibDecoder::new(reader)),
                Encoding::Zstd => Box::new(zstd_reader(reader)?),
                Encoding::Lz4 => Box::new(lz4_flex::frame::FrameDecoder::new(reader)),
            };
        }
        Ok(if self.frames { Box::new(FrameReader::new(reader)) } else { reader })
    }
}

/// See [`Unpacking::reader`].
pub struct UnpackedBody {
    packed: Option<(BodyReader, Unpacking)>,
    reader: Box<dyn Read + Send>,
}

impl Read for UnpackedBody {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some((body, unpacking)) = self.packed.take() {
            self.reader = unpacking.open(body)?;
        }
        self.reader.read(buffer)
    }
}

/// A zstd decoder whose window is capped at 128 MiB, as the format's own default is.
fn zstd_reader(
    reader: Box<dyn Read + Send>,
) -> io::Result<zstd::stream::read::Decoder<'static, io::BufReader<Box<dyn Read + Send>>>> {
    let mut decoder = zstd::stream::read::Decoder::new(reader)?;
    decoder.window_log_max(27)?;
    Ok(decoder)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn unpacked(encoding: &str, pieces: Vec<Piece>) -> io::Result<Vec<u8>> {
        let (sender, receiver) = mpsc::channel(pieces.len() + 1);
        for piece in pieces {
            sender.try_send(piece).unwrap();
        }
        drop(sender);
        let mut reader = Unpacking::of(Some(encoding), false).unwrap().reader(BodyReader::new(receiver));
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).map(|_| bytes)
    }

    #[test]
    fn only_an_end_is_an_end() {
        let data = || Piece::Data(Bytes::from_static(b"abc"));
        assert_eq!(unpacked("", vec![data(), data(), Piece::End]).unwrap(), b"abcabc");
        assert!(unpacked("", vec![data()]).is_err());
        assert!(unpacked("", vec![data(), Piece::Broken("gone".into())]).is_err());
    }

    #[test]
    fn encodings_are_undone_last_first() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(b"hello").unwrap();
        let packed = zstd::bulk::compress(&gzip.finish().unwrap(), 1).unwrap();
        let pieces = packed.chunks(3).map(|chunk| Piece::Data(Bytes::copy_from_slice(chunk)));
        assert_eq!(unpacked("gzip, zstd", pieces.chain([Piece::End]).collect()).unwrap(), b"hello");
        assert!(Unpacking::of(Some("br"), false).is_err());
    }
}
