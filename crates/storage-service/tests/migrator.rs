//! Moves on real engines and a real gateway: what is moved, how it is fenced, and what is seen.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod migrator_support;

use fault_points::{Daemon, Point, Skip};
use migrator_support::{Scene, rows};
use storage_types::{
    MoveState,
    service_api::{FenceKind, MigrationState},
};
use testbed::{clients::Refused, faults::Faults, stack::Role};

#[tokio::test]
async fn whole_partitions_move_and_answers_stay_the_same() {
    let scene = Scene::start().await;
    scene.fill("daily", 0, 20_000, 0, 4).await;
    let before = scene.sql("SELECT count() FROM hot.daily").await;
    let dry = scene.service.dry_run(&Scene::request("daily", 3)).await.unwrap();
    assert_eq!((dry.rows, dry.moves.len()), (15_000, 3));
    assert!(dry.moves.iter().all(|m| m.fence == FenceKind::Partition));
    let seen = scene.seen("daily").await;
    assert!(seen.starts_with(&format!("{before},")), "{seen}");

    let report = scene.migrate("daily", 3).await;
    assert_eq!(rows(&report.moves), 15_000);
    assert!(report.moves.iter().all(|m| m.state == MoveState::Reclaimed && m.fence == FenceKind::Partition));
    assert!(report.moves.iter().all(|m| m.batches.len() >= 3), "small batches: {:#?}", report.moves[0]);
    assert_eq!(report.rows_published, 15_000);
    assert!(report.wire_bytes > 0 && report.raw_bytes > report.wire_bytes);

    assert_eq!(scene.seen("daily").await, seen);
    assert_eq!(scene.sql("SELECT count() FROM hot.daily").await, "5000");
    assert_eq!(scene.cold.number("SELECT count() FROM cold.daily").await.unwrap(), 15_000);
    assert_eq!(scene.internal_tables().await, "[]");
    let table =
        scene.service.catalog().await.unwrap().tables.into_iter().find(|t| t.table == "daily").unwrap();
    assert_eq!((table.refused, table.cold_rows), (None, 15_000));
    // Nothing is left to move.
    assert!(scene.migrate("daily", 3).await.moves.is_empty());
}

#[tokio::test]
async fn a_table_with_a_materialized_column_does_not_move() {
    let scene = Scene::start().await;
    scene.sql("ALTER TABLE hot.daily ADD COLUMN arrived DateTime MATERIALIZED now()").await;
    scene.fill("daily", 0, 1_000, 0, 1).await;
    let error = scene.service.migrate(&Scene::request("daily", 1)).await.unwrap_err();
    let refused = error.downcast_ref::<Refused>().unwrap();
    assert!(refused.message.contains("arrived") && refused.message.contains("MATERIALIZED"), "{refused:?}");
    assert_eq!(scene.sql("SELECT count() FROM hot.daily").await, "1000");
    // As docs/operations.md advises.
    scene.sql("ALTER TABLE hot.daily MODIFY COLUMN arrived DateTime DEFAULT now()").await;
    let seen = scene.seen("daily").await;
    assert_eq!(rows(&scene.migrate("daily", 1).await.moves), 1_000);
    assert_eq!(scene.seen("daily").await, seen);
}

#[tokio::test]
async fn windows_of_coarse_partitions_move_and_leave_the_rest() {
    let scene = Scene::start().await;
    scene.fill("monthly", 0, 12_000, 0, 4).await;
    let seen = scene.seen("monthly").await;
    let report = scene.migrate("monthly", 3).await;
    assert_eq!(rows(&report.moves), 9_000);
    assert_eq!(report.moves.len(), 2, "one move per venue");
    assert!(report.moves.iter().all(|m| m.fence == FenceKind::Window));
    assert_eq!(scene.seen("monthly").await, seen);
    assert_eq!(scene.sql("SELECT count() FROM hot.monthly").await, "3000");
    assert_eq!(scene.internal_tables().await, "[]");
    // The next day's window of the same partitions.
    scene.fill("monthly", 100_000, 1_000, 4, 1).await;
    let seen = scene.seen("monthly").await;
    assert_eq!(rows(&scene.migrate("monthly", 4).await.moves), 3_000);
    assert_eq!(scene.seen("monthly").await, seen);
    assert_eq!(scene.cold.number("SELECT count() FROM cold.monthly").await.unwrap(), 12_000);
}

