//! Streams of strings.

use super::{
    Budget, Earlier, MAX_DEPTH, Tuning, integer_text, template,
    wire::{Wire, corrupt, put_block},
    words,
};
use crate::{
    DecodeError,
    column::{Leaf, Text},
    native::put_varint,
};

/// Codec ids of text streams, beside those of [`words`].
pub(crate) mod id {
    /// One string for all.
    pub(crate) const CONSTANT: u8 = 0;
    /// The same as an earlier leaf; its number.
    pub(crate) const SAME: u8 = 1;
    /// Decimal numbers, and what is none.
    pub(crate) const DIGITS: u8 = 2;
    /// Templates and the numbers in them.
    pub(crate) const TEMPLATE: u8 = 4;
}

/// Appends the stream of `text`. `earlier` may be referred to when they have as many values.
pub(crate) fn encode_text(text: &Text, earlier: Earlier<'_>, tuning: &Tuning, out: &mut Vec<u8>) {
    if text.len() == 0 || text.iter().all(|s| s == text.get(0)) {
        out.push(id::CONSTANT);
        return put_block(if text.len() == 0 { b"" } else { text.get(0) }, out);
    }
    let same = |leaf: &Leaf| matches!(leaf, Leaf::Text(other) if other == text);
    if let Some(at) = earlier.0.iter().position(same) {
        out.push(id::SAME);
        return put_varint(at as u64, out);
    }
    if integer_text::suits(text) {
        out.push(id::DIGITS);
        return integer_text::encode(text, earlier, tuning, out);
    }
    if let Some(bytes) = template::encode(text, earlier, tuning) {
        out.push(id::TEMPLATE);
        return out.extend_from_slice(&bytes);
    }
    words::encode(text, tuning, out);
}

/// Reads a stream of `count` strings.
pub(crate) fn decode_text(
    wire: &mut Wire<'_>,
    count: usize,
    earlier: Earlier<'_>,
    budget: &Budget,
    depth: u32,
) -> Result<Text, DecodeError> {
    let depth = depth.checked_add(1).filter(|d| *d <= MAX_DEPTH).ok_or_else(|| corrupt("deep streams"))?;
    match wire.u8()? {
        id::CONSTANT => {
            let string = wire.block()?;
            budget.spend(count, string.len() + 4)?;
            let lengths = vec![string.len() as u32; count];
            Text::from_lengths(string.repeat(count), &lengths).ok_or_else(|| corrupt("long strings"))
        }
        id::SAME => {
            let at = wire.count(earlier.0.len(), "as a leaf's number")?;
            match earlier.0.get(at) {
                Some(Leaf::Text(text)) if text.len() == count => {
                    budget.spend(text.memory(), 1)?;
                    Ok(text.clone())
                }
                _ => Err(corrupt("a leaf that cannot be referred to")),
            }
        }
        id::DIGITS => integer_text::decode(wire, count, earlier, budget, depth),
        id::TEMPLATE => template::decode(wire, count, earlier, budget, depth),
        other => words::decode(other, wire, count, budget, depth),
    }
}
