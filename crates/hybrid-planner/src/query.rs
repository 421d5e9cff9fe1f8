//! A query, read.

/// A query's text with what was understood of it.
#[derive(Debug, Clone)]
pub struct Query {
    /// The text as it came.
    pub text: String,
}
