//! Cuts strings into literals and numbers, and gathers the numbers by template and column.

use std::collections::HashMap;

use super::{
    MAX_LITERALS, MAX_NUMBERS, MAX_SLOTS, MAX_TEMPLATES,
    shape::{Literal, Shape},
    token::{self, Style, Token},
};
use crate::{codec::digits::Exceptions, column::Text};

/// Strings looked at first, longest ahead, so that templates are met where they repeat.
const SCOUTS: usize = 64;
/// Longest literal.
const MAX_LITERAL_BYTES: usize = 4096;

/// Numbers of one column of one template, string after string.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) mantissas: Vec<u64>,
    pub(super) styles: Vec<Style>,
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
    all: Vec<&'a [u8]>,
    by_text: HashMap<&'a [u8], Literal>,
    /// What came behind each literal the last times.
    next: Vec<[Literal; 2]>,
}

/// One string, cut.
#[derive(Debug, Default)]
struct Cut {
    literals: Vec<Literal>,
    end: Literal,
    tokens: Vec<Token>,
}

impl<'a> Literals<'a> {
    /// Cuts `string`; false when there are too many literals.
    fn cut(&mut self, string: &'a [u8], cut: &mut Cut) -> bool {
        cut.literals.clear();
        cut.tokens.clear();
        let (mut at, mut before) = (0, usize::MAX);
        loop {
            let (literal, token, end) = match self.expected(string, at, before) {
                Some((literal, token, end)) => (literal, Some(token), end),
                None => {
                    let Some((literal, token, end)) = self.search(string, at) else { return false };
                    if let Some(next) = self.next.get_mut(before)
                        && next[0] != literal
                    {
                        *next = [literal, next[0]];
                    }
                    (literal, token, end)
                }
            };
            let Some(token) = token else {
                cut.end = literal;
                return true;
            };
            cut.literals.push(literal);
            cut.tokens.push(token);
            at = end;
            before = usize::from(literal);
        }
    }

    /// A literal that came here before, with a number behind it.
    #[inline]
    fn expected(&self, string: &[u8], at: usize, before: usize) -> Option<(Literal, Token, usize)> {
        for literal in *self.next.get(before)? {
            let text = *self.all.get(usize::from(literal))?;
            if !text.is_empty() && string[at..].starts_with(text) {
                let token = token::number(string, at + text.len())?;
                return Some((literal, token, at + text.len() + token.length));
            }
        }
        None
    }

    /// The next number, wherever it begins, and the literal before it.
    fn search(&mut self, string: &'a [u8], at: usize) -> Option<(Literal, Option<Token>, usize)> {
        let mut to = at;
        let token = loop {
            match string.get(to) {
                None => break None,
                Some(b'-' | b'0'..=b'9') => match token::number(string, to) {
                    None => to += 1,
                    found => break found,
                },
                Some(_) => to += 1,
            }
        };
        let literal = self.number(&string[at..to])?;
        Some((literal, token, to + token.map_or(0, |token| token.length)))
    }

    fn number(&mut self, text: &'a [u8]) -> Option<Literal> {
        if let Some(known) = self.by_text.get(text) {
            return Some(*known);
        }
        if self.all.len() == MAX_LITERALS || text.len() > MAX_LITERAL_BYTES {
            return None;
        }
        let number = self.all.len() as Literal;
        self.all.push(text);
        self.by_text.insert(text, number);
        self.next.push([Literal::MAX; 2]);
        Some(number)
    }
}

impl<'a> Parsed<'a> {
    /// Cuts all of `text`; `None` when more than `most` strings fit no template, or it is too much.
    pub(super) fn of(text: &'a Text, most: usize) -> Option<Self> {
        let mut literals = Literals::default();
        let mut cut = Cut::default();
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
            if literals.cut(text.get(at), &mut cut) {
                parsed.shape_of(&cut, 0);
            }
        }
        let (mut last, mut numbers) = (0, 0);
        for (row, string) in text.iter().enumerate() {
            let found = literals.cut(string, &mut cut).then(|| parsed.shape_of(&cut, last)).flatten();
            match found {
                Some((id, repeats)) => {
                    last = id;
                    parsed.ids.push(id as u32);
                    parsed.repeats.push(repeats);
                    parsed.take(id, &cut.tokens);
                    numbers += cut.tokens.len();
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
        parsed.literals = literals.all;
        parsed.columns.iter_mut().flatten().for_each(Slot::settle);
        Some(parsed)
    }

    /// The template of a cut and its repeats; a new one when there is room.
    fn shape_of(&mut self, cut: &Cut, last: usize) -> Option<(usize, u32)> {
        let matching = |shape: &Shape| shape.matches(&cut.literals, cut.end);
        if let Some(repeats) = self.shapes.get(last).and_then(matching) {
            return Some((last, repeats));
        }
        for (id, shape) in self.shapes.iter().enumerate() {
            if let Some(repeats) = matching(shape) {
                return Some((id, repeats));
            }
        }
        let columns: usize = self.shapes.iter().map(Shape::columns).sum();
        if self.shapes.len() == MAX_TEMPLATES || columns > MAX_SLOTS {
            return None;
        }
        let shape = Shape::of(&cut.literals, cut.end)?;
        let repeats = shape.matches(&cut.literals, cut.end)?;
        self.columns.push((0..shape.columns()).map(|_| Slot::default()).collect());
        self.shapes.push(shape);
        Some((self.shapes.len() - 1, repeats))
    }

    fn take(&mut self, id: usize, tokens: &[Token]) {
        let (Some(shape), Some(columns)) = (self.shapes.get(id), self.columns.get_mut(id)) else { return };
        let (head, rest) = tokens.split_at(shape.head.len());
        let (units, tail) = rest.split_at(rest.len() - shape.tail.len());
        for (at, token) in head.iter().enumerate() {
            columns[shape.head_column(at)].push(token);
        }
        if !shape.unit.is_empty() {
            for unit in units.chunks_exact(shape.unit.len()) {
                unit.iter().zip(columns.iter_mut()).for_each(|(token, column)| column.push(token));
            }
        }
        for (at, token) in tail.iter().enumerate() {
            columns[shape.tail_column(at)].push(token);
        }
    }

    /// Strings of a template.
    pub(super) fn rows_of(&self, id: usize) -> Vec<u32> {
        (0..self.ids.len() as u32).filter(|row| self.ids[*row as usize] == id as u32).collect()
    }
}

impl Slot {
    fn push(&mut self, token: &Token) {
        self.mantissas.push(token.mantissa.cast_unsigned());
        self.styles.push(token.style);
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
