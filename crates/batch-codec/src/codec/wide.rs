//! Values wider than 8 bytes: 16 and 32 byte numbers as streams of 8 bytes each, or zstd.

use super::{
    Budget, Earlier, Tuning,
    numbers::{decode_numbers, encode_alone, id},
    pack,
    wire::{Wire, corrupt},
};
use crate::{
    DecodeError,
    column::{Leaf, Numbers},
    native::Kind,
};

/// Appends the stream of wide values.
pub(crate) fn encode(
    numbers: &Numbers,
    kind: Kind,
    earlier: Earlier<'_>,
    tuning: &Tuning,
    out: &mut Vec<u8>,
) {
    let Numbers::Wide { width, bytes } = numbers else { return };
    let same = |leaf: &Leaf| matches!(leaf, Leaf::Numbers(n, k) if *k == kind && n == numbers);
    if let Some(leaf) = earlier.0.iter().position(same) {
        out.push(id::SAME);
        return crate::native::put_varint(leaf as u64, out);
    }
    let level = pack::level(tuning, bytes.len());
    let transposed = pack::transpose(bytes, *width);
    let squeezed = [(id::ZSTD, bytes), (id::TRANSPOSED, &transposed)]
        .into_iter()
        .filter_map(|(codec, bytes)| pack::stream(codec, bytes, level));
    let limbs = (width % 8 == 0 && *width <= 32).then(|| {
        let mut limbs = vec![id::LIMBS];
        for limb in split(bytes, *width) {
            encode_alone(&limb, Kind::Signed, tuning, &mut limbs);
        }
        limbs
    });
    pack::put_shortest(squeezed.chain(limbs), out);
}

/// Lowest eight bytes of all values, then the next eight, and so on.
fn split(bytes: &[u8], width: usize) -> Vec<Numbers> {
    (0..width / 8)
        .map(|limb| {
            let mut values = Numbers::empty(8);
            bytes.chunks_exact(width).for_each(|value| values.extend_le(&value[limb * 8..limb * 8 + 8]));
            values
        })
        .collect()
}

/// Reads what [`encode`] wrote as limbs.
pub(crate) fn decode(
    wire: &mut Wire<'_>,
    width: usize,
    count: usize,
    budget: &Budget,
    depth: u32,
) -> Result<Numbers, DecodeError> {
    if !width.is_multiple_of(8) || width <= 8 || width > 32 {
        return Err(corrupt("limbs of another width"));
    }
    budget.spend(count, width)?;
    let mut bytes = vec![0; count * width];
    for limb in 0..width / 8 {
        let values = decode_numbers(wire, (8, Kind::Signed), count, Earlier(&[]), budget, depth)?;
        let Numbers::U64(values) = values else { return Err(corrupt("limbs of another width")) };
        for (value, limb_value) in bytes.chunks_exact_mut(width).zip(&values) {
            value[limb * 8..limb * 8 + 8].copy_from_slice(&limb_value.to_le_bytes());
        }
        budget.release(count, 8);
    }
    Ok(Numbers::Wide { width, bytes })
}
