//! The answer to one request, from the engine's thread to the connection.
//!
//! The engine's side writes; nothing is sent until 256 KiB are there or the statement is over, so that an
//! error in a small answer gets its own status and headers. After that the status is 200 for good, and an
//! error follows the data as a tagged tail, after which the connection is cut.
//!
//! Backpressure: a channel of a few chunks. A caller that takes nothing for [`STALL`] is gone.

use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use clickhouse_http::frames::{FrameWriter, Method};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use crate::chdb::Counts;
use crate::failure::{Failure, code};
use crate::spill::Spill;

/// What is held back before the answer begins.
const HOLD_BYTES: usize = 256 << 10;
/// How long a caller may take nothing.
pub const STALL: Duration = Duration::from_secs(300);
/// Chunks between engine and connection.
pub const CHUNKS: usize = 4;

/// How an answer's body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// As it is.
    Plain,
    /// ClickHouse's frames (`compress=1`).
    Frames,
    /// `Content-Encoding: gzip`.
    Gzip,
    /// `Content-Encoding: zstd`.
    Zstd,
}

/// The beginning of an answer.
#[derive(Debug)]
pub struct Head {
    /// The format of the data, when there are any.
    pub format: Option<String>,
    /// What was read and written so far.
    pub counts: Counts,
    /// Why there are no data.
    pub failure: Option<Failure>,
}

/// A piece of an answer's body. One that ends without [`Chunk::End`] is not whole: its connection is cut.
#[derive(Debug)]
pub enum Chunk {
    /// Bytes.
    Data(Bytes),
    /// All bytes were sent.
    End,
}

