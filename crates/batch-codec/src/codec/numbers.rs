//! Streams of fixed-width values.

use super::{
    Budget, Earlier, MAX_DEPTH, Tuning,
    cross_column::{self, Relation},
    frame_of_reference, pack, pcodec, rle, wide,
    wire::{Wire, corrupt, unzigzag, zigzag},
};
use crate::{DecodeError, column::Numbers, native::Kind};

/// Codec ids of number streams.
pub(crate) mod id {
    /// One value for all, as a varint (zigzag when signed), a wide one as its bytes; nothing when there
    /// are no values.
    pub(crate) const CONSTANT: u8 = 0;
    /// The same as an earlier leaf; its number.
    pub(crate) const SAME: u8 = 1;
    /// An earlier leaf plus a stream of differences.
    pub(crate) const DIFFERENCE: u8 = 2;
    /// pco.
    pub(crate) const PCO: u8 = 3;
    /// A base, a factor and a narrower stream.
    pub(crate) const NARROW: u8 = 4;
    /// zstd over little-endian bytes.
    pub(crate) const ZSTD: u8 = 5;
    /// zstd over transposed bytes.
    pub(crate) const TRANSPOSED: u8 = 6;
    /// A function of an earlier leaf of few distinct values: a table.
    pub(crate) const MAPPED: u8 = 7;
    /// Wide values as streams of 8 bytes.
    pub(crate) const LIMBS: u8 = 8;
    /// Little-endian bytes as they are.
    pub(crate) const PLAIN: u8 = 9;
    /// Runs: their values, then their lengths.
    pub(crate) const RUNS: u8 = 10;
}

/// Appends the stream of `numbers`. `earlier` may be referred to when they have as many values.
pub(crate) fn encode_numbers(
    numbers: &Numbers,
    kind: Kind,
    earlier: Earlier<'_>,
    tuning: &Tuning,
    out: &mut Vec<u8>,
) {
    if numbers.is_constant() {
        out.push(id::CONSTANT);
        return put_constant(numbers, kind, out);
    }
    if matches!(numbers, Numbers::Wide { .. }) {
        return wide::encode(numbers, kind, earlier, tuning, out);
    }
    match cross_column::find(numbers, kind, earlier, tuning) {
        Some(Relation::Same(leaf)) => {
            out.push(id::SAME);
            crate::native::put_varint(leaf as u64, out);
        }
        Some(Relation::Mapped(leaf, table)) => {
            out.push(id::MAPPED);
            crate::native::put_varint(leaf as u64, out);
            crate::native::put_varint(table.len() as u64, out);
            encode_plain(&table, kind, tuning, out);
        }
        Some(Relation::Difference(leaf, differences)) => {
            out.push(id::DIFFERENCE);
            crate::native::put_varint(leaf as u64, out);
            encode_alone(&differences, Kind::Signed, tuning, out);
        }
        None => encode_plain(numbers, kind, tuning, out),
    }
}

fn put_constant(numbers: &Numbers, kind: Kind, out: &mut Vec<u8>) {
    if numbers.len() == 0 || numbers.width() > 8 || !matches!(numbers.width(), 1 | 2 | 4 | 8) {
        return numbers.write_le(0, numbers.len().min(1), out);
    }
    let value = numbers.wrapping_u64(0, kind);
    crate::native::put_varint(if kind == Kind::Signed { zigzag(value) } else { value }, out);
}

/// As [`encode_numbers`], without anything to refer to.
pub(crate) fn encode_alone(numbers: &Numbers, kind: Kind, tuning: &Tuning, out: &mut Vec<u8>) {
    encode_numbers(numbers, kind, Earlier(&[]), tuning, out);
}

