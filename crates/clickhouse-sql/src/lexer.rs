//! ClickHouse's lexer (`src/Parsers/Lexer.cpp`), as far as spans go: every byte of the text belongs to
//! exactly one token, and each token ends where the engine's ends.
//!
//! A string that ends elsewhere for the engine than for us would carry a whole query past every check.
//! So nothing here is more lenient or more orderly than the engine: comments nest, a heredoc's tag is
//! whatever stands between two dollars, `1e5e` is a word, and where a number ends depends on the token
//! before it. Whether a text that is read so may be *answered* is not decided here: what engines of
//! different versions read in different ways is refused by [`crate::Tokens::read`].
//!
//! A text is read in one pass; each token is looked at a bounded number of times, except that a dollar
//! without a heredoc costs a search to the end of the text (a reader that refuses such words stops
//! there).

use crate::{
    number,
    token::{Kind, Token, is_word},
};

/// A byte at which ClickHouse's lexer gives up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unreadable at byte {at}: {what}")]
pub struct LexError {
    /// Byte offset in the text.
    pub at: usize,
    /// What is wrong there.
    pub what: &'static str,
}

/// Cuts a text into tokens whose spans tile it. Bytes that are not UTF-8 may stand in quotes and
/// comments only, as for the engine.
///
/// # Errors
/// Where the engine's lexer yields an error token: a quote or comment that never ends, a number that is
/// none, a byte that begins no token.
pub fn tokenize(text: impl AsRef<[u8]>) -> Result<Vec<Token>, LexError> {
    Lexer::new(text.as_ref()).collect()
}

/// What the next dot or digit depends on: the last token that is neither blank nor comment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Before {
    Dot,
    /// A word, name, number or `)` or `]`: a dot behind it takes a part of it.
    Operand,
    Other,
}

/// The tokens of a text, one by one; ends behind the first error.
pub(crate) struct Lexer<'a> {
    bytes: &'a [u8],
    at: usize,
    before: Before,
}

/// Operators of more than one byte, longest first.
const OPERATORS: [&[u8]; 11] =
    [b"<=>", b"::", b"->", b"<=", b">=", b"!=", b"<>", b"==", b"||", b"@@", b"\\G"];
/// Bytes that are an operator alone. Others (`!`, `#`, `&`, `~`) are errors.
const SINGLES: &[u8] = b",;.+-*/%=<>?^:|@";
const MINUS_SIGN: &[u8] = "\u{2212}".as_bytes();

