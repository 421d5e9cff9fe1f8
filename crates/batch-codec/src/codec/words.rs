//! Strings as they are, without a look at what is in them: a dictionary, zstd, or each behind its length.

use std::collections::HashMap;

use super::{
    Budget, Earlier, MAX_DEPTH, Tuning, frame_of_reference,
    numbers::{decode_numbers, encode_alone},
    pack,
    wire::{Wire, corrupt, put_block},
};
use crate::{
    DecodeError,
    column::{Numbers, Text},
    native::{Kind, put_varint},
};

/// Codec ids of text streams that are read and written here.
mod id {
    /// Distinct strings and which of them.
    pub(super) const DICTIONARY: u8 = 3;
    /// Lengths, and zstd over all bytes.
    pub(super) const ZSTD: u8 = 5;
    /// Each behind its length.
    pub(super) const PLAIN: u8 = 6;
}

/// As a dictionary or by zstd, whichever is smaller on a sample.
pub(crate) fn encode(text: &Text, tuning: &Tuning, out: &mut Vec<u8>) {
    if text.len() > 16
        && let Some(places) = dictionary_places(text)
    {
        let sample = frame_of_reference::places(text.len(), tuning.sample).map(|places| text.take(&places));
        let tried = sample.as_ref().unwrap_or(text);
        let trial = tuning.of_trials();
        let mut by_zstd = Vec::new();
        put_zstd(tried, &trial, &mut by_zstd);
        let mut by_ids = Vec::new();
        if let Some(of_sample) = dictionary_places(tried) {
            put_dictionary(tried, &of_sample, &trial, &mut by_ids);
            if by_ids.len() < by_zstd.len() {
                out.push(id::DICTIONARY);
                return put_dictionary(text, &places, tuning, out);
            }
        }
    }
    put_strings(text, tuning, out);
}

/// By zstd, or plain when that is shorter.
fn put_strings(text: &Text, tuning: &Tuning, out: &mut Vec<u8>) {
    let mut squeezed = vec![id::ZSTD];
    put_zstd(text, tuning, &mut squeezed);
    if text.memory() < 1024 {
        let mut plain = vec![id::PLAIN];
        text.iter().for_each(|string| put_block(string, &mut plain));
        if plain.len() <= squeezed.len() {
            squeezed = plain;
        }
    }
    out.extend_from_slice(&squeezed);
}

fn put_zstd(text: &Text, tuning: &Tuning, out: &mut Vec<u8>) {
    encode_alone(&Numbers::U32(text.lengths()), Kind::Unsigned, tuning, out);
    pack::put_squeezed(text.bytes(), pack::level(tuning, text.bytes().len()), out);
}

/// The places of the first of each distinct string, and the number of it for every string; `None` when
/// more than half are distinct.
fn dictionary_places(text: &Text) -> Option<(Vec<u32>, Vec<u32>)> {
    let mut ids: HashMap<&[u8], u32> = HashMap::new();
    let (mut firsts, mut of) = (Vec::new(), Vec::with_capacity(text.len()));
    for (at, string) in text.iter().enumerate() {
        let next = firsts.len() as u32;
        let known = *ids.entry(string).or_insert(next);
        if known == next {
            firsts.push(at as u32);
            if firsts.len() > 64 && firsts.len() > at / 2 {
                return None;
            }
        }
        of.push(known);
    }
    Some((firsts, of))
}

fn put_dictionary(text: &Text, (firsts, of): &(Vec<u32>, Vec<u32>), tuning: &Tuning, out: &mut Vec<u8>) {
    put_varint(firsts.len() as u64, out);
    put_strings(&text.take(firsts), tuning, out);
    encode_alone(&index(of.clone(), firsts.len()), Kind::Unsigned, tuning, out);
}

/// Bytes an index into `count` things.
pub(crate) fn index_width(count: usize) -> usize {
    match count {
        0..=0x100 => 1,
        0x101..=0x1_0000 => 2,
        _ => 4,
    }
}

/// Indices into `count` things, as narrow as they can be.
pub(crate) fn index(ids: Vec<u32>, count: usize) -> Numbers {
    match index_width(count) {
        1 => Numbers::U8(ids.into_iter().map(|id| id as u8).collect()),
        2 => Numbers::U16(ids.into_iter().map(|id| id as u16).collect()),
        _ => Numbers::U32(ids),
    }
}

/// Reads the body of a stream of `count` strings whose codec id was read.
pub(crate) fn decode(
    id: u8,
    wire: &mut Wire<'_>,
    count: usize,
    budget: &Budget,
    depth: u32,
) -> Result<Text, DecodeError> {
    match id {
        id::DICTIONARY => decode_dictionary(wire, count, budget, depth),
        id::ZSTD => decode_zstd(wire, count, budget, depth),
        id::PLAIN => {
            budget.spend(count, 4)?;
            let mut text = Text::default();
            for _ in 0..count {
                let string = wire.block()?;
                budget.spend(string.len(), 1)?;
                text.push(string);
            }
            Ok(text)
        }
        other => Err(DecodeError::UnknownColumnCodec { what: "text", id: other }),
    }
}

fn decode_zstd(wire: &mut Wire<'_>, count: usize, budget: &Budget, depth: u32) -> Result<Text, DecodeError> {
    let lengths = decode_numbers(wire, (4, Kind::Unsigned), count, Earlier(&[]), budget, depth)?;
    let Numbers::U32(lengths) = lengths else { return Err(corrupt("lengths of another width")) };
    let total: u64 = lengths.iter().map(|length| u64::from(*length)).sum();
    let total = usize::try_from(total).map_err(|_| corrupt("long strings"))?;
    let bytes = pack::expand(wire, total, budget)?;
    Text::from_lengths(bytes, &lengths).ok_or_else(|| corrupt("lengths that do not add up"))
}

fn decode_dictionary(
    wire: &mut Wire<'_>,
    count: usize,
    budget: &Budget,
    depth: u32,
) -> Result<Text, DecodeError> {
    let distinct = wire.count(count, "strings of a dictionary")?;
    let depth = depth.checked_add(1).filter(|d| *d <= MAX_DEPTH).ok_or_else(|| corrupt("deep streams"))?;
    let strings = decode(wire.u8()?, wire, distinct, budget, depth)?;
    let width = index_width(distinct);
    let ids = decode_numbers(wire, (width, Kind::Unsigned), count, Earlier(&[]), budget, depth)?;
    budget.spend(count, 4)?;
    let places: Vec<u32> = (0..count).map(|at| ids.wrapping_u64(at, Kind::Unsigned) as u32).collect();
    if places.iter().any(|place| *place as usize >= distinct) {
        return Err(corrupt("an index to no string"));
    }
    let bytes: usize = places.iter().map(|place| strings.get(*place as usize).len() + 4).sum();
    budget.spend(bytes, 1)?;
    budget.release(count, width + 4);
    budget.release(strings.memory(), 1);
    Ok(strings.take(&places))
}
