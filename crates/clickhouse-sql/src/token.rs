//! What a text is made of.

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Blanks, Unicode's among them.
    Space,
    /// `-- …`, `# …`, `#! …`, `// …`, `/* … */`.
    Comment,
    /// A bare word: keyword or identifier. It may begin with a digit.
    Word,
    /// A name in backticks, double quotes or `“…”`.
    Quoted,
    /// A string: `'…'`, `‘…’`, `x'…'`, `b'…'` or a heredoc.
    String,
    /// A number without its sign.
    Number,
    /// `(`, `[` or `{`.
    Open,
    /// `)`, `]` or `}`.
    Close,
    /// An operator, comma, dot or semicolon.
    Symbol,
}

/// One token: bytes `start..end` of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// First byte.
    pub start: usize,
    /// Byte after the last.
    pub end: usize,
}

/// A byte that may stand in a bare word.
pub(crate) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}
