//! How the rows of a row group come to lie strand by strand, and how they find back.
//!
//! A strand is all rows with one value of the key columns: one symbol of one exchange. Rows keep their
//! order within a strand, so the way back is which strand each row comes from. Rows that come grouped
//! need nothing. Rows in time order are merged by their time column as a tournament would, and only
//! where several strands have the same time a choice is noted.

use std::{cmp::Reverse, collections::BinaryHeap};

use crate::{
    DecodeError,
    codec::{Budget, Earlier, Tuning, Wire, decode_numbers, encode_numbers, index, index_width},
    column::{Column, Numbers},
    format::MAX_STRANDS,
    native::{Kind, put_varint},
};

/// The order of rows, as it is written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Strand after strand.
    Grouped,
    /// The strand of each row.
    Strands(Vec<u32>),
    /// By this column, and the choices where several strands have the same value.
    Merge { column: usize, choices: Vec<u32> },
}

const GROUPED: u8 = 0;
const STRANDS: u8 = 1;
const MERGE: u8 = 2;

impl Order {
    /// Of rows with these strands, whose `columns` are still in their own order.
    pub(crate) fn of(strand_of: &[u32], strands: &[usize], columns: &[Column]) -> Self {
        if strand_of.windows(2).all(|pair| pair[0] <= pair[1]) {
            return Self::Grouped;
        }
        let Some((column, values)) =
            columns.iter().enumerate().find_map(|(at, column)| Some((at, rising(column)?)))
        else {
            return Self::Strands(strand_of.to_vec());
        };
        let mut clustered = vec![0; values.len()];
        let mut next = starts(strands);
        for (value, strand) in values.iter().zip(strand_of) {
            clustered[next[*strand as usize]] = *value;
            next[*strand as usize] += 1;
        }
        let mut merger = Merger::new(&clustered, strands);
        let mut choices = Vec::new();
        for strand in strand_of {
            let candidates = merger.candidates();
            let rank = merger.rank(*strand);
            if candidates > 1 {
                choices.push(rank);
            }
            merger.choose(rank);
        }
        Self::Merge { column, choices }
    }

    /// Appends it.
    pub(crate) fn encode(&self, strands: usize, tuning: &Tuning, out: &mut Vec<u8>) {
        let numbers = |values: &[u32], out: &mut Vec<u8>| {
            let values = index(values.to_vec(), strands);
            encode_numbers(&values, Kind::Unsigned, Earlier(&[]), tuning, out);
        };
        match self {
            Self::Grouped => out.push(GROUPED),
            Self::Strands(strand_of) => {
                out.push(STRANDS);
                numbers(strand_of, out);
            }
            Self::Merge { column, choices } => {
                out.push(MERGE);
                put_varint(*column as u64, out);
                put_varint(choices.len() as u64, out);
                numbers(choices, out);
            }
        }
    }

    /// Reads the order of `rows` rows in so many strands.
    pub(crate) fn decode(
        wire: &mut Wire<'_>,
        strands: usize,
        rows: usize,
        budget: &Budget,
    ) -> Result<Self, DecodeError> {
        let numbers = |wire: &mut Wire<'_>, count: usize| {
            let width = index_width(strands);
            budget.spend(count, 4)?;
            let values = decode_numbers(wire, (width, Kind::Unsigned), count, Earlier(&[]), budget, 0)?;
            Ok::<_, DecodeError>(
                (0..count).map(|at| values.wrapping_u64(at, Kind::Unsigned) as u32).collect(),
            )
        };
        match wire.u8()? {
            GROUPED => Ok(Self::Grouped),
            STRANDS => Ok(Self::Strands(numbers(wire, rows)?)),
            MERGE => {
                let column = wire.count(usize::MAX, "as a column's number")?;
                let count = wire.count(rows, "choices")?;
                Ok(Self::Merge { column, choices: numbers(wire, count)? })
            }
            other => Err(DecodeError::Corrupt(format!("rows in order {other}"))),
        }
    }

    /// Where each row is in clustered columns; `None` when they are in order.
    pub(crate) fn places(
        &self,
        strands: &[usize],
        column: impl Fn(usize) -> Option<Column>,
    ) -> Result<Option<Vec<u32>>, DecodeError> {
        let corrupt = |what: &str| DecodeError::Corrupt(what.into());
        let rows = strands.iter().sum();
        let mut places: Vec<u32> = Vec::with_capacity(rows);
        let mut next = starts(strands);
        match self {
            Self::Grouped => return Ok(None),
            Self::Strands(strand_of) => {
                let ends: Vec<usize> = next.iter().zip(strands).map(|(start, rows)| start + rows).collect();
                for strand in strand_of {
                    let strand = *strand as usize;
                    match (next.get_mut(strand), ends.get(strand)) {
                        (Some(next), Some(end)) if *next < *end => {
                            places.push(*next as u32);
                            *next += 1;
                        }
                        _ => return Err(corrupt("a strand of more rows than it has")),
                    }
                }
            }
            Self::Merge { column: number, choices } => {
                let column = column(*number);
                let values = column.as_ref().and_then(ordered);
                let values = values.filter(|values| values.len() == rows);
                let values = values.ok_or_else(|| corrupt("rows in the order of no number"))?;
                let mut merger = Merger::new(&values, strands);
                let mut choices = choices.iter();
                for _ in 0..rows {
                    let candidates = merger.candidates();
                    let rank = if candidates > 1 { choices.next().copied() } else { Some(0) };
                    let rank = rank.filter(|rank| (*rank as usize) < candidates);
                    let rank = rank.ok_or_else(|| corrupt("a choice of nothing"))?;
                    places.push(merger.choose(rank) as u32);
                }
                if choices.next().is_some() {
                    return Err(corrupt("choices behind the last row"));
                }
            }
        }
        if places.len() != rows {
            return Err(corrupt("an order of other rows"));
        }
        Ok(Some(places))
    }
}