impl<'a> Lexer<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, before: Before::Other }
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    fn error(&self, what: &'static str) -> LexError {
        LexError { at: self.at, what }
    }

    /// Length and kind of the token that begins here.
    fn look(&self) -> Result<(Kind, usize), LexError> {
        let rest = self.rest();
        let (byte, second) = (rest.first().copied().unwrap_or_default(), rest.get(1).copied());
        let line = || run(rest, 0, |b| b != b'\n');
        Ok(match (byte, second) {
            (b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c, _) => (Kind::Space, run(rest, 0, is_blank)),
            (b'-', Some(b'-')) | (b'/', Some(b'/')) | (b'#', Some(b' ' | b'!')) => (Kind::Comment, line()),
            (b'/', Some(b'*')) => (Kind::Comment, self.block_comment()?),
            (b'\'', _) => (Kind::String, self.quoted()?),
            (b'`' | b'"', _) => (Kind::Quoted, self.quoted()?),
            (b'(' | b'[' | b'{', _) => (Kind::Open, 1),
            (b')' | b']' | b'}', _) => (Kind::Close, 1),
            (b'0'..=b'9', _) => number::digits_first(rest, self.before == Before::Dot)
                .ok_or_else(|| self.error("a number with letters in it"))?,
            (b'.', _) if self.is_fraction(second) => (Kind::Number, number::dot_first(rest)),
            (b'$', _) => self.dollar(),
            (b'x' | b'X' | b'b' | b'B', Some(b'\'')) if rest.len() > 2 => (Kind::String, self.coded()?),
            _ if is_word(byte) => (Kind::Word, run(rest, 0, |b| is_word(b) || b == b'$')),
            _ => self.symbol_or_unicode()?,
        })
    }

    /// The dot here begins a number.
    fn is_fraction(&self, second: Option<u8>) -> bool {
        let digit = second.is_some_and(|b| b.is_ascii_digit());
        self.at == 0 || (digit && self.before != Before::Operand)
    }

    /// Comments nest.
    fn block_comment(&self) -> Result<usize, LexError> {
        let rest = self.rest();
        let (mut depth, mut i) = (0_usize, 0);
        while let Some(pair) = rest.get(i..i + 2) {
            match pair {
                b"/*" => {
                    depth += 1;
                    i += 2;
                }
                b"*/" => {
                    depth -= 1;
                    i += 2;
                    if depth == 0 {
                        return Ok(i);
                    }
                }
                _ => i += 1,
            }
        }
        Err(self.error("a comment that never ends"))
    }

    /// A quote of any of the three kinds: a backslash takes the next byte with it, a doubled quote stays inside.
    fn quoted(&self) -> Result<usize, LexError> {
        let rest = self.rest();
        let quote = rest.first().copied();
        let mut i = 1;
        while let Some(&byte) = rest.get(i) {
            if byte == b'\\' {
                i += 2;
            } else if Some(byte) == quote {
                if rest.get(i + 1).copied() != quote {
                    return Ok(i + 1);
                }
                i += 2;
            } else {
                i += 1;
            }
        }
        Err(self.error("a quote that never ends"))
    }

    /// `x'AF'`, `b'01'`.
    fn coded(&self) -> Result<usize, LexError> {
        let rest = self.rest();
        let hex = matches!(rest.first(), Some(b'x' | b'X'));
        let close = run(rest, 2, |b| if hex { b.is_ascii_hexdigit() } else { matches!(b, b'0' | b'1') });
        if rest.get(close) != Some(&b'\'') {
            return Err(self.error("a hex or binary literal with something else inside"));
        }
        Ok(close + 1)
    }

    /// `$tag$ … $tag$`; else a word, or a dollar alone.
    fn dollar(&self) -> (Kind, usize) {
        let rest = self.rest();
        let tag = rest.get(1..).and_then(|r| memchr::memchr(b'$', r)).and_then(|n| rest.get(..n + 2));
        let body = tag.and_then(|tag| memchr::memmem::find(rest.get(tag.len()..)?, tag));
        if let (Some(tag), Some(body)) = (tag, body) {
            return (Kind::String, body + 2 * tag.len());
        }
        if !rest.get(1).copied().is_some_and(is_word) {
            return (Kind::Symbol, 1);
        }
        (Kind::Word, run(rest, 0, |b| is_word(b) || b == b'$'))
    }

    fn symbol_or_unicode(&self) -> Result<(Kind, usize), LexError> {
        let rest = self.rest();
        if let Some(operator) = OPERATORS.iter().find(|o| rest.starts_with(o)) {
            return Ok((Kind::Symbol, operator.len()));
        }
        if rest.first().is_some_and(|b| SINGLES.contains(b)) {
            return Ok((Kind::Symbol, 1));
        }
        if rest.starts_with(MINUS_SIGN) {
            return Ok((Kind::Symbol, MINUS_SIGN.len()));
        }
        for (open, close, kind) in [("‘", "’", Kind::String), ("“", "”", Kind::Quoted)] {
            if rest.len() > 5 && rest.starts_with(open.as_bytes()) {
                let end = memchr::memmem::find(rest.get(3..).unwrap_or_default(), close.as_bytes());
                let end = end.ok_or_else(|| self.error("a quote that never ends"))?;
                return Ok((kind, end + 6));
            }
        }
        match blanks(rest) {
            0 => Err(self.error("a character that begins no token")),
            n => Ok((Kind::Space, n)),
        }
    }
}

impl Iterator for Lexer<'_> {
    type Item = Result<Token, LexError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.bytes.len() {
            return None;
        }
        let start = self.at;
        match self.look() {
            Ok((kind, length)) => {
                self.before = match (kind, self.bytes.get(start)) {
                    (Kind::Space | Kind::Comment, _) => self.before,
                    (Kind::Symbol, Some(b'.')) => Before::Dot,
                    (Kind::Word | Kind::Quoted | Kind::Number, _) | (Kind::Close, Some(b')' | b']')) => {
                        Before::Operand
                    }
                    _ => Before::Other,
                };
                self.at = start + length;
                Some(Ok(Token { kind, start, end: self.at }))
            }
            Err(error) => {
                self.at = self.bytes.len();
                Some(Err(error))
            }
        }
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// End of the run of bytes for which `inside` holds, from `from` on.
fn run(bytes: &[u8], from: usize, inside: impl Fn(u8) -> bool) -> usize {
    bytes.iter().skip(from).position(|&b| !inside(b)).map_or(bytes.len(), |n| from + n)
}

