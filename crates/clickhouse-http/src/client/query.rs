//! A statement on its way: settings, parameters, and the ways to run it.

use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use serde::de::DeserializeOwned;
use url::Url;

use super::{Client, Error, NodeId, ResponseStream, Summary, send};

/// Unless told otherwise: for collected answers in all, for streams between two bytes.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(300);

/// A table that exists for one statement only, sent along with it.
#[derive(Debug, Clone)]
pub(super) struct ExternalTable {
    pub(super) name: String,
    pub(super) structure: String,
    pub(super) format: String,
    pub(super) bytes: Bytes,
}

/// A statement to be sent; see [`super`] for where it goes and when it is retried.
#[derive(Debug, Clone)]
#[must_use = "a statement does nothing until it is run"]
pub struct Query {
    pub(super) client: Client,
    pub(super) sql: String,
    settings: Vec<(String, String)>,
    params: Vec<(String, String)>,
    query_id: Option<String>,
    database: Option<String>,
    format: Option<String>,
    readonly: bool,
    idempotent: bool,
    pub(super) deadline: Duration,
    pub(super) node: Option<NodeId>,
    pub(super) external: Vec<ExternalTable>,
}

impl Query {
    pub(super) fn new(client: Client, sql: String) -> Self {
        Self {
            idempotent: is_read(&sql),
            database: client.inner.list.database.clone(),
            client,
            sql,
            settings: Vec::new(),
            params: Vec::new(),
            query_id: None,
            format: None,
            readonly: false,
            deadline: DEFAULT_DEADLINE,
            node: None,
            external: Vec::new(),
        }
    }

    /// A ClickHouse setting for this statement; the last value given for a name holds.
    pub fn setting(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        let name = name.into();
        self.settings.retain(|(known, _)| *known != name);
        self.settings.push((name, value.to_string()));
        self
    }

    /// The value of `{name:Type}` in the statement.
    pub fn param(mut self, name: impl AsRef<str>, value: impl ToString) -> Self {
        self.params.push((format!("param_{}", name.as_ref()), escape_param(&value.to_string())));
        self
    }

    /// The id under which `system.processes` and `KILL QUERY` know it.
    pub fn query_id(mut self, id: impl Into<String>) -> Self {
        self.query_id = Some(id.into());
        self
    }

    /// Database of unqualified names, instead of the list's.
    pub fn database(mut self, database: impl Into<String>) -> Self {
        self.database = Some(database.into());
        self
    }

    /// Format of the answer when the statement names none.
    pub fn format(mut self, format: impl Into<String>) -> Self {
        self.format = Some(format.into());
        self
    }

    /// `readonly=1`: the server refuses writes and further settings. Implies [`Self::idempotent`].
    pub fn readonly(mut self) -> Self {
        self.readonly = true;
        self.idempotent = true;
        self
    }

