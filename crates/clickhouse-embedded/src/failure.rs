//! An error as ClickHouse tells it: a code, a name, a text.
//!
//! The engine's errors come as texts (`Code: 60. DB::Exception: … (UNKNOWN_TABLE)`); ours are made to look
//! the same, because clients read the code out of the text and act on it.

use std::fmt;

/// The engine's version, as the end of an error text tells it.
pub const ENGINE_VERSION: &str = "26.7.2.1";

/// The codes that we give ourselves, from ClickHouse's `ErrorCodes.cpp`.
pub mod code {
    /// A wrong argument or parameter.
    pub const BAD_ARGUMENTS: i32 = 36;
    /// Something the engine has and we do not offer.
    pub const NOT_IMPLEMENTED: i32 = 48;
    /// The query's text cannot be read.
    pub const SYNTAX_ERROR: i32 = 62;
    /// A format that does not exist.
    pub const UNKNOWN_FORMAT: i32 = 73;
    /// A file or pipe of ours cannot be opened.
    pub const CANNOT_OPEN_FILE: i32 = 76;
    /// A setting that does not exist.
    pub const UNKNOWN_SETTING: i32 = 115;
    /// A wait ran into its deadline.
    pub const TIMEOUT_EXCEEDED: i32 = 159;
    /// A write in read-only mode.
    pub const READONLY: i32 = 164;
    /// No slot for one more query.
    pub const TOO_MANY_SIMULTANEOUS_QUERIES: i32 = 202;
    /// The caller's connection broke or stalled.
    pub const NETWORK_ERROR: i32 = 210;
    /// A query of this id is running.
    pub const QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING: i32 = 216;
    /// A Content-Encoding that we do not know.
    pub const UNKNOWN_COMPRESSION_METHOD: i32 = 89;
    /// A body that its own compression does not undo.
    pub const CANNOT_DECOMPRESS: i32 = 271;
    /// INTO OUTFILE over HTTP.
    pub const INTO_OUTFILE_NOT_ALLOWED: i32 = 348;
    /// `session_check=1` and no such session.
    pub const SESSION_NOT_FOUND: i32 = 372;
    /// The session is running another query.
    pub const SESSION_IS_LOCKED: i32 = 373;
    /// A session timeout that is no number, or too large.
    pub const INVALID_SESSION_TIMEOUT: i32 = 374;
    /// No room on the disk.
    pub const NOT_ENOUGH_SPACE: i32 = 243;
    /// More than a limit of ours.
    pub const TOO_MANY_ROWS_OR_BYTES: i32 = 396;
    /// Killed, or the caller went away.
    pub const QUERY_WAS_CANCELLED: i32 = 394;
    /// Something the caller may not do.
    pub const ACCESS_DENIED: i32 = 497;
    /// Wrong user or password.
    pub const AUTHENTICATION_FAILED: i32 = 516;
    /// Anything that has no code of its own.
    pub const UNKNOWN_EXCEPTION: i32 = 1002;
}

fn name_of(code: i32) -> &'static str {
    match code {
        code::BAD_ARGUMENTS => "BAD_ARGUMENTS",
        code::NOT_IMPLEMENTED => "NOT_IMPLEMENTED",
        code::SYNTAX_ERROR => "SYNTAX_ERROR",
        code::UNKNOWN_FORMAT => "UNKNOWN_FORMAT",
        code::CANNOT_OPEN_FILE => "CANNOT_OPEN_FILE",
        code::UNKNOWN_SETTING => "UNKNOWN_SETTING",
        code::UNKNOWN_COMPRESSION_METHOD => "UNKNOWN_COMPRESSION_METHOD",
        code::CANNOT_DECOMPRESS => "CANNOT_DECOMPRESS",
        code::TIMEOUT_EXCEEDED => "TIMEOUT_EXCEEDED",
        code::READONLY => "READONLY",
        code::TOO_MANY_SIMULTANEOUS_QUERIES => "TOO_MANY_SIMULTANEOUS_QUERIES",
        code::NETWORK_ERROR => "NETWORK_ERROR",
        code::QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING => "QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING",
        code::INTO_OUTFILE_NOT_ALLOWED => "INTO_OUTFILE_NOT_ALLOWED",
        code::SESSION_NOT_FOUND => "SESSION_NOT_FOUND",
        code::SESSION_IS_LOCKED => "SESSION_IS_LOCKED",
        code::INVALID_SESSION_TIMEOUT => "INVALID_SESSION_TIMEOUT",
        code::NOT_ENOUGH_SPACE => "NOT_ENOUGH_SPACE",
        code::TOO_MANY_ROWS_OR_BYTES => "TOO_MANY_ROWS_OR_BYTES",
        code::QUERY_WAS_CANCELLED => "QUERY_WAS_CANCELLED",
        code::ACCESS_DENIED => "ACCESS_DENIED",
        code::AUTHENTICATION_FAILED => "AUTHENTICATION_FAILED",
        _ => "UNKNOWN_EXCEPTION",
    }
}

/// One error, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Failure {
    /// ClickHouse's error code.
    pub code: i32,
    /// The whole text, from `Code:` to `(version …)`.
    pub text: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl Failure {
    /// An error of our own.
    #[must_use]
    pub fn new(code: i32, message: impl fmt::Display) -> Self {
        let name = name_of(code);
        Self {
            code,
            text: format!("Code: {code}. DB::Exception: {message}. ({name}) (version {ENGINE_VERSION})"),
        }
    }

    /// An error of the engine, from its text.
    #[must_use]
    pub fn from_engine(text: &str) -> Self {
        let mut text = text.trim();
        // "Code: 164. DB::Exception: Code: 164. DB::Exception: …": the inner text says it all.
        while let Some(inner) = text.strip_prefix(prefix_of(text)).filter(|inner| inner.starts_with("Code: "))
        {
            text = inner;
        }
        let Some(code) = code_of(text) else {
            let message = if text.is_empty() { "the engine failed and gave no reason" } else { text };
            return Self::new(code::UNKNOWN_EXCEPTION, message);
        };
        if text.contains("(version ") {
            return Self { code, text: text.to_owned() };
        }
        Self { code, text: format!("{text} (version {ENGINE_VERSION})") }
    }
}

/// `Code: N. DB::Exception: `, if the text begins so.
fn prefix_of(text: &str) -> &str {
    const MARK: &str = "DB::Exception: ";
    match (code_of(text), text.find(MARK)) {
        (Some(_), Some(at)) if at < 24 => &text[..at + MARK.len()],
        _ => "\0",
    }
}

fn code_of(text: &str) -> Option<i32> {
    let digits = text.strip_prefix("Code: ")?;
    let end = digits.find(|c: char| !c.is_ascii_digit())?;
    digits[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_engines_texts() {
        let failure = Failure::from_engine("Code: 60. DB::Exception: no t. (UNKNOWN_TABLE)");
        assert_eq!(failure.code, 60);
        assert_eq!(failure.text, "Code: 60. DB::Exception: no t. (UNKNOWN_TABLE) (version 26.7.2.1)");
        let nested = Failure::from_engine(
            "Code: 164. DB::Exception: Code: 164. DB::Exception: Cannot. (READONLY) (version 26.7.2.1). (READONLY)",
        );
        assert_eq!(nested.code, 164);
        assert!(nested.text.starts_with("Code: 164. DB::Exception: Cannot."), "{nested}");
        assert_eq!(Failure::from_engine("boom").code, 1002);
        assert_eq!(Failure::from_engine("").code, 1002);
    }
}
