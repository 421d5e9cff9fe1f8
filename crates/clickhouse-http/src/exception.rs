//! How ClickHouse writes an error.
//!
//! Before the body has begun: a failing status, `X-ClickHouse-Exception-Code`, and the text
//! `Code: N. DB::Exception: message. (NAME) (version …)`. After it: since 25.11 a tail behind the
//! tag that the response header `X-ClickHouse-Exception-Tag` announced,
//!
//! ```text
//! \r\n__exception__\r\n<TAG>\r\n<message>\n<length> <TAG>\r\n__exception__\r\n
//! ```
//!
//! The tag is random per answer, so data cannot imitate it.

use std::fmt;

/// Response header with the code of the exception, set when the status fails.
pub const CODE_HEADER: &str = "x-clickhouse-exception-code";
/// Response header that announces the tag of a tail.
pub const TAG_HEADER: &str = "x-clickhouse-exception-tag";
/// The word around a tail.
pub const MARKER: &str = "__exception__";

/// Without a tag, data that broke off is searched this far back for the exception.
pub(crate) const RECENT_BYTES: usize = 4 << 10;

/// How the text of an error begins that ClickHouse did not throw itself.
const BELOW: [&str; 3] = ["Poco::Exception. ", "std::exception. ", "Unknown exception. "];

/// An error the server reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exception {
    /// ClickHouse's error code, e.g. 60.
    pub code: i32,
    /// Its name, e.g. `UNKNOWN_TABLE`; empty when the text had none.
    pub name: String,
    /// The message without code, name and version.
    pub message: String,
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Code: {}. DB::Exception: {}", self.code, self.message)?;
        if self.name.is_empty() { Ok(()) } else { write!(f, " ({})", self.name) }
    }
}

impl Exception {
    /// Reads `Code: N. DB::Exception: …`, of which only the code must be there; `None` when the text does
    /// not begin like that. The whole number counts: `Code: 53` is not a prefix of `Code: 530`. What a library
    /// below ClickHouse throws reads `Poco::Exception. Code: 1000, …`, `std::exception. Code: 1001, …`
    /// (`getExceptionMessage`, src/Common/Exception.cpp).
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let below = BELOW.iter().find_map(|kind| text.strip_prefix(kind));
        let rest = below.unwrap_or(text).strip_prefix("Code: ")?;
        let end = if below.is_some() { ',' } else { '.' };
        let (code, rest) = rest.split_once(end).unwrap_or((rest, ""));
        let code = code.parse().ok()?;
        let rest = rest.trim_start();
        let rest = rest.strip_prefix("DB::Exception: ").unwrap_or(rest).trim_end();
        let (rest, _) = split_suffix(rest, |inside| inside.starts_with("version "));
        let (message, name) = split_suffix(rest, is_name);
        Some(Self { code, name: name.unwrap_or_default().to_owned(), message: message.to_owned() })
    }

    /// From a failing answer: the header's code wins, the text gives the rest.
    pub fn from_answer(code: Option<i32>, text: &str) -> Option<Self> {
        match (code, Self::parse(text)) {
            (Some(code), Some(parsed)) => Some(Self { code, ..parsed }),
            (Some(code), None) => {
                Some(Self { code, name: String::new(), message: text.trim().chars().take(2000).collect() })
            }
            (None, parsed) => parsed,
        }
    }
}

