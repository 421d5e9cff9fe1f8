//! Cuts strings into literals and numbers, and gathers the numbers by template and column.

use std::collections::HashMap;

use super::{
    MAX_LITERALS, MAX_NUMBERS, MAX_SLOTS, MAX_TEMPLATES,
    shape::{Literal, Shape},
    token::{self, Style, Token},
};
use crate::{codec::exceptions::Exceptions, column::Text};

/// Strings looked at first, longest ahead, so that templates are met where they repeat.
const SCOUTS: usize = 64;
/// Longest literal.
const MAX_LITERAL_BYTES: usize = 4096;

/// Numbers of one column of one template, string after string.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) mantissas: Vec<u64>,
    pub(super) styles: Vec<Style>,
    /// Numbers of strings that were read to their end.
    kept: usize,
}

/// All of a text.
#[derive(Debug)]
pub(super) struct Parsed<'a> {
    pub(super) literals: Vec<&'a [u8]>,
    pub(super) shapes: Vec<Shape>,
    /// The template of each string; their count for an exception.
    pub(super) ids: Vec<u32>,
    /// How often its unit repeats.
    pub(super) repeats: Vec<u32>,
    pub(super) columns: Vec<Vec<Slot>>,
    pub(super) exceptions: Exceptions,
}

/// Literals met so far.
#[derive(Debug, Default)]
struct Literals<'a> {
    all: Vec<Known<'a>>,
    by_text: HashMap<&'a [u8], Literal>,
}

/// A literal, and its first eight bytes as a word to compare at once.
#[derive(Debug)]
struct Known<'a> {
    text: &'a [u8],
    word: u64,
    mask: u64,
    /// It ends with a minus, which belongs to a number behind it unless that is zero or padded.
    minus: bool,
}

/// One string, cut.
#[derive(Debug, Default)]
struct Cut {
    literals: Vec<Literal>,
    end: Literal,
}

impl<'a> Known<'a> {
    fn new(text: &'a [u8]) -> Self {
        let mask = u64::MAX.checked_shr(64 - 8 * text.len().min(8) as u32).unwrap_or(0);
        Self { text, word: token::word(text), mask, minus: text.ends_with(b"-") }
    }

    #[inline]
    fn begins(&self, string: &[u8]) -> bool {
        token::word(string) & self.mask == self.word
            && string.len() >= self.text.len()
            && (self.text.len() <= 8 || string.starts_with(self.text))
    }

    /// The number at `at` behind this literal, when that is what is there, and where it ends.
    #[inline]
    fn number(&self, string: &[u8], at: usize) -> Option<(Token, usize)> {
        if !self.begins(string.get(at..)?) {
            return None;
        }
        let at = at + self.text.len();
        if self.minus && token::number(string, at - 1).is_some() {
            return None;
        }
        let token = token::number(string, at)?;
        Some((token, at + token.length))
    }
}

impl<'a> Literals<'a> {
    /// Cuts `string`; `None` when there are too many literals.
    fn cut(&mut self, string: &'a [u8]) -> Option<Cut> {
        let mut literals = Vec::new();
        let mut at = 0;
        loop {
            let (to, end) = next_number(string, at);
            let literal = self.number(&string[at..to])?;
            if end == to {
                return Some(Cut { literals, end: literal });
            }
            literals.push(literal);
            at = end;
        }
    }

    fn number(&mut self, text: &'a [u8]) -> Option<Literal> {
        if let Some(known) = self.by_text.get(text) {
            return Some(*known);
        }
        if self.all.len() == MAX_LITERALS || text.len() > MAX_LITERAL_BYTES {
            return None;
        }
        let number = self.all.len() as Literal;
        self.all.push(Known::new(text));
        self.by_text.insert(text, number);
        Some(number)
    }

    #[inline]
    fn get(&self, literal: Literal) -> &Known<'a> {
        &self.all[usize::from(literal)]
    }
}

/// Where the next number from `at` on begins and ends; twice the end of the string when there is none.
fn next_number(string: &[u8], at: usize) -> (usize, usize) {
    let found = (at..string.len()).find_map(|from| Some((from, from + token::number(string, from)?.length)));
    found.unwrap_or((string.len(), string.len()))
}

