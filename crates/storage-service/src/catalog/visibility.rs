//! The transactions that change what queries see. Each one is the whole of a step: the state of the
//! move, and every table, batch and hidden row that appears or disappears with it.
//!
//! | method | head | snapshot | delta | cold |
//! |---|---|---|---|---|
//! | `begin_fence` | closed by a gate | | | |
//! | `partition_fenced` | has lost the parts | **visible** | | |
//! | `hide_window` | shipped rows **hidden** by hash | **visible** | **visible** | |
//! | `window_fenced` | has lost the rows, nothing hidden | visible | visible | |
//! | `publish` | | **invisible** | visible | **visible** |

use rusqlite::{Transaction, params};
use storage_types::{Manifest, MoveId, MoveState, lifecycle::IllegalTransition};

use super::{
    Catalog, CatalogError, FencePart, MoveKind, MoveRecord, encode,
    moves::{advance_move, signed},
};

/// Kinds of rows in `hot_parts`.
const SNAPSHOT: &str = "snapshot";
const DELTA: &str = "delta";

fn show(
    txn: &Transaction<'_>,
    record: &MoveRecord,
    kind: &str,
    name: &str,
    windowed: bool,
    rows: u64,
) -> Result<(), CatalogError> {
    txn.execute(
        "INSERT OR REPLACE INTO hot_parts (name, logical, move, kind, partition_id, lo, hi, windowed, rows) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![
            name,
            record.table.logical,
            record.id.to_sql(),
            kind,
            record.partition_id,
            record.range.lo,
            record.range.hi,
            windowed,
            signed(rows),
        ],
    )?;
    Ok(())
}

fn rows(record: &MoveRecord) -> u64 {
    record.proof.map_or(0, |proof| proof.rows)
}

impl Catalog {
    /// Intent to drop these parts of the head. The gate is closed when this returns; the version in
    /// force (leases below it are to be drained) is returned.
    pub fn begin_fence(&self, record: &MoveRecord, parts: &[FencePart]) -> Result<u64, CatalogError> {
        self.change(|txn| {
            advance_move(txn, record.id, MoveState::Fencing)?;
            let sql = "UPDATE moves SET fence_parts = ?2 WHERE id = ?1";
            txn.execute(sql, (record.id.to_sql(), encode(&parts)?))?;
            Ok(())
        })
    }

    /// Which parts are known to be gone.
    pub fn set_fence_parts(&self, id: MoveId, parts: &[FencePart]) -> Result<(), CatalogError> {
        self.write(|txn| {
            let sql = "UPDATE moves SET fence_parts = ?2 WHERE id = ?1";
            txn.execute(sql, (id.to_sql(), encode(&parts)?))?;
            Ok(())
        })
    }

    /// Nothing was dropped: the gate opens again and the fence is tried later.
    pub fn give_up_fence(&self, record: &MoveRecord) -> Result<(), CatalogError> {
        if record.fence_parts.iter().any(|part| part.dropped) {
            return Err(
                IllegalTransition { what: "move", from: "fencing, parts dropped", to: "proven" }.into()
            );
        }
        self.change(|txn| advance_move(txn, record.id, MoveState::Proven).map(drop))?;
        Ok(())
    }

    /// The head has lost every shipped part: the snapshot is now where its rows are seen. Opens the
    /// gate.
    pub fn partition_fenced(&self, record: &MoveRecord) -> Result<u64, CatalogError> {
        self.change(|txn| {
            advance_move(txn, record.id, MoveState::Fenced)?;
            show(txn, record, SNAPSHOT, &record.snapshot().table, false, rows(record))
        })
    }

    /// Shipped rows are hidden in the head and seen in the snapshot instead; surplus copies of them
    /// (`late_rows`) are seen in the delta. A move of kind `partition` becomes one of kind `window`
    /// by this, and its gate opens. Returns the version to drain.
    pub fn hide_window(&self, record: &MoveRecord, late_rows: u64) -> Result<u64, CatalogError> {
        self.change(|txn| {
            advance_move(txn, record.id, MoveState::Fencing)?;
            txn.execute(
                "UPDATE moves SET kind = ?2, late_rows = ?3 WHERE id = ?1",
                params![record.id.to_sql(), MoveKind::Window.as_str(), signed(late_rows)],
            )?;
            show(txn, record, SNAPSHOT, &record.snapshot().table, true, rows(record))?;
            if late_rows > 0 {
                show(txn, record, DELTA, &record.delta().table, false, late_rows)?;
            }
            hide(txn, record)?;
            Ok(())
        })
    }

    /// The shipped rows are deleted from the head: nothing is hidden any more.
    pub fn window_fenced(&self, record: &MoveRecord) -> Result<u64, CatalogError> {
        self.change(|txn| {
            advance_move(txn, record.id, MoveState::Fenced)?;
            txn.execute("DELETE FROM hides WHERE move = ?1", [record.id.to_sql()])?;
            Ok(())
        })
    }

