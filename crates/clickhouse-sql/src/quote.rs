//! Names and texts as they stand in SQL, and back.
//!
//! Backslash escapes hold inside backticks, double quotes and single quotes alike, so all of them must
//! escape the backslash as well as the quote. Reading undoes what `readAnyQuotedStringInto` and
//! `parseComplexEscapeSequence` (`src/IO/ReadHelpers.cpp`) undo, so that a name is judged by what it is
//! for the engine and not by its spelling: `` `\x66ile` `` is `file`.

/// `name` as a back-quoted identifier.
pub fn ident(name: &str) -> String {
    quoted(name, '`')
}

/// `text` as a single-quoted string literal.
pub fn string(text: &str) -> String {
    quoted(text, '\'')
}

fn quoted(text: &str, quote: char) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\0' => out.push_str("\\0"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

/// What a name or string token is for the engine: quotes off, escapes undone; a bare word is itself.
/// `None` when that is no UTF-8, or the token is not whole.
pub fn resolve(token: &str) -> Option<String> {
    let quote = token.chars().next()?;
    let close = match quote {
        '`' | '"' | '\'' => quote,
        '‘' => '’',
        '“' => '”',
        _ => return Some(token.to_owned()),
    };
    let inner = token.strip_prefix(quote)?.strip_suffix(close)?;
    // Inside ‘…’ and “…” nothing is escaped.
    if close != quote { Some(inner.to_owned()) } else { unescape(inner.as_bytes(), quote as u8) }
}

fn unescape(inner: &[u8], quote: u8) -> Option<String> {
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner.iter().copied();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            out.push(byte);
            if byte == quote {
                rest.next();
            }
            continue;
        }
        match rest.next()? {
            b'x' => {
                let digits = [rest.next()?, rest.next()?];
                let digits = std::str::from_utf8(&digits).ok()?;
                out.push(u8::from_str_radix(digits, 16).ok()?);
            }
            // NULL's spelling in a text is nothing at all.
            b'N' => {}
            escaped => {
                let meant = escape(escaped);
                // An unknown escape keeps its backslash: '100\%'.
                if !matches!(meant, b'\\' | b'`' | b'"' | b'\'' | b'/') && !meant.is_ascii_control() {
                    out.push(b'\\');
                }
                out.push(meant);
            }
        }
    }
    String::from_utf8(out).ok()
}

fn escape(byte: u8) -> u8 {
    match byte {
        b'a' => 0x07,
        b'b' => 0x08,
        b'e' => 0x1b,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 0x0b,
        b'0' => 0,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quotes_and_backslashes_cannot_break_out() {
        assert_eq!(ident("a`b\\"), "`a\\`b\\\\`");
        assert_eq!(string("it's \\ \n"), "'it\\'s \\\\ \\n'");
        assert_eq!(string("it's \\"), "'it\\'s \\\\'");
    }

    #[test]
    fn a_name_is_what_the_engine_makes_of_it() {
        for (token, name) in [
            ("a`b", "a`b"),
            ("`a``b\\``", "a`b`"),
            (r"`\x66ile`", "file"),
            (r#""fi\Nle""#, "file"),
            (r#""fi\x6Ce""#, "file"),
            (r"'100\%\d\/\e\0'", "100\\%\\d/\x1b\0"),
            (r"'\'\`\x27''é'", "'`''é"),
            ("“a`b”", "a`b"),
            ("‘it's’", "it's"),
        ] {
            assert_eq!(resolve(token).as_deref(), Some(name), "{token}");
        }
        for broken in [r"`\xff`", r"`\xf`", r"`\xzz`", "`a", "`", ""] {
            assert_eq!(resolve(broken), None, "{broken}");
        }
    }

    proptest! {
        #[test]
        fn what_is_quoted_is_one_token_and_comes_back(text in any::<String>()) {
            for quoted in [ident(&text), string(&text)] {
                prop_assert_eq!(crate::lexer::tokenize(&quoted).unwrap().len(), 1);
                prop_assert_eq!(resolve(&quoted), Some(text.clone()));
            }
        }
    }
}
