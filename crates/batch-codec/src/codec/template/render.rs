//! Strings out of literals and numbers.

use super::{
    shape::{Literal, Shape},
    slots::Values,
    token,
};
use crate::{
    DecodeError,
    codec::{Budget, exceptions::Exceptions, wire::corrupt},
    column::{Numbers, Text},
    native::Kind,
};

/// A literal, the short ones also as bytes that are copied at once.
struct Words<'a> {
    text: &'a [u8],
    short: [u8; 16],
}

impl<'a> Words<'a> {
    fn new(text: &'a [u8]) -> Self {
        let mut short = [0; 16];
        if let Some(start) = short.get_mut(..text.len()) {
            start.copy_from_slice(text);
        }
        Self { text, short }
    }

    #[inline]
    fn put(&self, out: &mut Vec<u8>) {
        if self.text.len() <= self.short.len() {
            token::put_first(self.text.len(), &self.short, out);
        } else {
            out.extend_from_slice(self.text);
        }
    }
}

/// The numbers of a column, and how many were given out.
struct Column<'a> {
    values: &'a Values,
    given: usize,
}

impl Column<'_> {
    /// Appends a literal and the next number.
    #[inline]
    fn put(&mut self, literal: &Words<'_>, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        let mantissa = self.values.mantissas.get(self.given);
        let mantissa = mantissa.ok_or_else(|| corrupt("a template without its numbers"))?;
        literal.put(out);
        token::put(mantissa.cast_signed(), self.values.style(self.given), out);
        self.given += 1;
        Ok(())
    }
}

/// Renders all strings; every literal's number was checked when the shapes were read.
pub(super) fn render(
    literals: &[&[u8]],
    shapes: &[Shape],
    exceptions: &Exceptions,
    (ids, repeats): (&Numbers, &[u32]),
    columns: &[Vec<Values>],
    budget: &Budget,
) -> Result<Text, DecodeError> {
    let literals: Vec<_> = literals.iter().map(|text| Words::new(text)).collect();
    let word = |literal: &Literal| &literals[usize::from(*literal)];
    let column = |values| Column { values, given: 0 };
    let mut columns: Vec<Vec<_>> = columns.iter().map(|slots| slots.iter().map(column).collect()).collect();
    let mut text = Text::default();
    text.reserve(repeats.len(), 0);
    budget.spend(repeats.len(), 4)?;
    let mut exceptions = exceptions.iter().peekable();
    let mut paid = 0;
    for (row, repeats) in repeats.iter().enumerate() {
        let id = ids.wrapping_u64(row, Kind::Unsigned) as usize;
        let out = text.tail();
        match shapes.get(id) {
            None => match exceptions.next_if(|(place, _)| *place == row) {
                Some((_, string)) => out.extend_from_slice(string),
                None => return Err(corrupt("a string without its template")),
            },
            Some(shape) => {
                let columns = &mut columns[id];
                for (at, literal) in shape.head.iter().enumerate() {
                    columns[shape.head_column(at)].put(word(literal), out)?;
                }
                for _ in 0..if shape.unit.is_empty() { 0 } else { *repeats } {
                    for (literal, column) in shape.unit.iter().zip(columns.iter_mut()) {
                        column.put(word(literal), out)?;
                    }
                }
                for (at, literal) in shape.tail.iter().enumerate() {
                    columns[shape.tail_column(at)].put(word(literal), out)?;
                }
                word(&shape.end).put(out);
            }
        }
        let bytes = out.len();
        budget.spend(bytes - paid, 1)?;
        paid = bytes;
        text.end();
    }
    Ok(text)
}
