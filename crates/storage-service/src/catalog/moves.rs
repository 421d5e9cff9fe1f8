//! The journal of moves and batches. Every change of state goes through [`advance_move`] or
//! [`Catalog::set_batch_state`], which ask the table of allowed transitions.

use rusqlite::{OptionalExtension, Row, Transaction, params};
use storage_types::{
    BatchId, BatchState, ContentHash, Manifest, MigrationId, MoveId, MoveState, Proof, TimeRange,
    lifecycle::IllegalTransition,
};

use super::{BatchRecord, Catalog, CatalogError, DeltaRecord, MoveKind, MoveRecord, decode, encode};

const MOVE: &str = "id, migration, kind, partition_id, partition, lo, hi, source_delta, state, definition, rows, \
    content_hash, late_rows, fence_parts, published_in, published_at, error";
const BATCH: &str = "id, move, lo, hi, rows, content_hash, state, raw_bytes, encoded_bytes, manifest";

fn corrupt(what: &str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, what.to_owned().into())
}

fn parsed<T>(value: Option<T>, what: &str) -> rusqlite::Result<T> {
    value.ok_or_else(|| corrupt(what))
}

fn json<T: serde::de::DeserializeOwned>(text: &str) -> rusqlite::Result<T> {
    decode(text).map_err(|e| corrupt(&e.to_string()))
}

fn move_id(value: i64) -> rusqlite::Result<MoveId> {
    parsed(MoveId::from_u64(value.unsigned_abs()), "move id")
}

fn proof(rows: i64, hash: &str) -> rusqlite::Result<Proof> {
    let content_hash: ContentHash = hash.parse().map_err(|_| corrupt("content hash"))?;
    Ok(Proof { rows: rows.unsigned_abs(), content_hash })
}

fn read_move(row: &Row<'_>) -> rusqlite::Result<MoveRecord> {
    let rows: Option<i64> = row.get(10)?;
    let hash: Option<String> = row.get(11)?;
    let published: Option<(i64, i64)> = row.get::<_, Option<i64>>(14)?.zip(row.get(15)?);
    Ok(MoveRecord {
        id: move_id(row.get(0)?)?,
        migration: parsed(MigrationId::from_u64(row.get::<_, i64>(1)?.unsigned_abs()), "migration id")?,
        kind: parsed(MoveKind::parse(&row.get::<_, String>(2)?), "kind of move")?,
        partition_id: row.get(3)?,
        partition: row.get(4)?,
        range: TimeRange::new(row.get(5)?, row.get(6)?),
        source_delta: row.get::<_, Option<i64>>(7)?.map(move_id).transpose()?,
        state: parsed(MoveState::parse(&row.get::<_, String>(8)?), "state of a move")?,
        table: json(&row.get::<_, String>(9)?)?,
        rows: rows.map_or(0, i64::unsigned_abs),
        proof: rows.zip(hash).map(|(rows, hash)| proof(rows, &hash)).transpose()?,
        late_rows: row.get::<_, i64>(12)?.unsigned_abs(),
        fence_parts: json(&row.get::<_, String>(13)?)?,
        published: published.map(|(version, at)| (version.unsigned_abs(), at)),
        error: row.get(16)?,
    })
}

fn read_batch(row: &Row<'_>) -> rusqlite::Result<BatchRecord> {
    let manifest: Option<String> = row.get(9)?;
    Ok(BatchRecord {
        id: parsed(BatchId::from_u64(row.get::<_, i64>(0)?.unsigned_abs()), "batch id")?,
        move_id: move_id(row.get(1)?)?,
        range: TimeRange::new(row.get(2)?, row.get(3)?),
        proof: proof(row.get(4)?, &row.get::<_, String>(5)?)?,
        state: parsed(BatchState::parse(&row.get::<_, String>(6)?), "state of a batch")?,
        raw_bytes: row.get::<_, i64>(7)?.unsigned_abs(),
        encoded_bytes: row.get::<_, i64>(8)?.unsigned_abs(),
        manifest: manifest.map(|text| json(&text)).transpose()?,
    })
}

/// An unsigned figure as SQLite holds it.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The one setter of a move's state.
pub(super) fn advance_move(
    txn: &Transaction<'_>,
    id: MoveId,
    to: MoveState,
) -> Result<MoveState, CatalogError> {
    let text: String =
        txn.query_row("SELECT state FROM moves WHERE id = ?1", [id.to_sql()], |row| row.get(0))?;
    let from = MoveState::parse(&text).ok_or_else(|| CatalogError::Corrupt(format!("state {text:?}")))?;
    from.advance(to)?;
    txn.execute("UPDATE moves SET state = ?2 WHERE id = ?1", (id.to_sql(), to.as_str()))?;
    Ok(from)
}

