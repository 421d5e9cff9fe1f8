//! What kind of statement a text is, and which table functions may stand in it.

use clickhouse_sql::{Tokens, outside};

use crate::Refusal;

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
    if tokens.is_empty() {
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

/// Refuses table functions that are not known to be harmless.
pub(crate) fn check_table_function(name: &str) -> Result<(), Refusal> {
    if outside::is_harmless_table_function(name) {
        return Ok(());
    }
    Err(Refusal::TableFunction(name.chars().take(60).collect()))
}