#[tokio::test]
async fn rows_that_come_late_are_never_lost_in_whole_partitions() {
    let scene = Scene::start().await;
    scene.fill("daily", 0, 4_000, 0, 1).await;
    scene.arm(Point::MoveFenceBeforeJournal);
    let id = scene.service.migrate(&Scene::request("daily", 1)).await.unwrap();
    scene.reached(Point::MoveFenceBeforeJournal).await;
    // New rows, and copies of shipped rows equal in every column.
    scene.fill("daily", 50_000, 300, 0, 1).await;
    scene.sql("INSERT INTO hot.daily SELECT * FROM hot.daily WHERE id < 100").await;
    let seen = scene.seen("daily").await;
    assert!(seen.starts_with("4400,4300,"), "{seen}");
    scene.release(Point::MoveFenceBeforeJournal);
    let report = scene.finished(id).await;
    assert_eq!(report.state, MigrationState::Done, "{report:#?}");
    assert_eq!(scene.seen("daily").await, seen);
    assert_eq!(scene.sql("SELECT count() FROM hot.daily").await, "400");
    // They travel with the next migration.
    assert_eq!(rows(&scene.migrate("daily", 1).await.moves), 400);
    assert_eq!(scene.seen("daily").await, seen);
}

#[tokio::test]
async fn without_the_comparison_late_rows_would_be_lost() {
    let scene = Scene::start().await;
    scene.fill("daily", 0, 4_000, 0, 1).await;
    Faults::new(scene.stack.faults()).skip(Skip::ServiceFenceCompare).unwrap();
    scene.arm(Point::MoveFenceBeforeJournal);
    let id = scene.service.migrate(&Scene::request("daily", 1)).await.unwrap();
    scene.reached(Point::MoveFenceBeforeJournal).await;
    scene.fill("daily", 50_000, 300, 0, 1).await;
    let seen = scene.seen("daily").await;
    scene.release(Point::MoveFenceBeforeJournal);
    scene.finished(id).await;
    assert!(seen.starts_with("4300,") && scene.seen("daily").await.starts_with("4000,"));
}

#[tokio::test]
async fn a_cold_copy_that_changed_keeps_the_hot_copy() {
    let scene = Scene::start().await;
    scene.fill("daily", 0, 1_000, 0, 1).await;
    scene.arm(Point::MoveReproveBeforeJournal);
    let id = scene.service.migrate(&Scene::request("daily", 1)).await.unwrap();
    scene.reached(Point::MoveReproveBeforeJournal).await;
    scene
        .cold
        .query("ALTER TABLE cold.daily DELETE WHERE id = 7 SETTINGS mutations_sync = 1".to_owned())
        .await
        .unwrap();
    scene.release(Point::MoveReproveBeforeJournal);
    let report = scene.finished(id).await;
    assert_eq!(report.state, MigrationState::Failed, "{report:#?}");
    assert_eq!(report.moves[0].state, MoveState::Published);
    assert!(report.errors[0].contains("the hot copy stays"), "{:?}", report.errors);
    let kept = scene.sql(&format!("SELECT count() FROM storage_internal._snap_{}", report.moves[0].id)).await;
    assert_eq!(kept, "1000");
}

