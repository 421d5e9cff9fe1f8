//! Batches that leave: retired, taken back, removed.
//!
//! ```text
//! proven, published ─▶ retired ─▶ removing (intent: rows may be gone) ─▶ removed
//!         ╰──── taken back ───╯
//! ```
//!
//! The state stays `retired` to the end; how far the removal is stands beside it.

use rusqlite::{Connection, params, params_from_iter, types::Value};
use storage_types::{BatchId, BatchState};

use super::{Journal, JournalError, batch_id, unreadable};

/// What of a batch decides whether it may be published, retired or taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// The batch.
    pub batch: BatchId,
    /// Where it stands.
    pub state: BatchState,
    /// Cold database of its rows.
    pub database: String,
    /// Where it stood when it was retired.
    pub retired_from: Option<BatchState>,
    /// How often it was retired or taken back.
    pub turns: u8,
    /// Its rows are being removed, or are.
    pub leaves: bool,
}

impl Journal {
    /// The stages of these batches, in their order.
    ///
    /// # Errors
    /// [`JournalError::Unknown`] for the first that is not known.
    pub async fn stages(&self, batches: Vec<BatchId>) -> Result<Vec<Stage>, JournalError> {
        self.run(move |connection| batches.iter().map(|batch| stage(connection, *batch)).collect()).await
    }

    /// Takes all of them to `to`, which the state machine must allow for each, in one transaction. A batch
    /// that is retired keeps `observed` (seconds the gateway ran) as the beginning of its wait.
    pub async fn turn_all(
        &self,
        batches: Vec<BatchId>,
        to: BatchState,
        observed: i64,
    ) -> Result<(), JournalError> {
        self.run(move |connection| {
            let transaction = connection.transaction()?;
            for batch in batches {
                let now = stage(&transaction, batch)?;
                if now.state == to {
                    continue;
                }
                let to = now.state.advance(to)?;
                let retiring = to == BatchState::Retired;
                let turns = now.turns + u8::from(retiring || now.state == BatchState::Retired);
                let mut update = transaction.prepare_cached(
                    "UPDATE batches SET state = ?2, retired_from = ?3, retired_at = ?4, turns = ?5 WHERE id = ?1",
                )?;
                let from = retiring.then(|| now.state.as_str());
                update.execute(params![batch.to_sql(), to.as_str(), from, retiring.then_some(observed), turns])?;
            }
            Ok(transaction.commit()?)
        })
        .await
    }

    /// Retired batches whose rows may go: retired at or before `until`, or going already. Oldest first.
    pub async fn removable(&self, until: Option<i64>, limit: u32) -> Result<Vec<BatchId>, JournalError> {
        self.run(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT id FROM batches WHERE state = 'retired'
                 AND (removal = 'removing' OR (removal IS NULL AND retired_at <= ?1)) ORDER BY id LIMIT ?2",
            )?;
            let ids = statement.query_map(params![until, limit], |row| row.get::<_, i64>(0))?;
            ids.map(|id| batch_id(id?)).collect()
        })
        .await
    }

    /// Notes that the rows of these batches are about to go, or are gone.
    pub async fn set_removal(&self, batches: Vec<BatchId>, gone: bool) -> Result<(), JournalError> {
        self.run(move |connection| {
            let marks = vec!["?"; batches.len()].join(", ");
            let sql = format!("UPDATE batches SET removal = ? WHERE state = 'retired' AND id IN ({marks})");
            let word = Value::from(if gone { "removed" } else { "removing" }.to_owned());
            let ids = batches.iter().map(|batch| Value::from(batch.to_sql()));
            connection.execute(&sql, params_from_iter(std::iter::once(word).chain(ids)))?;
            Ok(())
        })
        .await
    }
}

fn stage(connection: &Connection, batch: BatchId) -> Result<Stage, JournalError> {
    let id = batch.to_sql();
    let mut statement = connection.prepare_cached(
        "SELECT state, cold_database, retired_from, turns, removal IS NOT NULL FROM batches WHERE id = ?1",
    )?;
    let mut rows = statement.query(params![id])?;
    let row = rows.next()?.ok_or(JournalError::Unknown(batch))?;
    let read =
        |text: String| BatchState::parse(&text).ok_or_else(|| unreadable(id, format!("state {text:?}")));
    Ok(Stage {
        batch,
        state: read(row.get(0)?)?,
        database: row.get(1)?,
        retired_from: row.get::<_, Option<String>>(2)?.map(read).transpose()?,
        turns: row.get(3)?,
        leaves: row.get(4)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::tests::manifest;

    #[tokio::test]
    async fn a_batch_waits_from_its_own_retirement_and_can_be_taken_back_before_it_goes() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path()).unwrap();
        let id = |n| BatchId::from_u64(n).unwrap();
        for n in 1..=3 {
            journal.insert(manifest(n), BatchState::Proven, None).await.unwrap();
        }
        journal.turn_all(vec![id(1)], BatchState::Published, 0).await.unwrap();
        journal.turn_all(vec![id(1), id(2)], BatchState::Retired, 100).await.unwrap();
        // Retired again: it does not wait again.
        journal.turn_all(vec![id(1)], BatchState::Retired, 500).await.unwrap();
        assert_eq!(journal.removable(Some(99), 9).await.unwrap(), []);
        assert_eq!(journal.removable(None, 9).await.unwrap(), [], "append_only");
        assert_eq!(journal.removable(Some(100), 9).await.unwrap(), [id(1), id(2)]);

        let stages = journal.stages(vec![id(1), id(3)]).await.unwrap();
        assert_eq!(
            (stages[0].state, stages[0].retired_from),
            (BatchState::Retired, Some(BatchState::Published))
        );
        assert_eq!((stages[0].turns, stages[1].turns, stages[0].leaves), (1, 0, false));
        journal.turn_all(vec![id(1)], BatchState::Published, 0).await.unwrap();
        journal.set_removal(vec![id(1), id(2)], false).await.unwrap();
        assert_eq!(journal.removable(Some(100), 9).await.unwrap(), [id(2)], "what was taken back stays");
        // Its rows are in the cold table until they are removed: whoever learns what is there must know of them.
        assert_eq!(journal.page(None, 9).await.unwrap().batches.len(), 3);
        journal.set_removal(vec![id(2)], true).await.unwrap();
        assert_eq!(journal.page(None, 9).await.unwrap().batches.len(), 2);
        assert_eq!(journal.removable(Some(100), 9).await.unwrap(), []);
        assert!(matches!(journal.stages(vec![id(9)]).await, Err(JournalError::Unknown(_))));
        assert!(journal.turn_all(vec![id(2)], BatchState::Aborted, 0).await.is_err());
    }
}
