//! A look at SQL text before it goes to the engine.
//!
//! The engine itself is the guard (`readonly=1` refuses writes, settings and sources outside). This
//! scan is the second one: it knows strings, quoted names, comments and brackets, nothing more, and
//! refuses what a cold read never needs: a second statement, `INTO OUTFILE`, and functions that
//! reach files, the network or other programs. It never rewrites text.

use crate::error::GatewayError;

/// Longest text of a cold query, bytes.
pub const MAX_QUERY_BYTES: usize = 1024 * 1024;

/// Functions and table functions that reach beyond the engine's tables, in lower case.
const OUTSIDE: &[&str] = &[
    "arrowflight",
    "azureblobstorage",
    "azureblobstoragecluster",
    "cosn",
    "deltalake",
    "deltalakeazure",
    "deltalakecluster",
    "deltalakelocal",
    "deltalakes3",
    "dictionary",
    "executable",
    "file",
    "filecluster",
    "gcs",
    "gluecatalog",
    "hdfs",
    "hdfscluster",
    "hive",
    "hudi",
    "hudicluster",
    "iceberg",
    "icebergazure",
    "icebergcluster",
    "iceberghdfs",
    "iceberglocal",
    "icebergs3",
    "input",
    "jdbc",
    "kafka",
    "mongodb",
    "mysql",
    "odbc",
    "oss",
    "postgresql",
    "python",
    "redis",
    "remote",
    "remotesecure",
    "cluster",
    "clusterallreplicas",
    "s3",
    "s3cluster",
    "sqlite",
    "url",
    "urlcluster",
    "ytsaurus",
    "paimon",
    "paimons3",
    "paimonlocal",
    "prometheusquery",
    "loop",
    "sleep",
    "sleepeachrow",
    "catboostevaluate",
];

/// One piece of SQL text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    /// A bare or quoted name (without its quotes), or a number.
    Word { text: &'a str, quoted: bool },
    /// A string literal.
    Literal,
    /// A comment.
    Comment,
    /// Any other character.
    Mark(char),
    /// A string, name or comment that never ends.
    Open,
}

struct Tokens<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Tokens<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or("")
    }

    /// Ends behind `end`, searched from `from` bytes on; `Open` when it never comes.
    fn until(&mut self, from: usize, end: &str, token: Token<'a>) -> Token<'a> {
        match self.rest().get(from..).and_then(|tail| tail.find(end)) {
            Some(found) => {
                self.at += from + found + end.len();
                token
            }
            None => {
                self.at = self.text.len();
                Token::Open
            }
        }
    }

    /// A quoted piece with backslash escapes and doubled quotes.
    fn quoted(&mut self, quote: char) -> Token<'a> {
        let start = self.at + 1;
        let mut chars = self.text.get(start..).unwrap_or("").char_indices().peekable();
        while let Some((n, c)) = chars.next() {
            if c == '\\' {
                chars.next();
            } else if c == quote {
                if chars.peek().is_some_and(|(_, next)| *next == quote) {
                    chars.next();
                    continue;
                }
                self.at = start + n + 1;
                let text = self.text.get(start..start + n).unwrap_or("");
                return if quote == '\'' { Token::Literal } else { Token::Word { text, quoted: true } };
            }
        }
        self.at = self.text.len();
        Token::Open
    }

    /// `$tag$ … $tag$`, or nothing when the dollar starts none.
    fn heredoc(&mut self) -> Option<Token<'a>> {
        let rest = self.rest();
        let end = rest.get(1..)?.find('$')? + 2;
        let tag = rest.get(..end)?;
        let inner = tag.trim_matches('$');
        if !inner.chars().all(|c| c.is_alphanumeric() || c == '_') {
            return None;
        }
        Some(self.until(tag.len(), tag, Token::Literal))
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let trimmed = self.rest().trim_start();
        self.at = self.text.len() - trimmed.len();
        let rest = trimmed;
        let first = rest.chars().next()?;
        if rest.starts_with("--") || first == '#' {
            let end = rest.find('\n').unwrap_or(rest.len());
            self.at += end;
            return Some(Token::Comment);
        }
        if rest.starts_with("/*") {
            return Some(self.until(2, "*/", Token::Comment));
        }
        if matches!(first, '\'' | '"' | '`') {
            return Some(self.quoted(first));
        }
        if first == '$'
            && let Some(token) = self.heredoc()
        {
            return Some(token);
        }
        if first.is_alphanumeric() || first == '_' {
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
            self.at += end;
            return Some(Token::Word { text: rest.get(..end).unwrap_or(""), quoted: false });
        }
        self.at += first.len_utf8();
        Some(Token::Mark(first))
    }
}