    /// A delta is fenced already: the states are passed through.
    pub fn delta_fenced(&self, id: MoveId) -> Result<(), CatalogError> {
        self.write(|txn| {
            advance_move(txn, id, MoveState::Fencing)?;
            advance_move(txn, id, MoveState::Fenced)?;
            Ok(())
        })
    }

    /// Cold becomes the visible copy, in one transaction. Leases below the returned version may still
    /// read the hot copy. `at`: Unix seconds.
    pub fn publish(&self, record: &MoveRecord, at: i64) -> Result<u64, CatalogError> {
        self.change(|txn| {
            advance_move(txn, record.id, MoveState::Published)?;
            let id = record.id.to_sql();
            txn.execute(
                "UPDATE batches SET state = 'published', visible = 1 WHERE move = ?1 AND state = 'proven'",
                [id],
            )?;
            txn.execute("DELETE FROM hot_parts WHERE move = ?1 AND kind = ?2", (id, SNAPSHOT))?;
            if let Some(source) = record.source_delta {
                txn.execute("DELETE FROM hot_parts WHERE move = ?1 AND kind = ?2", (source.to_sql(), DELTA))?;
            }
            txn.execute(
                "UPDATE moves SET published_in = (SELECT CAST(value AS INTEGER) + 1 FROM meta WHERE key = 'version'), \
                 published_at = ?2 WHERE id = ?1",
                (id, at),
            )?;
            Ok(())
        })
    }

    /// Puts back what a lost catalog knew, in one transaction: moves in the states they are found in, and
    /// everything that is visible because of them.
    pub fn restore(&self, moves: &[RestoredMove], deltas: &[(MoveRecord, u64)]) -> Result<(), CatalogError> {
        self.change(|txn| {
            for restored in moves {
                restore_move(txn, &restored.record)?;
                for manifest in &restored.batches {
                    restore_batch(txn, &restored.record, manifest)?;
                }
                if restored.record.state == MoveState::Fencing {
                    show(
                        txn,
                        &restored.record,
                        SNAPSHOT,
                        &restored.record.snapshot().table,
                        true,
                        rows(&restored.record),
                    )?;
                    hide(txn, &restored.record)?;
                }
            }
            for (left_by, rows) in deltas {
                show(txn, left_by, DELTA, &left_by.delta().table, false, *rows)?;
            }
            Ok(())
        })?;
        Ok(())
    }
}

/// A move found again on the gateway or among the internal tables.
#[derive(Debug, Clone)]
pub struct RestoredMove {
    /// In state `reclaimed`, `published` or `fencing` (kind `window`).
    pub record: MoveRecord,
    /// Its batches: visible unless it is `fencing`.
    pub batches: Vec<Manifest>,
}

fn hide(txn: &Transaction<'_>, record: &MoveRecord) -> Result<(), CatalogError> {
    txn.execute(
        "INSERT OR REPLACE INTO hides (move, logical, lo, hi, partition_id, snapshot) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            record.id.to_sql(),
            record.table.logical,
            record.range.lo,
            record.range.hi,
            record.partition_id,
            record.snapshot().table,
        ],
    )?;
    Ok(())
}

fn restore_move(txn: &Transaction<'_>, record: &MoveRecord) -> Result<(), CatalogError> {
    let proof = record.proof.unwrap_or_default();
    txn.execute(
        "INSERT OR REPLACE INTO moves (id, migration, logical, kind, partition_id, partition, lo, hi, source_delta, \
         state, definition, rows, content_hash, late_rows, published_in, published_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
        params![
            record.id.to_sql(),
            record.migration.to_sql(),
            record.table.logical,
            record.kind.as_str(),
            record.partition_id,
            record.partition,
            record.range.lo,
            record.range.hi,
            record.source_delta.map(MoveId::to_sql),
            record.state.as_str(),
            encode(&record.table)?,
            signed(proof.rows),
            proof.content_hash.to_string(),
            signed(record.late_rows),
            record.published.map(|(version, _)| signed(version)),
            record.published.map(|(_, at)| at),
        ],
    )?;
    Ok(())
}

fn restore_batch(
    txn: &Transaction<'_>,
    record: &MoveRecord,
    manifest: &Manifest,
) -> Result<(), CatalogError> {
    let visible = record.state != MoveState::Fencing;
    txn.execute(
        "INSERT OR REPLACE INTO batches (id, move, logical, lo, hi, rows, content_hash, state, raw_bytes, \
         encoded_bytes, manifest, visible) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        params![
            manifest.batch.to_sql(),
            record.id.to_sql(),
            record.table.logical,
            manifest.range.lo,
            manifest.range.hi,
            signed(manifest.proof.rows),
            manifest.proof.content_hash.to_string(),
            if visible { "published" } else { "proven" },
            signed(manifest.raw_bytes),
            signed(manifest.encoded_bytes),
            encode(manifest)?,
            visible,
        ],
    )?;
    Ok(())
}
