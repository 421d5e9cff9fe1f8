//! The bytes of a batch: rows as ClickHouse Native, page by page and column by column through the
//! codecs that suit them, in a versioned container with a BLAKE3 of each page and of the whole.
//! `docs/batch-format.md` describes the container byte by byte.
//!
//! [`Encoder`] and [`Decoder`] are plain `Write` and `Read`: no clock, no task, no file of their own.
//! Both hold a bounded amount of memory whatever the size of the batch. What comes out is what went in,
//! byte for byte, for any input: what is not Native as it is known here travels through zstd. A
//! decoder believes nothing: it gives out at most [`Limits::max_raw_bytes`], allocates by what it was
//! told only after that was found to be within its caps, and reaches its end (`Ok(0)`) only after the
//! length and the hash in the footer were found right. What it gave out before may be wrong: load it
//! where it can be thrown away.
//!
//! [`ChunkCutter`] sits under the encoder and writes the chunk table while the bytes pass.

mod chunk;
mod codec;
mod column;
mod container;
mod decoder;
mod effort;
mod encoder;
mod error;
mod format;
mod native;
mod opaque;
mod pages;
mod shared_out;

pub use chunk::{ChunkCutter, ChunkHasher, Cut};
pub use decoder::{Decoder, Limits};
pub use effort::{Effort, UnknownEffort};
pub use encoder::{Encoded, Encoder};
pub use error::DecodeError;
pub use format::{CODEC, CODECS, FORMAT_VERSION};