/// Reads `string` as one of this shape, its numbers into `columns`: how often the unit repeats. `None`
/// when it is of another.
fn follow(shape: &Shape, literals: &Literals<'_>, columns: &mut [Slot], string: &[u8]) -> Option<u32> {
    let mut at = 0;
    let mut read = |literal: Literal, slot: &mut Slot| {
        let (token, end) = literals.get(literal).number(string, at)?;
        slot.push(&token);
        at = end;
        Some(())
    };
    for (place, literal) in shape.head.iter().enumerate() {
        read(*literal, &mut columns[shape.head_column(place)])?;
    }
    let mut repeats = 0;
    // What follows the units does not begin like one.
    if let Some((first, others)) = shape.unit.split_first() {
        while read(*first, &mut columns[0]).is_some() {
            for (literal, slot) in others.iter().zip(&mut columns[1..]) {
                read(*literal, slot)?;
            }
            repeats += 1;
        }
    }
    for (place, literal) in shape.tail.iter().enumerate() {
        read(*literal, &mut columns[shape.tail_column(place)])?;
    }
    (string[at..] == *literals.get(shape.end).text).then_some(repeats)
}

impl<'a> Parsed<'a> {
    /// Cuts all of `text`; `None` when more than `most` strings fit no template, or it is too much.
    pub(super) fn of(text: &'a Text, most: usize) -> Option<Self> {
        let mut literals = Literals::default();
        let mut parsed = Self {
            literals: Vec::new(),
            shapes: Vec::new(),
            ids: Vec::with_capacity(text.len()),
            repeats: Vec::with_capacity(text.len()),
            columns: Vec::new(),
            exceptions: Exceptions::default(),
        };
        let mut scouts: Vec<usize> = (0..text.len()).step_by((text.len() / SCOUTS).max(1)).collect();
        scouts.sort_by_key(|at| std::cmp::Reverse(text.get(*at).len()));
        for at in scouts {
            if let Some((id, _)) = parsed.read(&mut literals, text.get(at), 0) {
                parsed.columns[id].iter_mut().for_each(Slot::undo);
            }
        }
        let (mut last, mut numbers) = (0, 0);
        for (row, string) in text.iter().enumerate() {
            match parsed.read(&mut literals, string, last) {
                Some((id, repeats)) => {
                    last = id;
                    parsed.ids.push(id as u32);
                    parsed.repeats.push(repeats);
                    numbers += parsed.columns[id].iter_mut().map(Slot::keep).sum::<usize>();
                    if numbers > MAX_NUMBERS {
                        return None;
                    }
                }
                None => {
                    parsed.exceptions.push(row, string);
                    if parsed.exceptions.len() > most {
                        return None;
                    }
                    parsed.ids.push(u32::MAX);
                    parsed.repeats.push(parsed.repeats.last().copied().unwrap_or(0));
                }
            }
        }
        let none = parsed.shapes.len() as u32;
        parsed.ids.iter_mut().for_each(|id| *id = (*id).min(none));
        parsed.literals = literals.all.iter().map(|known| known.text).collect();
        parsed.columns.iter_mut().flatten().for_each(Slot::settle);
        Some(parsed)
    }

    /// Reads a string's numbers, to be kept or undone: its template and its repeats. Most strings have
    /// the template of the `last` one; a new one is made where there is room.
    fn read(&mut self, literals: &mut Literals<'a>, string: &'a [u8], last: usize) -> Option<(usize, u32)> {
        let known = std::iter::once(last).chain((0..self.shapes.len()).filter(|id| *id != last));
        for id in known {
            if let Some(repeats) = self.follow(id, literals, string) {
                return Some((id, repeats));
            }
        }
        let id = self.learn(&literals.cut(string)?)?;
        Some((id, self.follow(id, literals, string)?))
    }

    fn follow(&mut self, id: usize, literals: &Literals<'_>, string: &[u8]) -> Option<u32> {
        let (shape, columns) = (self.shapes.get(id)?, self.columns.get_mut(id)?);
        let repeats = follow(shape, literals, columns, string);
        if repeats.is_none() {
            columns.iter_mut().for_each(Slot::undo);
        }
        repeats
    }

