//! One column of numbers out of text: how they are written, and what they are.
//!
//! A column may have several numbers a string (an array). Then the first or the last of each string,
//! its anchor, may be told apart from the rest: anchors may follow a number column of the page (the
//! best price of an order book), and the rest may go by steps from neighbour to neighbour.

use super::{
    parse::Slot,
    token::{PADDED, Style},
};
use crate::{
    DecodeError,
    codec::{
        Budget, Earlier, Tuning, cross_column,
        numbers::{decode_numbers, encode_alone, encode_numbers},
        wire::{Wire, corrupt},
    },
    column::{Leaf, Numbers},
    native::{Kind, put_varint},
};

/// Where the anchor of a string is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Anchor {
    None = 0,
    First = 1,
    Last = 2,
}

/// The numbers of a column as they were read.
#[derive(Debug)]
pub(super) struct Values {
    pub(super) mantissas: Vec<u64>,
    styles: Vec<u8>,
    style: Option<Style>,
}

impl Values {
    #[inline]
    pub(super) fn style(&self, at: usize) -> Style {
        self.style.unwrap_or_else(|| self.styles[at])
    }
}

/// A number column that anchors follow: they are compared with its value divided by `divisor`.
#[derive(Debug, Clone, Copy)]
struct Guide {
    leaf: usize,
    power: u32,
}

/// Most powers of ten between a guide and its anchors.
const MAX_POWER: u32 = 18;

/// Appends a column. `rows` are its strings in the page, `lengths` how many numbers each has (`None`:
/// one).
pub(super) fn encode(
    slot: &Slot,
    rows: &[u32],
    lengths: Option<&[u32]>,
    earlier: Earlier<'_>,
    tuning: &Tuning,
    out: &mut Vec<u8>,
) {
    encode_alone(&Numbers::U8(slot.styles.clone()), Kind::Unsigned, tuning, out);
    let values = &slot.mantissas;
    let Some(lengths) = lengths else {
        out.push(Anchor::None as u8);
        return encode_numbers(&Numbers::U64(values.clone()), Kind::Signed, earlier, tuning, out);
    };
    let flat = |values: Vec<u64>, out: &mut Vec<u8>| {
        encode_alone(&Numbers::U64(values), Kind::Signed, tuning, out);
    };
    let plan = Plan::choose(values, rows, lengths, earlier, tuning);
    out.push(plan.anchor as u8);
    if plan.anchor == Anchor::None {
        return flat(values.clone(), out);
    }
    let (mut anchors, rest) = split(values, lengths, plan.anchor, plan.steps);
    out.push(u8::from(plan.steps));
    match plan.guide {
        None => out.push(0),
        Some(guide) => {
            out.push(1);
            put_varint(guide.leaf as u64, out);
            put_varint(guide.power.into(), out);
            let guides = guide.values(earlier, &anchored(rows, lengths)).unwrap_or_default();
            anchors.iter_mut().zip(guides).for_each(|(anchor, guide)| *anchor = anchor.wrapping_sub(guide));
        }
    }
    flat(anchors, out);
    flat(rest, out);
}

/// How a column of arrays is told.
#[derive(Debug, Clone, Copy)]
struct Plan {
    anchor: Anchor,
    steps: bool,
    guide: Option<Guide>,
}

impl Plan {
    /// By about how many bits a sample of the strings takes.
    fn choose(values: &[u64], rows: &[u32], lengths: &[u32], earlier: Earlier<'_>, tuning: &Tuning) -> Self {
        let whole = values.len() <= tuning.sample;
        let (from, to) = if whole { (0, lengths.len()) } else { middle(lengths, tuning.sample) };
        let skipped: usize = lengths[..from].iter().map(|length| *length as usize).sum();
        let taken: usize = lengths[from..to].iter().map(|length| *length as usize).sum();
        let (values, lengths) = (&values[skipped..skipped + taken], &lengths[from..to]);
        let rows = anchored(&rows[from..to], lengths);
        let mut best = Self { anchor: Anchor::None, steps: false, guide: None };
        let mut least = cross_column::cost(values);
        for anchor in [Anchor::First, Anchor::Last] {
            let (anchors, flat) = split(values, lengths, anchor, false);
            let (_, stepped) = split(values, lengths, anchor, true);
            let (flat, stepped) = (cross_column::cost(&flat), cross_column::single_cost(&stepped));
            let steps = stepped < flat;
            let (guide, cost) = Guide::find(&anchors, &rows, earlier);
            let total = cost + flat.min(stepped);
            if total < least {
                (least, best) = (total, Self { anchor, steps, guide });
            }
        }
        best
    }
}

