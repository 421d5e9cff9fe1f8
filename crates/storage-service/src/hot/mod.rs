//! The hot engine, as the migrator asks it: describe a table, number its rows, count, prove and delete them.
//!
//! Everything here is one statement or a few, and each may be repeated: the callers reconcile by
//! looking, never by remembering. A statement whose answer was lost ([`clickhouse_http::Error::Unknown`])
//! is not asked again here; the step that needed it is, from its beginning.
//!
//! Row-wise work (hashing, comparing, sorting) is the engine's; nothing here holds rows.

mod block_numbers;
mod changes;
mod deletion;
mod describe;
mod engine_text;
mod head_proof;
mod identity;
mod nodes;
mod row_set;
mod slices;
mod witness;

use std::time::Duration;

use clickhouse_http::Client;
use clickhouse_sql::{TableName, quote};
use moves::ManagedTable;
use serde::de::DeserializeOwned;
use storage_types::Column;

pub use changes::Changes;
pub use describe::Described;
pub use engine_text::{EngineText, shortest_ttl_rule};
pub use head_proof::PartProof;
pub use row_set::predicate;
pub use slices::slice_source;
pub use witness::Witness;

/// Longest wait for a statement about metadata.
const METADATA: Duration = Duration::from_secs(60);
/// Longest wait for a statement that reads or writes rows of one partition.
const ROWS: Duration = Duration::from_secs(6 * 3600);

/// Statements of moves that read rows give way to what users ask through this service
/// ([`crate::router`], `priority` 1), for so long at each block: moves go on beside any number of queries.
const GIVES_WAY: [(&str, &str); 2] = [("priority", "2"), ("low_priority_query_wait_time_ms", "20")];

/// Why a question to the hot engine, or work of it, came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum HotError {
    /// A statement failed.
    #[error("{what}: {source}")]
    Engine {
        /// What was being done.
        what: &'static str,
        /// Why it failed.
        source: clickhouse_http::Error,
    },
    /// The engine's answer contradicts what it must be.
    #[error("{what}: {reason}")]
    Unexpected {
        /// What was being done.
        what: &'static str,
        /// What was wrong.
        reason: String,
    },
}

impl HotError {
    /// Trying again later may help.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Engine { source, .. } => source.is_retryable() || source.is_unknown_outcome(),
            Self::Unexpected { .. } => false,
        }
    }

    /// ClickHouse's error code.
    pub fn code(&self) -> Option<i32> {
        match self {
            Self::Engine { source, .. } => source.code(),
            Self::Unexpected { .. } => None,
        }
    }
}

/// Database of the tables the service keeps beside the user's own.
pub const INTERNAL_DATABASE: &str = "storage_internal";

/// Asks one hot engine. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Hot {
    client: Client,
    nodes: nodes::KnownNodes,
}

impl Hot {
    /// Statements go through `client`, which must be the owner of the tables. Where it has several nodes, only
    /// the first is asked until [`Hot::nodes_differ`] has asked all.
    pub fn new(client: Client) -> Self {
        nodes::admit_first(&client);
        Self { client, nodes: nodes::KnownNodes::default() }
    }

    /// For statements that stream.
    pub fn client(&self) -> &Client {
        &self.client
    }

    async fn rows<T: DeserializeOwned>(
        &self,
        what: &'static str,
        sql: String,
        deadline: Duration,
    ) -> Result<Vec<T>, HotError> {
        let query = self.client.query(sql).deadline(deadline);
        query.rows().await.map_err(|source| HotError::Engine { what, source })
    }

    /// Likewise of the table's rows, which may take long and gives way.
    async fn read<T: DeserializeOwned>(&self, what: &'static str, sql: String) -> Result<Vec<T>, HotError> {
        let query = giving_way(self.client.query(sql).deadline(ROWS));
        query.rows().await.map_err(|source| HotError::Engine { what, source })
    }

    async fn run(&self, what: &'static str, sql: String, deadline: Duration) -> Result<(), HotError> {
        tracing::debug!(what, sql, "hot engine");
        let query = self.client.query(sql).deadline(deadline);
        query.execute().await.map(drop).map_err(|source| HotError::Engine { what, source })
    }

    /// The engine's clock, Unix seconds.
    pub async fn clock(&self) -> Result<i64, HotError> {
        self.seconds("toUnixTimestamp(now())").await
    }

    /// When the engine started, by its own clock, Unix seconds; a second more or less.
    pub async fn started(&self) -> Result<i64, HotError> {
        self.seconds("toUnixTimestamp(now()) - uptime()").await
    }

    async fn seconds(&self, expression: &str) -> Result<i64, HotError> {
        const WHAT: &str = "ask what time it is";
        #[derive(serde::Deserialize)]
        struct Row {
            seconds: i64,
        }
        let sql = format!("SELECT toInt64({expression}) AS seconds");
        let rows: Vec<Row> = self.rows(WHAT, sql, METADATA).await?;
        let row =
            rows.first().ok_or_else(|| HotError::Unexpected { what: WHAT, reason: "no answer".into() })?;
        Ok(row.seconds)
    }

    /// `version()`.
    pub async fn version(&self) -> Result<String, HotError> {
        #[derive(serde::Deserialize)]
        struct Row {
            v: String,
        }
        let rows: Vec<Row> = self.rows("ask the version", "SELECT version() AS v".into(), METADATA).await?;
        rows.into_iter()
            .next()
            .map(|row| row.v)
            .ok_or_else(|| HotError::Unexpected { what: "ask the version", reason: "no answer".into() })
    }
}

/// The name of the table's head.
pub fn head_of(table: &ManagedTable) -> TableName {
    TableName::new(&table.head.0, &table.head.1)
}

/// `c1, c2, …`, quoted.
pub fn column_list(columns: &[Column]) -> String {
    columns.iter().map(|column| quote::ident(&column.name)).collect::<Vec<_>>().join(", ")
}

/// See [`GIVES_WAY`].
pub(crate) fn giving_way(query: clickhouse_http::Query) -> clickhouse_http::Query {
    GIVES_WAY.into_iter().fold(query, |query, (name, value)| query.setting(name, value))
}

/// `database = '…' AND name = '…'` for `system.tables`.
fn in_tables(table: &TableName) -> String {
    format!("database = {} AND name = {}", quote::string(&table.database), quote::string(&table.table))
}

/// `database = '…' AND table = '…'` for the system tables.
fn in_system_table(table: &TableName) -> String {
    format!("database = {} AND table = {}", quote::string(&table.database), quote::string(&table.table))
}
