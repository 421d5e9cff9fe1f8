use daemon::sqlite::OpenError;
use moves::{Batch, BatchState, Move, MoveState, RowSet};
use storage_types::{BatchId, Column, ContentHash, MigrationId, MoveId, Proof, service_api::MigrationState};

use super::*;

fn table() -> ManagedTable {
    ManagedTable {
        logical: "trades".into(),
        head: ("hot".into(), "trades".into()),
        cold: ("cold".into(), "trades".into()),
        time_column: "ts".into(),
        time_type: "DateTime".into(),
        columns: vec![Column { name: "ts".into(), data_type: "DateTime".into() }],
        partition_key: "toYYYYMM(ts)".into(),
        sorting_key: "ts".into(),
        cold_sorting_key: "ts".into(),
    }
}

fn migration(id: u64) -> MigrationRecord {
    MigrationRecord {
        id: MigrationId::from_u64(id).unwrap(),
        trigger: "api".into(),
        state: MigrationState::Running,
        tables: vec!["trades".into()],
        before: 100,
        planned: false,
        started_at: 1,
        finished_at: None,
        wire_bytes: 0,
        errors: Vec::new(),
    }
}

fn record() -> Move {
    Move {
        id: MoveId::from_u64(7).unwrap(),
        migration: MigrationId::from_u64(1).unwrap(),
        table: Arc::new(table()),
        place: moves::Place::default(),
        rows: RowSet { window: TimeRange::new(0, 100), watermark: 5 },
        state: MoveState::Planned,
        planned_rows: 20,
        parts: Vec::new(),
        left: false,
        grown_to: Vec::new(),
        opened: true,
        changed_in: 0,
        deleted_in: 0,
        published_at: 0,
        reclaimed_at: 0,
        sent: None,
        told: false,
        cancelled: false,
        decision: None,
        waiting: None,
        reason: None,
    }
}

fn batch(id: u64, lo: i64, hi: i64) -> Batch {
    Batch {
        id: BatchId::from_u64(id).unwrap(),
        move_id: MoveId::from_u64(7).unwrap(),
        logical: "trades".into(),
        slice: moves::Slice { range: TimeRange::new(lo, hi), class: None, ranks: None, rows: 10 },
        proof: Some(Proof { rows: 10, content_hash: ContentHash(u128::MAX) }),
        state: BatchState::Proven,
        proven: true,
        raw_bytes: 0,
        encoded_bytes: 0,
        manifest: None,
        read_from: Vec::new(),
        refuted: 0,
        retired: false,
    }
}

/// A catalog with a move whose two batches are proven.
fn proven(dir: &Path) -> Arc<Catalog> {
    let catalog = Catalog::open_with(dir, Duration::from_millis(20)).unwrap();
    catalog.describe_table(&table()).unwrap();
    catalog.start_migration(&migration(1)).unwrap();
    catalog.commit(vec![record().into(), batch(70, 0, 50).into(), batch(72, 50, 100).into()]).unwrap();
    catalog
}

fn published() -> Vec<Change> {
    let shown = [batch(70, 0, 50), batch(72, 50, 100)];
    let shown = shown.into_iter().map(|b| Batch { state: BatchState::Published, ..b }.into());
    std::iter::once(Move { state: MoveState::Published, ..record() }.into()).chain(shown).collect()
}

#[tokio::test]
async fn publishing_shows_the_batches_and_hides_their_rows_in_one_version() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = proven(dir.path());
    let refs = [("trades".to_owned(), TimeRange::new(0, 1))];
    let old = catalog.lease(&refs).await.unwrap();
    let version = catalog.commit(published()).unwrap();
    assert!(version > old.snapshot.version);
    assert!(!catalog.is_drained("trades", TimeRange::new(0, 100), version));
    let before = &old.snapshot.tables[0];
    assert_eq!((before.hidden.len(), before.batches.len()), (0, 0));
    drop(old);
    assert!(catalog.is_drained("trades", TimeRange::new(0, 100), version));
    let mut catalog = Some(catalog);
    for _ in ["as committed", "opened again"] {
        let catalog = catalog.take().unwrap_or_else(|| Catalog::open(dir.path()).unwrap());
        let view = catalog.current();
        assert_eq!(
            (view.version, view.tables[0].hidden.len(), view.tables[0].batches.len()),
            (version, 1, 2)
        );
        assert_eq!(catalog.cold_totals("trades"), (2, 20));
        let changed_in = catalog.read(|book| book.get(MoveId::from_u64(7).unwrap()).unwrap().changed_in);
        assert_eq!(changed_in, version);
    }
}

#[test]
fn ranges_of_visible_ids_hold_no_other_batch() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = proven(dir.path());
    let dropped = Batch { state: BatchState::Dropped, ..batch(71, 0, 50) };
    catalog.commit(vec![dropped.into()]).unwrap();
    catalog.commit(published()).unwrap();
    let ids = |n| BatchId::from_u64(n).unwrap();
    assert_eq!(catalog.current().tables[0].batch_ids, [(ids(70), ids(70)), (ids(72), ids(72))]);
}

