//! The cold tables that hold batches: which they are, and how many rows should be there.

use rusqlite::params;

use super::{Journal, JournalError};

/// A cold table as the journal knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColdTable {
    /// Its database.
    pub database: String,
    /// Its name.
    pub table: String,
    /// `system.tables.uuid` when it was last known to be ours.
    pub uuid: Option<String>,
    /// Batches whose rows are in it: proven, published or retired.
    pub batches: u64,
    /// Their rows.
    pub rows: u64,
    /// Rows that may be missing: an operator said so.
    pub accepted: u64,
}

impl Journal {
    /// Every table that holds batches or was made for some, by name.
    pub async fn cold_tables(&self) -> Result<Vec<ColdTable>, JournalError> {
        self.run(|connection| {
            // A retired batch's rows are missed by nobody. The condition is the index's own, which also holds the rows.
            let mut statement = connection.prepare_cached(
                "WITH held AS (
                     SELECT cold_database, cold_table, count(*) AS batches,
                     sum(CASE state WHEN 'retired' THEN 0 ELSE rows END) AS rows FROM batches INDEXED BY batches_by_cold_table
                     WHERE state IN ('proven', 'published', 'retired') AND removal IS NULL
                     GROUP BY cold_database, cold_table)
                 SELECT coalesce(h.cold_database, t.database), coalesce(h.cold_table, t.name), t.uuid,
                        coalesce(h.batches, 0), coalesce(h.rows, 0), coalesce(t.accepted, 0)
                 FROM held h FULL JOIN cold_tables t ON t.database = h.cold_database AND t.name = h.cold_table
                 ORDER BY 1, 2",
            )?;
            let count = |n: i64| n.unsigned_abs();
            let rows = statement.query_map([], |row| {
                Ok(ColdTable {
                    database: row.get(0)?,
                    table: row.get(1)?,
                    uuid: row.get(2)?,
                    batches: count(row.get(3)?),
                    rows: count(row.get(4)?),
                    accepted: count(row.get(5)?),
                })
            })?;
            Ok(rows.collect::<rusqlite::Result<Vec<_>>>()?)
        })
        .await
    }

    /// Notes a table's UUID, unless one is known and batches are in the table.
    pub async fn note_cold_table(&self, database: &str, name: &str, uuid: &str) -> Result<(), JournalError> {
        let (database, name, uuid) = (database.to_owned(), name.to_owned(), uuid.to_owned());
        self.run(move |connection| {
            connection.execute(
                "INSERT INTO cold_tables (database, name, uuid) VALUES (?1, ?2, ?3)
                 ON CONFLICT (database, name) DO UPDATE SET uuid = excluded.uuid
                 WHERE uuid IS NULL OR NOT EXISTS (
                     SELECT 1 FROM batches WHERE state IN ('proven', 'published', 'retired') AND removal IS NULL
                     AND cold_database = ?1 AND cold_table = ?2)",
                params![database, name, uuid],
            )?;
            Ok(())
        })
        .await
    }

    /// The table of this UUID, with this many rows, is accepted as it is; `None`: that there is none. Answers
    /// `false` when no batch is in it.
    pub async fn accept_cold_table(
        &self,
        database: &str,
        name: &str,
        uuid: Option<&str>,
        rows: u64,
    ) -> Result<bool, JournalError> {
        let found = self.cold_tables().await?;
        let Some(known) = found.into_iter().find(|t| t.database == database && t.table == name) else {
            return Ok(false);
        };
        let uuid = uuid.map(str::to_owned);
        let missing = i64::try_from(known.rows.saturating_sub(rows)).unwrap_or(i64::MAX);
        self.run(move |connection| {
            connection.execute(
                "INSERT OR REPLACE INTO cold_tables (database, name, uuid, accepted) VALUES (?1, ?2, ?3, ?4)",
                params![known.database, known.table, uuid, missing],
            )?;
            Ok(true)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use storage_types::{BatchState, ContentHash, Proof};

    use super::*;
    use crate::journal::tests::manifest;

    #[tokio::test]
    async fn rows_are_those_of_batches_in_the_table_and_a_uuid_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path()).unwrap();
        journal.note_cold_table("cold", "t", "a").await.unwrap();
        journal.note_cold_table("cold", "t", "b").await.unwrap();
        let table = async || journal.cold_tables().await.unwrap().pop().unwrap();
        assert_eq!(
            (table().await.uuid.as_deref(), table().await.batches),
            (Some("b"), 0),
            "nothing is in it"
        );
        let proof = |rows| Some(Proof { rows, content_hash: ContentHash(1) });
        for (n, state) in [(1, BatchState::Proven), (2, BatchState::Retired), (3, BatchState::Received)] {
            journal.insert(manifest(n), state, proof(n * 10)).await.unwrap();
        }
        journal.note_cold_table("cold", "t", "c").await.unwrap();
        let expected = ColdTable {
            database: "cold".into(),
            table: "t".into(),
            uuid: Some("b".into()),
            batches: 2,
            rows: 10,
            accepted: 0,
        };
        assert_eq!(journal.cold_tables().await.unwrap(), std::slice::from_ref(&expected));
        journal.set_removal(vec![storage_types::BatchId::from_u64(2).unwrap()], false).await.unwrap();
        assert_eq!((table().await.batches, table().await.rows), (1, 10), "what is going is not missed");
        assert!(journal.accept_cold_table("cold", "t", Some("d"), 4).await.unwrap());
        assert_eq!((table().await.uuid.as_deref(), table().await.accepted), (Some("d"), 6));
        assert!(!journal.accept_cold_table("cold", "other", None, 0).await.unwrap());
    }
}