#[tokio::test]
async fn parts_merged_with_late_rows_are_fenced_by_content() {
    let scene = Scene::start().await;
    scene.fill("daily", 0, 4_000, 0, 1).await;
    scene.arm(Point::MoveSnapshotAfterResult);
    let id = scene.service.migrate(&Scene::request("daily", 1)).await.unwrap();
    scene.reached(Point::MoveSnapshotAfterResult).await;
    scene.fill("daily", 50_000, 300, 0, 1).await;
    scene.sql("INSERT INTO hot.daily SELECT * FROM hot.daily WHERE id < 100").await;
    scene.sql("OPTIMIZE TABLE hot.daily FINAL").await;
    let seen = scene.seen("daily").await;
    scene.release(Point::MoveSnapshotAfterResult);
    let report = scene.finished(id).await;
    assert_eq!(report.state, MigrationState::Done, "{report:#?}");
    let moved = &report.moves[0];
    assert_eq!((moved.fence, moved.late_rows), (FenceKind::Window, 100));
    assert_eq!(scene.seen("daily").await, seen);
    // The late rows are in the head, the surplus copies in a delta; the next migration takes both.
    assert_eq!(scene.sql("SELECT count() FROM hot.daily").await, "300");
    let next = scene.migrate("daily", 1).await;
    assert_eq!(rows(&next.moves), 400);
    assert!(next.moves.iter().any(|m| m.fence == FenceKind::Delta), "{next:#?}");
    assert_eq!(scene.seen("daily").await, seen);
    assert_eq!(scene.internal_tables().await, "[]");
    assert_eq!(scene.cold.number("SELECT count() FROM cold.daily").await.unwrap(), 4_400);
}

#[tokio::test]
async fn copies_of_shipped_rows_that_come_late_into_a_window_are_kept() {
    let scene = Scene::start().await;
    scene.fill("monthly", 0, 4_000, 0, 2).await;
    scene.arm(Point::MoveSnapshotAfterResult);
    let id = scene.service.migrate(&Scene::request("monthly", 1)).await.unwrap();
    scene.reached(Point::MoveSnapshotAfterResult).await;
    // Two further copies of some rows, one of others, all equal in every column.
    scene.sql("INSERT INTO hot.monthly SELECT * FROM hot.monthly WHERE id < 200").await;
    scene.sql("INSERT INTO hot.monthly SELECT DISTINCT * FROM hot.monthly WHERE id < 50").await;
    let seen = scene.seen("monthly").await;
    assert!(seen.starts_with("4250,4000,"), "{seen}");
    scene.release(Point::MoveSnapshotAfterResult);
    let report = scene.finished(id).await;
    assert_eq!(report.state, MigrationState::Done, "{report:#?}");
    // The second venue's snapshot was taken after the copies came: they are part of it.
    assert_eq!(report.moves.iter().map(|m| m.late_rows).sum::<u64>(), 125, "{report:#?}");
    assert_eq!(scene.seen("monthly").await, seen);
    assert_eq!(scene.sql("SELECT count() FROM hot.monthly").await, "2000");
    scene.migrate("monthly", 1).await;
    assert_eq!(scene.seen("monthly").await, seen);
    assert_eq!(scene.cold.number("SELECT count() FROM cold.monthly").await.unwrap(), 2_250);
}

#[tokio::test]
async fn a_ttl_that_deletes_unarchived_rows_is_refused_until_adopted() {
    let scene = Scene::start().await;
    scene.sql("DROP TABLE hot.daily SYNC").await;
    scene.create("daily", "toYYYYMMDD(ts)", "TTL toDateTime(ts) + INTERVAL 8 DAY DELETE").await;
    scene.sql("SYSTEM STOP TTL MERGES").await;
    scene.fill("daily", 0, 3_000, 0, 3).await;
    let error = scene.service.migrate(&Scene::request("daily", 2)).await.unwrap_err();
    let refused = error.downcast_ref::<Refused>().unwrap();
    assert!(refused.message.contains("TTL") && refused.message.contains("adopt"), "{refused:?}");
    let tables = scene.service.catalog().await.unwrap().tables;
    let named = |name: &str| tables.iter().find(|t| t.table == name).unwrap().refused.clone();
    assert!(named("daily").unwrap().contains("8.0 days") && named("monthly").is_none());

    let adopted = scene.service.adopt("daily").await.unwrap();
    assert_eq!(adopted.removed_ttl.as_deref(), Some("toDateTime(ts) + toIntervalDay(8)"));
    assert_eq!(rows(&scene.migrate("daily", 2).await.moves), 2_000);
}