    /// Adds the template of a string.
    fn learn(&mut self, cut: &Cut) -> Option<usize> {
        let columns: usize = self.shapes.iter().map(Shape::columns).sum();
        if self.shapes.len() == MAX_TEMPLATES || columns > MAX_SLOTS {
            return None;
        }
        let shape = Shape::of(&cut.literals, cut.end)?;
        self.columns.push((0..shape.columns()).map(|_| Slot::default()).collect());
        self.shapes.push(shape);
        Some(self.shapes.len() - 1)
    }

    /// Strings of a template.
    pub(super) fn rows_of(&self, id: usize) -> Vec<u32> {
        (0..self.ids.len() as u32).filter(|row| self.ids[*row as usize] == id as u32).collect()
    }
}

impl Slot {
    #[inline]
    fn push(&mut self, token: &Token) {
        self.mantissas.push(token.mantissa.cast_unsigned());
        self.styles.push(token.style);
    }

    /// Keeps what was read; says how many numbers that were.
    fn keep(&mut self) -> usize {
        let kept = std::mem::replace(&mut self.kept, self.styles.len());
        self.kept - kept
    }

    /// Forgets what was read and not kept.
    fn undo(&mut self) {
        self.mantissas.truncate(self.kept);
        self.styles.truncate(self.kept);
    }

    /// Padded numbers beside plain ones of as many digits: those are called padded too, so that all
    /// have one style.
    fn settle(&mut self) {
        let Some(padded) = self.styles.iter().copied().find(|style| *style > token::PADDED) else { return };
        let width = u32::from(padded - token::PADDED);
        for (mantissa, style) in self.mantissas.iter().zip(&mut self.styles) {
            if *style == 0 && mantissa.cast_signed() >= 0 && mantissa.checked_ilog10() == Some(width - 1) {
                *style = padded;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(strings: &[&str], then: impl FnOnce(&Parsed<'_>)) {
        let mut text = Text::default();
        strings.iter().for_each(|string| text.push(string.as_bytes()));
        then(&Parsed::of(&text, strings.len()).unwrap());
    }

    #[test]
    fn arrays_of_any_length_share_a_template() {
        parsed(&["[[1,2],[3,4],[5,6]]", "[[7,8]]", "[[9,10],[11,12]]"], |parsed| {
            assert_eq!((parsed.shapes.len(), parsed.ids.as_slice()), (1, &[0, 0, 0][..]));
            assert_eq!(parsed.repeats, [2, 0, 1]);
            assert_eq!(parsed.columns[0][0].mantissas, [1, 3, 5, 7, 9, 11]);
            assert_eq!(parsed.columns[0][1].mantissas, [2, 4, 6, 8, 10, 12]);
        });
    }

    #[test]
    fn a_template_that_fits_in_part_leaves_no_numbers() {
        let strings = ["a1 b2 b3 b4 c5 d6!", "a1 b2 b3 c4 e5!", "a1 b2 b3 c4 d5?", "a7 b8 c9 d10!"];
        parsed(&strings, |parsed| {
            assert_eq!(parsed.ids, [0, 1, 2, 0]);
            assert_eq!(parsed.repeats, [3, 2, 2, 1]);
            let columns: Vec<_> = parsed.columns[0].iter().map(|slot| slot.mantissas.as_slice()).collect();
            assert_eq!(columns, [&[1, 2, 3, 4, 7, 8][..], &[5, 9], &[6, 10]]);
        });
    }

    #[test]
    fn a_minus_stays_with_its_number() {
        parsed(&["[-0.0]", "[-5.0]", "[-2.5]"], |parsed| {
            assert_eq!((parsed.shapes.len(), parsed.ids.as_slice()), (2, &[0, 1, 1][..]));
            assert_eq!(parsed.columns[1][0].mantissas, [-50_i64, -25].map(i64::cast_unsigned));
        });
    }

    #[test]
    fn literals_longer_than_a_word_are_compared_whole() {
        parsed(&["a long literal 1", "a long lateral 2", "a long literal 3", "no number"], |parsed| {
            assert_eq!((parsed.ids.as_slice(), parsed.shapes.len()), (&[0, 1, 0, 2][..], 3));
        });
    }
}
