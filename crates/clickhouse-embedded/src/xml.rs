//! Text inside ClickHouse's XML configuration.

/// `text` as the content of an element.
///
/// # Errors
/// A control character, which XML 1.0 cannot carry (section 2.2) and no setting needs.
pub fn escaped(text: &str) -> anyhow::Result<String> {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}' => {
                anyhow::bail!(
                    "{text:?} holds a control character, which the engine's configuration cannot carry"
                )
            }
            _ => out.push(character),
        }
    }
    Ok(out)
}

/// Whether `name` may be an element's name: what ClickHouse takes for the name of an account, a profile or
/// a setting in its configuration.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let mut characters = name.chars();
    characters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && characters.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        && name.len() <= 128
        // A directive of its own.
        && name != "include"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_text() {
        assert_eq!(escaped("a<b>&\"c\" ü").unwrap(), "a&lt;b&gt;&amp;&quot;c&quot; ü");
        assert!(escaped("a\nb").is_err());
    }

    #[test]
    fn names_are_plain() {
        assert!(is_name("storage_query-1") && is_name("_x"));
        for bad in ["", "1a", "a b", "a>b", "a.b", "ü"] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