/// By its own values only; at most 8 bytes each.
fn encode_plain(numbers: &Numbers, kind: Kind, tuning: &Tuning, out: &mut Vec<u8>) {
    if numbers.is_constant() {
        return encode_alone(numbers, kind, tuning, out);
    }
    if let Some(runs) = rle::find(numbers) {
        let sample = frame_of_reference::sample(numbers, tuning.sample);
        let tried = sample.as_ref().unwrap_or(numbers);
        let trial = tuning.of_trials();
        let (mut in_runs, mut whole) = (Vec::new(), Vec::new());
        if let Some(of_sample) = rle::find(tried) {
            rle::put(tried, kind, &of_sample, &trial, &mut in_runs);
            encode_narrow(tried, kind, &trial, &mut whole);
            if in_runs.len() < whole.len() {
                out.push(id::RUNS);
                return rle::put(numbers, kind, &runs, tuning, out);
            }
        }
    }
    encode_narrow(numbers, kind, tuning, out);
}

/// Without base and factor, then [`encode_bits`].
pub(crate) fn encode_narrow(numbers: &Numbers, kind: Kind, tuning: &Tuning, out: &mut Vec<u8>) {
    if numbers.is_constant() {
        return encode_alone(numbers, kind, tuning, out);
    }
    match frame_of_reference::narrow(numbers, kind) {
        Some(narrowed) => {
            out.push(id::NARROW);
            narrowed.put_head(out);
            encode_bits(&narrowed.numbers, Kind::Unsigned, tuning, out);
        }
        None => encode_bits(numbers, kind, tuning, out),
    }
}

/// Everything is tried on streams up to this many bytes, whatever the effort.
const TINY_BYTES: usize = 64;

/// The last step: pco, unless something else takes fewer bytes. On more than a few values only zstd is
/// tried beside it, on all of them when it does better on a sample.
pub(crate) fn encode_bits(numbers: &Numbers, kind: Kind, tuning: &Tuning, out: &mut Vec<u8>) {
    let best = by_pco(numbers, kind, tuning).unwrap_or_else(|| plain(numbers));
    let others = if numbers.bytes() <= tuning.small_bytes.max(TINY_BYTES) {
        let bytes = numbers.to_le();
        let transposed = || pack::stream(id::TRANSPOSED, &pack::transpose(&bytes, numbers.width()), 19);
        let squeezed = pack::stream(id::ZSTD, &bytes, 19);
        [squeezed, Some(plain(numbers)), (numbers.width() > 1).then(transposed).flatten()]
    } else if zstd_promises_less(numbers, best.len(), tuning) {
        [pack::stream(id::ZSTD, &numbers.to_le(), pack::level(tuning, numbers.bytes())), None, None]
    } else {
        [None, None, None]
    };
    pack::put_shortest(std::iter::once(best).chain(others.into_iter().flatten()), out);
}

/// A sample by zstd says that all of `numbers` would take less than `most` bytes.
fn zstd_promises_less(numbers: &Numbers, most: usize, tuning: &Tuning) -> bool {
    let sample = frame_of_reference::sample(numbers, tuning.sample);
    let tried = sample.as_ref().unwrap_or(numbers);
    pack::squeeze(&tried.to_le(), tuning.of_trials().zstd_level)
        .is_some_and(|squeezed| squeezed.len() * numbers.len() < most * tried.len())
}

fn by_pco(numbers: &Numbers, kind: Kind, tuning: &Tuning) -> Option<Vec<u8>> {
    let bytes = pcodec::encode(numbers, kind, tuning.pco_level)?;
    let exact = kind != Kind::Float || float_is_exact(&bytes, numbers);
    exact.then(|| [&[id::PCO], bytes.as_slice()].concat())
}

fn plain(numbers: &Numbers) -> Vec<u8> {
    let mut stream = vec![id::PLAIN];
    numbers.write_le(0, numbers.len(), &mut stream);
    stream
}

