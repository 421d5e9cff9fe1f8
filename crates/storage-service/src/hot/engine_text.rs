//! Reading `system.tables.engine_full`, the engine's own normal form of everything behind `ENGINE =`.
//!
//! Only clause boundaries are looked for, outside brackets; expressions are carried over as they stand.
//! A text that cannot be read is an error: a TTL in it must not be overlooked.

use std::ops::Range;

use clickhouse_sql::{Refused, Tokens};

/// `engine_full` in its clauses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineText {
    /// `MergeTree PARTITION BY … ORDER BY …`: everything that must be alike for parts to be attached.
    pub keys: String,
    /// The TTL rules, without the word.
    pub ttl: Option<String>,
    /// `name = value` pairs.
    pub settings: Vec<(String, String)>,
}

impl EngineText {
    /// Splits the text.
    pub fn parse(text: &str) -> Result<Self, Refused> {
        let t = Tokens::read(text)?;
        let settings_at = find(&t, 0..t.len(), &["SETTINGS"]).unwrap_or(t.len());
        let ttl_at = find(&t, 0..settings_at, &["TTL"]);
        let settings = t
            .commas(settings_at + 1..t.len())
            .into_iter()
            .filter(|pair| t.sym(pair.start + 1, "="))
            .map(|pair| (t.at(pair.start).to_owned(), t.slice(pair.start + 2, pair.end).to_owned()))
            .collect();
        Ok(Self {
            keys: t.slice(0, ttl_at.unwrap_or(settings_at)).to_owned(),
            ttl: ttl_at.map(|at| t.slice(at + 1, settings_at).to_owned()),
            settings,
        })
    }
}

/// The expressions of the TTL rules that delete rows; `None` when a rule is not understood (it groups
/// rows, say), so that nothing can be said about when rows go.
pub fn shortest_ttl_rule(ttl: &str) -> Option<Vec<String>> {
    let t = Tokens::read(ttl).ok()?;
    let mut deleting = Vec::new();
    for rule in t.commas(0..t.len()) {
        let has = |words: &[&str]| find(&t, rule.clone(), words);
        if has(&["GROUP", "BY"]).or(has(&["SET"])).is_some() {
            return None;
        }
        if has(&["TO", "DISK"]).or(has(&["TO", "VOLUME"])).or(has(&["RECOMPRESS"])).is_some() {
            continue;
        }
        let end = has(&["WHERE"]).unwrap_or(rule.end);
        let end = if t.at(end.saturating_sub(1)) == "DELETE" { end - 1 } else { end };
        deleting.push(t.slice(rule.start, end).to_owned());
    }
    Some(deleting)
}

/// Where these keywords stand outside brackets; the engine prints keywords in capitals. Behind `BY` and
/// at the beginning a name is a name.
fn find(t: &Tokens, span: Range<usize>, words: &[&str]) -> Option<usize> {
    let mut i = span.start;
    while i < span.end {
        let here = words.iter().enumerate().all(|(n, word)| t.at(i + n) == *word);
        if here && i > span.start && !t.is(i - 1, "BY") {
            return Some(i);
        }
        i = t.step(i);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clauses_are_found_outside_brackets_and_quotes() {
        let text = "MergeTree PARTITION BY (toYYYYMM(ts), if(a = ' TTL (', 1, 2)) ORDER BY (ts, `x SETTINGS `) \
            TTL toDateTime(ts) + toIntervalDay(3), ts + toIntervalDay(1) TO VOLUME 'v' \
            SETTINGS index_granularity = 8192, storage_policy = 'a, b'";
        let parsed = EngineText::parse(text).unwrap();
        assert!(parsed.keys.ends_with("ORDER BY (ts, `x SETTINGS `)"), "{}", parsed.keys);
        assert_eq!(parsed.settings[1], ("storage_policy".into(), "'a, b'".into()));
        let rules = shortest_ttl_rule(parsed.ttl.as_deref().unwrap()).unwrap();
        assert_eq!(rules, ["toDateTime(ts) + toIntervalDay(3)"]);
        assert_eq!(EngineText::parse("MergeTree ORDER BY tuple()").unwrap().ttl, None);
        assert_eq!(shortest_ttl_rule("ts + toIntervalDay(1) GROUP BY k SET v = sum(v)"), None);
        assert_eq!(
            shortest_ttl_rule("ts + toIntervalDay(1) DELETE WHERE x = 1").unwrap(),
            ["ts + toIntervalDay(1)"]
        );
    }

    #[test]
    fn a_column_named_like_a_clause_is_a_column_and_a_broken_text_an_error() {
        let text = "MergeTree PARTITION BY toYYYYMM(ts) ORDER BY TTL SETTINGS index_granularity = 1";
        let parsed = EngineText::parse(text).unwrap();
        assert_eq!((parsed.ttl, parsed.settings.len()), (None, 1));
        let quoted = "MergeTree ORDER BY `a``b TTL ` TTL ts + toIntervalDay(1)";
        assert_eq!(EngineText::parse(quoted).unwrap().ttl.as_deref(), Some("ts + toIntervalDay(1)"));
        assert!(EngineText::parse("MergeTree ORDER BY 'open TTL x").is_err());
    }
}