/// Some strings from the middle, with about `size` numbers.
fn middle(lengths: &[u32], size: usize) -> (usize, usize) {
    let from = lengths.len() / 3;
    let (mut to, mut count) = (from, 0);
    while to < lengths.len() && count < size {
        count += lengths[to] as usize;
        to += 1;
    }
    (from, to)
}

/// Rows that have an anchor.
fn anchored(rows: &[u32], lengths: &[u32]) -> Vec<u32> {
    rows.iter().zip(lengths).filter(|(_, length)| **length > 0).map(|(row, _)| *row).collect()
}

/// The anchor of each string, and the other numbers: as they are, or each as the step from its neighbour. Of
/// 100, 103, 104 the first is the anchor 100, the others 103, 104 or the steps 3, 1.
fn split(values: &[u64], lengths: &[u32], anchor: Anchor, steps: bool) -> (Vec<u64>, Vec<u64>) {
    let mut anchors = Vec::with_capacity(lengths.len());
    let mut rest = Vec::with_capacity(values.len());
    let mut from = 0;
    for length in lengths {
        let string = &values[from..from + *length as usize];
        from += string.len();
        let (one, others) = match anchor {
            Anchor::Last => string.split_last().unzip(),
            _ => string.split_first().unzip(),
        };
        let (Some(one), Some(others)) = (one, others) else { continue };
        anchors.push(*one);
        if steps {
            rest.extend(string.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])));
        } else {
            rest.extend_from_slice(others);
        }
    }
    (anchors, rest)
}

impl Guide {
    /// The best guide and the bits of the anchors with it; or none and the bits without.
    fn find(anchors: &[u64], rows: &[u32], earlier: Earlier<'_>) -> (Option<Self>, f64) {
        let mut best = (None, cross_column::cost(anchors));
        for (leaf, _) in earlier.0.iter().enumerate() {
            let Some(values) = (Self { leaf, power: 0 }).values(earlier, rows) else { continue };
            if values.windows(2).all(|pair| pair[0] == pair[1]) {
                continue;
            }
            for power in 0..=MAX_POWER {
                let divisor = 10_i64.pow(power);
                let scaled = values.iter().map(|value| (value.cast_signed() / divisor).cast_unsigned());
                let apart: Vec<u64> = anchors.iter().zip(scaled).map(|(a, v)| a.wrapping_sub(v)).collect();
                let cost = cross_column::cost(&apart) + 64.0;
                if cost < best.1 {
                    best = (Some(Self { leaf, power }), cost);
                }
            }
        }
        best
    }

    /// Its values at these rows of the page.
    fn values(self, earlier: Earlier<'_>, rows: &[u32]) -> Option<Vec<u64>> {
        let Some(Leaf::Numbers(numbers, kind @ (Kind::Signed | Kind::Unsigned))) = earlier.0.get(self.leaf)
        else {
            return None;
        };
        let divisor = 10_i64.checked_pow(self.power)?;
        if numbers.width() != 8 || rows.iter().any(|row| *row as usize >= numbers.len()) {
            return None;
        }
        let value =
            |row: &u32| (numbers.wrapping_u64(*row as usize, *kind).cast_signed() / divisor).cast_unsigned();
        Some(rows.iter().map(value).collect())
    }
}

