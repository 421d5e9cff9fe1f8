//! A statement's significant tokens, and the questions that all who read SQL text ask of them.
//!
//! Reading refuses what [`crate::lexer`] reads as the engine of today does, but others may not: quotes
//! and blanks beyond ASCII, heredocs whose tag is not a word, words that begin with a dollar.

use std::ops::Range;

use crate::{
    MAX_DEPTH, MAX_QUERY_BYTES, Refused,
    lexer::{LexError, Lexer},
    quote::resolve,
    token::{Kind, Token},
};

/// A text's significant tokens (no blanks, no comments), with each bracket's mate.
#[derive(Debug, Clone)]
pub struct Tokens {
    text: String,
    list: Vec<Token>,
    /// Index of the other bracket; the token's own index for everything else.
    mates: Vec<usize>,
}

impl Tokens {
    /// Reads a text: no byte lost, brackets in pairs, trailing semicolons taken off.
    ///
    /// # Errors
    /// What is no single statement, cannot be read, is too long or too deep, or has a token that engines
    /// of different versions read in different ways ([`Refused::Unreadable`]).
    pub fn read(text: &str) -> Result<Self, Refused> {
        if text.len() > MAX_QUERY_BYTES {
            return Err(Refused::TooLong { bytes: text.len(), limit: MAX_QUERY_BYTES });
        }
        let mut list = Vec::new();
        for token in Lexer::new(text.as_bytes()) {
            let token = token?;
            if let Some(what) = doubtful(token.kind, text.get(token.start..token.end).unwrap_or_default()) {
                return Err(LexError { at: token.start, what }.into());
            }
            if !matches!(token.kind, Kind::Space | Kind::Comment) {
                list.push(token);
            }
        }
        let is_semicolon = |t: &Token| text.get(t.start..t.end) == Some(";");
        while list.last().is_some_and(is_semicolon) {
            list.pop();
        }
        if list.iter().any(is_semicolon) {
            return Err(Refused::MultipleStatements);
        }
        let mates = pair(text, &list)?;
        Ok(Self { text: text.to_owned(), list, mates })
    }

    /// The text as it came.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text up to its last token: without semicolons and comments at its end, so that a clause can
    /// be put behind it.
    pub fn statement(&self) -> &str {
        self.text.get(..self.end(self.len())).unwrap_or_default()
    }

    /// There is no token.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many tokens there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// The text of token `i`; empty past the end.
    pub fn at(&self, i: usize) -> &str {
        self.list.get(i).and_then(|t| self.text.get(t.start..t.end)).unwrap_or_default()
    }

    /// What token `i` is; `None` past the end.
    pub fn kind(&self, i: usize) -> Option<Kind> {
        self.list.get(i).map(|t| t.kind)
    }

    /// Token `i` is this keyword (bare, any case).
    pub fn is(&self, i: usize, keyword: &str) -> bool {
        self.kind(i) == Some(Kind::Word) && self.at(i).eq_ignore_ascii_case(keyword)
    }

    /// Token `i` is one of these keywords.
    pub fn is_any(&self, i: usize, keywords: &[&str]) -> bool {
        self.kind(i) == Some(Kind::Word) && keywords.iter().any(|k| self.at(i).eq_ignore_ascii_case(k))
    }

    /// Token `i` is this bracket or operator.
    pub fn sym(&self, i: usize, symbol: &str) -> bool {
        matches!(self.kind(i), Some(Kind::Open | Kind::Close | Kind::Symbol)) && self.at(i) == symbol
    }

    /// Token `i` is a bare or quoted name.
    pub fn is_name(&self, i: usize) -> bool {
        matches!(self.kind(i), Some(Kind::Word | Kind::Quoted))
    }

    /// The name at `i` as the engine resolves it: quotes off, escapes undone.
    pub fn name(&self, i: usize) -> String {
        resolve(self.at(i)).unwrap_or_else(|| self.at(i).to_owned())
    }

    /// The bracket that closes (or opens) the one at `i`.
    pub fn mate(&self, i: usize) -> usize {
        self.mates.get(i).copied().unwrap_or(i)
    }

    /// First token after `i`, brackets stepped over whole.
    pub fn step(&self, i: usize) -> usize {
        if self.kind(i) == Some(Kind::Open) { self.mate(i) + 1 } else { i + 1 }
    }

    /// Pieces of a span between commas outside brackets; empty pieces left out.
    pub fn commas(&self, span: Range<usize>) -> Vec<Range<usize>> {
        let mut out = Vec::new();
        let (mut from, mut i) = (span.start, span.start);
        while i < span.end {
            if self.sym(i, ",") {
                out.push(from..i);
                from = i + 1;
            }
            i = self.step(i);
        }
        out.push(from..span.end);
        out.retain(|s| s.start < s.end);
        out
    }

    /// Bytes of tokens `from..to`, blanks and comments between them included.
    pub fn slice(&self, from: usize, to: usize) -> &str {
        if from >= to {
            return "";
        }
        match (self.list.get(from), self.list.get(to - 1)) {
            (Some(first), Some(last)) => self.text.get(first.start..last.end).unwrap_or_default(),
            _ => "",
        }
    }

    /// First byte of token `i`; the end of the last token when past it.
    pub fn start(&self, i: usize) -> usize {
        self.list.get(i).map_or_else(|| self.end(self.len()), |t| t.start)
    }

    /// Byte after token `i - 1`.
    pub fn end(&self, i: usize) -> usize {
        i.checked_sub(1).and_then(|i| self.list.get(i)).or(self.list.last()).map_or(0, |t| t.end)
    }

