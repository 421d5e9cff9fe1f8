//! A statement with an output: where `FORMAT` stands, so that the output can be led into a pipe.

use super::lexer::{Kind, Token};
use crate::failure::{Failure, code};

/// A query's text in three parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Everything before `FORMAT` (or the whole text, without trailing semicolons).
    pub body: Vec<u8>,
    /// The format it names itself.
    pub format: Option<String>,
    /// The settings behind `FORMAT … SETTINGS`.
    pub settings: Option<Vec<u8>>,
    /// Whether it is a SELECT (and not a SHOW, DESCRIBE, EXISTS or EXPLAIN).
    pub is_select: bool,
}

impl Query {
    /// Makes the query itself carry read-only `level`, on a connection that cannot be given it for good.
    pub fn narrow(&mut self, level: u8) {
        if level > 0 {
            let settings = self.settings.get_or_insert_default();
            if !settings.is_empty() {
                settings.push(b',');
            }
            settings.extend_from_slice(format!(" readonly = {level}").as_bytes());
        }
    }
}

/// Takes a query apart. `tokens` are all its tokens, without trailing semicolons.
///
/// # Errors
/// 348 (INTO OUTFILE is not allowed): the file would be ours, not the caller's.
pub fn parse(text: &[u8], tokens: &[Token]) -> Result<Query, Failure> {
    let outer: Vec<&Token> = tokens.iter().filter(|token| token.depth == 0).collect();
    if outer.windows(2).any(|pair| pair[0].is(text, "INTO") && pair[1].is(text, "OUTFILE")) {
        return Err(Failure::new(code::INTO_OUTFILE_NOT_ALLOWED, "INTO OUTFILE is not allowed"));
    }
    let first = &tokens[0];
    let is_select =
        !["SHOW", "DESCRIBE", "DESC", "EXISTS", "EXPLAIN"].iter().any(|word| first.is(text, word));
    let end = tokens.last().map_or(text.len(), |token| token.end);
    let Some(at) = (1..outer.len()).rev().find(|&at| is_format_clause(text, &outer, at)) else {
        return Ok(Query { body: text[..end].to_vec(), format: None, settings: None, is_select });
    };
    let name = outer[at + 1];
    let settings = outer.get(at + 2).map(|settings| text[settings.end..end].to_vec());
    Ok(Query {
        body: text[..outer[at].start].to_vec(),
        format: Some(unquoted(text, name)),
        settings,
        is_select,
    })
}

/// `FORMAT <name>` at the end, or before the last `SETTINGS`, and not a column or table called format.
fn is_format_clause(text: &[u8], outer: &[&Token], at: usize) -> bool {
    let ends = match outer.get(at + 2) {
        None => true,
        Some(next) => next.is(text, "SETTINGS"),
    };
    let before = outer[at - 1];
    let names_something =
        ["FROM", "JOIN", "AS", "SELECT", "BY", "WHERE", "AND", "OR", "NOT", "DISTINCT", "TABLE"]
            .iter()
            .any(|word| before.is(text, word));
    let operand = matches!(before.kind, Kind::Symbol(symbol) if !matches!(symbol, b')' | b']' | b'}' | b'*'));
    ends && outer[at].is(text, "FORMAT")
        && outer.get(at + 1).is_some_and(|name| name.is_name())
        && !names_something
        && !operand
}

fn unquoted(text: &[u8], name: &Token) -> String {
    let raw = &text[name.start..name.end];
    let inner = if name.kind == Kind::Quoted && raw.len() >= 2 { &raw[1..raw.len() - 1] } else { raw };
    String::from_utf8_lossy(inner).into_owned()
}

#[cfg(test)]
mod tests {
    use super::super::{Statement, parse};

    fn parts(sql: &str) -> (String, Option<String>, Option<String>) {
        match parse(sql.as_bytes(), true) {
            Ok(Statement::Query(query)) => (
                String::from_utf8(query.body).unwrap(),
                query.format,
                query.settings.map(|settings| String::from_utf8(settings).unwrap()),
            ),
            other => panic!("{sql}: {other:?}"),
        }
    }

    #[test]
    fn finds_the_format() {
        let json = || Some("JSON".to_owned());
        assert_eq!(parts("SELECT 1 FORMAT JSON"), ("SELECT 1 ".into(), json(), None));
        assert_eq!(parts("SELECT 1 format `JSON` ; -- x"), ("SELECT 1 ".into(), json(), None));
        assert_eq!(
            parts("SELECT 1 FORMAT JSON SETTINGS max_threads = 1;"),
            ("SELECT 1 ".into(), json(), Some(" max_threads = 1".into()))
        );
        assert_eq!(
            parts("SELECT 1 SETTINGS max_threads = 1 FORMAT JSON"),
            ("SELECT 1 SETTINGS max_threads = 1 ".into(), json(), None)
        );
        assert_eq!(parts("SELECT * FORMAT JSON"), ("SELECT * ".into(), json(), None));
        assert_eq!(parts("SELECT [1] FORMAT JSON"), ("SELECT [1] ".into(), json(), None));
    }

    #[test]
    fn leaves_what_is_only_called_format() {
        for sql in [
            "SELECT format FROM t",
            "SELECT x FROM format t",
            "SELECT a AS format",
            "SELECT format('{}', 1)",
            "SELECT 'FORMAT JSON'",
            "SELECT (SELECT 1 FORMAT JSON)",
            "SELECT t.format x",
            "SELECT 1, format x",
        ] {
            assert_eq!(parts(sql), (sql.to_owned(), None, None));
        }
    }
}
