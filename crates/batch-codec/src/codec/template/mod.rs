//! Text with numbers in it: JSON, log lines, anything whose strings differ mostly in their numbers.
//!
//! A string is cut into literals and numbers (see [`token`]). The sequence of its literals is its
//! template; one part of a template may repeat (see [`shape`]), so that arrays of any length share one.
//! The numbers at one place of a template, over all strings, are a column (see [`slots`]). What cannot
//! be cut so is kept verbatim. Rendering is plain concatenation, so whatever the cut, the text comes
//! back the same.

mod parse;
mod render;
mod shape;
mod slots;
mod token;

use self::{parse::Parsed, shape::Shape};
use super::{
    Budget, Earlier, Tuning,
    exceptions::Exceptions,
    numbers::{decode_numbers, encode_alone, encode_numbers},
    wire::{Wire, corrupt, put_block},
    words::{self, index, index_width},
};
use crate::{
    DecodeError,
    column::{Numbers, Text},
    native::{Kind, put_varint},
};

/// Most literals, templates and columns.
const MAX_LITERALS: usize = 4096;
const MAX_TEMPLATES: usize = 64;
const MAX_SLOTS: usize = 1024;
/// Most numbers of a text that is cut: what a decoder has in hand while it renders, some 25 bytes a
/// number, stays well below the cap on a row group.
const MAX_NUMBERS: usize = 3 << 19;
/// Bytes of text that a trial looks at.
const TRIAL_BYTES: usize = 64 << 10;

/// The body of a template stream; `None` when the text does not suit.
pub(crate) fn encode(text: &Text, earlier: Earlier<'_>, tuning: &Tuning) -> Option<Vec<u8>> {
    if text.bytes().len() < 64 || !promising(text, tuning) {
        return None;
    }
    let parsed = Parsed::of(text, text.len() / 8)?;
    let mut out = Vec::new();
    put(&parsed, earlier, tuning, &mut out);
    Some(out)
}

/// A trial on some strings from the start and some from the middle.
fn promising(text: &Text, tuning: &Tuning) -> bool {
    let digits = text.bytes().iter().take(TRIAL_BYTES).filter(|byte| byte.is_ascii_digit()).count();
    if digits * 5 < text.bytes().len().min(TRIAL_BYTES) {
        return false;
    }
    let mut sample = Text::default();
    for from in [0, text.len() / 2] {
        for at in from..text.len().min(from + 512) {
            if sample.bytes().len() > TRIAL_BYTES * (1 + usize::from(from > 0)) / 2 {
                break;
            }
            sample.push(text.get(at));
        }
    }
    let Some(parsed) = Parsed::of(&sample, sample.len() / 8) else { return false };
    let tuning = &tuning.of_trials();
    let mut by_template = Vec::new();
    put(&parsed, Earlier(&[]), tuning, &mut by_template);
    let mut by_words = Vec::new();
    words::encode(&sample, tuning, &mut by_words);
    by_template.len() < by_words.len()
}

fn put(parsed: &Parsed<'_>, earlier: Earlier<'_>, tuning: &Tuning, out: &mut Vec<u8>) {
    put_varint(parsed.literals.len() as u64, out);
    parsed.literals.iter().for_each(|literal| put_block(literal, out));
    put_varint(parsed.shapes.len() as u64, out);
    parsed.shapes.iter().for_each(|shape| shape.put(out));
    parsed.exceptions.encode(tuning, out);
    let ids = index(parsed.ids.clone(), parsed.shapes.len() + 1);
    encode_alone(&ids, Kind::Unsigned, tuning, out);
    let repeats = Numbers::U32(parsed.repeats.clone());
    encode_numbers(&repeats, Kind::Unsigned, earlier, tuning, out);
    for (number, columns) in parsed.columns.iter().enumerate() {
        let rows = parsed.rows_of(number);
        let repeats: Vec<u32> = rows.iter().map(|row| parsed.repeats[*row as usize]).collect();
        for (slot, column) in columns.iter().enumerate() {
            let lengths = parsed.shapes[number].values_in(slot, &repeats);
            slots::encode(column, &rows, lengths.as_deref(), earlier, tuning, out);
        }
    }
}

/// Reads what [`encode`] wrote.
pub(crate) fn decode(
    wire: &mut Wire<'_>,
    count: usize,
    earlier: Earlier<'_>,
    budget: &Budget,
    depth: u32,
) -> Result<Text, DecodeError> {
    let literals =
        (0..wire.count(MAX_LITERALS, "literals")?).map(|_| wire.block()).collect::<Result<Vec<_>, _>>()?;
    let shapes = (0..wire.count(MAX_TEMPLATES, "templates")?)
        .map(|_| Shape::read(wire, literals.len()))
        .collect::<Result<Vec<_>, _>>()?;
    let before = budget.left();
    let exceptions = Exceptions::decode(wire, count, budget, depth)?;
    let width = index_width(shapes.len() + 1);
    let ids = decode_numbers(wire, (width, Kind::Unsigned), count, Earlier(&[]), budget, depth)?;
    let repeats = decode_numbers(wire, (4, Kind::Unsigned), count, earlier, budget, depth)?;
    let Numbers::U32(repeats) = repeats else { return Err(corrupt("repeats of another width")) };
    budget.spend(count, 4 + 4)?;
    let mut rows_of: Vec<Vec<u32>> = vec![Vec::new(); shapes.len() + 1];
    for row in 0..count {
        let id = ids.wrapping_u64(row, Kind::Unsigned) as usize;
        rows_of.get_mut(id).ok_or_else(|| corrupt("a template that is none"))?.push(row as u32);
    }
    let mut columns = Vec::with_capacity(shapes.len());
    for (shape, rows) in shapes.iter().zip(&rows_of) {
        let repeats: Vec<u32> = rows.iter().map(|row| repeats[*row as usize]).collect();
        let mut slots = Vec::with_capacity(shape.columns());
        for slot in 0..shape.columns() {
            let lengths = shape.values_in(slot, &repeats);
            slots.push(slots::decode(wire, rows, lengths.as_deref(), earlier, budget, depth)?);
        }
        columns.push(slots);
    }
    let text = render::render(&literals, &shapes, &exceptions, (&ids, &repeats), &columns, budget)?;
    let spent = before - budget.left();
    budget.release(spent, 1);
    budget.spend(text.memory(), 1)?;
    Ok(text)
}