fn advance_batch(txn: &Transaction<'_>, id: BatchId, to: BatchState) -> Result<(), CatalogError> {
    let text: String =
        txn.query_row("SELECT state FROM batches WHERE id = ?1", [id.to_sql()], |row| row.get(0))?;
    let from = BatchState::parse(&text).ok_or_else(|| CatalogError::Corrupt(format!("state {text:?}")))?;
    from.advance(to)?;
    txn.execute("UPDATE batches SET state = ?2 WHERE id = ?1", (id.to_sql(), to.as_str()))?;
    Ok(())
}

fn insert_batch(txn: &Transaction<'_>, logical: &str, batch: &BatchRecord) -> Result<(), CatalogError> {
    txn.execute(
        "INSERT INTO batches (id, move, logical, lo, hi, rows, content_hash, state) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            batch.id.to_sql(),
            batch.move_id.to_sql(),
            logical,
            batch.range.lo,
            batch.range.hi,
            signed(batch.proof.rows),
            batch.proof.content_hash.to_string(),
            batch.state.as_str(),
        ],
    )?;
    Ok(())
}

impl Catalog {
    /// Writes down a new move, in state `planned`.
    pub fn plan_move(&self, new: &MoveRecord) -> Result<(), CatalogError> {
        self.write(|txn| {
            txn.execute(
                "INSERT INTO moves (id, migration, logical, kind, partition_id, partition, lo, hi, source_delta, \
                 state, definition) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
                params![
                    new.id.to_sql(),
                    new.migration.to_sql(),
                    new.table.logical,
                    new.kind.as_str(),
                    new.partition_id,
                    new.partition,
                    new.range.lo,
                    new.range.hi,
                    new.source_delta.map(MoveId::to_sql),
                    MoveState::Planned.as_str(),
                    encode(&new.table)?,
                ],
            )?;
            Ok(())
        })
    }

    /// The move with this id.
    pub fn move_record(&self, id: MoveId) -> Result<Option<MoveRecord>, CatalogError> {
        let sql = format!("SELECT {MOVE} FROM moves WHERE id = ?1");
        Ok(self.db().query_row(&sql, [id.to_sql()], read_move).optional()?)
    }

    /// The moves of a migration, oldest first.
    pub fn moves_of(&self, migration: MigrationId) -> Result<Vec<MoveRecord>, CatalogError> {
        let sql = format!("SELECT {MOVE} FROM moves WHERE migration = ?1 ORDER BY id");
        let db = self.db();
        Ok(db.prepare(&sql)?.query_map([migration.to_sql()], read_move)?.collect::<Result<_, _>>()?)
    }

    /// Every move that has not come to its end, oldest first.
    pub fn unfinished_moves(&self) -> Result<Vec<MoveRecord>, CatalogError> {
        let sql = format!("SELECT {MOVE} FROM moves WHERE state NOT IN ('reclaimed', 'aborted') ORDER BY id");
        let db = self.db();
        Ok(db.prepare(&sql)?.query_map([], read_move)?.collect::<Result<_, _>>()?)
    }

    /// A migration takes over a move that an earlier one left unfinished.
    pub fn adopt_move(&self, id: MoveId, migration: MigrationId) -> Result<(), CatalogError> {
        self.write(|txn| {
            let sql = "UPDATE moves SET migration = ?2 WHERE id = ?1";
            txn.execute(sql, (id.to_sql(), migration.to_sql()))?;
            Ok(())
        })
    }

    /// A step that changes no visibility: `snapshotted` has its own method, and `fencing`, `fenced`
    /// and `published` are in `super::visibility`.
    pub fn set_move_state(&self, id: MoveId, to: MoveState) -> Result<(), CatalogError> {
        if matches!(to, MoveState::Fencing | MoveState::Fenced | MoveState::Published) {
            return Err(IllegalTransition {
                what: "move",
                from: "any, without its visibility",
                to: to.as_str(),
            }
            .into());
        }
        self.write(|txn| advance_move(txn, id, to).map(drop))
    }

    /// Why a move last failed; `None` once it goes on.
    pub fn set_move_error(&self, id: MoveId, error: Option<&str>) -> Result<(), CatalogError> {
        self.write(|txn| {
            txn.execute("UPDATE moves SET error = ?2 WHERE id = ?1", (id.to_sql(), error))?;
            Ok(())
        })
    }

    /// The snapshot is taken: how many rows it has, and the batches it is cut into.
    pub fn snapshotted(
        &self,
        record: &MoveRecord,
        range: TimeRange,
        batches: &[BatchRecord],
    ) -> Result<(), CatalogError> {
        let rows = batches.iter().map(|batch| batch.proof.rows).sum();
        self.write(|txn| {
            advance_move(txn, record.id, MoveState::Snapshotted)?;
            txn.execute(
                "UPDATE moves SET lo = ?2, hi = ?3, rows = ?4 WHERE id = ?1",
                params![record.id.to_sql(), range.lo, range.hi, signed(rows),],
            )?;
            batches.iter().try_for_each(|batch| insert_batch(txn, &record.table.logical, batch))
        })
    }

