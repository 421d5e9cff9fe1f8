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

/// The body's encodings, outermost first, that a request may name.
///
/// # Errors
/// The name of an encoding that is not one of `gzip`, `x-gzip`, `deflate`, `zstd`, `lz4`, `identity`.
pub fn decoded(
    body: BodyReader,
    content_encoding: Option<&str>,
    frames: bool,
) -> Result<Box<dyn Read + Send>, String> {
    let mut reader: Box<dyn Read + Send> = Box::new(body);
    // Applied last, so undone first.
    for encoding in content_encoding.unwrap_or_default().rsplit(',') {
        reader = match encoding.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => reader,
            "gzip" | "x-gzip" => Box::new(flate2::read::MultiGzDecoder::new(reader)),
            "deflate" => Box::new(flate2::read::ZlibDecoder::new(reader)),
            "zstd" => Box::new(zstd_reader(reader)?),
            "lz4" => Box::new(lz4_flex::frame::FrameDecoder::new(reader)),
            unknown => return Err(format!("Unknown compression method {unknown}")),
        };
    }
    Ok(if frames { Box::new(FrameReader::new(reader)) } else { reader })
}

/// A zstd decoder whose window is capped at 128 MiB, as the format's own default is.
fn zstd_reader(
    reader: Box<dyn Read + Send>,
) -> Result<zstd::stream::read::Decoder<'static, io::BufReader<Box<dyn Read + Send>>>, String> {
    let mut decoder = zstd::stream::read::Decoder::new(reader).map_err(|error| error.to_string())?;
    decoder.window_log_max(27).map_err(|error| error.to_string())?;
    Ok(decoder)
}
