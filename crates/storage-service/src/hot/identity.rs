//! Which server and which table: a name is not enough to delete by.
//!
//! A server that was restored, replaced or fails over to another answers to the same address, and a table that
//! was dropped and made anew to the same name. Their UUIDs differ.

use clickhouse_http::NodeId;
use clickhouse_sql::TableName;
use moves::Place;
use serde::Deserialize;

use super::{Hot, HotError, METADATA, in_tables};

/// What a server or a table has that has no identity.
const NIL: &str = "00000000-0000-0000-0000-000000000000";

/// The database whose UUID stands for the server's where that has none. Not the one of the internal tables, which
/// tells that a move was made.
const IDENTITY_DATABASE: &str = "storage_identity";

#[derive(Deserialize)]
struct Row {
    id: String,
}

impl Hot {
    /// Which server answers: `serverUUID()`, which ClickHouse keeps in its data folder. The embedded engine has
    /// none; there the UUID of an empty database stands for it, which is made for that.
    pub async fn server_id(&self) -> Result<String, HotError> {
        self.server_id_at(None).await
    }

    pub(super) async fn server_id_at(&self, node: Option<NodeId>) -> Result<String, HotError> {
        const WHAT: &str = "ask which server it is";
        let failed = |source| HotError::Engine { what: WHAT, source };
        let ask = |sql: String| {
            let query = self.client.query(sql).deadline(METADATA);
            match node {
                Some(node) => query.node(node),
                None => query,
            }
        };
        let own: Row = ask("SELECT toString(serverUUID()) AS id".to_owned()).one().await.map_err(failed)?;
        if own.id != NIL {
            return Ok(own.id);
        }
        let create = format!("CREATE DATABASE IF NOT EXISTS {IDENTITY_DATABASE} ENGINE = Atomic");
        ask(create).execute().await.map_err(failed)?;
        let sql =
            format!("SELECT toString(uuid) AS id FROM system.databases WHERE name = '{IDENTITY_DATABASE}'");
        let made: Row = ask(sql).one().await.map_err(failed)?;
        match made.id {
            id if id == NIL => Err(HotError::Unexpected { what: WHAT, reason: "it has no UUID".into() }),
            id => Ok(id),
        }
    }

    /// The table's UUID, which stays with it when it is renamed or exchanged, and which no other ever has;
    /// `None` when there is no such table.
    ///
    /// # Errors
    /// Also when the table has none: a database with the engine Ordinary (or the embedded engine's
    /// own `default`) gives none, and the time of the last ALTER, which it has, changes with settings of ours.
    pub async fn table_id(&self, table: &TableName) -> Result<Option<String>, HotError> {
        const WHAT: &str = "ask which table it is";
        let sql = format!("SELECT toString(uuid) AS id FROM system.tables WHERE {}", in_tables(table));
        let rows: Vec<Row> = self.rows(WHAT, sql, METADATA).await?;
        match rows.into_iter().next() {
            Some(row) if row.id == NIL => {
                Err(HotError::Unexpected { what: WHAT, reason: format!("{table} has no UUID") })
            }
            row => Ok(row.map(|row| row.id)),
        }
    }

    /// Both, as the table's place; `None` when there is no such table.
    pub async fn place(&self, table: &TableName) -> Result<Option<Place>, HotError> {
        let (server, table) = (self.server_id().await?, self.table_id(table).await?);
        Ok(table.map(|table| Place { server, table }))
    }
}