/// Floats go through arithmetic inside pco: their bits are compared.
fn float_is_exact(bytes: &[u8], numbers: &Numbers) -> bool {
    let budget = Budget::new(numbers.bytes());
    pcodec::decode(&mut Wire::new(bytes), numbers.width(), Kind::Float, numbers.len(), &budget)
        .is_ok_and(|decoded| decoded == *numbers)
}

/// Reads a stream of `count` values of `width` bytes.
pub(crate) fn decode_numbers(
    wire: &mut Wire<'_>,
    (width, kind): (usize, Kind),
    count: usize,
    earlier: Earlier<'_>,
    budget: &Budget,
    depth: u32,
) -> Result<Numbers, DecodeError> {
    let depth = depth.checked_add(1).filter(|d| *d <= MAX_DEPTH).ok_or_else(|| corrupt("deep streams"))?;
    let nested = |wire: &mut Wire<'_>, kind, count, budget: &Budget| {
        decode_numbers(wire, kind, count, Earlier(&[]), budget, depth)
    };
    match wire.u8()? {
        id::CONSTANT => constant(wire, (width, kind), count, budget),
        id::SAME => {
            budget.spend(count, width)?;
            Ok(cross_column::leaf(earlier, wire, width, count)?.clone())
        }
        id::DIFFERENCE => {
            let other = cross_column::leaf(earlier, wire, width, count)?;
            let differences = nested(wire, (width, Kind::Signed), count, budget)?;
            cross_column::add(other, differences).ok_or_else(|| corrupt("a difference of wide values"))
        }
        id::PCO => pcodec::decode(wire, width, kind, count, budget),
        id::NARROW => {
            let head = frame_of_reference::Head::read(wire, width)?;
            let narrow = nested(wire, (head.width, Kind::Unsigned), count, budget)?;
            budget.spend(count, width)?;
            let wide = head.widen(&narrow, width);
            budget.release(count, head.width);
            Ok(wide)
        }
        id::ZSTD => {
            let bytes = pack::expand(wire, bytes_of(count, width)?, budget)?;
            Ok(from_le(width, &bytes))
        }
        id::TRANSPOSED => {
            let bytes = pack::expand(wire, bytes_of(count, width)?, budget)?;
            Ok(from_le(width, &pack::untranspose(&bytes, width)))
        }
        id::PLAIN => {
            budget.spend(count, width)?;
            Ok(from_le(width, wire.take(bytes_of(count, width)?)?))
        }
        id::MAPPED => {
            budget.spend(count, width)?;
            cross_column::decode_mapped(wire, (width, kind), count, earlier, budget, depth)
        }
        id::RUNS => rle::decode(wire, (width, kind), count, budget, depth),
        id::LIMBS => wide::decode(wire, width, count, budget, depth),
        other => Err(DecodeError::UnknownColumnCodec { what: "numbers", id: other }),
    }
}

fn bytes_of(count: usize, width: usize) -> Result<usize, DecodeError> {
    count.checked_mul(width).ok_or_else(|| corrupt("values without end"))
}

fn from_le(width: usize, bytes: &[u8]) -> Numbers {
    let mut numbers = Numbers::empty(width);
    numbers.extend_le(bytes);
    numbers
}

fn constant(
    wire: &mut Wire<'_>,
    (width, kind): (usize, Kind),
    count: usize,
    budget: &Budget,
) -> Result<Numbers, DecodeError> {
    if count == 0 {
        return Ok(Numbers::empty(width));
    }
    budget.spend(count, width)?;
    if !matches!(width, 1 | 2 | 4 | 8) {
        return Ok(Numbers::Wide { width, bytes: wire.take(width)?.repeat(count) });
    }
    let value = wire.varint()?;
    let value = if kind == Kind::Signed { unzigzag(value) } else { value };
    Ok(match width {
        1 => Numbers::U8(vec![value as u8; count]),
        2 => Numbers::U16(vec![value as u16; count]),
        4 => Numbers::U32(vec![value as u32; count]),
        _ => Numbers::U64(vec![value; count]),
    })
}
