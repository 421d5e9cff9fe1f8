//! The bytes of a batch: rows as ClickHouse Native (already in the cold table's sort order), through
//! zstd, in a small versioned container with a BLAKE3 of the rows at its end. `docs/batch-format.md`
//! describes the container byte by byte.
//!
//! [`Encoder`] and [`Decoder`] are plain `Write` and `Read`: no clock, no task, no file of their own.
//! Both hold a bounded amount of memory whatever the size of the batch. A decoder believes nothing:
//! it gives out at most [`Limits::max_raw_bytes`], allocates at most a window of
//! [`Limits::max_window_log`], and reaches its end (`Ok(0)`) only after the length and the hash in the
//! footer were found right. What it gave out before may be wrong: load it where it can be thrown away.
//!
//! [`ChunkCutter`] sits under the encoder and writes the chunk table while the bytes pass.

mod chunk;
mod decoder;
mod encoder;
mod error;
mod format;

pub use chunk::{ChunkCutter, ChunkHasher, Cut};
pub use decoder::{Decoder, Limits};
pub use encoder::{Effort, Encoded, Encoder, UnknownEffort};
pub use error::DecodeError;
pub use format::{CODEC, FORMAT_VERSION};
