//! zstd over the bytes of values, as they are or byte by byte (all first bytes, then all second ones).

use std::cell::RefCell;

use super::{
    Budget, Tuning,
    wire::{Wire, corrupt, put_block},
};
use crate::DecodeError;

/// Up to so many bytes are compressed in a context that is kept: making one takes longer than they do.
const KEPT_CONTEXT_BYTES: usize = 64 << 10;

thread_local! {
    static CONTEXT: RefCell<zstd::bulk::Compressor<'static>> = RefCell::default();
}

/// Compresses; `None` when zstd fails, which it has no reason to.
pub(crate) fn squeeze(bytes: &[u8], level: i32) -> Option<Vec<u8>> {
    if bytes.len() > KEPT_CONTEXT_BYTES {
        return zstd::bulk::compress(bytes, level).ok();
    }
    CONTEXT.with_borrow_mut(|context| {
        context.set_compression_level(level).ok()?;
        context.compress(bytes).ok()
    })
}

/// Level for this many bytes.
pub(crate) fn level(tuning: &Tuning, bytes: usize) -> i32 {
    if bytes <= tuning.small_bytes { 19 } else { tuning.zstd_level }
}

/// Appends compressed bytes behind their length.
pub(crate) fn put_squeezed(bytes: &[u8], level: i32, out: &mut Vec<u8>) {
    if let Some(squeezed) = squeeze(bytes, level) {
        put_block(&squeezed, out);
    }
}

/// The stream of a codec whose body is compressed bytes; `None` as of [`squeeze`].
pub(crate) fn stream(codec: u8, bytes: &[u8], level: i32) -> Option<Vec<u8>> {
    let mut stream = vec![codec];
    put_block(&squeeze(bytes, level)?, &mut stream);
    Some(stream)
}

/// Appends the shortest of these streams, of equals the first.
pub(crate) fn put_shortest(streams: impl Iterator<Item = Vec<u8>>, out: &mut Vec<u8>) {
    if let Some(shortest) = streams.min_by_key(Vec::len) {
        out.extend_from_slice(&shortest);
    }
}

/// Decompresses to exactly `length` bytes, which the caller has paid for in `budget`.
pub(crate) fn expand(wire: &mut Wire<'_>, length: usize, budget: &Budget) -> Result<Vec<u8>, DecodeError> {
    budget.spend(length, 1)?;
    let squeezed = wire.block()?;
    let mut bytes = Vec::with_capacity(length);
    let mut zstd = zstd::bulk::Decompressor::new().map_err(DecodeError::Io)?;
    let got = zstd
        .decompress_to_buffer(squeezed, &mut bytes)
        .map_err(|error| DecodeError::Corrupt(format!("zstd: {error}")))?;
    if got != length {
        return Err(corrupt("zstd: another length"));
    }
    Ok(bytes)
}

/// All first bytes, then all second ones, and so on.
pub(crate) fn transpose(bytes: &[u8], width: usize) -> Vec<u8> {
    let count = bytes.len() / width;
    let mut out = vec![0; bytes.len()];
    for (i, value) in bytes.chunks_exact(width).enumerate() {
        for (j, byte) in value.iter().enumerate() {
            out[j * count + i] = *byte;
        }
    }
    out
}

/// Undoes [`transpose`].
pub(crate) fn untranspose(bytes: &[u8], width: usize) -> Vec<u8> {
    let count = bytes.len() / width;
    let mut out = vec![0; bytes.len()];
    for (i, value) in out.chunks_exact_mut(width).enumerate() {
        for (j, byte) in value.iter_mut().enumerate() {
            *byte = bytes[j * count + i];
        }
    }
    out
}