/// Length of the blanks at the beginning, Unicode's among them (`skipWhitespacesUTF8`).
fn blanks(bytes: &[u8]) -> usize {
    let mut at = 0;
    loop {
        at += match bytes.get(at..).unwrap_or_default() {
            [b, ..] if is_blank(*b) => 1,
            [0xc2, 0x85 | 0xa0, ..] => 2,
            [0xe1, 0xa0, 0x8e, ..]
            | [0xe2, 0x80, 0x80..=0x8d | 0xa8 | 0xa9 | 0xaf, ..]
            | [0xe2, 0x81, 0x9f | 0xa0, ..]
            | [0xe3, 0x80, 0x80, ..]
            | [0xef, 0xbb, 0xbf, ..] => 3,
            _ => return at,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kinds(text: &str) -> Vec<&str> {
        let tokens = tokenize(text).unwrap();
        tokens.iter().filter(|t| t.kind != Kind::Space).map(|t| &text[t.start..t.end]).collect()
    }

    #[test]
    fn reads_what_clickhouse_reads() {
        assert_eq!(
            kinds("SELECT a.1, t.1.2 -- x"),
            ["SELECT", "a", ".", "1", ",", "t", ".", "1", ".", "2", "-- x"]
        );
        assert_eq!(kinds(r"'it\'s' 'a''b'"), [r"'it\'s'", "'a''b'"]);
        assert_eq!(kinds("/* a /* b */ */ 1"), ["/* a /* b */ */", "1"]);
        assert_eq!(kinds("$x$ it's $x$,1"), ["$x$ it's $x$", ",", "1"]);
        assert_eq!(kinds("x::Date>=1.5e-3"), ["x", "::", "Date", ">=", "1.5e-3"]);
        assert_eq!(kinds("1 // 2\n# x\n2"), ["1", "// 2", "# x", "2"]);
        assert_eq!(kinds("x'AF' `a``b`"), ["x'AF'", "`a``b`"]);
    }

    #[test]
    fn a_word_that_begins_like_a_number_is_a_word() {
        assert_eq!(kinds("1e5e+file('a')"), ["1e5e", "+", "file", "(", "'a'", ")"]);
        assert_eq!(kinds("24h_volume+0xfileg"), ["24h_volume", "+", "0xfileg"]);
        assert_eq!(tokenize("1e5e").unwrap()[0].kind, Kind::Word);
        assert!(tokenize("1.5e5e+2").is_err());
    }

    #[test]
    fn numbers_end_where_clickhouse_ends_them() {
        assert_eq!(kinds("1_000+1__0"), ["1_000", "+", "1__0"]);
        assert_eq!(kinds("0x1F.8p-3 0b101 1e+5"), ["0x1F.8p-3", "0b101", "1e+5"]);
        assert_eq!(kinds("(.5+1.)"), ["(", ".5", "+", "1.", ")"]);
        assert_eq!(kinds("t . 1 . 2"), ["t", ".", "1", ".", "2"]);
        assert_eq!(kinds("a /* */ .5"), ["a", "/* */", ".", "5"]);
        assert_eq!(kinds("1e"), ["1e"]);
        assert_eq!(
            (tokenize("1e").unwrap()[0].kind, tokenize("1e ").unwrap()[0].kind),
            (Kind::Word, Kind::Number)
        );
    }

    #[test]
    fn dollars_quotes_and_blanks_beyond_ascii() {
        assert_eq!(kinds("a$x$ b$x$"), ["a$x$", "b$x$"]);
        assert_eq!(kinds("$a b$ ' $a b$ 1"), ["$a b$ ' $a b$", "1"]);
        assert_eq!(kinds("$ $a"), ["$", "$a"]);
        assert_eq!(kinds("‘it's’,“a`b”\u{a0}\u{2212}1"), ["‘it's’", ",", "“a`b”", "\u{2212}", "1"]);
        assert_eq!(kinds("1<=>2|>3:=4"), ["1", "<=>", "2", "|", ">", "3", ":", "=", "4"]);
    }

    #[test]
    fn gives_up_where_clickhouse_gives_up() {
        for bad in [
            "'",
            "'a\\",
            "`a",
            "/* /* */",
            "/*/",
            r"x'\' , file('a') -- '",
            "b'2'",
            "\u{1}",
            "\0",
            "é",
            "#a",
            "!",
            "a & b",
            "~",
            "\\a",
            "‘abcdef",
        ] {
            assert!(tokenize(bad).is_err(), "{bad:?}");
        }
        assert!(tokenize(b"'\xff\x00' -- \xff").is_ok() && tokenize(b"a\xff").is_err());
    }

    proptest! {
        #[test]
        fn spans_tile_any_text(text in "\\PC{0,80}") {
            if let Ok(tokens) = tokenize(&text) {
                let mut at = 0;
                for token in &tokens {
                    prop_assert_eq!(token.start, at);
                    prop_assert!(token.end > at && text.get(token.start..token.end).is_some());
                    at = token.end;
                }
                prop_assert_eq!(at, text.len());
            }
        }

        #[test]
        fn spans_tile_sql_like_text(text in "[a-z0-9 '`\"$/*#.,;:()\\[\\]{}<>=!|&%+\\\\\n-]{0,60}") {
            if let Ok(tokens) = tokenize(&text) {
                let whole: String = tokens.iter().map(|t| &text[t.start..t.end]).collect();
                prop_assert_eq!(whole, text);
            }
        }
    }
}
