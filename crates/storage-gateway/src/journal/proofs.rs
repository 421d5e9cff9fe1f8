//! Proofs that were computed for a job, kept so that none is computed twice.

use rusqlite::{OptionalExtension, params};
use storage_types::{BatchId, Proof};

use super::{Journal, JournalError, proof_columns, unreadable};

/// Proofs are kept so long, seconds.
const KEPT_SECONDS: i64 = 86_400;

impl Journal {
    /// What a job has of these batches, in their order.
    pub async fn proofs(&self, job: u64, batches: Vec<BatchId>) -> Result<Vec<Option<Proof>>, JournalError> {
        self.run(move |connection| {
            let mut find =
                connection.prepare_cached("SELECT rows, hash FROM proofs WHERE job = ?1 AND batch = ?2")?;
            batches
                .iter()
                .map(|batch| {
                    let id = batch.to_sql();
                    let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?));
                    let Some((rows, hash)) =
                        find.query_row(params![job.cast_signed(), id], row).optional()?
                    else {
                        return Ok(None);
                    };
                    let content_hash = hash.parse().map_err(|_| unreadable(id, format!("hash {hash:?}")))?;
                    Ok(Some(Proof { rows: rows.unsigned_abs(), content_hash }))
                })
                .collect()
        })
        .await
    }

    /// Keeps proofs of a job.
    pub async fn keep_proofs(&self, job: u64, proofs: Vec<(BatchId, Proof)>) -> Result<(), JournalError> {
        self.run(move |connection| {
            let transaction = connection.transaction()?;
            for (batch, proof) in proofs {
                let (rows, hash) = proof_columns(Some(proof));
                transaction.execute(
                    "INSERT OR REPLACE INTO proofs (job, batch, rows, hash, at) VALUES (?1, ?2, ?3, ?4, unixepoch())",
                    params![job.cast_signed(), batch.to_sql(), rows, hash],
                )?;
            }
            Ok(transaction.commit()?)
        })
        .await
    }

    /// Forgets what was computed more than a day ago; answers how many proofs that were.
    pub async fn forget_proofs(&self) -> Result<usize, JournalError> {
        self.run(|connection| {
            let sql = "DELETE FROM proofs WHERE at < unixepoch() - ?1";
            Ok(connection.execute(sql, params![KEPT_SECONDS])?)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use storage_types::ContentHash;

    use super::*;
    use crate::journal::FILE_NAME;

    #[tokio::test]
    async fn a_proof_belongs_to_one_job_and_to_one_day() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path()).unwrap();
        let ids = vec![BatchId::from_u64(1).unwrap(), BatchId::from_u64(2).unwrap()];
        let proof = Proof { rows: 3, content_hash: ContentHash(u128::MAX) };
        journal.keep_proofs(u64::MAX, vec![(ids[1], proof)]).await.unwrap();
        assert_eq!(journal.proofs(u64::MAX, ids.clone()).await.unwrap(), [None, Some(proof)]);
        assert_eq!(journal.proofs(7, ids.clone()).await.unwrap(), [None, None]);
        assert_eq!(journal.forget_proofs().await.unwrap(), 0);
        let raw = rusqlite::Connection::open(folder.path().join(FILE_NAME)).unwrap();
        raw.execute("UPDATE proofs SET at = at - 90000", []).unwrap();
        assert_eq!(journal.forget_proofs().await.unwrap(), 1);
    }
}