#[tokio::test]
async fn a_schema_that_changes_during_a_move_aborts_it_and_loses_nothing() {
    let scene = Scene::start().await;
    scene.fill("daily", 0, 2_000, 0, 2).await;
    scene.migrate("daily", 1).await;
    scene.sql("ALTER TABLE hot.daily ADD COLUMN extra UInt8 DEFAULT 7").await;
    let report = scene.migrate_somehow("daily", 2).await;
    assert_eq!(report.state, MigrationState::Failed, "{report:#?}");
    assert!(report.errors[0].contains("extra") || report.errors[0].contains("differ"), "{:?}", report.errors);
    assert_eq!(scene.sql("SELECT count() FROM hot.daily").await, "1000");
    assert_eq!(scene.internal_tables().await, "[]");
}

#[tokio::test]
async fn one_migration_at_a_time_and_a_cancelled_one_leaves_hot_alone() {
    let scene = Scene::start().await;
    scene.fill("daily", 0, 4_000, 0, 2).await;
    let seen = scene.seen("daily").await;
    scene.arm(Point::MoveCommitBeforeJournal);
    let id = scene.service.migrate(&Scene::request("daily", 2)).await.unwrap();
    scene.reached(Point::MoveCommitBeforeJournal).await;
    let busy = scene.service.migrate(&Scene::request("daily", 2)).await.unwrap_err();
    assert!(busy.to_string().contains(&id.to_string()) || format!("{busy:#}").contains(&id.to_string()));
    let path = format!("/api/v1/migrations/{id}");
    let (status, _) = scene.service.raw(reqwest::Method::DELETE, &path, None).await.unwrap();
    assert_eq!(status.as_u16(), 202);
    let report = scene.finished(id).await;
    assert_eq!(report.state, MigrationState::Cancelled, "{report:#?}");
    assert!(report.moves.iter().all(|m| m.state == MoveState::Aborted));
    assert_eq!(scene.seen("daily").await, seen);
    assert_eq!(scene.internal_tables().await, "[]");
    scene.release(Point::MoveCommitBeforeJournal);
    assert_eq!(rows(&scene.migrate("daily", 2).await.moves), 4_000);
    assert_eq!(scene.seen("daily").await, seen);
    assert_eq!(scene.cold.number("SELECT count() FROM cold.daily").await.unwrap(), 4_000);
}

#[tokio::test]
async fn the_gateway_may_be_away_and_the_move_waits() {
    let mut scene = Scene::start().await;
    scene.fill("daily", 0, 3_000, 0, 1).await;
    let seen = scene.seen("daily").await;
    scene.arm(Point::MoveSendAfterJournal);
    let id = scene.service.migrate(&Scene::request("daily", 1)).await.unwrap();
    scene.reached(Point::MoveSendAfterJournal).await;
    scene.stack.kill(Role::Gateway).unwrap();
    scene.release(Point::MoveSendAfterJournal);
    scene
        .until("the report names the cause", async |s| {
            s.service.migration(id).await.unwrap().moves.iter().any(|m| m.error.is_some())
        })
        .await;
    assert_eq!(scene.seen("daily").await, seen);
    scene.stack.restart(Role::Gateway).await.unwrap();
    let report = scene.finished(id).await;
    assert_eq!(report.state, MigrationState::Done, "{report:#?}");
    assert_eq!(scene.seen("daily").await, seen);
}