    /// A query begins at `i`, perhaps behind brackets.
    pub fn starts_query(&self, mut i: usize) -> bool {
        while self.sym(i, "(") {
            i += 1;
        }
        self.is_any(i, &["SELECT", "WITH"]) || (self.is(i, "FROM") && i > 0 && self.sym(i - 1, "("))
    }

    /// Token `i` ends an operand: an operator, alias or clause may follow.
    pub fn ends_operand(&self, i: usize) -> bool {
        match self.kind(i) {
            Some(Kind::Quoted | Kind::String | Kind::Number | Kind::Close) => true,
            Some(Kind::Word) => !self.is_any(i, OPERATOR_WORDS),
            _ => false,
        }
    }
}

/// Words after which an operand is still to come.
const OPERATOR_WORDS: &[&str] = &[
    "SELECT",
    "DISTINCT",
    "FROM",
    "WHERE",
    "PREWHERE",
    "BY",
    "HAVING",
    "QUALIFY",
    "ON",
    "AND",
    "OR",
    "NOT",
    "IN",
    "LIKE",
    "ILIKE",
    "BETWEEN",
    "AS",
    "WHEN",
    "THEN",
    "ELSE",
    "CASE",
    "MOD",
    "DIV",
    "INTERVAL",
    "ALL",
    "WITH",
    "LIMIT",
    "OFFSET",
    "IS",
    "REGEXP",
    "GLOBAL",
    "UNION",
    "EXCEPT",
    "INTERSECT",
    "JOIN",
    "APPLY",
    "REPLACE",
    "USING",
];

const UNMATED: &str = "a bracket without its mate";

/// Why a token is refused although the engine of today can read it.
fn doubtful(kind: Kind, token: &str) -> Option<&'static str> {
    match kind {
        Kind::Space | Kind::Symbol if !token.is_ascii() => {
            Some("a character that stands outside quotes in no query")
        }
        Kind::String | Kind::Quoted if token.starts_with(['‘', '“']) => Some("quotes that are not ASCII"),
        Kind::String if token.starts_with('$') => {
            let tag = token.get(1..).and_then(|rest| rest.split('$').next()).unwrap_or_default();
            let word = tag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            (!word).then_some("a heredoc whose tag is not a word")
        }
        // A splice that repeats it could make a heredoc.
        Kind::Word | Kind::Symbol if token.starts_with('$') => Some("a dollar at the beginning of a word"),
        Kind::Symbol if token == "\\G" => Some("\\G"),
        Kind::Quoted if resolve(token).is_none() => Some("a name whose escapes make no text"),
        _ => None,
    }
}

fn pair(text: &str, list: &[Token]) -> Result<Vec<usize>, Refused> {
    let mut mates: Vec<usize> = (0..list.len()).collect();
    let mut open = Vec::new();
    for (i, token) in list.iter().enumerate() {
        let bracket = text.get(token.start..token.end).unwrap_or_default();
        match token.kind {
            Kind::Open if open.len() >= MAX_DEPTH => return Err(Refused::TooDeep(MAX_DEPTH)),
            Kind::Open => open.push((i, bracket)),
            Kind::Close => {
                let right =
                    open.pop().filter(|(_, o)| matches!((*o, bracket), ("(", ")") | ("[", "]") | ("{", "}")));
                let Some((mate, _)) = right else {
                    return Err(LexError { at: token.start, what: UNMATED }.into());
                };
                for (a, b) in [(i, mate), (mate, i)] {
                    if let Some(slot) = mates.get_mut(a) {
                        *slot = b;
                    }
                }
            }
            _ => {}
        }
    }
    match open.first().and_then(|(i, _)| list.get(*i)) {
        Some(token) => Err(LexError { at: token.start, what: UNMATED }.into()),
        None => Ok(mates),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_two_lexers_could_read_two_ways() {
        for bad in
            ["'", "`a", "/* /* */", r"x'\' , file('a') -- '", "\u{a0}", "‘a’", "$a b$ x $a b$", "\u{1}"]
        {
            assert!(Tokens::read(bad).is_err(), "{bad:?}");
        }
        for bad in ["“a”", "1 \u{2212} 1", "$a", "$a$", "$", "1\\G", r"`\xff`", "(", ")", "(]", "1; 2"] {
            assert!(Tokens::read(bad).is_err(), "{bad:?}");
        }
        assert!(Tokens::read("$$ it's $$, $x$ $ $$ $x$, a$x$ ; -- 'é").is_ok());
    }

    #[test]
    fn limits_hold() {
        let deep = format!("{}1{}", "(".repeat(MAX_DEPTH + 1), ")".repeat(MAX_DEPTH + 1));
        assert_eq!(Tokens::read(&deep).unwrap_err(), Refused::TooDeep(MAX_DEPTH));
        let long = " ".repeat(MAX_QUERY_BYTES + 1);
        assert!(matches!(Tokens::read(&long), Err(Refused::TooLong { .. })));
        // A word with a dollar costs a search to the end of the text; many of them must not.
        let began = std::time::Instant::now();
        let dollars: String = (0..100_000).map(|n| format!("${n} ")).collect();
        assert!(Tokens::read(&dollars).is_err() && began.elapsed().as_secs() < 5);
    }

    #[test]
    fn names_are_resolved_and_brackets_mated() {
        let t = Tokens::read(r"f(`\x66ile`, [1]) -- x").unwrap();
        assert_eq!((t.name(2).as_str(), t.mate(1), t.step(1), t.mate(0)), ("file", 7, 8, 0));
        assert_eq!((t.slice(1, 4), t.statement()), (r"(`\x66ile`,", r"f(`\x66ile`, [1])"));
    }
}
