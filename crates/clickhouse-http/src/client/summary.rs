//! `X-ClickHouse-Summary`: a flat JSON object of numbers written as strings.

use http::HeaderMap;
use serde_json::Value;

/// What the server says about a finished statement. Zero where it says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// The query's id, as the server reports it.
    pub query_id: Option<String>,
    /// Rows read from tables.
    pub read_rows: u64,
    /// Bytes read from tables.
    pub read_bytes: u64,
    /// Rows written.
    pub written_rows: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Rows of the answer.
    pub result_rows: u64,
    /// Bytes of the answer.
    pub result_bytes: u64,
    /// Time spent, nanoseconds.
    pub elapsed_ns: u64,
}

impl Summary {
    pub(super) fn from_headers(headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
        let json: Value =
            text("x-clickhouse-summary").and_then(|t| serde_json::from_str(t).ok()).unwrap_or(Value::Null);
        let number = |key: &str| match json.get(key) {
            Some(Value::String(text)) => text.parse().unwrap_or(0),
            Some(value) => value.as_u64().unwrap_or(0),
            None => 0,
        };
        Self {
            query_id: text("x-clickhouse-query-id").map(str::to_owned),
            read_rows: number("read_rows"),
            read_bytes: number("read_bytes"),
            written_rows: number("written_rows"),
            written_bytes: number("written_bytes"),
            result_rows: number("result_rows"),
            result_bytes: number("result_bytes"),
            elapsed_ns: number("elapsed_ns"),
        }
    }
}
