//! Where a number ends. The lexer skips numbers, it does not parse them: `1_000`, `0x1F.8p-3`, `1.`,
//! `.5e-3`. A word may begin like a number (`24h_volume`, `1e5e`).

use crate::token::{Kind, is_word};

/// Digits of one block, with single underscores between them.
#[derive(Clone, Copy)]
enum Base {
    Ten,
    Sixteen,
}

impl Base {
    fn has(self, byte: Option<&u8>) -> bool {
        match self {
            Self::Ten => byte.is_some_and(u8::is_ascii_digit),
            Self::Sixteen => byte.is_some_and(u8::is_ascii_hexdigit),
        }
    }
}

/// Kind and length of what begins with a digit; `None` for what is neither number nor word (`1.5x`).
/// Behind a dot only plain digits count: `t.1.2` takes two parts.
pub(crate) fn digits_first(text: &[u8], behind_dot: bool) -> Option<(Kind, usize)> {
    let mut end = if behind_dot { digits(text, 1, Base::Ten, false) } else { whole(text) };
    if !text.get(end).copied().is_some_and(is_word) {
        return Some((Kind::Number, end));
    }
    while text.get(end).copied().is_some_and(is_word) {
        end += 1;
    }
    text.iter().take(end).all(|b| is_word(*b)).then_some((Kind::Word, end))
}

/// Length of a number that begins with its dot.
pub(crate) fn dot_first(text: &[u8]) -> usize {
    let end = digits(text, 1, Base::Ten, true);
    exponent(text, end, b"eE")
}

fn whole(text: &[u8]) -> usize {
    let (base, from) = match text {
        [b'0', b'x' | b'X', d, ..] if d.is_ascii_hexdigit() => (Base::Sixteen, 2),
        [b'0', b'b' | b'B', b'0' | b'1', ..] => (Base::Ten, 2),
        _ => (Base::Ten, 1),
    };
    let mut end = digits(text, from, base, from == 2);
    if text.get(end) == Some(&b'.') {
        end = digits(text, end + 1, base, true);
    }
    exponent(text, end, if matches!(base, Base::Sixteen) { b"pP" } else { b"eE" })
}

/// An exponent needs a byte behind its letter, and a sign one behind itself; its digits are decimal.
fn exponent(text: &[u8], at: usize, letters: &[u8]) -> usize {
    if !text.get(at).is_some_and(|b| letters.contains(b)) || at + 1 >= text.len() {
        return at;
    }
    let signed = matches!(text.get(at + 1), Some(b'+' | b'-')) && at + 2 < text.len();
    digits(text, at + 1 + usize::from(signed), Base::Ten, true)
}

/// End of the digits at `at`. An underscore stands between two digits, never first in its block.
fn digits(text: &[u8], mut at: usize, base: Base, mut first: bool) -> usize {
    loop {
        let separator = text.get(at) == Some(&b'_') && !first && base.has(text.get(at + 1));
        if !separator && !base.has(text.get(at)) {
            return at;
        }
        at += 1;
        first = false;
    }
}
