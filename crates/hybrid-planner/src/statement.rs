//! A statement's outside: one statement, of a kind we answer, its brackets matched, and no function in
//! it that reaches outside the tables.

use crate::{
    MAX_DEPTH, MAX_QUERY_BYTES, Refusal,
    lexer::{Kind, Token, tokenize, unquote},
};

/// A text's significant tokens (no blanks, no comments), with each bracket's mate.
#[derive(Debug, Clone)]
pub(crate) struct Tokens {
    pub text: String,
    pub list: Vec<Token>,
    /// Index of the other bracket; the token's own index for everything else.
    mates: Vec<usize>,
}

impl Tokens {
    /// Reads a text: no byte lost, brackets in pairs, trailing semicolons taken off.
    pub fn read(text: &str) -> Result<Self, Refusal> {
        if text.len() > MAX_QUERY_BYTES {
            return Err(Refusal::TooLong { bytes: text.len(), limit: MAX_QUERY_BYTES });
        }
        let mut list: Vec<Token> =
            tokenize(text)?.into_iter().filter(|t| !matches!(t.kind, Kind::Space | Kind::Comment)).collect();
        let is_semicolon = |t: &Token| text.get(t.start..t.end) == Some(";");
        while list.last().is_some_and(is_semicolon) {
            list.pop();
        }
        if list.iter().any(is_semicolon) {
            return Err(Refusal::MultipleStatements);
        }
        let mates = pair(text, &list)?;
        Ok(Self { text: text.to_owned(), list, mates })
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// The text of token `i`; empty past the end.
    pub fn at(&self, i: usize) -> &str {
        self.list.get(i).and_then(|t| self.text.get(t.start..t.end)).unwrap_or_default()
    }

    pub fn kind(&self, i: usize) -> Option<Kind> {
        self.list.get(i).map(|t| t.kind)
    }

    /// Token `i` is this keyword (bare, any case).
    pub fn is(&self, i: usize, keyword: &str) -> bool {
        self.kind(i) == Some(Kind::Word) && self.at(i).eq_ignore_ascii_case(keyword)
    }

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

    /// The name at `i`, unquoted. A name whose escapes we do not undo keeps its quotes, and so equals nothing.
    pub fn name(&self, i: usize) -> String {
        unquote(self.at(i)).unwrap_or_else(|| self.at(i).to_owned())
    }

    /// The bracket that closes (or opens) the one at `i`.
    pub fn mate(&self, i: usize) -> usize {
        self.mates.get(i).copied().unwrap_or(i)
    }

    /// First token after `i`, brackets stepped over whole.
    pub fn step(&self, i: usize) -> usize {
        if self.kind(i) == Some(Kind::Open) { self.mate(i) + 1 } else { i + 1 }
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

    pub fn unreadable(&self, i: usize, what: &str) -> Refusal {
        Refusal::Unreadable { at: self.start(i), what: what.to_owned() }
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

fn pair(text: &str, list: &[Token]) -> Result<Vec<usize>, Refusal> {
    let mut mates: Vec<usize> = (0..list.len()).collect();
    let mut open = Vec::new();
    for (i, token) in list.iter().enumerate() {
        let bracket = text.get(token.start..token.end).unwrap_or_default();
        match token.kind {
            Kind::Open if open.len() >= MAX_DEPTH => return Err(Refusal::TooDeep(MAX_DEPTH)),
            Kind::Open => open.push((i, bracket)),
            Kind::Close => {
                let right =
                    open.pop().filter(|(_, o)| matches!((*o, bracket), ("(", ")") | ("[", "]") | ("{", "}")));
                let Some((mate, _)) = right else {
                    return Err(Refusal::Unreadable {
                        at: token.start,
                        what: "a bracket without its mate".into(),
                    });
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
        Some(token) => {
            Err(Refusal::Unreadable { at: token.start, what: "a bracket without its mate".into() })
        }
        None => Ok(mates),
    }
}

/// What kind of statement a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryKind {
    /// SELECT, also in brackets, with WITH, or beginning with FROM.
    Select,
    /// EXPLAIN of a SELECT.
    Explain,
    /// SHOW.
    Show,
    /// DESCRIBE.
    Describe,
    /// EXISTS.
    Exists,
}

const WRITES: &[&str] = &[
    "INSERT", "ALTER", "CREATE", "DROP", "DELETE", "UPDATE", "TRUNCATE", "RENAME", "OPTIMIZE", "GRANT",
    "REVOKE", "SYSTEM", "ATTACH", "DETACH", "EXCHANGE", "KILL", "SET", "USE", "BACKUP", "RESTORE", "UNDROP",
    "MOVE", "COPY", "BEGIN", "COMMIT", "ROLLBACK", "REPLACE", "UPSERT", "MERGE", "CHECK", "WATCH", "EXECUTE",
];

/// The statement's kind, by its first word.
pub(crate) fn kind(tokens: &Tokens) -> Result<QueryKind, Refusal> {
    if tokens.len() == 0 {
        return Err(Refusal::NotASingleSelect("the text is empty".into()));
    }
    if tokens.starts_query(0) || tokens.is(0, "FROM") {
        return Ok(QueryKind::Select);
    }
    let first = tokens.at(0).to_ascii_uppercase();
    match first.as_str() {
        "EXPLAIN" => Ok(QueryKind::Explain),
        "SHOW" => Ok(QueryKind::Show),
        "DESCRIBE" | "DESC" => Ok(QueryKind::Describe),
        "EXISTS" => Ok(QueryKind::Exists),
        word if WRITES.contains(&word) => Err(Refusal::WriteStatement(first)),
        _ => {
            let shown: String = first.chars().take(40).collect();
            Err(Refusal::NotASingleSelect(format!("it begins with {shown:?}")))
        }
    }
}

/// Scalar functions that read files, run programs or call out. `readonly` does not stop them: the
/// engine even folds `file('…')` while it explains.
const FORBIDDEN: &[&str] = &[
    "file",
    "catboostevaluate",
    "evalmlmethod",
    "aiclassify",
    "aigenerate",
    "aiextract",
    "aitranslate",
    "aiembed",
    "executable",
    "url",
    "remote",
    "s3",
];

/// Table functions that make rows from nothing, or from a SELECT that is read like any other.
const TABLE_FUNCTIONS: &[&str] = &[
    "numbers",
    "numbers_mt",
    "zeros",
    "zeros_mt",
    "values",
    "generateseries",
    "generate_series",
    "null",
    "generaterandom",
    "primes",
    "view",
];

/// Refuses forbidden scalar functions wherever their names stand. A function's name can also be
/// handed to another (`arrayMap(file, …)`, `APPLY file`), so the bare name is refused too, unless it
/// is plainly a column (`t.file`) or an alias (`AS file`).
pub(crate) fn check_functions(tokens: &Tokens) -> Result<(), Refusal> {
    for i in 0..tokens.len() {
        if !tokens.is_name(i) {
            continue;
        }
        let name = tokens.name(i).to_ascii_lowercase();
        if !FORBIDDEN.contains(&name.as_str()) {
            continue;
        }
        let called = tokens.sym(i + 1, "(");
        let plain = i > 0 && (tokens.sym(i - 1, ".") || tokens.is(i - 1, "AS"));
        let value = matches!(name.as_str(), "url" | "remote" | "s3" | "executable");
        if called || !(plain || value) {
            return Err(Refusal::ForbiddenFunction(tokens.name(i)));
        }
    }
    Ok(())
}

/// Refuses table functions that are not known to be harmless.
pub(crate) fn check_table_function(name: &str) -> Result<(), Refusal> {
    if TABLE_FUNCTIONS.contains(&name.to_ascii_lowercase().as_str()) {
        return Ok(());
    }
    Err(Refusal::TableFunction(name.chars().take(60).collect()))
}
