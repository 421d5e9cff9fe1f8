//! ClickHouse's lexer, as far as spans go: every byte of the text belongs to exactly one token.
//!
//! What this lexer and the engine's could read differently is refused, because a string that ends
//! elsewhere for the engine than for us would carry a whole query past every check: bytes outside
//! ASCII between tokens (the engine takes some as quotes or blanks), escapes in `x'…'` literals,
//! heredoc tags that are not words.

use crate::Refusal;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Blanks.
    Space,
    /// `-- …`, `# …`, `// …`, `/* … */`.
    Comment,
    /// A bare word: keyword or identifier.
    Word,
    /// A word in backticks or double quotes.
    Quoted,
    /// A string or heredoc.
    String,
    /// A number.
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
pub(crate) struct Token {
    pub kind: Kind,
    pub start: usize,
    pub end: usize,
}

/// Longest first.
const SYMBOLS: [&str; 14] =
    ["<=>", "::", "->", "<=", ">=", "!=", "<>", "==", "||", "@@", "|>", ":=", "=>", "<<"];

/// Cuts a text into tokens whose spans tile it.
pub(crate) fn tokenize(text: &str) -> Result<Vec<Token>, Refusal> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let (kind, end) = next(text, at)?;
        tokens.push(Token { kind, start: at, end });
        at = end;
    }
    Ok(tokens)
}

