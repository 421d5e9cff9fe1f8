//! Numbers that follow an earlier leaf of the same page: equal to it, a function of it, near to it.

use std::collections::HashMap;

use super::{
    Budget, Earlier, Tuning, frame_of_reference,
    numbers::decode_numbers,
    wire::{Wire, corrupt, zigzag},
};
use crate::{
    DecodeError,
    column::{Leaf, Numbers},
    native::Kind,
};

/// Most distinct values of a leaf that others are a function of.
const MAX_TABLE: usize = 256;
/// A difference must promise to save this share of the bits before it is used.
const WORTH: f64 = 0.85;

/// How a leaf follows an earlier one.
#[derive(Debug)]
pub(crate) enum Relation {
    /// Value by value.
    Same(usize),
    /// A table: entry `k` is the value wherever the earlier leaf has its `k`th distinct value.
    Mapped(usize, Numbers),
    /// What to add.
    Difference(usize, Numbers),
}

/// Looks for a leaf that `numbers` (of at most 8 bytes) follow.
pub(crate) fn find(numbers: &Numbers, kind: Kind, earlier: Earlier<'_>, tuning: &Tuning) -> Option<Relation> {
    let fitting = || {
        earlier.0.iter().enumerate().filter_map(|(at, leaf)| match leaf {
            Leaf::Numbers(other, k) if other.len() == numbers.len() => Some((at, other, *k)),
            _ => None,
        })
    };
    for (at, other, _) in fitting() {
        if other == numbers {
            return Some(Relation::Same(at));
        }
    }
    for (at, other, _) in fitting() {
        if let Some(table) = table(numbers, other) {
            return Some(Relation::Mapped(at, table));
        }
    }
    if numbers.width() == 1 || matches!(kind, Kind::Float | Kind::Bytes) {
        return None;
    }
    let places = frame_of_reference::places(numbers.len(), tuning.sample);
    let sampled = |numbers: &Numbers, kind| match &places {
        Some(places) => numbers.take(places).to_u64(kind),
        None => numbers.to_u64(kind),
    };
    let own = sampled(numbers, kind);
    let mut best = (cost(&own) * WORTH, None);
    for (at, other, other_kind) in fitting() {
        if other_kind != kind || other.width() != numbers.width() || other.is_constant() {
            continue;
        }
        let other_values = sampled(other, kind);
        let differences: Vec<u64> = own.iter().zip(&other_values).map(|(a, b)| a.wrapping_sub(*b)).collect();
        let cost = cost(&differences);
        if cost < best.0 {
            best = (cost, Some((at, other)));
        }
    }
    let (at, other) = best.1?;
    Some(Relation::Difference(at, subtract(numbers, other)?))
}

/// About how many bits the values take, by themselves or as steps from each to the next.
pub(crate) fn cost(values: &[u64]) -> f64 {
    let bits = |v: u64| f64::from(u64::BITS - zigzag(v).leading_zeros()) + 0.5;
    let low = values.iter().copied().min_by_key(|v| v.cast_signed()).unwrap_or(0);
    let plain: f64 = values.iter().map(|v| bits(v.wrapping_sub(low)) - 1.0).sum();
    let steps: f64 = values.windows(2).map(|w| bits(w[1].wrapping_sub(w[0]))).sum();
    plain.min(steps)
}

/// About how many bits the values take by themselves, as signed numbers around zero.
pub(crate) fn single_cost(values: &[u64]) -> f64 {
    values.iter().map(|v| f64::from(u64::BITS - zigzag(*v).leading_zeros()) + 0.5).sum()
}

/// `numbers` as a function of `other`, when they are one and `other` has few distinct values.
fn table(numbers: &Numbers, other: &Numbers) -> Option<Numbers> {
    let mut first: HashMap<u64, usize> = HashMap::new();
    let mut places = Vec::new();
    for at in 0..numbers.len() {
        let key = other.wrapping_u64(at, Kind::Unsigned);
        let known = *first.entry(key).or_insert(at);
        if known == at {
            places.push(at as u32);
            if places.len() > MAX_TABLE || places.len() > 1 + at / 2 + 8 {
                return None;
            }
        } else if numbers.wrapping_u64(known, Kind::Unsigned) != numbers.wrapping_u64(at, Kind::Unsigned) {
            return None;
        }
    }
    (other.width() <= 8).then(|| numbers.take(&places))
}

