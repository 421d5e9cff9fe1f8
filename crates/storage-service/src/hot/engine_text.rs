//! Reading `system.tables.engine_full`, the engine's own normal form of everything behind `ENGINE =`.
//!
//! Only clause boundaries are looked for, outside brackets and quotes; expressions are carried over
//! as they stand.

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
    pub fn parse(text: &str) -> Self {
        let settings_at = find_word(text, " SETTINGS ");
        let (before, settings) = match settings_at {
            Some(at) => (&text[..at], &text[at + " SETTINGS ".len()..]),
            None => (text, ""),
        };
        let (keys, ttl) = match find_word(before, " TTL ") {
            Some(at) => (&before[..at], Some(before[at + " TTL ".len()..].trim().to_owned())),
            None => (before, None),
        };
        let settings = split_top(settings, ',')
            .into_iter()
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
            .collect();
        Self { keys: keys.trim().to_owned(), ttl, settings }
    }
}

/// The expressions of the TTL rules that delete rows; `None` when a rule is not understood (it groups
/// rows, say), so that nothing can be said about when rows go.
pub fn shortest_ttl_rule(ttl: &str) -> Option<Vec<String>> {
    let mut deleting = Vec::new();
    for rule in split_top(ttl, ',') {
        let rule = rule.trim();
        if find_word(rule, " GROUP BY ").is_some() || find_word(rule, " SET ").is_some() {
            return None;
        }
        if [" TO DISK ", " TO VOLUME ", " RECOMPRESS "].iter().any(|word| find_word(rule, word).is_some()) {
            continue;
        }
        let rule = find_word(rule, " WHERE ").map_or(rule, |at| &rule[..at]);
        deleting.push(rule.strip_suffix(" DELETE").unwrap_or(rule).trim().to_owned());
    }
    Some(deleting)
}

/// Byte positions at depth 0 and outside quotes, in order.
fn top_level(text: &str) -> Vec<usize> {
    let (mut depth, mut quote, mut escaped) = (0_u32, None, false);
    let mut at = Vec::new();
    for (i, c) in text.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(q) if c == q => quote = None,
            Some(_) => {}
            None => {
                match c {
                    '\'' | '`' | '"' => quote = Some(c),
                    '(' | '[' => depth += 1,
                    ')' | ']' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                if depth == 0 && quote.is_none() {
                    at.push(i);
                }
            }
        }
    }
    at
}

fn find_word(text: &str, word: &str) -> Option<usize> {
    top_level(text).into_iter().find(|at| text[*at..].starts_with(word))
}

fn split_top(text: &str, separator: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    for at in top_level(text) {
        if text[at..].starts_with(separator) {
            parts.push(&text[start..at]);
            start = at + separator.len_utf8();
        }
    }
    if !text[start..].trim().is_empty() {
        parts.push(&text[start..]);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clauses_are_found_outside_brackets_and_quotes() {
        let text = "MergeTree PARTITION BY (toYYYYMM(ts), if(a = ' TTL (', 1, 2)) ORDER BY (ts, `x SETTINGS `) \
            TTL toDateTime(ts) + toIntervalDay(3), ts + toIntervalDay(1) TO VOLUME 'v' \
            SETTINGS index_granularity = 8192, storage_policy = 'a, b'";
        let parsed = EngineText::parse(text);
        assert!(parsed.keys.ends_with("ORDER BY (ts, `x SETTINGS `)"), "{}", parsed.keys);
        assert_eq!(parsed.settings[1], ("storage_policy".into(), "'a, b'".into()));
        let rules = shortest_ttl_rule(parsed.ttl.as_deref().unwrap()).unwrap();
        assert_eq!(rules, ["toDateTime(ts) + toIntervalDay(3)"]);
        assert_eq!(EngineText::parse("MergeTree ORDER BY tuple()").ttl, None);
        assert_eq!(shortest_ttl_rule("ts + toIntervalDay(1) GROUP BY k SET v = sum(v)"), None);
        assert_eq!(
            shortest_ttl_rule("ts + toIntervalDay(1) DELETE WHERE x = 1").unwrap(),
            ["ts + toIntervalDay(1)"]
        );
    }
}
