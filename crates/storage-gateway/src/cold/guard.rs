//! A look at SQL text before it goes to the engine.
//!
//! The engine itself is a guard (`readonly=1` refuses writes, settings and most sources outside). This
//! is the second one, for what the first lets through: it reads the text as the engine's own lexer does
//! and holds it against [`clickhouse_sql::judge`], as the other tier does with a caller's text. It never
//! rewrites text.

use clickhouse_sql::{Kind, Refused, Tokens, judge, tokenize};

use crate::error::GatewayError;

/// Longest text of a column's type or a table's key, bytes.
const MAX_DEFINITION_BYTES: usize = 65_536;

impl From<Refused> for GatewayError {
    fn from(why: Refused) -> Self {
        Self::RefusedQuery(why.to_string())
    }
}

/// Checks that `sql` is one SELECT that stays inside the engine's tables; answers it without what stands
/// around it: semicolons, blanks, comments.
pub fn check_select(sql: &str) -> Result<&str, GatewayError> {
    let t = Tokens::read(sql)?;
    let first = (0..t.len()).find(|i| !t.sym(*i, "(")).unwrap_or_default();
    let inserts = (0..t.len()).any(|i| t.is(i, "INSERT") && t.is(i + 1, "INTO"));
    if !t.is_any(first, &["SELECT", "WITH"]) || inserts {
        return Err(GatewayError::RefusedQuery("only one SELECT is answered here".into()));
    }
    judge::check(&t)?;
    Ok(sql.get(t.start(0)..t.end(t.len())).unwrap_or_default())
}

/// Whether `text` is a type as `system.columns` prints one: a name, then at most one bracketed group.
pub fn is_type(text: &str) -> bool {
    definition(text).is_some_and(|t| {
        let named = t.kind(0) == Some(Kind::Word);
        named && (t.len() == 1 || (t.sym(1, "(") && t.mate(1) + 1 == t.len()))
    })
}

/// Whether `text` is one expression (or a list of them): balanced, no comment, no semicolon, and no
/// function that reaches outside.
pub fn is_expression(text: &str) -> bool {
    definition(text).is_some_and(|t| !t.is_empty())
}

/// The tokens of a piece of a table's definition.
fn definition(text: &str) -> Option<Tokens> {
    let tokens = tokenize(text).ok().filter(|_| text.len() <= MAX_DEFINITION_BYTES)?;
    let plain = |kind, text| kind != Kind::Comment && text != Some(";");
    if !tokens.iter().all(|token| plain(token.kind, text.get(token.start..token.end))) {
        return None;
    }
    Tokens::read(text).ok().filter(|t| judge::functions(t).is_ok())
}

#[cfg(test)]
#[path = "../../../clickhouse-sql/tests/corpus/mod.rs"]
mod corpus;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_attack_gets_past_and_no_innocent_text_is_held_up() {
        let passed: Vec<_> = corpus::ATTACKS.iter().filter(|sql| check_select(sql).is_ok()).collect();
        assert!(passed.is_empty(), "passed: {passed:#?}");
        let refused: Vec<_> =
            corpus::INNOCENT.iter().filter_map(|sql| check_select(sql).err().map(|e| (sql, e))).collect();
        assert!(refused.is_empty(), "refused: {refused:#?}");
    }

    #[test]
    fn only_the_statement_goes_on() {
        let asked = " /* a */ SELECT 1 -- b\n ; # c\n";
        assert_eq!(check_select(asked).unwrap(), "SELECT 1");
        assert!(check_select("WITH 1 AS x INSERT INTO t SELECT x").is_err());
    }

    #[test]
    fn one_select_over_tables_passes() {
        for sql in [
            "SELECT 1",
            "  (select a FROM cold.t) ; ",
            "WITH x AS (SELECT 1) SELECT * FROM x -- url('x')",
            "SELECT 'file(''/etc/passwd'')', url, `file` FROM cold.t WHERE s = 'a;b'",
            "SELECT $$ ; url( $$, /* ; */ 1",
        ] {
            assert!(check_select(sql).is_ok(), "{sql}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for sql in [
            "",
            "INSERT INTO t SELECT 1",
            "SELECT 1; DROP TABLE t",
            "SELECT file('/etc/hostname')",
            "SELECT File /* */ ('/etc/hostname')",
            "SELECT * FROM `url`('http://x', 'TSV')",
            "SELECT 1 INTO OUTFILE '/tmp/x'",
            "SELECT 'open",
            "SELECT 'a\\' ; DROP TABLE t",
            "EXPLAIN SELECT 1",
            "(INSERT INTO t SELECT 1)",
        ] {
            assert!(check_select(sql).is_err(), "{sql}");
        }
    }

    #[test]
    fn types_and_expressions_cannot_smuggle_clauses() {
        for good in
            ["UInt64", "DateTime64(3, 'UTC')", "LowCardinality(Nullable(String))", "Enum8('a)' = 1, 'b' = 2)"]
        {
            assert!(is_type(good), "{good}");
        }
        for bad in
            ["", "String DEFAULT 1", "String) ENGINE = URL('x')", "String CODEC(NONE)", "A(1)(2)", "A(1"]
        {
            assert!(!is_type(bad), "{bad}");
        }
        for good in ["(toYYYYMM(ts), exchange)", "ts, exchange, trade_id", "toDate(ts)"] {
            assert!(is_expression(good), "{good}");
        }
        for bad in [
            "",
            "ts) TTL ts + 1 (",
            "ts; DROP TABLE x",
            "ts -- x",
            "(ts",
            "ts /* */",
            "file('/etc/passwd')",
            "ts // x",
        ] {
            assert!(!is_expression(bad), "{bad}");
        }
    }
}