#[test]
fn steps_out_of_order_are_refused_and_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = proven(dir.path());
    let before = catalog.current().version;
    let jump = Move { state: MoveState::Reclaimed, ..record() };
    assert!(matches!(catalog.commit(vec![jump.into()]), Err(CatalogError::Illegal(_))));
    assert_eq!(catalog.current().version, before);
    catalog.commit(published()).unwrap();
    catalog.commit(vec![Move { state: MoveState::Reclaiming, ..record() }.into()]).unwrap();
    let back = Move { state: MoveState::Withdrawing, ..record() };
    assert!(catalog.commit(vec![back.into()]).is_err(), "rows are being deleted");
}

/// What an earlier release moved is visible as before; what it had under way it must finish itself.
#[test]
fn a_journal_of_the_old_life_is_taken_along_or_refused() {
    for (state, delta, opens) in
        [("reclaimed", false, true), ("fencing", false, false), ("reclaimed", true, false)]
    {
        let dir = tempfile::tempdir().unwrap();
        let db = Connection::open(dir.path().join(FILE_NAME)).unwrap();
        db.execute_batch(schema::STEPS[0]).unwrap();
        db.pragma_update(None, "user_version", 1).unwrap();
        let definition = serde_json::to_string(&table()).unwrap();
        db.execute("INSERT INTO tables VALUES ('trades', ?1)", [&definition]).unwrap();
        db.execute("INSERT INTO migrations VALUES (1, 'api', 'done', '[]', 0, 1, 0, 0, 0, '[]')", [])
            .unwrap();
        db.execute(
            "INSERT INTO moves (id, migration, logical, kind, partition_id, partition, lo, hi, state, definition, \
             rows, content_hash) VALUES (7, 1, 'trades', 'partition', 'p', 'p', 0, 100, ?1, ?2, 20, '5')",
            [state, &definition],
        )
        .unwrap();
        let batches = "INSERT INTO batches (id, move, logical, lo, hi, rows, content_hash, state, visible) VALUES \
            (70, 7, 'trades', 0, 50, 10, '340282366920938463463374607431768211455', 'published', 1), \
            (71, 7, 'trades', 0, 50, 10, '1', 'aborted', 0)";
        db.execute_batch(batches).unwrap();
        if delta {
            let row = "INSERT INTO hot_parts VALUES ('_delta_7', 'trades', 7, 'delta', 'p', 0, 1, 0, 3)";
            db.execute_batch(row).unwrap();
        }
        drop(db);
        match Catalog::open(dir.path()) {
            Ok(catalog) => {
                assert!(opens, "{state}");
                assert_eq!(catalog.cold_totals("trades"), (1, 10));
                let batch = catalog.read(|book| book.batch(BatchId::from_u64(70).unwrap()).cloned()).unwrap();
                assert_eq!(batch.proof.unwrap().content_hash, ContentHash(u128::MAX));
                assert_eq!(catalog.moves_of(MigrationId::from_u64(1).unwrap()).unwrap().len(), 1);
                assert_eq!(catalog.read(|book| book.open_moves().count()), 0);
                let fresh = catalog.read(|book| book.fresh_batch_id(0, 0, 0)).unwrap();
                assert!(fresh.get() > 71);
            }
            Err(error) => {
                assert!(!opens && error.to_string().contains("start that release again"), "{error}");
            }
        }
    }
}

#[test]
fn a_file_of_a_newer_release_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(Catalog::open(dir.path()).unwrap());
    let db = Connection::open(dir.path().join("catalog.sqlite")).unwrap();
    db.pragma_update(None, "user_version", 999).unwrap();
    drop(db);
    assert!(matches!(
        Catalog::open(dir.path()),
        Err(CatalogError::Open(OpenError::Newer { found: 999, .. }))
    ));
}

#[test]
fn a_folder_belongs_to_one_catalog_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(dir.path()).unwrap();
    let Some(CatalogError::Folder { source, .. }) = Catalog::open(dir.path()).err() else {
        panic!("both have it")
    };
    assert_eq!(source.kind(), std::io::ErrorKind::ResourceBusy);
    drop(catalog);
    Catalog::open(dir.path()).unwrap();
}

#[test]
fn a_damaged_file_gives_way_to_an_empty_catalog() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(dir.path()).unwrap();
    catalog.describe_table(&table()).unwrap();
    drop(catalog);
    std::fs::write(dir.path().join(FILE_NAME), [0xa5; 8_192]).unwrap();
    assert!(Catalog::open(dir.path()).unwrap().managed_tables().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[allow(clippy::disallowed_methods, reason = "tasks of this test, gone with its runtime")]
async fn a_write_that_waits_for_the_disk_does_not_hold_up_the_runtime() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(dir.path()).unwrap();
    let (said, heard) = std::sync::mpsc::channel();
    let slow_disk = catalog.db.lock();
    let (writer, begins, other) = (Arc::clone(&catalog), said.clone(), said);
    let written = tokio::spawn(async move {
        begins.send("begins").unwrap();
        writer.set_note("a", "b")
    });
    let limit = Duration::from_secs(30);
    assert_eq!(heard.recv_timeout(limit), Ok("begins"));
    tokio::spawn(async move { other.send("goes on").unwrap() });
    assert_eq!(heard.recv_timeout(limit), Ok("goes on"));
    drop(slow_disk);
    written.await.unwrap().unwrap();
}