/// Splits a trailing ` (inside)` off when `accept` likes the inside.
fn split_suffix(text: &str, accept: impl Fn(&str) -> bool) -> (&str, Option<&str>) {
    let parts = || {
        let body = text.strip_suffix(')')?;
        let open = body.rfind(" (")?;
        // `(version 26.7.2.1 (official build))` nests once: take the outer bracket.
        let open = if accept(&body[open + 2..]) { open } else { body.rfind(" (version ")? };
        accept(&body[open + 2..]).then(|| (text[..open].trim_end(), &body[open + 2..]))
    };
    parts().map_or((text, None), |(rest, inside)| (rest, Some(inside)))
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

/// The bytes that open a tail, before the message.
pub fn tail_opening(tag: &str) -> Vec<u8> {
    format!("\r\n{MARKER}\r\n{tag}\r\n").into_bytes()
}

/// A whole tail, as a server writes it after a body that cannot be finished.
pub fn tail(tag: &str, message: &str) -> Vec<u8> {
    format!("\r\n{MARKER}\r\n{tag}\r\n{message}\n{} {tag}\r\n{MARKER}\r\n", message.len() + 1).into_bytes()
}

/// The message inside a tail, given what followed its opening (perhaps cut short).
pub(crate) fn tail_message(after_opening: &[u8], tag: &str) -> String {
    let text = String::from_utf8_lossy(after_opening);
    let closing = format!(" {tag}\r\n{MARKER}\r\n");
    match text.rfind(&closing).and_then(|end| text[..end].rfind('\n')) {
        Some(newline) => text[..newline].to_owned(),
        None => text.into_owned(),
    }
}

/// The exception at the end of data that broke off, from a server that announces no tag (before 25.11).
pub(crate) fn behind_data(data: &[u8]) -> Option<Exception> {
    let recent = String::from_utf8_lossy(&data[data.len().saturating_sub(RECENT_BYTES)..]);
    let from = recent.rfind(MARKER).map_or(0, |at| at + MARKER.len());
    let start = recent[from..].rfind("Code: ")? + from;
    if let Some(kind) = BELOW.iter().find(|kind| recent[..start].ends_with(**kind)) {
        return Exception::parse(&recent[start - kind.len()..]);
    }
    let text = &recent[start..];
    text.contains("DB::Exception").then(|| Exception::parse(text))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_servers_are_understood() {
        let full = "Code: 60. DB::Exception: Table default.t does not exist. (UNKNOWN_TABLE) (version 26.7.2.1 (official build))\n";
        let expected = Exception {
            code: 60,
            name: "UNKNOWN_TABLE".into(),
            message: "Table default.t does not exist.".into(),
        };
        assert_eq!(Exception::parse(full), Some(expected.clone()));
        assert_eq!(
            Exception::parse("Code: 60. DB::Exception: Table default.t does not exist. (UNKNOWN_TABLE)"),
            Some(expected)
        );
        let bare = Exception::parse("Code: 530. DB::Exception: (oops)").unwrap();
        assert_eq!((bare.code, bare.name.as_str(), bare.message.as_str()), (530, "", "(oops)"));
        assert_eq!(Exception::parse("Code: 60").map(|e| (e.code, e.message)), Some((60, String::new())));
        let below = Exception {
            code: 1000,
            name: String::new(),
            message: "e.code() = 111, Connection refused".into(),
        };
        let text = "Poco::Exception. Code: 1000, e.code() = 111, Connection refused (version 26.7.2.1)";
        assert_eq!(Exception::parse(text), Some(below.clone()));
        assert_eq!(behind_data(format!("1\n2\n{text}\n").as_bytes()), Some(below));
        let text = "std::exception. Code: 1001, type: std::bad_alloc, e.what() = std::bad_alloc (version 1)";
        assert_eq!(Exception::parse(text).unwrap().code, 1001);
        assert_eq!(Exception::parse("502 Bad Gateway"), None);
        assert_eq!(Exception::parse("Code: x. DB::Exception: y"), None);
    }

    #[test]
    fn the_header_code_wins() {
        let e = Exception::from_answer(Some(241), "Code: 53. DB::Exception: a (B)").unwrap();
        assert_eq!((e.code, e.name.as_str()), (241, "B"));
        assert_eq!(Exception::from_answer(Some(7), "what").unwrap().message, "what");
        assert_eq!(Exception::from_answer(None, "what"), None);
    }

    #[test]
    fn a_tail_gives_its_message_back_even_when_cut() {
        let message = "Code: 395. DB::Exception: line one\nline two (FUNCTION_THROW_IF_VALUE_IS_NON_ZERO)";
        let tail = tail("abcdefgh", message);
        let opening = tail_opening("abcdefgh");
        assert!(tail.starts_with(&opening));
        assert_eq!(tail_message(&tail[opening.len()..], "abcdefgh"), message);
        assert_eq!(tail_message(message.as_bytes(), "abcdefgh"), message);
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,80}", prefix in 0..3) {
            let prefix = ["", "Code: 5", "Code: 5. DB::Exception: "][prefix as usize];
            let _ = Exception::parse(&format!("{prefix}{text}"));
            let _ = Exception::parse(&format!("{prefix}{text} (version x"));
        }
    }
}