enum Packer {
    Plain,
    Frames(FrameWriter),
    Gzip(flate2::write::GzEncoder<Vec<u8>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

/// The engine's end of an answer.
pub struct Reply {
    head: Option<oneshot::Sender<Head>>,
    body: mpsc::Sender<Chunk>,
    packer: Packer,
    held: Vec<u8>,
    spill: Option<Spill>,
    format: Option<String>,
    tag: String,
    runtime: Handle,
}

/// The caller is gone; nothing is left to be done for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone;

impl Reply {
    /// An answer that goes to `head` and `body`; errors after the data carry `tag`.
    #[must_use]
    pub fn new(
        head: oneshot::Sender<Head>,
        body: mpsc::Sender<Chunk>,
        packing: Packing,
        tag: String,
        runtime: Handle,
    ) -> Self {
        let packer = match packing {
            Packing::Plain => Packer::Plain,
            Packing::Frames => Packer::Frames(FrameWriter::new(Method::Lz4)),
            Packing::Gzip => {
                Packer::Gzip(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(3)))
            }
            Packing::Zstd => match zstd::stream::write::Encoder::new(Vec::new(), 1) {
                Ok(encoder) => Packer::Zstd(encoder),
                Err(_) => Packer::Plain,
            },
        };
        Self { head: Some(head), body, packer, held: Vec::new(), spill: None, format: None, tag, runtime }
    }

    /// Names the format of the data that follow.
    pub fn set_format(&mut self, format: &str) {
        self.format = Some(format.to_owned());
    }

    /// Begins the answer only when the statement is over (`wait_end_of_query=1`), keeping it in `folder`.
    pub fn wait_for_the_end(&mut self, folder: &Path) {
        self.spill = Some(Spill::new(folder));
    }

    /// Takes the next bytes of the answer; blocks while the caller is behind.
    ///
    /// # Errors
    /// 210 when the caller is gone, 243 when a whole answer has no room on the disk.
    pub fn write(&mut self, data: &[u8]) -> Result<(), Failure> {
        if self.head.is_none() {
            return self.pack(data).map_err(|Gone| gone());
        }
        self.held.extend_from_slice(data);
        if self.held.len() < HOLD_BYTES {
            return Ok(());
        }
        match &mut self.spill {
            None => self.begin(Counts::default()).map_err(|Gone| gone()),
            Some(spill) => {
                spill.write(&self.held)?;
                self.held.clear();
                Ok(())
            }
        }
    }

    /// Sends the head and what was held back.
    fn begin(&mut self, counts: Counts) -> Result<(), Gone> {
        let Some(head) = self.head.take() else { return Ok(()) };
        head.send(Head { format: self.format.clone(), counts, failure: None }).map_err(|_| Gone)?;
        if let Some(mut spill) = self.spill.take() {
            let mut piece = vec![0; HOLD_BYTES];
            loop {
                match spill.read(&mut piece) {
                    Ok(0) => break,
                    Ok(count) => self.pack(&piece[..count])?,
                    Err(error) => {
                        tracing::error!(%error, "a kept answer cannot be read back");
                        return Err(Gone);
                    }
                }
            }
        }
        let held = std::mem::take(&mut self.held);
        self.pack(&held)
    }

    /// Ends the answer: the data are whole, or `outcome` says why they are not.
    ///
    /// # Errors
    /// [`Gone`].
    pub fn finish(mut self, outcome: Result<Counts, Failure>) -> Result<(), Gone> {
        match outcome {
            Ok(counts) => {
                self.begin(counts)?;
                self.flush()?;
                self.send(Chunk::End)
            }
            Err(failure) => match self.head.take() {
                Some(head) => {
                    let failed = Head { format: None, counts: Counts::default(), failure: Some(failure) };
                    head.send(failed).map_err(|_| Gone)
                }
                None => {
                    let tail = tail(&failure, &self.tag);
                    self.pack(tail.as_bytes())?;
                    self.flush()
                }
            },
        }
    }

    fn pack(&mut self, data: &[u8]) -> Result<(), Gone> {
        use std::io::Write as _;
        let packed = match &mut self.packer {
            Packer::Plain => data.to_vec(),
            Packer::Frames(writer) => {
                let mut out = Vec::new();
                writer.write(data, &mut out).map_err(|_| Gone)?;
                out
            }
            Packer::Gzip(encoder) => {
                encoder.write_all(data).map_err(|_| Gone)?;
                std::mem::take(encoder.get_mut())
            }
            Packer::Zstd(encoder) => {
                encoder.write_all(data).map_err(|_| Gone)?;
                std::mem::take(encoder.get_mut())
            }
        };
        self.send_bytes(packed)
    }

    fn flush(&mut self) -> Result<(), Gone> {
        let packed = match std::mem::replace(&mut self.packer, Packer::Plain) {
            Packer::Plain => Vec::new(),
            Packer::Frames(mut writer) => {
                let mut out = Vec::new();
                writer.flush(&mut out).map_err(|_| Gone)?;
                out
            }
            Packer::Gzip(encoder) => encoder.finish().map_err(|_| Gone)?,
            Packer::Zstd(encoder) => encoder.finish().map_err(|_| Gone)?,
        };
        self.send_bytes(packed)
    }

    fn send_bytes(&mut self, bytes: Vec<u8>) -> Result<(), Gone> {
        if bytes.is_empty() { Ok(()) } else { self.send(Chunk::Data(bytes.into())) }
    }

    /// Sends, and waits for the caller at most [`STALL`].
    fn send(&mut self, chunk: Chunk) -> Result<(), Gone> {
        self.runtime.block_on(self.body.send_timeout(chunk, STALL)).map_err(|_| Gone)
    }
}

/// An error behind data, as ClickHouse writes it since 25.11.
fn tail(failure: &Failure, tag: &str) -> String {
    let message = format!("{}\n", failure.text.replace('\r', " "));
    format!("\r\n__exception__\r\n{tag}\r\n{message}{} {tag}\r\n__exception__\r\n", message.len())
}

/// The error that a caller's disappearance is to everyone else.
#[must_use]
pub fn gone() -> Failure {
    Failure::new(code::NETWORK_ERROR, "the client is gone")
}
