//! The parameters of a request's URL: those with a meaning of their own, query parameters, and settings,
//! which is everything else. Nothing is dropped: an unknown name is a setting that the engine refuses.

use http::HeaderMap;

/// A request's parameters, sorted by what they mean.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestParameters {
    /// `query=`: the statement, or its beginning when a body follows.
    pub query: String,
    /// `database=` or `X-ClickHouse-Database`.
    pub database: Option<String>,
    /// `default_format=` or `X-ClickHouse-Format`.
    pub default_format: Option<String>,
    /// `query_id=` or `X-ClickHouse-Query-Id`.
    pub query_id: Option<String>,
    /// `session_id=`.
    pub session_id: Option<String>,
    /// `session_timeout=`, seconds, as sent.
    pub session_timeout: Option<String>,
    /// `session_check=1`: the session must exist.
    pub session_check: bool,
    /// `user=` and `password=`.
    pub user: Option<String>,
    /// See `user`.
    pub password: Option<String>,
    /// `compress=1`: answer in ClickHouse frames.
    pub compress: bool,
    /// `decompress=1`: the body is in ClickHouse frames.
    pub decompress: bool,
    /// `enable_http_compression=1`: answer with a Content-Encoding.
    pub http_compression: bool,
    /// `wait_end_of_query=1`: begin the answer when the query has ended.
    pub wait_end_of_query: bool,
    /// `param_<name>=value`, in escaped text form, by name.
    pub query_parameters: Vec<(String, String)>,
    /// Every other name, in order.
    pub settings: Vec<(String, String)>,
    /// `<table>_format`, `<table>_structure`, `<table>_types` of external tables, by full name.
    pub external: Vec<(String, String)>,
}

/// Names that mean something to a ClickHouse server and nothing to one engine behind one user.
/// `role`: there are no roles. `buffer_size`: our buffers are fixed. `client_protocol_version`: Native
/// without block info, which clients detect. `quota_key`, `stacktrace`: no quotas, no stack traces.
const IGNORED: [&str; 9] = [
    "role",
    "buffer_size",
    "client_protocol_version",
    "quota_key",
    "stacktrace",
    "close_session",
    "http_zlib_compression_level",
    "send_progress_in_http_headers",
    "http_headers_progress_interval_ms",
];

impl RequestParameters {
    /// Sorts the pairs of a URL's query string; headers fill what the URL leaves open.
    #[must_use]
    pub fn parse(query_string: &str, headers: &HeaderMap) -> Self {
        let mut found = Self::default();
        for (name, value) in url::form_urlencoded::parse(query_string.as_bytes()) {
            found.add(&name, value.into_owned());
        }
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        found.database = found.database.or_else(|| header("x-clickhouse-database"));
        found.default_format = found.default_format.or_else(|| header("x-clickhouse-format"));
        found.query_id = found.query_id.or_else(|| header("x-clickhouse-query-id"));
        found
    }

    /// Sorts in one more pair, of a form's body for example.
    pub fn add(&mut self, name: &str, value: String) {
        let set = |value: &str| !matches!(value, "" | "0" | "false");
        let some = |value: String| Some(value).filter(|value| !value.is_empty());
        match name {
            "query" => self.query.push_str(&value),
            "database" => self.database = some(value),
            "default_format" => self.default_format = some(value),
            "query_id" => self.query_id = some(value),
            "session_id" => self.session_id = some(value),
            "session_timeout" => self.session_timeout = some(value),
            "session_check" => self.session_check = set(&value),
            "user" => self.user = Some(value),
            "password" => self.password = Some(value),
            "compress" => self.compress = set(&value),
            "decompress" => self.decompress = set(&value),
            "enable_http_compression" => self.http_compression = set(&value),
            "wait_end_of_query" | "http_wait_end_of_query" => self.wait_end_of_query = set(&value),
            _ if IGNORED.contains(&name) => {}
            _ => {
                if let Some(parameter) = name.strip_prefix("param_") {
                    self.query_parameters.push((parameter.to_owned(), value));
                } else if ["_format", "_structure", "_types"].iter().any(|end| name.ends_with(end)) {
                    self.external.push((name.to_owned(), value));
                } else {
                    self.settings.push((name.to_owned(), value));
                }
            }
        }
    }

    /// The last value of the setting `name`, if it was sent.
    #[must_use]
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.settings.iter().rev().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// Puts aside which of the `_format`, `_structure`, `_types` names describe one of `tables`: the rest
    /// are settings after all (`date_time_input_format` ends so too).
    pub fn sort_out_external(&mut self, tables: &[String]) {
        let (external, settings) = std::mem::take(&mut self.external).into_iter().partition(|(name, _)| {
            name.rsplit_once('_').is_some_and(|(table, _)| tables.iter().any(|known| known == table))
        });
        self.external = external;
        self.settings.extend::<Vec<_>>(settings);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_names_by_meaning() {
        let mut headers = HeaderMap::new();
        headers.insert("x-clickhouse-format", "JSON".parse().unwrap());
        headers.insert("x-clickhouse-database", "ignored".parse().unwrap());
        let mut found = RequestParameters::parse(
            "query=SELECT%201&database=d&param_a=%5Ct&max_threads=2&compress=1&session_check=0\
             &role=r&date_time_input_format=best_effort&ext_structure=a%20Int8",
            &headers,
        );
        found.sort_out_external(&["ext".into()]);
        assert_eq!((found.query.as_str(), found.database.as_deref()), ("SELECT 1", Some("d")));
        assert_eq!(found.default_format.as_deref(), Some("JSON"));
        assert_eq!(found.query_parameters, [("a".to_owned(), "\\t".to_owned())]);
        assert_eq!(found.setting("max_threads"), Some("2"));
        assert_eq!(found.setting("date_time_input_format"), Some("best_effort"));
        assert_eq!(found.external, [("ext_structure".to_owned(), "a Int8".to_owned())]);
        assert!(found.compress && !found.session_check);
    }
}
