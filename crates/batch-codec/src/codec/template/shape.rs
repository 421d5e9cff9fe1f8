//! Templates: the literals before each number, of which one part may repeat.

use crate::{
    DecodeError,
    codec::wire::{Wire, corrupt},
    native::put_varint,
};

/// Longest part that repeats, and longest part before it, in numbers.
const MAX_UNIT: usize = 8;
const MAX_HEAD: usize = 128;

/// Number of a literal.
pub(super) type Literal = u16;

/// `head, unit, unit, …, tail, end`: literals, each but the last followed by a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) head: Vec<Literal>,
    /// Empty when nothing repeats.
    pub(super) unit: Vec<Literal>,
    pub(super) tail: Vec<Literal>,
    pub(super) end: Literal,
}

impl Shape {
    /// The shape of a sequence, its last literal apart.
    pub(super) fn of(literals: &[Literal], end: Literal) -> Option<Self> {
        for period in 1..=MAX_UNIT.min(literals.len() / 3) {
            if let Some((from, to)) = repeating(literals, period) {
                return Self {
                    head: literals[..from].to_vec(),
                    unit: literals[from..from + period].to_vec(),
                    tail: literals[to..].to_vec(),
                    end,
                }
                .checked();
            }
        }
        Self { head: literals.to_vec(), unit: Vec::new(), tail: Vec::new(), end }.checked()
    }

    fn checked(self) -> Option<Self> {
        (self.head.len() <= MAX_HEAD && self.tail.len() <= MAX_HEAD).then_some(self)
    }

    /// The head ends with what is as good as a first repeat.
    fn led(&self) -> bool {
        !self.unit.is_empty() && self.head.len() >= self.unit.len()
    }

    /// Columns: those of the unit, then those of the head alone, then those of the tail.
    pub(super) fn columns(&self) -> usize {
        self.unit.len() + self.alone() + self.tail.len()
    }

    /// Numbers of the head that are in no column of the unit.
    pub(super) fn alone(&self) -> usize {
        self.head.len() - if self.led() { self.unit.len() } else { 0 }
    }

    /// The column of each number of the head.
    pub(super) fn head_column(&self, at: usize) -> usize {
        at.checked_sub(self.alone()).unwrap_or(self.unit.len() + at)
    }

    /// The column of each number of the tail.
    pub(super) fn tail_column(&self, at: usize) -> usize {
        self.unit.len() + self.alone() + at
    }

    /// Values of each string in `column`, `None` for one each.
    pub(super) fn values_in(&self, column: usize, repeats: &[u32]) -> Option<Vec<u32>> {
        let led = u32::from(self.led());
        (column < self.unit.len()).then(|| repeats.iter().map(|r| r.saturating_add(led)).collect())
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        for part in [&self.head, &self.unit, &self.tail] {
            put_varint(part.len() as u64, out);
            part.iter().for_each(|literal| put_varint((*literal).into(), out));
        }
        put_varint(self.end.into(), out);
    }

    pub(super) fn read(wire: &mut Wire<'_>, literals: usize) -> Result<Self, DecodeError> {
        let most = literals.checked_sub(1).ok_or_else(|| corrupt("a template without literals"))?;
        let literal = |wire: &mut Wire<'_>| wire.count(most, "as a literal's number").map(|l| l as Literal);
        let part = |wire: &mut Wire<'_>, most| {
            (0..wire.count(most, "numbers of a template")?)
                .map(|_| literal(wire))
                .collect::<Result<Vec<_>, DecodeError>>()
        };
        Ok(Self {
            head: part(wire, MAX_HEAD)?,
            unit: part(wire, MAX_UNIT)?,
            tail: part(wire, MAX_HEAD)?,
            end: literal(wire)?,
        })
    }
}

/// The longest part of `literals` that repeats with this period, at least twice.
fn repeating(literals: &[Literal], period: usize) -> Option<(usize, usize)> {
    let (mut best, mut from) = ((0, 0), 0);
    for at in period..=literals.len() {
        if at == literals.len() || literals[at] != literals[at - period] {
            if at - from > best.1 - best.0 {
                best = (from, at);
            }
            from = at + 1 - period;
        }
    }
    let (from, to) = best;
    // Whole units, counted from the end of what repeats, so that the odd one joins the head.
    let from = from + (to - from) % period;
    (to >= from + 2 * period).then_some((from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_of_any_length_share_a_shape() {
        // [["p","q"],["p","q"],["p","q"]]
        let shape = Shape::of(&[0, 1, 2, 1, 2, 1], 3).unwrap();
        assert_eq!(shape, Shape { head: vec![0, 1], unit: vec![2, 1], tail: Vec::new(), end: 3 });
        assert_eq!((shape.columns(), shape.alone()), (2, 0));
        assert_eq!(shape.values_in(0, &[0, 5]), Some(vec![1, 6]));
    }

    #[test]
    fn what_is_before_and_behind_is_apart() {
        let shape = Shape::of(&[7, 8, 9, 9, 9, 9, 5], 3).unwrap();
        assert_eq!(shape, Shape { head: vec![7, 8], unit: vec![9], tail: vec![5], end: 3 });
        assert_eq!((shape.columns(), shape.alone()), (3, 1));
        assert_eq!((shape.head_column(0), shape.head_column(1), shape.tail_column(0)), (1, 0, 2));
    }
}
