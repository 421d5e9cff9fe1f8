//! Batches whose rows are in cold tables, or may come to be, page by page.
//!
//! However many there are, a page costs its own length: the index holds no other batches, and a manifest's
//! table of chunks, which may be megabytes, is cut off before the manifest leaves SQLite.

use rusqlite::{Row, params};
use storage_types::{
    BatchId, BatchState,
    gateway_api::{BatchFacts, BatchPage, MAX_BATCH_PAGE},
};

use super::{Journal, JournalError, unreadable};

/// The condition is the index's own, word for word: SQLite uses a partial index only then. It would rather
/// look up each state in another index and sort all that it finds.
const PAGE: &str =
    "SELECT id, state, json_set(manifest, '$.chunks', json('[]')) FROM batches INDEXED BY batches_held
    WHERE state != 'aborted' AND removal IS NOT 'removed' AND id > ?1 ORDER BY id LIMIT ?2";

impl Journal {
    /// Batches with ids after `after`, at most `limit` of them and at most [`MAX_BATCH_PAGE`].
    pub async fn page(&self, after: Option<BatchId>, limit: u32) -> Result<BatchPage, JournalError> {
        let limit = limit.clamp(1, MAX_BATCH_PAGE);
        self.run(move |connection| {
            let mut statement = connection.prepare_cached(PAGE)?;
            let mut rows = statement.query(params![after.map_or(0, BatchId::to_sql), limit + 1])?;
            let mut batches = Vec::new();
            let mut more = false;
            while let Some(row) = rows.next()? {
                more = batches.len() == limit as usize;
                if more {
                    break;
                }
                batches.push(facts(row)?);
            }
            let next = batches.last().filter(|_| more).map(|last| last.manifest.batch);
            Ok(BatchPage { batches, next })
        })
        .await
    }
}

impl Journal {
    /// These batches, in their order; those that are not known are left out.
    pub async fn facts(&self, batches: Vec<BatchId>) -> Result<Vec<BatchFacts>, JournalError> {
        self.run(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT id, state, json_set(manifest, '$.chunks', json('[]')) FROM batches WHERE id = ?1",
            )?;
            let mut found = Vec::with_capacity(batches.len());
            for batch in batches {
                let mut rows = statement.query(params![batch.to_sql()])?;
                if let Some(row) = rows.next()? {
                    found.push(facts(row)?);
                }
            }
            Ok(found)
        })
        .await
    }
}

fn facts(row: &Row<'_>) -> Result<BatchFacts, JournalError> {
    let id: i64 = row.get(0)?;
    let state = row.get_ref(1)?.as_str().map_err(|e| unreadable(id, e.to_string()))?;
    let manifest = row.get_ref(2)?.as_str().map_err(|e| unreadable(id, e.to_string()))?;
    Ok(BatchFacts {
        state: BatchState::parse(state).ok_or_else(|| unreadable(id, format!("state {state:?}")))?,
        manifest: serde_json::from_str(manifest).map_err(|e| unreadable(id, e.to_string()))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::FILE_NAME;

    /// Enough that any list of them all, or a search through all for each page, would be seen.
    const BATCHES: u64 = 100_000;

    #[tokio::test]
    async fn a_hundred_thousand_batches_are_listed_without_gap_or_repeat() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path()).unwrap();
        let mut raw = rusqlite::Connection::open(folder.path().join(FILE_NAME)).unwrap();
        let transaction = raw.transaction().unwrap();
        {
            let sql = "INSERT INTO batches (id, state, manifest) VALUES (?1, ?2, ?3)";
            let mut insert = transaction.prepare(sql).unwrap();
            for id in 1..=BATCHES {
                let state = ["proven", "published", "aborted", "received"][(id % 4) as usize];
                let manifest = serde_json::to_string(&*super::super::tests::manifest(id)).unwrap();
                insert.execute(params![id as i64, state, manifest]).unwrap();
            }
        }
        transaction.commit().unwrap();

        let (mut after, mut seen, mut pages) = (None, Vec::new(), 0);
        loop {
            let page = journal.page(after, u32::MAX).await.unwrap();
            assert!(page.batches.len() <= MAX_BATCH_PAGE as usize);
            assert!(page.batches.iter().all(|b| b.manifest.chunks.is_empty()));
            seen.extend(page.batches.iter().map(|b| b.manifest.batch.get()));
            pages += 1;
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let held: Vec<u64> = (1..=BATCHES).filter(|id| id % 4 != 2).collect();
        assert_eq!((seen, pages), (held, 75));

        let plan: Vec<String> = raw
            .prepare(&format!("EXPLAIN QUERY PLAN {PAGE}"))
            .unwrap()
            .query_map(params![5, 10], |row| row.get(3))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        // One search, and nothing sorted.
        assert_eq!(plan, ["SEARCH batches USING INDEX batches_held (id>?)"]);
    }
}
