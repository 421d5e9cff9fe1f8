//! Names and texts as they stand in SQL, by ClickHouse's syntax page: backslash escapes hold inside
//! backticks and inside single quotes alike, so both must escape the backslash as well as the quote.

/// `name` as a back-quoted identifier.
pub fn quote_ident(name: &str) -> String {
    quoted(name, '`')
}

/// `text` as a single-quoted string literal.
pub fn quote_string(text: &str) -> String {
    quoted(text, '\'')
}

/// `database.table`, both back-quoted.
pub fn quote_table(database: &str, table: &str) -> String {
    format!("{}.{}", quote_ident(database), quote_ident(table))
}

fn quoted(text: &str, quote: char) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\0' => out.push_str("\\0"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

/// The value of a `param_<name>`, which the server reads as one TSV field.
pub(crate) fn escape_param(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\0' => out.push_str("\\0"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_backslashes_cannot_break_out() {
        assert_eq!(quote_ident("a`b\\"), "`a\\`b\\\\`");
        assert_eq!(quote_string("it's \\ \n"), "'it\\'s \\\\ \\n'");
        assert_eq!(quote_table("d", "t.u"), "`d`.`t.u`");
        assert_eq!(escape_param("a\tb\\N"), "a\\tb\\\\N");
    }
}