/// Kills the service, does `harm` to each file of its catalog, and starts it again.
async fn harm_catalog(scene: &mut Scene, harm: impl Fn(&std::path::Path)) {
    scene.stack.kill(Role::Service).unwrap();
    let mut harmed = 0;
    let mut pending = vec![scene.dir.path().to_owned()];
    while let Some(dir) = pending.pop() {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if name.starts_with("catalog.sqlite") {
                harm(&path);
                harmed += 1;
            } else if entry.file_type().unwrap().is_dir()
                && !name.starts_with("hot")
                && !name.starts_with("cold")
            {
                pending.push(path);
            }
        }
    }
    assert!(harmed > 0);
    scene.stack.restart(Role::Service).await.unwrap();
}

/// Deletes the catalog of a killed service and starts it again.
async fn lose_catalog(scene: &mut Scene) {
    harm_catalog(scene, |file| std::fs::remove_file(file).unwrap()).await;
}

#[tokio::test]
async fn a_lost_catalog_is_rebuilt_from_the_gateway() {
    let mut scene = Scene::start().await;
    scene.fill("daily", 0, 4_000, 0, 4).await;
    scene.migrate("daily", 2).await;
    let seen = scene.seen("daily").await;
    lose_catalog(&mut scene).await;
    assert_eq!(scene.seen("daily").await, seen);
    assert_eq!(rows(&scene.migrate("daily", 3).await.moves), 1_000);
    assert_eq!(scene.seen("daily").await, seen);
}

#[tokio::test]
async fn a_damaged_catalog_is_set_aside_and_rebuilt_from_the_gateway() {
    let mut scene = Scene::start().await;
    scene.fill("daily", 0, 4_000, 0, 4).await;
    scene.migrate("daily", 2).await;
    let seen = scene.seen("daily").await;
    harm_catalog(&mut scene, |file| {
        let length = std::fs::metadata(file).unwrap().len();
        std::fs::write(file, vec![0xa5; length as usize]).unwrap();
    })
    .await;
    assert_eq!(scene.seen("daily").await, seen);
    assert!(scene.log().contains("the journal is damaged"), "{}", scene.log());
    assert_eq!(rows(&scene.migrate("daily", 3).await.moves), 1_000);
    assert_eq!(scene.seen("daily").await, seen);
}

#[tokio::test]
async fn a_catalog_lost_between_fence_and_publish_finds_the_only_hot_copy() {
    for (table, point) in [
        ("daily", Point::MoveFenceAfterResult),
        ("daily", Point::MoveFenceAfterJournal),
        ("monthly", Point::MoveFenceAfterEffect),
        ("daily", Point::MovePublishAfterEffect),
        ("daily", Point::MoveSendAfterEffect),
    ] {
        let mut scene = Scene::start().await;
        scene.fill(table, 0, 3_000, 0, 2).await;
        let seen = scene.seen(table).await;
        scene.arm(point);
        scene.service.migrate(&Scene::request(table, 1)).await.unwrap();
        scene.reached(point).await;
        lose_catalog(&mut scene).await;
        assert_eq!(scene.seen(table).await, seen, "{point}");
        scene
            .until("left-over moves end", async |s| {
                let all = s.service.migrations().await.unwrap();
                all.iter().all(|m| m.state != MigrationState::Running)
            })
            .await;
        assert_eq!(scene.seen(table).await, seen, "{point}");
        scene.migrate(table, 1).await;
        assert_eq!(scene.seen(table).await, seen, "{point}");
        assert_eq!(scene.internal_tables().await, "[]", "{point}");
        assert_eq!(scene.sql(&format!("SELECT count() FROM hot.{table}")).await, "1500", "{point}");
    }
}

