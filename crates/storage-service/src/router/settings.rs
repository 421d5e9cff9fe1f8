//! Settings that a caller may choose although it is read-only.
//!
//! Which these are, [`clickhouse_sql::settings`] says; a text with any other is refused, however deep it
//! stands. `readonly=1` refuses even harmless ones, so those of the outermost SELECT are taken out of the
//! text and sent beside it.

use hybrid_planner::{Query, Refusal};

/// The query without the settings of its outermost SELECT, and those, to be sent beside it.
pub fn lift(query: Query) -> Result<(Query, Vec<(String, String)>), Refusal> {
    query.check_settings()?;
    match query.split_settings() {
        Some((text, settings)) => Ok((hybrid_planner::read(&text)?, settings)),
        None => Ok((query, Vec::new())),
    }
}

#[cfg(test)]
#[path = "../../../clickhouse-sql/tests/corpus/mod.rs"]
mod corpus;

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(sql: &str) -> Result<(Query, Vec<(String, String)>), Refusal> {
        lift(hybrid_planner::read(sql)?)
    }

    #[test]
    fn one_harmful_setting_refuses_the_text() {
        let (query, settings) = asked("SELECT 1 SETTINGS max_threads=1").unwrap();
        assert_eq!((query.text().trim(), settings.len()), ("SELECT 1", 1));
        let refused = asked("SELECT 1 SETTINGS max_threads=1, readonly=0").unwrap_err();
        assert_eq!(refused, Refusal::ForbiddenSetting("readonly".into()));
    }

    #[test]
    fn no_attack_gets_past_and_no_innocent_text_is_held_up() {
        let passed: Vec<_> = corpus::ATTACKS.iter().filter(|sql| asked(sql).is_ok()).collect();
        assert!(passed.is_empty(), "passed: {passed:#?}");
        let refused: Vec<_> =
            corpus::INNOCENT.iter().filter_map(|sql| asked(sql).err().map(|e| (sql, e))).collect();
        assert!(refused.is_empty(), "refused: {refused:#?}");
    }

    /// What must not reach the engine is refused before it is read as a plan, too.
    #[test]
    fn explained_and_described_texts_are_judged_alike() {
        for sql in [
            r"EXPLAIN SELECT `\x66ile`('/etc/hostname')",
            "EXPLAIN SELECT * FROM (SELECT 1 SETTINGS readonly = 0)",
            "EXPLAIN indexes = 1 SELECT 1 SETTINGS output_format_schema = 'x'",
            "DESCRIBE `/etc/passwd`",
            "DESCRIBE TABLE url('http://x', 'TSV')",
            "DESCRIBE (SELECT file('/etc/hostname'))",
            "SHOW TABLES LIKE file('/etc/hostname')",
            "EXISTS TABLE `/etc/passwd`",
        ] {
            assert!(asked(sql).is_err(), "{sql}");
        }
        assert!(asked("EXPLAIN indexes = 1, json = 1 SELECT 1").is_ok());
    }
}
