//! An INSERT with data behind it: where its head ends, in which format the data are, where they begin.
//!
//! Follows ClickHouse's `ParserInsertQuery`: `INSERT INTO [TABLE] [FUNCTION] name [(columns)] [SETTINGS …]
//! (VALUES … | FORMAT name … | SELECT …)`.

use super::lexer::{Kind, Lexer, Token};
use crate::failure::{Failure, code};

/// The head of an insert, and the place of its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Insert {
    /// `INSERT INTO … (columns) SETTINGS …`, without `FORMAT` or `VALUES`.
    pub head: Vec<u8>,
    /// The data's format; `Values` when the text names none.
    pub format: String,
    /// Where the data begin in the text.
    pub data_start: usize,
}

/// Parses what follows `INSERT`. `None`: an INSERT … SELECT, which has no data behind it.
///
/// # Errors
/// 36 for `FROM INFILE` (a file of the client), 48 for `SELECT … FROM input(…)`, which the library drops
/// silently (measured with 26.7.3).
pub fn parse(text: &[u8], lexer: Lexer<'_>) -> Result<Option<Insert>, Failure> {
    let mut tokens = lexer.peekable();
    for word in ["INTO", "TABLE", "FUNCTION"] {
        tokens.next_if(|token| token.is(text, word));
    }
    // The name, which may be any word, even `format`: parts joined by dots.
    tokens.next_if(Token::is_name);
    while tokens.next_if(|token| token.is_symbol(b'.')).is_some() {
        tokens.next_if(Token::is_name);
    }
    let mut head_end = text.len();
    while let Some(token) = tokens.next() {
        if token.depth > 0 {
            continue;
        }
        if token.is(text, "VALUES") {
            let (head, data_start) = (text[..token.start].to_vec(), token.end);
            return Ok(Some(Insert { head, format: "Values".into(), data_start }));
        }
        if token.is(text, "FORMAT") && tokens.peek().is_some_and(Token::is_name) {
            let Some(name) = tokens.next() else { break };
            return with_format(text, &token, &name).map(Some);
        }
        if token.is(text, "INFILE") {
            return Err(Failure::new(
                code::BAD_ARGUMENTS,
                "FROM INFILE names a file of the client: send its bytes",
            ));
        }
        let selects =
            |token: &Token| token.is(text, "SELECT") || token.is(text, "WITH") || token.is(text, "WATCH");
        if selects(&token) || token.is_symbol(b'(') && tokens.peek().is_some_and(selects) {
            return refuse_input(text, tokens).map(|()| None);
        }
        if token.is_symbol(b';') {
            head_end = token.start;
            break;
        }
    }
    Ok(Some(Insert { head: text[..head_end].to_vec(), format: "Values".into(), data_start: text.len() }))
}

fn with_format(text: &[u8], clause: &Token, name: &Token) -> Result<Insert, Failure> {
    let raw = &text[name.start..name.end];
    let raw = if name.kind == Kind::Quoted && raw.len() >= 2 { &raw[1..raw.len() - 1] } else { raw };
    let mut at = name.end;
    // White space on the format's line, then one line end: the rest is data, byte for byte.
    while matches!(text.get(at), Some(b' ' | b'\t' | 0x0c)) {
        at += 1;
    }
    if text.get(at) == Some(&b';') {
        return Err(Failure::new(
            code::SYNTAX_ERROR,
            "You have excessive ';' symbol before data for INSERT.",
        ));
    }
    if text.get(at) == Some(&b'\r') {
        at += 1;
    }
    if text.get(at) == Some(&b'\n') {
        at += 1;
    }
    let head = text[..clause.start].to_vec();
    Ok(Insert { head, format: String::from_utf8_lossy(raw).into_owned(), data_start: at })
}

fn refuse_input(text: &[u8], tokens: impl Iterator<Item = Token>) -> Result<(), Failure> {
    let mut after_input = false;
    for token in tokens {
        if after_input && token.is_symbol(b'(') {
            return Err(Failure::new(
                code::NOT_IMPLEMENTED,
                "INSERT … SELECT … FROM input(…) is not supported by the embedded engine: insert into the table directly",
            ));
        }
        after_input = token.is(text, "input");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Statement, parse};

    fn parts(sql: &str) -> Option<(String, String, String)> {
        match parse(sql.as_bytes(), true) {
            Ok(Statement::Insert(insert)) => Some((
                String::from_utf8(insert.head).unwrap(),
                insert.format,
                sql[insert.data_start..].to_owned(),
            )),
            Ok(Statement::Command) => None,
            other => panic!("{sql}: {other:?}"),
        }
    }

    #[test]
    fn finds_head_format_and_data() {
        let owned = |a: &str, b: &str, c: &str| Some((a.to_owned(), b.to_owned(), c.to_owned()));
        assert_eq!(parts("INSERT INTO t FORMAT CSV\n1;2"), owned("INSERT INTO t ", "CSV", "1;2"));
        assert_eq!(parts("insert t format Native \r\n\n x"), owned("insert t ", "Native", "\n x"));
        assert_eq!(
            parts("INSERT INTO `a`.format (b, c) SETTINGS x='FORMAT y' VALUES (1, 'FORMAT');"),
            owned("INSERT INTO `a`.format (b, c) SETTINGS x='FORMAT y' ", "Values", " (1, 'FORMAT');")
        );
        assert_eq!(
            parts("INSERT INTO FUNCTION null('a UInt8') VALUES (1)"),
            owned("INSERT INTO FUNCTION null('a UInt8') ", "Values", " (1)")
        );
        assert_eq!(parts("INSERT INTO t (a)"), owned("INSERT INTO t (a)", "Values", ""));
        assert_eq!(parts("INSERT INTO t (SELECT 1)"), None);
        assert_eq!(parts("INSERT INTO t (a) WITH 1 AS x SELECT x"), None);
    }

    #[test]
    fn refuses_what_would_be_lost() {
        let sql = b"INSERT INTO t SELECT * FROM input('a UInt8') FORMAT CSV 1";
        assert_eq!(parse(sql, true).unwrap_err().code, 48);
    }
}