/// Yesterday's copy of the catalog must not move anything: what was moved since would go again, or away.
#[tokio::test]
async fn an_older_copy_of_the_catalog_moves_nothing() {
    let mut scene = Scene::start().await;
    scene.fill("daily", 0, 4_000, 0, 4).await;
    scene.migrate("daily", 1).await;
    let copied = parking_lot::Mutex::new(Vec::new());
    harm_catalog(&mut scene, |file| copied.lock().push((file.to_owned(), std::fs::read(file).unwrap())))
        .await;
    scene.migrate("daily", 2).await;
    let cold = scene.cold.number("SELECT count() FROM cold.daily").await.unwrap();

    // Started as often as the file that it is a copy of.
    scene.stack.kill(Role::Service).unwrap();
    for (file, bytes) in copied.into_inner() {
        std::fs::write(file, bytes).unwrap();
    }
    scene.stack.restart(Role::Service).await.unwrap();
    let id = scene.service.migrate(&Scene::request("daily", 3)).await.unwrap();
    scene.until("it says so", async |s| s.log().contains("nothing is moved")).await;
    assert_eq!(scene.service.migration(id).await.unwrap().moves.len(), 0);
    assert_eq!(scene.cold.number("SELECT count() FROM cold.daily").await.unwrap(), cold);
}

/// Kills `role` at every point of a move, each followed by a restart; what is seen never changes, the move
/// goes on where it was, and in the end every row has moved once.
async fn killed_everywhere(table: &str, role: Role) {
    let mut scene = Scene::start().await;
    // What stays makes every later move of the month a window.
    let stays = if table == "monthly" { 2 } else { 0 };
    if stays > 0 {
        scene.fill(table, 1_000_000, stays, 20, 1).await;
    }
    // A window's rows are deleted by content, no part is dropped.
    let reaches = |point: &Point| table == "daily" || *point != Point::MoveFencePartDropped;
    let of_the_service = Point::ALL.iter().copied().filter(|point| point.daemon() == Daemon::Service);
    let points: Vec<Point> = of_the_service.filter(reaches).collect();
    for (round, &point) in (0_u64..).zip(&points) {
        let last = 15;
        scene.fill(table, round * 1000, 600, (round % 15) as i64, 1).await;
        let seen = scene.seen(table).await;
        scene.arm(point);
        let migration = scene.service.migrate(&Scene::request(table, last)).await.unwrap();
        scene.reached(point).await;
        if role == Role::Service {
            scene.stack.kill(role).unwrap();
            scene.release(point);
            scene.stack.restart(role).await.unwrap();
        } else {
            scene.stack.kill(role).unwrap();
            scene.stack.relaunch(role).unwrap();
            scene.stack.ready(role).await.unwrap();
            scene.release(point);
        }
        assert_eq!(scene.seen(table).await, seen, "{point}");
        scene
            .until(&format!("the move ends after {point}"), async |s| {
                s.service
                    .migrations()
                    .await
                    .is_ok_and(|all| all.iter().all(|m| m.state != MigrationState::Running))
            })
            .await;
        assert_eq!(scene.seen(table).await, seen, "{point}");
        let report = scene.finished(migration).await;
        assert_eq!(report.state, MigrationState::Done, "{point}: {report:#?}");
        assert_eq!(
            scene.sql(&format!("SELECT count() FROM hot.{table}")).await,
            stays.to_string(),
            "{point}"
        );
        assert_eq!(scene.internal_tables().await, "[]", "{point}");
    }
    let cold = scene.cold.number(&format!("SELECT count() FROM cold.{table}")).await.unwrap();
    assert_eq!(cold, points.len() as u64 * 600);
}

#[tokio::test]
async fn the_service_may_be_killed_at_every_point_of_a_whole_partition() {
    killed_everywhere("daily", Role::Service).await;
}

#[tokio::test]
async fn the_service_may_be_killed_at_every_point_of_a_window() {
    killed_everywhere("monthly", Role::Service).await;
}

#[tokio::test]
async fn the_hot_engine_may_be_killed_at_every_point_of_a_whole_partition() {
    killed_everywhere("daily", Role::Hot).await;
}

#[tokio::test]
async fn the_hot_engine_may_be_killed_at_every_point_of_a_window() {
    killed_everywhere("monthly", Role::Hot).await;
}
