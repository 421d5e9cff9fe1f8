//! Strings out of literals and numbers.

use super::{
    shape::{Literal, Shape},
    slots::Values,
    token,
};
use crate::{
    DecodeError,
    codec::{Budget, digits::Exceptions, wire::corrupt},
    column::{Numbers, Text},
    native::Kind,
};

/// Writes one string after the other.
struct Pen<'a> {
    literals: &'a [&'a [u8]],
    /// Values given out of each column of each template.
    used: Vec<Vec<usize>>,
    text: Text,
}

impl Pen<'_> {
    #[inline]
    fn put(&mut self, literal: Literal, values: &Values, used: (usize, usize)) -> Result<(), DecodeError> {
        let at = &mut self.used[used.0][used.1];
        let mantissa = values.mantissas.get(*at).ok_or_else(|| corrupt("a template without its numbers"))?;
        let style = values.style(*at);
        *at += 1;
        let out = self.text.tail();
        out.extend_from_slice(self.literals[usize::from(literal)]);
        token::put(mantissa.cast_signed(), style, out);
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
    budget: &mut Budget,
) -> Result<Text, DecodeError> {
    let used = columns.iter().map(|slots| vec![0; slots.len()]).collect();
    let mut pen = Pen { literals, used, text: Text::default() };
    pen.text.reserve(repeats.len(), 0);
    budget.spend(repeats.len(), 4)?;
    let mut exceptions = exceptions.iter().peekable();
    let mut paid = 0;
    for (row, repeats) in repeats.iter().enumerate() {
        let id = ids.wrapping_u64(row, Kind::Unsigned) as usize;
        match shapes.get(id) {
            None => match exceptions.next_if(|(place, _)| *place == row) {
                Some((_, string)) => pen.text.tail().extend_from_slice(string),
                None => return Err(corrupt("a string without its template")),
            },
            Some(shape) => {
                let slots = &columns[id];
                for (at, literal) in shape.head.iter().enumerate() {
                    let column = shape.head_column(at);
                    pen.put(*literal, &slots[column], (id, column))?;
                }
                for _ in 0..if shape.unit.is_empty() { 0 } else { *repeats } {
                    for (column, literal) in shape.unit.iter().enumerate() {
                        pen.put(*literal, &slots[column], (id, column))?;
                    }
                }
                for (at, literal) in shape.tail.iter().enumerate() {
                    let column = shape.tail_column(at);
                    pen.put(*literal, &slots[column], (id, column))?;
                }
                pen.text.tail().extend_from_slice(literals[usize::from(shape.end)]);
            }
        }
        let bytes = pen.text.bytes().len();
        budget.spend(bytes - paid, 1)?;
        paid = bytes;
        pen.text.end();
    }
    Ok(pen.text)
}