    /// The batches of a move in time order, given-up ones too.
    pub fn batches_of(&self, id: MoveId) -> Result<Vec<BatchRecord>, CatalogError> {
        let sql = format!("SELECT {BATCH} FROM batches WHERE move = ?1 ORDER BY lo, id");
        let db = self.db();
        Ok(db.prepare(&sql)?.query_map([id.to_sql()], read_batch)?.collect::<Result<_, _>>()?)
    }

    /// The one setter of a batch's state.
    pub fn set_batch_state(&self, id: BatchId, to: BatchState) -> Result<(), CatalogError> {
        self.write(|txn| advance_batch(txn, id, to))
    }

    /// It is encoded and spooled.
    pub fn batch_encoded(&self, manifest: &Manifest) -> Result<(), CatalogError> {
        self.write(|txn| {
            advance_batch(txn, manifest.batch, BatchState::Encoded)?;
            txn.execute(
                "UPDATE batches SET raw_bytes = ?2, encoded_bytes = ?3, manifest = ?4, content_hash = ?5 WHERE id = ?1",
                params![
                    manifest.batch.to_sql(),
                    signed(manifest.raw_bytes),
                    signed(manifest.encoded_bytes),
                    encode(manifest)?,
                    manifest.proof.content_hash.to_string(),
                ],
            )?;
            Ok(())
        })
    }

    /// Every batch is proven; together they are this.
    pub fn proven(&self, id: MoveId, proof: Proof) -> Result<(), CatalogError> {
        self.write(|txn| {
            advance_move(txn, id, MoveState::Proven)?;
            txn.execute(
                "UPDATE moves SET rows = ?2, content_hash = ?3 WHERE id = ?1",
                (id.to_sql(), signed(proof.rows), proof.content_hash.to_string()),
            )?;
            Ok(())
        })
    }

    /// A batch is given up and its rows go again under a new id.
    pub fn replace_batch(&self, old: BatchId, new: &BatchRecord, logical: &str) -> Result<(), CatalogError> {
        self.write(|txn| {
            advance_batch(txn, old, BatchState::Aborted)?;
            insert_batch(txn, logical, new)
        })
    }

    /// A move and its batches are given up. Only before the fence.
    pub fn abort_move(&self, id: MoveId, reason: &str) -> Result<(), CatalogError> {
        self.write(|txn| {
            advance_move(txn, id, MoveState::Aborted)?;
            txn.execute("UPDATE moves SET error = ?2 WHERE id = ?1", (id.to_sql(), reason))?;
            let sql = "UPDATE batches SET state = 'aborted' WHERE move = ?1";
            txn.execute(sql, [id.to_sql()])?;
            Ok(())
        })
    }

    /// Batches that were given up, for the gateway to forget.
    pub fn aborted_batches(&self) -> Result<Vec<BatchId>, CatalogError> {
        let db = self.db();
        let mut read = db.prepare("SELECT id FROM batches WHERE state = 'aborted'")?;
        let found = read.query_map([], |row| {
            parsed(BatchId::from_u64(row.get::<_, i64>(0)?.unsigned_abs()), "batch id")
        })?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// Whether a move was ever planned, or found again.
    pub fn has_moves(&self) -> Result<bool, CatalogError> {
        Ok(self.db().query_row("SELECT EXISTS (SELECT 1 FROM moves)", [], |row| row.get(0))?)
    }

    /// Batches whose bytes may still be needed from the spool.
    pub fn spooled_batches(&self) -> Result<Vec<BatchId>, CatalogError> {
        let db = self.db();
        let mut read =
            db.prepare("SELECT id FROM batches WHERE state IN ('encoded', 'sending', 'received')")?;
        let found = read.query_map([], |row| {
            parsed(BatchId::from_u64(row.get::<_, i64>(0)?.unsigned_abs()), "batch id")
        })?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// Visible deltas of a table that no unfinished move takes.
    pub fn idle_deltas(&self, logical: &str) -> Result<Vec<DeltaRecord>, CatalogError> {
        let db = self.db();
        let mut read = db.prepare(
            "SELECT move, partition_id, lo, hi, rows FROM hot_parts WHERE logical = ?1 AND kind = 'delta' \
             AND move NOT IN (SELECT source_delta FROM moves WHERE source_delta IS NOT NULL \
             AND state NOT IN ('reclaimed', 'aborted')) ORDER BY move",
        )?;
        let found = read.query_map([logical], |row| {
            Ok(DeltaRecord {
                left_by: move_id(row.get(0)?)?,
                partition_id: row.get(1)?,
                range: TimeRange::new(row.get(2)?, row.get(3)?),
                rows: row.get::<_, i64>(4)?.unsigned_abs(),
            })
        })?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// Rows in the visible batches of a table: `(batches, rows)`.
    pub fn cold_totals(&self, logical: &str) -> Result<(u64, u64), CatalogError> {
        let sql = "SELECT count(*), coalesce(sum(rows), 0) FROM batches WHERE logical = ?1 AND visible = 1";
        let row = self.db().query_row(sql, [logical], |row| {
            Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get::<_, i64>(1)?.unsigned_abs()))
        })?;
        Ok(row)
    }
}
