//! A statement on its way: settings, parameters, and the ways to run it.

use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use serde::de::DeserializeOwned;
use url::Url;

use super::{Client, Error, NodeId, ResponseStream, official, stream};

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
    query_id: Option<String>,
    database: Option<String>,
    pub(super) format: Option<String>,
    readonly: bool,
    pub(super) deadline: Duration,
    pub(super) node: Option<NodeId>,
    pub(super) external: Vec<ExternalTable>,
}

impl Query {
    pub(super) fn new(client: Client, sql: String) -> Self {
        Self {
            database: client.inner.list.database.clone(),
            client,
            sql,
            settings: Vec::new(),
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

    /// `readonly=1`: the server refuses writes and further settings, and the statement may be asked twice.
    pub fn readonly(mut self) -> Self {
        self.readonly = true;
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

    /// A table of this statement only: `structure` as in `id UInt64, name String`, `bytes` in `format`. Goes
    /// with [`Self::stream`].
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

    /// Runs a statement without rows (DDL, `INSERT … SELECT`).
    pub async fn execute(self) -> Result<(), Error> {
        official::collected(self).await.map(drop)
    }

    /// The rows, one `T` each (a struct with the columns' names), by JSONEachRow. 64-bit integers and
    /// floats come as numbers; wider integers do not fit JSON numbers: `toString` them. NaN is null.
    pub async fn rows<T: DeserializeOwned>(self) -> Result<Vec<T>, Error> {
        let mut query = self.format("JSONEachRow");
        for (name, value) in JSON_SETTINGS {
            query = query.setting(*name, value);
        }
        let bytes = official::collected(query).await?;
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

    /// The whole answer as text (default format TabSeparated). A text that itself ends like an error of
    /// ClickHouse's (`Code: … DB::Exception: … (… (…))`) is taken for one.
    pub async fn text(self) -> Result<String, Error> {
        let bytes = official::collected(self).await?;
        String::from_utf8(bytes).map_err(|_| Error::Protocol("the answer is not UTF-8".into()))
    }

    /// The answer as it comes. Resolves once the first byte is there; errors before that are returned
    /// here, later ones end the stream.
    pub async fn stream(self) -> Result<ResponseStream, Error> {
        stream::open(self).await
    }

    /// Streams `body` into the statement, which ends in a `FORMAT` (`INSERT INTO t (a, b) FORMAT
    /// Native`). A body that ends in `Err` leaves the outcome unknown: the engine may have written the
    /// blocks that came before.
    pub async fn insert<S>(self, body: S) -> Result<(), Error>
    where
        S: Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static,
    {
        official::insert(self, body).await
    }

    /// A lost answer may be asked for again: it is read-only, or starts with SELECT, WITH (without INSERT),
    /// SHOW, DESCRIBE, EXISTS or EXPLAIN.
    pub(super) fn is_idempotent(&self) -> bool {
        self.readonly || is_read(&self.sql)
    }

    /// Settings, and what the interface takes like one. The server checks all before it applies any, so
    /// their order does not matter to `readonly`.
    pub(super) fn pairs(&self) -> Vec<(&str, &str)> {
        let mut pairs = Vec::new();
        pairs.extend(self.query_id.as_deref().map(|id| ("query_id", id)));
        pairs.extend(self.database.as_deref().map(|database| ("database", database)));
        pairs.extend(self.readonly.then_some(("readonly", "1")));
        let given = |name: &str| self.settings.iter().any(|(known, _)| known == name);
        let own = OWN_SETTINGS.iter().chain(self.is_idempotent().then_some(&CANCEL_ON_CLOSE));
        pairs.extend(own.filter(|(name, _)| !given(name)));
        pairs.extend(self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        pairs
    }

    /// The address with everything but the body; the statement goes along when external tables are the body.
    pub(super) fn url(&self, node: &Url) -> Url {
        let mut url = node.clone();
        let mut pairs = url.query_pairs_mut();
        pairs.extend_pairs(self.pairs()).extend_pairs(self.format.iter().map(|f| ("default_format", f)));
        if !self.external.is_empty() {
            pairs.append_pair("query", &self.sql);
        }
        for table in &self.external {
            pairs.append_pair(&format!("{}_structure", table.name), &table.structure);
            pairs.append_pair(&format!("{}_format", table.name), &table.format);
        }
        drop(pairs);
        url
    }
}

/// The server stops a read whose caller has gone.
const CANCEL_ON_CLOSE: (&str, &str) = ("cancel_http_readonly_queries_on_client_close", "1");

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
}
