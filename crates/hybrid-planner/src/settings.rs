//! A caller's settings, lifted out of its text.
//!
//! A read-only caller may not change settings in its text (`readonly=1` refuses even harmless ones),
//! so whoever runs the text takes the harmless ones out of it and sends them beside it.

use clickhouse_sql::{Kind, quote::resolve};

use crate::{analysis::query::Query, syntax::blocks::Clause};

impl Query {
    /// The text without the SETTINGS clause of its outermost block, and that clause's `(name, value)`s,
    /// values unquoted. `None` when there is no such clause, or it holds more than plain literals.
    pub fn split_settings(&self) -> Option<(String, Vec<(String, String)>)> {
        let t = &self.tokens;
        let block = self.blocks.list.first().filter(|b| b.parent.is_none() && !b.in_union)?;
        let (_, clause) = block.clauses.iter().find(|(c, _)| *c == Clause::Settings)?;
        let mut settings = Vec::new();
        for item in t.commas(block.clause(t, Clause::Settings)?) {
            let plain = item.len() == 3 && t.is_name(item.start) && t.sym(item.start + 1, "=");
            if !plain || !matches!(t.kind(item.start + 2), Some(Kind::Number | Kind::String | Kind::Word)) {
                return None;
            }
            settings.push((t.name(item.start), resolve(t.at(item.start + 2))?));
        }
        let text = self.text();
        let (before, after) = (text.get(..t.start(clause.start))?, text.get(t.end(clause.end)..)?);
        Some((format!("{before} {after}"), settings))
    }
}

#[cfg(test)]
mod tests {
    use crate::read;

    fn split(sql: &str) -> Option<(String, Vec<(String, String)>)> {
        read(sql).unwrap().split_settings()
    }

    #[test]
    fn settings_leave_the_text_and_nothing_else_does() {
        let (text, settings) =
            split("SELECT 1 SETTINGS max_threads = 2, log_comment='it''s' FORMAT CSV").unwrap();
        assert_eq!(text.split_whitespace().collect::<Vec<_>>(), ["SELECT", "1", "FORMAT", "CSV"]);
        assert_eq!(settings[0], ("max_threads".into(), "2".into()));
        assert_eq!(settings[1], ("log_comment".into(), "it's".into()));
        assert_eq!(
            read("SELECT 1 FORMAT CSV SETTINGS max_threads=1").unwrap().split_settings().unwrap().1.len(),
            1
        );
    }

    #[test]
    fn what_is_not_plain_or_not_outermost_stays() {
        for sql in [
            "SELECT 1",
            "SELECT 1 SETTINGS additional_table_filters = {'a': 'b'}",
            "SELECT 1 UNION ALL SELECT 2 SETTINGS max_threads = 1",
            "SELECT * FROM (SELECT 1 SETTINGS max_threads = 1)",
        ] {
            assert_eq!(split(sql), None, "{sql}");
        }
    }
}
