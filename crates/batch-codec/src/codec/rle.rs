//! Run-length encoding of numbers: each value once, and how often it comes in a row.

use super::{
    Budget, Earlier, Tuning,
    numbers::{decode_numbers, encode_bits, encode_narrow},
    wire::{Wire, corrupt},
};
use crate::{
    DecodeError,
    column::{Numbers, narrow},
    native::{Kind, put_varint},
};

/// Values a run has on average before runs are tried.
const WORTHWHILE: usize = 4;

/// Values at the start of runs, and the lengths of those; `None` when runs are short.
pub(crate) fn find(numbers: &Numbers) -> Option<(Vec<u32>, Vec<u32>)> {
    let most = numbers.len() / WORTHWHILE;
    let mut starts: Vec<u32> = Vec::new();
    let complete = narrow!(numbers, v => {
        let mut last = None;
        v.iter().enumerate().all(|(at, value)| {
            if last != Some(value) {
                starts.push(at as u32);
                last = Some(value);
            }
            starts.len() <= most
        })
    }, wide(_width, _bytes) => false);
    if !complete {
        return None;
    }
    let ends = starts.iter().skip(1).copied().chain([numbers.len() as u32]);
    let lengths = starts.iter().zip(ends).map(|(start, end)| end - start).collect();
    Some((starts, lengths))
}

/// Appends the body.
pub(crate) fn put(
    numbers: &Numbers,
    kind: Kind,
    (starts, lengths): &(Vec<u32>, Vec<u32>),
    tuning: &Tuning,
    out: &mut Vec<u8>,
) {
    put_varint(starts.len() as u64, out);
    encode_narrow(&numbers.take(starts), kind, tuning, out);
    let lengths = Numbers::U32(lengths.clone());
    if lengths.is_constant() {
        return super::numbers::encode_alone(&lengths, Kind::Unsigned, tuning, out);
    }
    // Lengths are many small numbers: as they are, pco tells them better than narrowed.
    encode_bits(&lengths, Kind::Unsigned, tuning, out);
}

/// Reads what [`put`] wrote.
pub(crate) fn decode(
    wire: &mut Wire<'_>,
    (width, kind): (usize, Kind),
    count: usize,
    budget: &Budget,
    depth: u32,
) -> Result<Numbers, DecodeError> {
    let runs = wire.count(count, "runs")?;
    let values = decode_numbers(wire, (width, kind), runs, Earlier(&[]), budget, depth)?;
    let lengths = decode_numbers(wire, (4, Kind::Unsigned), runs, Earlier(&[]), budget, depth)?;
    let Numbers::U32(lengths) = lengths else { return Err(corrupt("runs of another width")) };
    if lengths.iter().map(|length| u64::from(*length)).sum::<u64>() != count as u64 {
        return Err(corrupt("runs that do not add up"));
    }
    fn spread<T: Copy>(values: &[T], lengths: &[u32], count: usize) -> Vec<T> {
        let mut out = Vec::with_capacity(count);
        for (value, length) in values.iter().zip(lengths) {
            out.resize(out.len() + *length as usize, *value);
        }
        out
    }
    budget.spend(count, width)?;
    let numbers = match &values {
        Numbers::U8(v) => Numbers::U8(spread(v, &lengths, count)),
        Numbers::U16(v) => Numbers::U16(spread(v, &lengths, count)),
        Numbers::U32(v) => Numbers::U32(spread(v, &lengths, count)),
        Numbers::U64(v) => Numbers::U64(spread(v, &lengths, count)),
        Numbers::Wide { .. } => return Err(corrupt("runs of wide values")),
    };
    budget.release(runs, width + 4);
    Ok(numbers)
}