    /// It may run twice without harm: asked of another node when the answer is lost. Statements that
    /// start with SELECT, WITH (without INSERT), SHOW, DESCRIBE, EXISTS or EXPLAIN are by default.
    pub fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }

    /// Longest wait: for a collected answer in all, for [`Self::stream`] and [`Self::insert`] without
    /// a byte in either direction. Default 300 s.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Only this node.
    pub fn node(mut self, node: NodeId) -> Self {
        self.node = Some(node);
        self
    }

    /// A table of this statement only: `structure` as in `id UInt64, name String`, `bytes` in `format`.
    pub fn external_table(
        mut self,
        name: impl Into<String>,
        structure: impl Into<String>,
        format: impl Into<String>,
        bytes: impl Into<Bytes>,
    ) -> Self {
        self.external.push(ExternalTable {
            name: name.into(),
            structure: structure.into(),
            format: format.into(),
            bytes: bytes.into(),
        });
        self
    }

    /// Runs it and throws the rows of the answer away (DDL, `INSERT … SELECT`).
    pub async fn execute(self) -> Result<Summary, Error> {
        send::collected(self, |_| Ok(())).await.map(|(summary, ())| summary)
    }

    /// The rows, one `T` each (a struct with the columns' names), by JSONEachRow. 64-bit integers and
    /// floats come as numbers; wider integers do not fit JSON numbers: `toString` them. NaN is null.
    pub async fn rows<T: DeserializeOwned>(self) -> Result<Vec<T>, Error> {
        let mut query = self.format("JSONEachRow");
        for (name, value) in JSON_SETTINGS {
            query = query.setting(*name, value);
        }
        let (_, bytes) = send::collected_bytes(query).await?;
        let lines = bytes.split(|&b| b == b'\n').filter(|line| !line.is_empty());
        lines
            .map(|line| serde_json::from_slice(line).map_err(|e| Error::Protocol(format!("a row: {e}"))))
            .collect()
    }

    /// The one row of an answer that must have exactly one.
    pub async fn one<T: DeserializeOwned>(self) -> Result<T, Error> {
        let mut rows = self.rows::<T>().await?;
        match (rows.pop(), rows.len()) {
            (Some(row), 0) => Ok(row),
            (None, _) => Err(Error::Protocol("expected one row, got none".into())),
            (_, more) => Err(Error::Protocol(format!("expected one row, got {}", more + 1))),
        }
    }

    /// The whole answer as text (default format TabSeparated).
    pub async fn text(self) -> Result<String, Error> {
        let (_, bytes) = send::collected_bytes(self).await?;
        String::from_utf8(bytes).map_err(|_| Error::Protocol("the answer is not UTF-8".into()))
    }

    /// The answer as it comes. Resolves once the first byte is there; errors before that are returned
    /// here, later ones end the stream.
    pub async fn stream(self) -> Result<ResponseStream, Error> {
        send::stream(self).await
    }

    /// Streams `body` into the statement, which ends in a `FORMAT` (`INSERT INTO t (a, b) FORMAT
    /// Native`). A body that ends in `Err` leaves the outcome unknown: the engine may have written the
    /// blocks that came before.
    pub async fn insert<S>(self, body: S) -> Result<Summary, Error>
    where
        S: Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static,
    {
        send::insert(self, body).await
    }

    /// A lost answer may be asked for again.
    pub(super) fn is_idempotent(&self) -> bool {
        self.idempotent
    }

    /// The address with everything but the body; `sql` goes along when the body is something else.
    pub(super) fn url(&self, base: &Url, sql_in_url: bool) -> Url {
        let mut url = base.clone();
        {
            let mut pairs = url.query_pairs_mut();
            if sql_in_url {
                pairs.append_pair("query", &self.sql);
            }
            if let Some(id) = &self.query_id {
                pairs.append_pair("query_id", id);
            }
            if let Some(database) = &self.database {
                pairs.append_pair("database", database);
            }
            if let Some(format) = &self.format {
                pairs.append_pair("default_format", format);
            }
            let given = |name: &str| self.settings.iter().any(|(known, _)| known == name);
            for (name, value) in OWN_SETTINGS {
                if !given(name) {
                    pairs.append_pair(name, value);
                }
            }
            if self.idempotent && !given(CANCEL_ON_CLOSE) {
                pairs.append_pair(CANCEL_ON_CLOSE, "1");
            }
            for (name, value) in self.settings.iter().chain(&self.params) {
                pairs.append_pair(name, value);
            }
            for table in &self.external {
                pairs.append_pair(&format!("{}_structure", table.name), &table.structure);
                pairs.append_pair(&format!("{}_format", table.name), &table.format);
            }
            // Last: a server that applies settings one by one accepts none after it.
            if self.readonly {
                pairs.append_pair("readonly", "1");
            }
        }
        url
    }
}

/// The server stops a read whose caller has gone.
const CANCEL_ON_CLOSE: &str = "cancel_http_readonly_queries_on_client_close";

/// Settings that answers rely on: exceptions end the body, whatever the format.
const OWN_SETTINGS: &[(&str, &str)] = &[("http_write_exception_in_output_format", "0")];

/// What [`Query::rows`] relies on, whatever the user's profile says.
const JSON_SETTINGS: &[(&str, &str)] = &[
    ("output_format_json_quote_64bit_integers", "0"),
    ("output_format_json_quote_64bit_floats", "0"),
    ("output_format_json_quote_denormals", "0"),
    ("output_format_json_quote_decimals", "1"),
    ("output_format_json_array_of_rows", "0"),
    ("output_format_json_named_tuples_as_objects", "1"),
    ("date_time_output_format", "simple"),
];

/// The statement can only read, judged by its first word behind comments and brackets.
fn is_read(sql: &str) -> bool {
    let mut rest = sql.trim_start_matches(|c: char| c.is_whitespace() || c == '(');
    loop {
        let after = if let Some(line) = rest.strip_prefix("--") {
            line.split_once('\n').map_or("", |(_, after)| after)
        } else if let Some(block) = rest.strip_prefix("/*") {
            block.split_once("*/").map_or("", |(_, after)| after)
        } else {
            break;
        };
        rest = after.trim_start_matches(|c: char| c.is_whitespace() || c == '(');
    }
    let word: String = rest.chars().take_while(char::is_ascii_alphabetic).collect();
    match word.to_ascii_lowercase().as_str() {
        "select" | "show" | "describe" | "desc" | "exists" | "explain" => true,
        // `WITH … INSERT INTO` is a write; a read that merely mentions the word loses only its retry.
        "with" => !sql.to_ascii_lowercase().contains("insert"),
        _ => false,
    }
}

/// The value of a `param_<name>`, which the server reads as one TSV field.
fn escape_param(value: &str) -> String {
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
    fn only_reads_are_idempotent() {
        for read in ["SELECT 1", " (select 1)", "-- x\n/* y */ Show TABLES", "WITH 1 AS a SELECT a", "DESC t"]
        {
            assert!(is_read(read), "{read}");
        }
        for write in
            ["INSERT INTO t SELECT 1", "WITH 1 AS a INSERT INTO t SELECT a", "ALTER TABLE t", "", "-- select"]
        {
            assert!(!is_read(write), "{write}");
        }
    }

    #[test]
    fn parameters_are_escaped_as_one_field() {
        assert_eq!(escape_param("a\tb\\N"), "a\\tb\\\\N");
    }
}