/// Where each strand begins.
pub(crate) fn starts(strands: &[usize]) -> Vec<usize> {
    let mut start = 0;
    let next = |rows: &usize| {
        start += rows;
        start - rows
    };
    strands.iter().map(next).collect()
}

/// A column's values such that they compare as unsigned numbers.
fn ordered(column: &Column) -> Option<Vec<u64>> {
    match column {
        Column::Numbers(numbers, kind @ (Kind::Signed | Kind::Unsigned))
            if matches!(numbers, Numbers::U32(_) | Numbers::U64(_)) =>
        {
            let flip = if *kind == Kind::Signed { 1 << 63 } else { 0 };
            Some(numbers.to_u64(*kind).into_iter().map(|value| value ^ flip).collect())
        }
        _ => None,
    }
}

fn rising(column: &Column) -> Option<Vec<u64>> {
    ordered(column).filter(|values| values.windows(2).all(|pair| pair[0] <= pair[1]))
}

/// Merges strands by value.
struct Merger<'a> {
    values: &'a [u64],
    /// Next row and end of each strand.
    next: Vec<usize>,
    ends: Vec<usize>,
    /// Strands whose next value is above the present one.
    waiting: BinaryHeap<Reverse<(u64, u32)>>,
    /// Strands at the present value, rising.
    tied: Vec<u32>,
    value: u64,
    /// The strand chosen last at this value.
    last: u32,
}

impl<'a> Merger<'a> {
    fn new(values: &'a [u64], strands: &[usize]) -> Self {
        debug_assert!(strands.len() <= MAX_STRANDS, "strands are capped");
        let next = starts(strands);
        let ends: Vec<usize> = next.iter().zip(strands).map(|(start, rows)| start + rows).collect();
        let waiting = (0..strands.len())
            .filter(|s| next[*s] < ends[*s])
            .map(|s| Reverse((values[next[s]], s as u32)))
            .collect();
        Self { values, next, ends, waiting, tied: Vec::new(), value: 0, last: 0 }
    }

    /// How many strands the next row may come from.
    fn candidates(&mut self) -> usize {
        if self.tied.is_empty()
            && let Some(Reverse((value, _))) = self.waiting.peek()
        {
            (self.value, self.last) = (*value, 0);
            while let Some(Reverse((value, strand))) = self.waiting.peek()
                && *value == self.value
            {
                self.tied.push(*strand);
                self.waiting.pop();
            }
        }
        self.tied.len()
    }

    /// Candidates count from the strand chosen last, upwards and around.
    fn first(&self) -> usize {
        self.tied.partition_point(|strand| *strand < self.last)
    }

    fn rank(&self, strand: u32) -> u32 {
        let at = self.tied.partition_point(|other| *other < strand);
        ((at + self.tied.len() - self.first()) % self.tied.len().max(1)) as u32
    }

    /// Takes a row; answers its place.
    fn choose(&mut self, rank: u32) -> usize {
        let at = (self.first() + rank as usize) % self.tied.len().max(1);
        let strand = self.tied[at];
        let s = strand as usize;
        self.last = strand;
        let place = self.next[s];
        self.next[s] += 1;
        match self.values.get(self.next[s]).filter(|_| self.next[s] < self.ends[s]) {
            Some(value) if *value == self.value => {}
            Some(value) => {
                self.tied.remove(at);
                self.waiting.push(Reverse((*value, strand)));
            }
            None => {
                self.tied.remove(at);
            }
        }
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(times: &[u64], strand_of: &[u32], expected: &str) {
        let count = strand_of.iter().max().map_or(0, |most| *most as usize + 1);
        let mut strands = vec![0; count];
        strand_of.iter().for_each(|strand| strands[*strand as usize] += 1);
        let columns = vec![Column::Numbers(Numbers::U64(times.to_vec()), Kind::Unsigned)];
        let order = Order::of(strand_of, &strands, &columns);
        assert!(format!("{order:?}").starts_with(expected), "{order:?}");
        let mut places: Vec<u32> = (0..times.len() as u32).collect();
        places.sort_by_key(|row| strand_of[*row as usize]);
        let mut clustered: Vec<Column> = columns.iter().map(|column| column.take(&places)).collect();
        if let Some(places) = order.places(&strands, |at| clustered.get(at).cloned()).unwrap() {
            clustered.iter_mut().for_each(|column| *column = column.take(&places));
        }
        assert_eq!(clustered, columns);
    }

    #[test]
    fn rows_find_back() {
        round(&[1, 2, 3, 4], &[0, 0, 1, 1], "Grouped");
        round(&[1, 2, 3, 4, 5], &[0, 1, 0, 1, 2], "Merge { column: 0, choices: [] }");
        round(&[1, 1, 1, 2, 2], &[0, 0, 1, 0, 1], "Merge { column: 0, choices: [0, 0, 0] }");
        round(&[1, 1, 1, 1, 9, 9], &[2, 0, 1, 0, 2, 0], "Merge");
        round(&[3, 2, 1, 5], &[1, 0, 1, 0], "Strands");
    }
}