/// Checks that `sql` is one SELECT that stays inside the engine's tables; answers it without a
/// closing semicolon.
pub fn check_select(sql: &str) -> Result<&str, GatewayError> {
    let refuse = |why: String| Err(GatewayError::RefusedQuery(why));
    if sql.len() > MAX_QUERY_BYTES {
        return refuse(format!("the query is longer than {MAX_QUERY_BYTES} bytes"));
    }
    let sql = sql.trim().trim_end_matches(|c: char| c == ';' || c.is_whitespace());
    let tokens: Vec<Token<'_>> = Tokens::new(sql).filter(|t| *t != Token::Comment).collect();
    let opener = tokens.iter().find(|t| **t != Token::Mark('('));
    match opener {
        Some(Token::Word { text, quoted: false })
            if text.eq_ignore_ascii_case("select") || text.eq_ignore_ascii_case("with") => {}
        _ => return refuse("only one SELECT is answered here".into()),
    }
    for (n, token) in tokens.iter().enumerate() {
        match token {
            Token::Open => return refuse("a string, name or comment never ends".into()),
            Token::Mark(';') => return refuse("only one statement is answered here".into()),
            Token::Word { text, quoted: false }
                if text.eq_ignore_ascii_case("outfile") || text.eq_ignore_ascii_case("infile") =>
            {
                return refuse(format!("{} reaches the disk", text.to_ascii_uppercase()));
            }
            Token::Word { text, .. }
                if tokens.get(n + 1) == Some(&Token::Mark('('))
                    && OUTSIDE.contains(&text.to_ascii_lowercase().as_str()) =>
            {
                return refuse(format!("{text}() reaches outside the cold tables"));
            }
            _ => {}
        }
    }
    Ok(sql)
}

/// Whether `text` is a type as `system.columns` prints one: a name, then at most one bracketed group.
pub fn is_type(text: &str) -> bool {
    let tokens: Vec<Token<'_>> = Tokens::new(text).collect();
    let named = matches!(tokens.first(), Some(Token::Word { quoted: false, .. }));
    let depth_returns_at_end = match tokens.get(1) {
        None => true,
        Some(Token::Mark('(')) => first_return(&tokens, 1) == Some(tokens.len() - 1),
        Some(_) => false,
    };
    named && depth_returns_at_end && tokens.iter().all(is_plain) && text.len() <= 65_536
}

/// Whether `text` is one expression (or a list of them): balanced, no comment, no semicolon.
pub fn is_expression(text: &str) -> bool {
    let tokens: Vec<Token<'_>> = Tokens::new(text).collect();
    let mut depth = 0_i32;
    for token in &tokens {
        match token {
            Token::Mark('(') => depth += 1,
            Token::Mark(')') => depth -= 1,
            _ => {}
        }
        if depth < 0 {
            return false;
        }
    }
    !tokens.is_empty() && depth == 0 && tokens.iter().all(is_plain) && text.len() <= 65_536
}

fn is_plain(token: &Token<'_>) -> bool {
    !matches!(token, Token::Open | Token::Comment | Token::Mark(';'))
}

/// Index at which the bracket opened at `from` closes.
fn first_return(tokens: &[Token<'_>], from: usize) -> Option<usize> {
    let mut depth = 0_i32;
    for (n, token) in tokens.iter().enumerate().skip(from) {
        match token {
            Token::Mark('(') => depth += 1,
            Token::Mark(')') => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(n);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

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
        for bad in ["", "ts) TTL ts + 1 (", "ts; DROP TABLE x", "ts -- x", "(ts", "ts /* */"] {
            assert!(!is_expression(bad), "{bad}");
        }
    }
}
