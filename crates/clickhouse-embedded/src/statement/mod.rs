//! What a request's SQL is, as far as the engine's C interface makes us care.
//!
//! libchdb has no call that says "run this and stream whatever comes out": a query's output streams
//! through `INTO OUTFILE` (see [`crate::output_pipe`]), an insert's data go in by a call of their own, and
//! everything else is one call with a small answer. So we must know which of the three a text is, where
//! a query's `FORMAT` stands, and where an insert's data begin. The engine still parses everything
//! itself: a wrong guess here is a syntax error there, never another meaning.

pub mod insert;
pub mod lexer;
pub mod query;

use crate::failure::{Failure, code};
pub use insert::Insert;
use lexer::{Lexer, Token};
pub use query::Query;

/// A statement, by the way it is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// Has an output that may be large: SELECT, SHOW, DESCRIBE, EXISTS, EXPLAIN.
    Query(Query),
    /// An INSERT whose data stand behind it.
    Insert(Insert),
    /// `KILL QUERY …`: its `query_id` means ours.
    Kill,
    /// Anything else: DDL, SET, INSERT … SELECT, SYSTEM, CHECK.
    Command,
}

/// Words that begin a statement with an output.
const QUERY_WORDS: [&str; 7] = ["SELECT", "WITH", "FROM", "SHOW", "DESCRIBE", "DESC", "EXISTS"];

/// Finds out what `text` is. `whole` says that nothing follows `text`; when it is false and `text` turns
/// out not to be an insert, the query is longer than allowed.
///
/// # Errors
/// A [`Failure`] with ClickHouse's code: empty (62), several statements (62), too long (62), `INTO
/// OUTFILE` (348) and `FROM INFILE` (36), which belong to the client's file system.
pub fn parse(text: &[u8], whole: bool) -> Result<Statement, Failure> {
    let mut lexer = Lexer::new(text);
    let Some(first) = lexer.next() else {
        return Err(Failure::new(code::SYNTAX_ERROR, "Syntax error: Empty query"));
    };
    if first.is(text, "INSERT")
        && let Some(insert) = insert::parse(text, lexer)?
    {
        return Ok(Statement::Insert(insert));
    }
    if !whole {
        return Err(Failure::new(
            code::SYNTAX_ERROR,
            "Max query size exceeded (can be increased with the `max_query_size` setting)",
        ));
    }
    let tokens = single_statement(text)?;
    let is_query = first.is_symbol(b'(')
        || first.is(text, "EXPLAIN")
        || QUERY_WORDS.iter().any(|word| first.is(text, word)) && !inserts_after_with(text, &tokens);
    if is_query {
        return query::parse(text, &tokens).map(Statement::Query);
    }
    if first.is(text, "KILL") {
        return Ok(Statement::Kill);
    }
    refuse_client_words(text, &tokens)?;
    Ok(Statement::Command)
}

/// The tokens of a text that must hold one statement; trailing semicolons are left out.
fn single_statement(text: &[u8]) -> Result<Vec<Token>, Failure> {
    let mut tokens: Vec<Token> = Lexer::new(text).collect();
    while tokens.last().is_some_and(|token| token.is_symbol(b';')) {
        tokens.pop();
    }
    if let Some(semicolon) = tokens.iter().find(|token| token.is_symbol(b';')) {
        return Err(Failure::new(
            code::SYNTAX_ERROR,
            format!("Syntax error (Multi-statements are not allowed): failed at position {}", semicolon.end),
        ));
    }
    if tokens.is_empty() {
        return Err(Failure::new(code::SYNTAX_ERROR, "Syntax error: Empty query"));
    }
    Ok(tokens)
}

/// `WITH … INSERT INTO …`: an insert in spite of its first word.
fn inserts_after_with(text: &[u8], tokens: &[Token]) -> bool {
    tokens[0].is(text, "WITH")
        && tokens
            .iter()
            .filter(|token| token.depth == 0)
            .find(|token| token.is(text, "SELECT") || token.is(text, "INSERT"))
            .is_some_and(|token| token.is(text, "INSERT"))
}

/// The library is ClickHouse's command line inside: `exit`, `quit`, `q` and the like are words to it, not
/// syntax errors. Nothing that ClickHouse's server runs is a single token, but for transactions.
fn refuse_client_words(text: &[u8], tokens: &[Token]) -> Result<(), Failure> {
    let [only] = tokens else { return Ok(()) };
    if ["BEGIN", "COMMIT", "ROLLBACK"].iter().any(|word| only.is(text, word)) {
        return Ok(());
    }
    let word = String::from_utf8_lossy(&text[only.start..only.end]).into_owned();
    Err(Failure::new(
        code::SYNTAX_ERROR,
        format!("Syntax error: failed at position {} ({word}): not a statement", only.start + 1),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_the_kinds_apart() {
        let kind = |sql: &str| match parse(sql.as_bytes(), true) {
            Ok(Statement::Query(_)) => "query",
            Ok(Statement::Insert(_)) => "insert",
            Ok(Statement::Kill) => "kill",
            Ok(Statement::Command) => "command",
            Err(failure) => {
                if failure.code == 62 {
                    "62"
                } else {
                    "refused"
                }
            }
        };
        for (sql, expected) in [
            ("select 1", "query"),
            ("-- x\n(select 1) union all (select 2);", "query"),
            ("with 1 as x select x", "query"),
            ("from t select a", "query"),
            ("explain select 1 format JSON", "query"),
            ("with x as (select 1) insert into t select * from x", "command"),
            ("insert into t values (1)", "insert"),
            ("insert into t format CSV\n1;2;3", "insert"),
            ("insert into t select 1", "command"),
            ("create table t (a UInt8) engine=Memory", "command"),
            ("kill query where query_id='x'", "kill"),
            ("select 1; select 2", "62"),
            ("", "62"),
            (" ; ;", "62"),
            ("quit", "62"),
            ("q;", "62"),
            ("select 1 into outfile 'x'", "refused"),
            ("insert into t from infile 'x' format CSV", "refused"),
        ] {
            assert_eq!(kind(sql), expected, "{sql}");
        }
    }
}
