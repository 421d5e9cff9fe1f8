//! A base and a factor taken out of numbers, so that fewer bytes a value remain: decimals whose last
//! digits are always zero, times within one day. pco then works on smaller words and needs smaller
//! tables.

use super::wire::{Wire, corrupt, unzigzag, zigzag};
use crate::{
    DecodeError,
    column::{Numbers, narrow},
    native::Kind,
};

/// `value = base + factor * narrow`, wrapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    base: u64,
    factor: u64,
    /// Bytes a value of the narrow stream.
    pub(crate) width: usize,
}

/// Narrowed numbers.
#[derive(Debug)]
pub(crate) struct Narrowed {
    head: Head,
    pub(crate) numbers: Numbers,
}

impl Narrowed {
    /// Appends base, factor and width.
    pub(crate) fn put_head(&self, out: &mut Vec<u8>) {
        out.push(self.head.width as u8);
        crate::native::put_varint(zigzag(self.head.base), out);
        crate::native::put_varint(self.head.factor, out);
    }
}

impl Head {
    pub(crate) fn read(wire: &mut Wire<'_>, outer: usize) -> Result<Self, DecodeError> {
        let width = usize::from(wire.u8()?);
        if !matches!(width, 1 | 2 | 4 | 8) || width > outer || outer > 8 {
            return Err(corrupt("a narrow stream of another width"));
        }
        Ok(Self { base: unzigzag(wire.varint()?), factor: wire.varint()?, width })
    }

    /// Back to values of `outer` bytes.
    pub(crate) fn widen(&self, numbers: &Numbers, outer: usize) -> Numbers {
        let wide = |v: u64| self.base.wrapping_add(self.factor.wrapping_mul(v));
        fn map<T: Copy + Into<u64>, U>(values: &[T], then: impl Fn(u64) -> U) -> Vec<U> {
            values.iter().map(|v| then((*v).into())).collect()
        }
        narrow!(numbers, values => match outer {
            1 => Numbers::U8(map(values, |v| wide(v) as u8)),
            2 => Numbers::U16(map(values, |v| wide(v) as u16)),
            4 => Numbers::U32(map(values, |v| wide(v) as u32)),
            _ => Numbers::U64(map(values, wide)),
        }, wide(_w, _b) => Numbers::empty(outer))
    }
}

/// Takes base and factor out; `None` when no byte a value is saved.
pub(crate) fn narrow(numbers: &Numbers, kind: Kind) -> Option<Narrowed> {
    let width = numbers.width();
    if width == 1 || width > 8 || matches!(kind, Kind::Float | Kind::Bytes) {
        return None;
    }
    let values = numbers.to_u64(kind);
    let (base, range) = if kind == Kind::Signed {
        let (min, max) = extremes(values.iter().map(|v| v.cast_signed()))?;
        (min.cast_unsigned(), max.wrapping_sub(min).cast_unsigned())
    } else {
        let (min, max) = extremes(values.iter().copied())?;
        (min, max - min)
    };
    let factor = values.iter().fold(0, |factor, v| {
        let rest = v.wrapping_sub(base);
        if factor == 1 || (factor != 0 && rest.is_multiple_of(factor)) { factor } else { gcd(factor, rest) }
    });
    let factor = factor.max(1);
    let narrow = match range / factor {
        0..=0xff => 1,
        0x100..=0xffff => 2,
        0x1_0000..=0xffff_ffff => 4,
        _ => 8,
    };
    if narrow >= width && factor == 1 {
        return None;
    }
    let rest = |v: &u64| v.wrapping_sub(base) / factor;
    let numbers = match narrow {
        1 => Numbers::U8(values.iter().map(|v| rest(v) as u8).collect()),
        2 => Numbers::U16(values.iter().map(|v| rest(v) as u16).collect()),
        4 => Numbers::U32(values.iter().map(|v| rest(v) as u32).collect()),
        _ => Numbers::U64(values.iter().map(rest).collect()),
    };
    Some(Narrowed { head: Head { base, factor, width: narrow }, numbers })
}

fn extremes<T: Ord + Copy>(values: impl Iterator<Item = T>) -> Option<(T, T)> {
    values.fold(None, |found, v| match found {
        None => Some((v, v)),
        Some((min, max)) => Some((v.min(min), v.max(max))),
    })
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Four runs of neighbours out of `numbers`, `size` values together; `None` when there are no more.
pub(crate) fn sample(numbers: &Numbers, size: usize) -> Option<Numbers> {
    let places = places(numbers.len(), size)?;
    Some(numbers.take(&places))
}

/// Where a sample's values are.
pub(crate) fn places(count: usize, size: usize) -> Option<Vec<u32>> {
    if count <= size {
        return None;
    }
    let run = size / 4;
    let step = (count - run) / 3;
    Some((0..4).flat_map(|i| i * step..i * step + run).map(|at| at as u32).collect())
}