fn unreadable(at: usize, what: &str) -> Refusal {
    Refusal::Unreadable { at, what: what.to_owned() }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn next(text: &str, at: usize) -> Result<(Kind, usize), Refusal> {
    let bytes = text.as_bytes();
    let rest = bytes.get(at..).unwrap_or_default();
    let byte = rest.first().copied().unwrap_or_default();
    let second = rest.get(1).copied().unwrap_or_default();
    Ok(match byte {
        b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => {
            let end = run(bytes, at, |b| matches!(b, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c));
            (Kind::Space, end)
        }
        b'-' if second == b'-' => (Kind::Comment, line(bytes, at)),
        b'/' if second == b'/' => (Kind::Comment, line(bytes, at)),
        b'#' if matches!(second, b' ' | b'!') => (Kind::Comment, line(bytes, at)),
        b'/' if second == b'*' => (Kind::Comment, block_comment(bytes, at)?),
        b'\'' => (Kind::String, quoted(bytes, at)?),
        b'`' | b'"' => (Kind::Quoted, quoted(bytes, at)?),
        b'(' | b'[' | b'{' => (Kind::Open, at + 1),
        b')' | b']' | b'}' => (Kind::Close, at + 1),
        b'$' => heredoc_or_word(text, at)?,
        b'0'..=b'9' => (Kind::Number, number(bytes, at)),
        _ if is_word(byte) => word(bytes, at)?,
        b'!'..=b'~' => {
            let symbol = SYMBOLS.iter().find(|s| rest.starts_with(s.as_bytes()));
            (Kind::Symbol, at + symbol.map_or(1, |s| s.len()))
        }
        _ => return Err(unreadable(at, "a character that stands outside quotes in no query")),
    })
}

fn run(bytes: &[u8], at: usize, inside: impl Fn(u8) -> bool) -> usize {
    bytes.iter().skip(at).position(|&b| !inside(b)).map_or(bytes.len(), |n| at + n)
}

fn line(bytes: &[u8], at: usize) -> usize {
    run(bytes, at, |b| b != b'\n')
}

/// Comments nest.
fn block_comment(bytes: &[u8], at: usize) -> Result<usize, Refusal> {
    let mut depth = 0_usize;
    let mut i = at;
    while let Some(pair) = bytes.get(i..i + 2) {
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
    Err(unreadable(at, "a comment that never ends"))
}

/// A quote of any of the three kinds: a backslash takes the next byte with it, a doubled quote stays inside.
fn quoted(bytes: &[u8], at: usize) -> Result<usize, Refusal> {
    let quote = bytes.get(at).copied();
    let mut i = at + 1;
    while let Some(&byte) = bytes.get(i) {
        if byte == b'\\' {
            i += 2;
        } else if Some(byte) == quote {
            if bytes.get(i + 1).copied() != quote {
                return Ok(i + 1);
            }
            i += 2;
        } else {
            i += 1;
        }
    }
    Err(unreadable(at, "a quote that never ends"))
}

fn heredoc_or_word(text: &str, at: usize) -> Result<(Kind, usize), Refusal> {
    let rest = text.get(at..).unwrap_or_default();
    if let Some(tag_end) = rest.get(1..).and_then(|r| r.find('$')).map(|n| n + 2) {
        let tag = rest.get(..tag_end).unwrap_or_default();
        if let Some(body) = rest.get(tag_end..).and_then(|r| r.find(tag)) {
            if tag.bytes().all(|b| is_word(b) || b == b'$') {
                return Ok((Kind::String, at + tag_end + body + tag_end));
            }
            return Err(unreadable(at, "a heredoc whose tag is not a word"));
        }
    }
    let end = run(text.as_bytes(), at, |b| is_word(b) || b == b'$');
    Ok((Kind::Word, end))
}

fn word(bytes: &[u8], at: usize) -> Result<(Kind, usize), Refusal> {
    let end = run(bytes, at, |b| is_word(b) || b == b'$');
    if end == at + 1
        && bytes.get(end) == Some(&b'\'')
        && matches!(bytes.get(at), Some(b'x' | b'X' | b'b' | b'B' | b'n' | b'N'))
    {
        let close = run(bytes, end + 1, |b| b.is_ascii_hexdigit());
        if bytes.get(close) != Some(&b'\'') {
            return Err(unreadable(at, "a hex or binary literal with something else inside"));
        }
        return Ok((Kind::String, close + 1));
    }
    Ok((Kind::Word, end))
}

/// `1_000`, `0x1F`, `1.5e-3`; `1.` too. Tuple access (`t.1`) never comes here with its dot.
fn number(bytes: &[u8], at: usize) -> usize {
    let mut end = run(bytes, at, is_word);
    let hex = bytes.get(at) == Some(&b'0') && matches!(bytes.get(at + 1), Some(b'x' | b'X' | b'b' | b'B'));
    // After a dot the digits are a tuple's element: `t.1.2`.
    let element = at > 0 && bytes.get(at - 1) == Some(&b'.');
    if !hex && !element && bytes.get(end) == Some(&b'.') {
        end = run(bytes, end + 1, is_word);
    }
    let exponent = matches!(bytes.get(end - 1), Some(b'e' | b'E'));
    if !hex && exponent && matches!(bytes.get(end), Some(b'+' | b'-')) {
        end = run(bytes, end + 1, is_word);
    }
    end
}

/// A name as the engine sees it: quotes off, escapes undone. `None` for escapes beyond the plain ones.
pub(crate) fn unquote(text: &str) -> Option<String> {
    let quote = text.chars().next()?;
    if !matches!(quote, '`' | '"' | '\'') {
        return Some(text.to_owned());
    }
    let inner = text.get(1..text.len().checked_sub(1)?)?;
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        if c == '\\' {
            match chars.next()? {
                c @ ('\\' | '\'' | '`' | '"') => out.push(c),
                _ => return None,
            }
        } else {
            out.push(c);
            if c == quote {
                chars.next();
            }
        }
    }
    Some(out)
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
        assert_eq!(unquote("`a``b\\``"), Some("a`b`".into()));
    }

    #[test]
    fn refuses_what_two_lexers_could_read_two_ways() {
        for bad in
            ["'", "`a", "/* /* */", r"x'\' , file('a') -- '", "\u{a0}", "‘a’", "$a b$ x $a b$", "\u{1}"]
        {
            assert!(tokenize(bad).is_err(), "{bad:?}");
        }
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
