//! Confirmations not yet acknowledged by the service: batch ids only, since what is told about a
//! batch is read from the journal at the moment of telling. A batch stands in it at most once, so
//! the table is bounded by the number of batches; entries older than the longest outage the
//! operator wants to survive are dropped (the service asks for itself after that).

use rusqlite::{Connection, params};
use storage_types::BatchId;

use super::{Journal, JournalError, batch_id};

/// Queues the confirmation of a batch.
pub(super) fn queue(connection: &Connection, batch: BatchId) -> rusqlite::Result<()> {
    connection.execute(
        "INSERT OR REPLACE INTO outbox (batch, since) VALUES (?1, unixepoch())",
        params![batch.to_sql()],
    )?;
    Ok(())
}

impl Journal {
    /// The oldest confirmation still to be sent.
    pub async fn next_confirmation(&self) -> Result<Option<BatchId>, JournalError> {
        self.run(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT batch FROM outbox ORDER BY since, batch LIMIT 1")?;
            let mut rows = statement.query([])?;
            match rows.next()? {
                Some(row) => batch_id(row.get(0)?).map(Some),
                None => Ok(None),
            }
        })
        .await
    }

    /// Forgets a confirmation: the service has it.
    pub async fn confirmed(&self, batch: BatchId) -> Result<(), JournalError> {
        self.run(move |connection| {
            connection.execute("DELETE FROM outbox WHERE batch = ?1", params![batch.to_sql()])?;
            Ok(())
        })
        .await
    }

    /// Forgets confirmations queued more than `age_s` seconds ago; answers how many.
    pub async fn expire_confirmations(&self, age_s: i64) -> Result<usize, JournalError> {
        self.run(move |connection| {
            Ok(connection.execute("DELETE FROM outbox WHERE since < unixepoch() - ?1", params![age_s])?)
        })
        .await
    }
}
