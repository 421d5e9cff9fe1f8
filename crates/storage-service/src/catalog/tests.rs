use daemon::sqlite::OpenError;
use storage_types::{
    BatchId, BatchState, Column, ContentHash, MigrationId, MoveId, MoveState, Proof,
    service_api::MigrationState,
};

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

fn planned(kind: MoveKind) -> MoveRecord {
    MoveRecord {
        id: MoveId::from_u64(7).unwrap(),
        migration: MigrationId::from_u64(1).unwrap(),
        kind,
        partition_id: "p".into(),
        partition: "202601".into(),
        range: TimeRange::new(0, 100),
        source_delta: None,
        state: MoveState::Planned,
        table: table(),
        rows: 0,
        proof: None,
        late_rows: 0,
        fence_parts: Vec::new(),
        published: None,
        error: None,
    }
}

fn batch(id: u64, lo: i64, hi: i64) -> BatchRecord {
    BatchRecord {
        id: BatchId::from_u64(id).unwrap(),
        move_id: MoveId::from_u64(7).unwrap(),
        range: TimeRange::new(lo, hi),
        proof: Proof { rows: 10, content_hash: ContentHash(u128::MAX) },
        state: BatchState::Planned,
        raw_bytes: 0,
        encoded_bytes: 0,
        manifest: None,
    }
}

/// A catalog with one move, proven.
fn proven(dir: &Path, kind: MoveKind) -> (Arc<Catalog>, MoveRecord) {
    let catalog = Catalog::open_with(dir, Duration::from_millis(20)).unwrap();
    catalog.describe_table(&table()).unwrap();
    catalog.start_migration(&migration(1)).unwrap();
    let record = planned(kind);
    catalog.plan_move(&record).unwrap();
    catalog.snapshotted(&record, record.range, &[batch(70, 0, 50), batch(71, 50, 100)]).unwrap();
    catalog.set_move_state(record.id, MoveState::Sending).unwrap();
    for id in [70, 71] {
        let id = BatchId::from_u64(id).unwrap();
        for to in [BatchState::Encoded, BatchState::Sending, BatchState::Received, BatchState::Proven] {
            catalog.set_batch_state(id, to).unwrap();
        }
    }
    let whole = Proof { rows: 20, content_hash: ContentHash(u128::MAX - 1) };
    catalog.proven(record.id, whole).unwrap();
    let record = catalog.move_record(record.id).unwrap().unwrap();
    (catalog, record)
}

fn refs(lo: i64, hi: i64) -> Vec<(String, TimeRange)> {
    vec![("trades".into(), TimeRange::new(lo, hi))]
}

#[tokio::test]
async fn a_partition_is_seen_in_exactly_one_place_at_every_step() {
    let dir = tempfile::tempdir().unwrap();
    let (catalog, record) = proven(dir.path(), MoveKind::Partition);
    assert_eq!(record.proof, Some(Proof { rows: 20, content_hash: ContentHash(u128::MAX - 1) }));
    let part = FencePart {
        head: "p_1_1_0".into(),
        snapshot: "p_1_1_0".into(),
        hash: "x".into(),
        blocks: (1, 1),
        dropped: false,
    };
    catalog.begin_fence(&record, std::slice::from_ref(&part)).unwrap();
    assert!(matches!(catalog.lease(&refs(0, 1)).await, Err(CatalogError::Fencing { .. })));
    assert!(catalog.lease(&refs(100, 200)).await.is_ok());

    // The gate outlives the process.
    drop(catalog);
    let catalog = Catalog::open_with(dir.path(), Duration::from_millis(20)).unwrap();
    assert!(catalog.lease(&refs(0, 1)).await.is_err());
    let record = catalog.move_record(record.id).unwrap().unwrap();
    assert_eq!(record.fence_parts, [part]);

    catalog.partition_fenced(&record).unwrap();
    let lease = catalog.lease(&refs(0, 1)).await.unwrap();
    let view = &lease.snapshot.tables[0];
    assert_eq!((view.hot_parts.len(), view.batches.len(), view.hides.len()), (1, 0, 0));
    assert_eq!(view.hot_parts[0].window, None);

    let version = catalog.publish(&record, 5).unwrap();
    assert_eq!(catalog.move_record(record.id).unwrap().unwrap().published, Some((version, 5)));
    assert!(!catalog.drained("trades", record.range, version, Duration::from_millis(5)).await);
    drop(lease);
    assert!(catalog.drained("trades", record.range, version, Duration::from_millis(5)).await);
    let view = catalog.current();
    assert_eq!(view.version, version);
    assert_eq!((view.tables[0].hot_parts.len(), view.tables[0].batches.len()), (0, 2));
    assert_eq!(catalog.cold_totals("trades").unwrap(), (2, 20));
}

#[tokio::test]
async fn a_window_hides_its_rows_and_keeps_surplus_copies() {
    let dir = tempfile::tempdir().unwrap();
    let (catalog, record) = proven(dir.path(), MoveKind::Partition);
    catalog.begin_fence(&record, &[]).unwrap();
    // A partition whose parts were merged falls back to hiding; that opens its gate.
    catalog.hide_window(&record, 3).unwrap();
    let record = catalog.move_record(record.id).unwrap().unwrap();
    assert_eq!((record.kind, record.late_rows), (MoveKind::Window, 3));
    let view = Arc::clone(&catalog.lease(&refs(0, 1)).await.unwrap().snapshot.tables[0]);
    assert_eq!((view.hot_parts.len(), view.hides.len()), (2, 1));
    catalog.window_fenced(&record).unwrap();
    catalog.publish(&record, 5).unwrap();
    let view = catalog.current();
    assert_eq!((view.tables[0].hot_parts.len(), view.tables[0].hides.len()), (1, 0));
    assert_eq!(catalog.idle_deltas("trades").unwrap()[0].rows, 3);
}

#[test]
fn steps_out_of_order_are_refused_and_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (catalog, record) = proven(dir.path(), MoveKind::Partition);
    let before = catalog.current().version;
    assert!(matches!(catalog.publish(&record, 1), Err(CatalogError::Illegal(_))));
    assert!(matches!(catalog.partition_fenced(&record), Err(CatalogError::Illegal(_))));
    assert!(catalog.set_move_state(record.id, MoveState::Fencing).is_err());
    assert_eq!(catalog.current().version, before);
    assert!(catalog.current().tables[0].hot_parts.is_empty());
    catalog.begin_fence(&record, &[]).unwrap();
    assert!(catalog.abort_move(record.id, "too late").is_err());
}

#[test]
fn one_migration_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(dir.path()).unwrap();
    catalog.start_migration(&migration(1)).unwrap();
    assert!(matches!(catalog.start_migration(&migration(2)), Err(CatalogError::Busy(id)) if id.get() == 1));
    catalog.finish_migration(MigrationId::from_u64(1).unwrap(), MigrationState::Done, 9).unwrap();
    catalog.start_migration(&migration(2)).unwrap();
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
    assert!(Catalog::open(dir.path()).unwrap().managed_tables().unwrap().is_empty());
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
