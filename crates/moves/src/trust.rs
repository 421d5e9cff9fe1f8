//! Whether a catalog knows what was deleted from the head, and what it learns from elsewhere if not.
//!
//! A catalog file may be lost, or an older copy of itself; the hot server may be restored from a backup. Either
//! would make answers short or double without a word. The hot server keeps a **witness**: which catalog, in
//! which version, last did there what an older one would not know: rows were deleted, the archive became the copy
//! that counts, or stopped being it. The catalog notes the witness that it wrote last. At start:
//!
//! | witness on the hot server | what it says | what is done |
//! |---|---|---|
//! | none, and none was noted | nothing was ever moved: every head is whole | trusted |
//! | this catalog's, no newer than the catalog | nothing was done that it does not know | trusted |
//! | this catalog's, newer, or another catalog's | the catalog is lost, or an older copy | batches are learnt from the gateway first |
//! | none, or older than the one noted | the hot server was put back | moves reclaimed since are looked at again |
//!
//! These are decisions only: who has to be asked is asked by the service, or by the simulation.

use std::sync::Arc;

use storage_types::{BatchState as OnNas, MigrationId, MoveId, Proof, gateway_api::BatchFacts};

use crate::{
    book::Change,
    record::{Batch, ManagedTable, Move, Place, RowSet, Slice},
    sabotage::{Rule, holds},
    state::{BatchState, MoveState},
    world::Witness,
};

/// What has to be done before the catalog is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Trusted,
    /// What the gateway has is learnt, and the catalog's version goes past `newer`.
    Learn {
        /// The witness's version.
        newer: u64,
    },
    /// Moves that were reclaimed in versions above `since` are looked at again.
    LookAgain {
        /// What the hot server knows of.
        since: u64,
    },
}

/// The table. `noted`: the version of the witness that the catalog wrote last.
pub fn verdict(witness: Option<Witness>, noted: Option<u64>, catalog: u64, version: u64) -> Verdict {
    let is_news = |found: &Witness| found.catalog != catalog || found.version > version;
    if let Some(found) = witness.filter(|found| is_news(found) && holds(Rule::Witness)) {
        return Verdict::Learn { newer: found.version };
    }
    let known = witness.map_or(0, |found| found.version);
    match noted {
        Some(noted) if witness.is_none() || known < noted => Verdict::LookAgain { since: known },
        _ => Verdict::Trusted,
    }
}

/// What the gateway's batches of one move make of it.
///
/// - One is published: the move was. Whether its rows were deleted from the head the mover finds out, by looking.
/// - None is: nothing was deleted for it. The head is whole, and the batches stay unseen.
pub fn restored(
    known: Option<&Move>,
    id: MoveId,
    migration: MigrationId,
    table: &ManagedTable,
    facts: &[BatchFacts],
    now_s: i64,
) -> Vec<Change> {
    let published = facts.iter().find(|f| f.state == OnNas::Published);
    // What is over, or under way, is known better here than on the NAS.
    if known.is_some_and(|known| known.state.is_visible_in_cold() || known.state == MoveState::Withdrawn) {
        return Vec::new();
    }
    // Batches of an earlier opening of the same move were read up to another watermark.
    let origin = published.and_then(|published| published.manifest.origin.clone());
    let mut sent = Proof::default();
    let mut changes = Vec::new();
    for BatchFacts { state, manifest } in facts {
        // A published move has all of its batches published or, where the telling broke off, proven.
        let shown = published.is_some()
            && manifest.origin == origin
            && matches!(state, OnNas::Published | OnNas::Proven);
        if shown {
            sent = sent.plus(manifest.proof);
        }
        changes.push(Change::from(Batch {
            id: manifest.batch,
            move_id: id,
            logical: manifest.table.clone(),
            slice: Slice { range: manifest.range, class: None, ranks: None, rows: manifest.proof.rows },
            proof: Some(manifest.proof),
            state: if shown { BatchState::Published } else { BatchState::Dropped },
            proven: matches!(state, OnNas::Proven | OnNas::Published | OnNas::Retired),
            raw_bytes: manifest.raw_bytes,
            encoded_bytes: manifest.encoded_bytes,
            manifest: None,
            read_from: Vec::new(),
            refuted: 0,
            retired: matches!(state, OnNas::Retired | OnNas::Aborted),
        }));
    }
    if let Some(origin) = origin {
        changes.push(Change::from(Move {
            id,
            migration,
            table: Arc::new(table.clone()),
            place: Place { server: origin.server, table: origin.head },
            rows: RowSet { window: origin.window, watermark: origin.watermark },
            state: MoveState::Published,
            planned_rows: sent.rows,
            parts: Vec::new(),
            left: true,
            grown_to: Vec::new(),
            opened: true,
            changed_in: 0,
            deleted_in: 0,
            published_at: now_s,
            reclaimed_at: 0,
            sent: Some(sent),
            told: false,
            cancelled: false,
            decision: None,
            waiting: None,
            reason: Some("found again on the NAS".into()),
        }));
    }
    changes
}

