//! ClickHouse's tokens, as far as finding the clauses of a statement needs them: strings, quoted
//! identifiers, comments and heredocs are stepped over whole, brackets are counted.
//!
//! Follows ClickHouse's own lexer (`src/Parsers/Lexer.cpp`). Works on bytes, since a string literal may
//! hold any. Lazy: an INSERT's data behind its head are never looked at.

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A bare word or number.
    Word,
    /// An identifier in backticks or double quotes.
    Quoted,
    /// A string literal, a heredoc included.
    Text,
    /// Any other single byte: operators, commas, brackets.
    Symbol(u8),
}

/// One token of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// Offset of its first byte.
    pub start: usize,
    /// Offset behind its last byte.
    pub end: usize,
    /// Open brackets around it; a bracket itself counts as outside.
    pub depth: u32,
}

impl Token {
    /// Whether this is the bare word `word`, in any case.
    #[must_use]
    pub fn is(&self, text: &[u8], word: &str) -> bool {
        self.kind == Kind::Word && text[self.start..self.end].eq_ignore_ascii_case(word.as_bytes())
    }

    /// Whether this is the symbol `symbol`.
    #[must_use]
    pub fn is_symbol(&self, symbol: u8) -> bool {
        self.kind == Kind::Symbol(symbol)
    }

    /// Whether it can name something: a word, or a quoted identifier.
    #[must_use]
    pub fn is_name(&self) -> bool {
        matches!(self.kind, Kind::Word | Kind::Quoted)
    }
}

/// The tokens of `text`, comments and white space left out.
pub struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    depth: u32,
}

impl<'a> Lexer<'a> {
    /// Starts at the beginning of `text`.
    #[must_use]
    pub fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0, depth: 0 }
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.at + ahead).copied()
    }

    /// Steps over white space and comments.
    fn skip_blank(&mut self) {
        loop {
            match (self.peek(0), self.peek(1)) {
                (Some(b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c | 0), _) => self.at += 1,
                // A no-break space, which editors like to insert, and a byte order mark.
                (Some(0xc2), Some(0xa0)) => self.at += 2,
                (Some(0xef), Some(0xbb)) if self.peek(2) == Some(0xbf) => self.at += 3,
                (Some(b'-'), Some(b'-')) | (Some(b'/'), Some(b'/')) => self.skip_line(),
                (Some(b'#'), Some(b' ' | b'!')) => self.skip_line(),
                (Some(b'/'), Some(b'*')) => {
                    let rest = &self.text[self.at + 2..];
                    self.at = find(rest, b"*/").map_or(self.text.len(), |end| self.at + 2 + end + 2);
                }
                _ => return,
            }
        }
    }

    fn skip_line(&mut self) {
        let rest = &self.text[self.at..];
        self.at = rest.iter().position(|&b| b == b'\n').map_or(self.text.len(), |end| self.at + end + 1);
    }

    /// The end of a literal quoted by `quote` that starts here: backslash escapes, doubled quotes.
    fn quoted_end(&self, quote: u8) -> usize {
        let mut at = self.at + 1;
        while let Some(&byte) = self.text.get(at) {
            match byte {
                b'\\' => at += 2,
                _ if byte == quote && self.text.get(at + 1) == Some(&quote) => at += 2,
                _ if byte == quote => return at + 1,
                _ => at += 1,
            }
        }
        self.text.len()
    }

    /// The end of a literal in typographic quotes (`‘…’`, `“…”`), which ClickHouse takes too.
    fn typographic_end(&self, close: &[u8]) -> usize {
        let rest = &self.text[self.at + 3..];
        find(rest, close).map_or(self.text.len(), |end| self.at + 3 + end + 3)
    }

    /// The end of a heredoc (`$tag$ … $tag$`), if one starts here.
    fn heredoc_end(&self) -> Option<usize> {
        let rest = &self.text[self.at..];
        let tag_length = rest[1..].iter().position(|&b| b == b'$')? + 2;
        let tag = &rest[..tag_length];
        if !tag[1..tag_length - 1].iter().all(|&b| b.is_ascii_alphanumeric() || b == b'_') {
            return None;
        }
        let end = find(&rest[tag_length..], tag)?;
        Some(self.at + tag_length + end + tag_length)
    }

    fn word_end(&self) -> usize {
        let rest = &self.text[self.at..];
        self.at + rest.iter().position(|&b| !is_word(b)).unwrap_or(rest.len())
    }
}

impl Iterator for Lexer<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        self.skip_blank();
        let start = self.at;
        let first = self.peek(0)?;
        let mut depth = self.depth;
        let (kind, end) = match first {
            b'\'' => (Kind::Text, self.quoted_end(b'\'')),
            b'"' | b'`' => (Kind::Quoted, self.quoted_end(first)),
            0xe2 if self.text[start..].starts_with("‘".as_bytes()) => {
                (Kind::Text, self.typographic_end("’".as_bytes()))
            }
            0xe2 if self.text[start..].starts_with("“".as_bytes()) => {
                (Kind::Quoted, self.typographic_end("”".as_bytes()))
            }
            b'$' => match self.heredoc_end() {
                Some(end) => (Kind::Text, end),
                None => (Kind::Word, self.word_end()),
            },
            b'(' | b'[' | b'{' => {
                self.depth = self.depth.saturating_add(1);
                (Kind::Symbol(first), start + 1)
            }
            b')' | b']' | b'}' => {
                self.depth = self.depth.saturating_sub(1);
                depth = self.depth;
                (Kind::Symbol(first), start + 1)
            }
            _ if is_word(first) => (Kind::Word, self.word_end()),
            _ => (Kind::Symbol(first), start + 1),
        };
        self.at = end.min(self.text.len());
        Some(Token { kind, start, end: self.at, depth })
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$'
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        Lexer::new(text.as_bytes()).map(|t| text[t.start..t.end].to_owned()).collect()
    }

    #[test]
    fn steps_over_comments_and_literals() {
        assert_eq!(
            words("SELECT /* FORMAT x */ 'a\\'; -- b''c' -- d\n, `e``f\\``#! g\n, $h$ ; ' $h$ // i"),
            ["SELECT", "'a\\'; -- b''c'", ",", "`e``f\\``", ",", "$h$ ; ' $h$"]
        );
    }

    #[test]
    fn counts_brackets() {
        let depths: Vec<u32> = Lexer::new(b"a(b[c{d}])e").map(|t| t.depth).collect();
        assert_eq!(depths, [0, 0, 1, 1, 2, 2, 3, 2, 1, 0, 0]);
    }

    #[test]
    fn never_panics_on_torn_input() {
        for text in ["'", "\\", "'\\", "`", "/*", "--", "$", "$a", "$a$", "\u{2018}", "\u{201c}x", "))", "#"]
        {
            let _ = words(text);
            let _ = Lexer::new(&text.as_bytes()[..text.len() - 1]).count();
        }
        assert_eq!(Lexer::new(&[0xe2, 0x80, 0xff, 0xc2, 0xef, 0xbb]).count(), 6);
    }
}
