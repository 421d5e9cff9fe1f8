//! Codecs of one leaf in one page: a run of numbers, or a run of strings.
//!
//! A stream is a codec id (one byte) and a body; a body may hold further streams. How many values a
//! stream has is always known before it is read, so nothing is allocated on a stream's own word.
//! Encoders try what may win on a sample, then encode the winner whole; pco, which mostly wins, encodes the
//! whole at once. What they must not lose is checked while they do it, value by value.

mod budget;
mod cross_column;
mod exceptions;
mod frame_of_reference;
mod integer_text;
mod numbers;
mod pack;
mod pcodec;
mod rle;
mod template;
mod text;
mod wide;
mod wire;
mod words;

pub(crate) use budget::Budget;
pub(crate) use numbers::{decode_numbers, encode_numbers};
pub(crate) use text::{decode_text, encode_text};
pub(crate) use wire::Wire;
pub(crate) use words::{index, index_width};

use crate::column::Leaf;

/// How hard to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tuning {
    /// Level of pco.
    pub(crate) pco_level: usize,
    /// Level of zstd for what nothing else suits.
    pub(crate) zstd_level: i32,
    /// Streams up to this many bytes are tried at zstd 19 as well.
    pub(crate) small_bytes: usize,
    /// Values of a sample.
    pub(crate) sample: usize,
}

impl Tuning {
    /// For trials on a sample: quick levels tell which codec wins as well as slow ones.
    pub(crate) fn of_trials(self) -> Self {
        Self { pco_level: self.pco_level.min(8), zstd_level: self.zstd_level.min(5), ..self }
    }
}

/// Leaves of the page that are there already; later ones may refer to them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Earlier<'a>(pub(crate) &'a [Leaf]);

/// Streams may nest this deep.
pub(crate) const MAX_DEPTH: u32 = 6;