/// Reads the number of an earlier leaf and finds it.
pub(crate) fn leaf<'a>(
    earlier: Earlier<'a>,
    wire: &mut Wire<'_>,
    width: usize,
    count: usize,
) -> Result<&'a Numbers, DecodeError> {
    let numbers = any_leaf(earlier, wire, count)?;
    if numbers.width() == width { Ok(numbers) } else { Err(corrupt("a leaf of another width")) }
}

fn any_leaf<'a>(earlier: Earlier<'a>, wire: &mut Wire<'_>, count: usize) -> Result<&'a Numbers, DecodeError> {
    let at = wire.count(earlier.0.len(), "as a leaf's number")?;
    match earlier.0.get(at) {
        Some(Leaf::Numbers(numbers, _)) if numbers.len() == count => Ok(numbers),
        _ => Err(corrupt("a leaf that cannot be referred to")),
    }
}

/// Reads [`Relation::Mapped`]; the result is paid for.
pub(crate) fn decode_mapped(
    wire: &mut Wire<'_>,
    shape: (usize, Kind),
    count: usize,
    earlier: Earlier<'_>,
    budget: &Budget,
    depth: u32,
) -> Result<Numbers, DecodeError> {
    let other = any_leaf(earlier, wire, count)?;
    if other.width() > 8 {
        return Err(corrupt("a function of wide values"));
    }
    let length = wire.count(MAX_TABLE, "entries of a table")?;
    let table = decode_numbers(wire, shape, length, Earlier(&[]), budget, depth)?;
    let places = first_seen(other, length as u32).ok_or_else(|| corrupt("a table that is too short"))?;
    Ok(table.take(&places))
}

/// The distinct values numbered as they appear; `None` when there are more than `most`.
fn first_seen(numbers: &Numbers, most: u32) -> Option<Vec<u32>> {
    let mut next = 0;
    let mut table = vec![u32::MAX; 1 << 16];
    let mut others: HashMap<u64, u32> = HashMap::new();
    (0..numbers.len())
        .map(|at| {
            let value = numbers.wrapping_u64(at, Kind::Unsigned);
            let known = match usize::try_from(value).ok().and_then(|value| table.get_mut(value)) {
                Some(known) => known,
                None => others.entry(value).or_insert(u32::MAX),
            };
            if *known == u32::MAX {
                if next == most {
                    return None;
                }
                *known = next;
                next += 1;
            }
            Some(*known)
        })
        .collect()
}

fn subtract(numbers: &Numbers, other: &Numbers) -> Option<Numbers> {
    Some(match (numbers, other) {
        (Numbers::U16(a), Numbers::U16(b)) => Numbers::U16(zip(a, b, u16::wrapping_sub)),
        (Numbers::U32(a), Numbers::U32(b)) => Numbers::U32(zip(a, b, u32::wrapping_sub)),
        (Numbers::U64(a), Numbers::U64(b)) => Numbers::U64(zip(a, b, u64::wrapping_sub)),
        _ => return None,
    })
}

/// Undoes the subtraction; `None` for widths it is not made for.
pub(crate) fn add(other: &Numbers, differences: Numbers) -> Option<Numbers> {
    Some(match (other, &differences) {
        (Numbers::U16(a), Numbers::U16(b)) => Numbers::U16(zip(a, b, u16::wrapping_add)),
        (Numbers::U32(a), Numbers::U32(b)) => Numbers::U32(zip(a, b, u32::wrapping_add)),
        (Numbers::U64(a), Numbers::U64(b)) => Numbers::U64(zip(a, b, u64::wrapping_add)),
        _ => return None,
    })
}

fn zip<T: Copy>(a: &[T], b: &[T], op: impl Fn(T, T) -> T) -> Vec<T> {
    a.iter().zip(b).map(|(a, b)| op(*a, *b)).collect()
}