/// Whether a head that was put back is the one that a reclaimed move was on: by the table's UUID alone, since what
/// stands for the server's may be younger than the copy.
pub fn is_same_table(record: &Move, place: &Place) -> bool {
    place.table == record.place.table
}

/// A reclaimed move whose rows the head has again, or some of them: they are hidden, and deleted once more.
pub fn reopened(record: Move, place: Place) -> Move {
    Move { state: MoveState::Reclaiming, place, ..record }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_witness_tells_a_lost_catalog_and_a_server_that_was_put_back() {
        let of = |catalog, version| Some(Witness { catalog, version, before: 0 });
        let (own, other) = (|version| of(1, version), of(2, 3));
        for (witness, noted, wanted) in [
            (None, None, Verdict::Trusted),
            (own(5), Some(5), Verdict::Trusted),
            (own(5), None, Verdict::Trusted),
            (own(8), Some(5), Verdict::Learn { newer: 8 }),
            (other, None, Verdict::Learn { newer: 3 }),
            (other, Some(5), Verdict::Learn { newer: 3 }),
            (None, Some(5), Verdict::LookAgain { since: 0 }),
            (own(4), Some(5), Verdict::LookAgain { since: 4 }),
        ] {
            assert_eq!(verdict(witness, noted, 1, 7), wanted, "{witness:?}, noted {noted:?}");
        }
    }

    fn published() -> BatchFacts {
        let manifest = serde_json::json!({
            "version": 2, "batch": "7", "move_id": "1", "table": "t", "cold_database": "cold", "cold_table": "t",
            "columns": [], "schema_hash": "", "time_column": "ts", "range": {"lo": 0, "hi": 1}, "partition_ids": [],
            "origin": {"server": "s", "head": "h", "window": {"lo": 0, "hi": 9}, "watermark": 5},
            "proof": {"rows": 1, "content_hash": "7"}, "raw_bytes": 1, "encoded_bytes": 1, "blake3": "",
            "codec": "", "engine_version": "", "chunk_bytes": 1, "chunks": []
        });
        BatchFacts { state: OnNas::Published, manifest: serde_json::from_value(manifest).unwrap() }
    }

    #[test]
    fn what_the_catalog_knows_of_a_move_that_is_published_or_over_is_not_learnt_anew() {
        let table = ManagedTable {
            logical: "t".into(),
            head: ("hot".into(), "t".into()),
            cold: ("cold".into(), "t".into()),
            time_column: "ts".into(),
            time_type: "DateTime".into(),
            columns: Vec::new(),
            partition_key: String::new(),
            sorting_key: String::new(),
            cold_sorting_key: String::new(),
        };
        let learnt = |known: Option<&Move>| {
            let (id, migration) = (MoveId::from_u64(1).unwrap(), MigrationId::from_u64(2).unwrap());
            restored(known, id, migration, &table, &[published()], 100)
        };
        let changes = learnt(None);
        let Some(Change::Move(found)) = changes.last() else { panic!("{changes:?}") };
        assert_eq!((found.state, found.rows.watermark, changes.len()), (MoveState::Published, 5, 2));
        for (state, news) in [
            (MoveState::Planned, 2),
            (MoveState::Withdrawing, 2),
            (MoveState::Published, 0),
            (MoveState::Reclaiming, 0),
            (MoveState::Reclaimed, 0),
            // An operator may have kept the head: the NAS has the batches as published still.
            (MoveState::Withdrawn, 0),
        ] {
            let known = Move { state, ..Move::clone(found) };
            assert_eq!(learnt(Some(&known)).len(), news, "{state:?}");
        }
    }
}