/// Reads what [`encode`] wrote.
pub(super) fn decode(
    wire: &mut Wire<'_>,
    rows: &[u32],
    lengths: Option<&[u32]>,
    earlier: Earlier<'_>,
    budget: &Budget,
    depth: u32,
) -> Result<Values, DecodeError> {
    let total = match lengths {
        None => rows.len() as u64,
        Some(lengths) => lengths.iter().map(|length| u64::from(*length)).sum(),
    };
    // Nine bytes of the budget each.
    let count = usize::try_from(total).ok().filter(|count| *count <= budget.left() / 9);
    let count = count.ok_or_else(|| corrupt("more numbers in text than there is room for"))?;
    let styles = decode_numbers(wire, (1, Kind::Unsigned), count, Earlier(&[]), budget, depth)?;
    let Numbers::U8(styles) = styles else { return Err(corrupt("styles of another width")) };
    if styles.iter().any(|style| *style > PADDED + 20) {
        return Err(corrupt("a style of writing numbers that is none"));
    }
    let style = styles.first().copied().filter(|first| styles.iter().all(|style| style == first));
    let numbers = |wire: &mut Wire<'_>, count, earlier: Earlier<'_>, budget: &Budget| match decode_numbers(
        wire,
        (8, Kind::Signed),
        count,
        earlier,
        budget,
        depth,
    )? {
        Numbers::U64(values) => Ok(values),
        _ => Err(corrupt("numbers in text of another width")),
    };
    let mantissas = match (wire.u8()?, lengths) {
        (0, None) => numbers(wire, count, earlier, budget)?,
        (0, Some(_)) => numbers(wire, count, Earlier(&[]), budget)?,
        (anchor @ (1 | 2), Some(lengths)) => {
            let steps = wire.u8()? != 0;
            let with_anchor = anchored(rows, lengths);
            let guides = match wire.u8()? {
                0 => None,
                _ => {
                    let leaf = wire.count(earlier.0.len(), "as a leaf's number")?;
                    let power = wire.count(MAX_POWER as usize, "as a power of ten")? as u32;
                    let guide = Guide { leaf, power };
                    let values = guide.values(earlier, &with_anchor);
                    Some(values.ok_or_else(|| corrupt("a guide that is no number"))?)
                }
            };
            let mut anchors = numbers(wire, with_anchor.len(), Earlier(&[]), budget)?;
            if let Some(guides) = guides {
                anchors.iter_mut().zip(guides).for_each(|(a, guide)| *a = a.wrapping_add(guide));
            }
            let rest = numbers(wire, count - with_anchor.len(), Earlier(&[]), budget)?;
            budget.spend(count, 8)?;
            join(&anchors, &rest, lengths, anchor == 1, steps)
        }
        _ => return Err(corrupt("an anchor that is none")),
    };
    Ok(Values { mantissas, styles, style })
}

/// Undoes [`split`]; the counts fit by how they were read.
fn join(anchors: &[u64], rest: &[u64], lengths: &[u32], first: bool, steps: bool) -> Vec<u64> {
    let mut out = Vec::with_capacity(anchors.len() + rest.len());
    let (mut rest, mut anchors) = (rest, anchors.iter());
    for length in lengths.iter().filter(|length| **length > 0) {
        let (others, left) = rest.split_at(*length as usize - 1);
        rest = left;
        let mut value = anchors.next().copied().unwrap_or(0);
        match (first, steps) {
            (true, true) => {
                out.push(value);
                out.extend(others.iter().map(|step| {
                    value = value.wrapping_add(*step);
                    value
                }));
            }
            (true, false) => {
                out.push(value);
                out.extend_from_slice(others);
            }
            (false, true) => {
                let from = out.len();
                out.resize(from + others.len(), 0);
                out.push(value);
                for (slot, step) in out[from..].iter_mut().zip(others).rev() {
                    value = value.wrapping_sub(*step);
                    *slot = value;
                }
            }
            (false, false) => {
                out.extend_from_slice(others);
                out.push(value);
            }
        }
    }
    out
}
