//! Moves on real engines and a real gateway: what is moved, and what is seen meanwhile.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod migrator_support;

use fault_points::{Daemon, Point};
use migrator_support::{Scene, rows};
use storage_types::{MoveState, service_api::MigrationState};
use testbed::{clients::Refused, engine::Engine, stack::Role};

#[tokio::test]
async fn whole_partitions_move_and_answers_stay_the_same() {
    let scene = Scene::start().await;
    scene.fill("daily", 0, 20_000, 0, 4).await;
    let before = scene.sql("SELECT count() FROM hot.daily").await;
    let dry = scene.service.dry_run(&Scene::request("daily", 3)).await.unwrap();
    assert_eq!((dry.rows, dry.moves.len()), (15_000, 1));
    let seen = scene.seen("daily").await;
    assert!(seen.starts_with(&format!("{before},")), "{seen}");

    let report = scene.migrate("daily", 3).await;
    assert_eq!(rows(&report.moves), 15_000);
    assert!(report.moves.iter().all(|m| m.state == MoveState::Reclaimed));
    assert!(report.moves.iter().all(|m| m.batches.len() >= 3), "small batches: {:#?}", report.moves[0]);
    assert_eq!(report.rows_published, 15_000);
    assert!(report.wire_bytes > 0 && report.raw_bytes > report.wire_bytes);

    assert_eq!(scene.seen("daily").await, seen);
    assert_eq!(scene.sql("SELECT count() FROM hot.daily").await, "5000");
    assert_eq!(scene.cold.number("SELECT count() FROM cold.daily").await.unwrap(), 15_000);
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
async fn several_nodes_are_used_only_where_they_are_known_to_be_one_server() {
    let mut scene = Scene::start().await;
    scene.fill("daily", 0, 1_000, 0, 1).await;
    let seen = scene.seen("daily").await;
    // It does not let the service in, so that nobody knows whose rows it has.
    let stranger = Engine::start(scene.dir.path().join("stranger")).await.unwrap();
    let hot = scene.stack.info().hot.url;
    let (stranger, same) = (format!("http://{}", stranger.address()), hot.replace("127.0.0.1", "localhost"));
    let config = scene.dir.path().join("config/cloud_storage.yaml");
    let text = std::fs::read_to_string(&config).unwrap();
    let single = format!("type: \"embedded\"\n  nodes: [\"{hot}\"]");
    assert!(text.contains(&single), "{text}");
    for (second, reason) in [(&stranger, Some("has not answered yet")), (&same, None)] {
        let cluster = format!("type: \"clickhouse_cluster\"\n  nodes: [\"{hot}\", \"{second}\"]");
        std::fs::write(&config, text.replace(&single, &cluster)).unwrap();
        scene.stack.kill(Role::Service).unwrap();
        scene.stack.restart(Role::Service).await.unwrap();
        match reason {
            Some(reason) => {
                let error = scene.service.migrate(&Scene::request("daily", 1)).await.unwrap_err();
                let refused = error.downcast_ref::<Refused>().unwrap();
                assert!(refused.message.contains(reason) && refused.message.contains(second), "{refused:?}");
            }
            None => assert_eq!(rows(&scene.migrate("daily", 1).await.moves), 1_000),
        }
    }
    assert_eq!(scene.seen("daily").await, seen);
}

/// A projection is worth reading only where there are many rows.
#[tokio::test]
async fn a_projection_does_not_hide_rows_that_came_late() {
    let scene = Scene::with(|config| config.batch_rows = 1_000_000).await;
    scene.sql("ALTER TABLE hot.daily ADD PROJECTION by_price (SELECT * ORDER BY price)").await;
    scene.sql("ALTER TABLE hot.daily MODIFY SETTING enable_block_number_column = 1").await;
    scene.fill("daily", 0, 200_000, 0, 1).await;
    scene.arm(Point::MoveDeleteBefore);
    let id = scene.service.migrate(&Scene::request("daily", 1)).await.unwrap();
    scene.reached(Point::MoveDeleteBefore).await;
    scene.fill("daily", 0, 200_000, 0, 1).await;
    scene.sql("OPTIMIZE TABLE hot.daily FINAL").await;
    let few = "SELECT count() FROM daily WHERE price < 5";
    assert_eq!(scene.ask(few).await, "40");
    scene.release(Point::MoveDeleteBefore);
    assert_eq!(scene.finished(id).await.state, MigrationState::Done);
    assert_eq!(scene.ask(few).await, "40");
    assert_eq!(scene.sql("SELECT count() FROM hot.daily").await, "200000");
}

#[tokio::test]
async fn windows_of_coarse_partitions_move_and_leave_the_rest() {
    let scene = Scene::start().await;
    scene.fill("monthly", 0, 12_000, 0, 4).await;
    let seen = scene.seen("monthly").await;
    let report = scene.migrate("monthly", 3).await;
    assert_eq!(rows(&report.moves), 9_000);
    assert_eq!(scene.seen("monthly").await, seen);
    assert_eq!(scene.sql("SELECT count() FROM hot.monthly").await, "3000");
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
    scene.arm(Point::MovePublishBefore);
    let id = scene.service.migrate(&Scene::request("daily", 1)).await.unwrap();
    scene.reached(Point::MovePublishBefore).await;
    // New rows, and copies of shipped rows equal in every column.
    scene.fill("daily", 50_000, 300, 0, 1).await;
    scene.sql("INSERT INTO hot.daily SELECT * FROM hot.daily WHERE id < 100").await;
    let seen = scene.seen("daily").await;
    assert!(seen.starts_with("4400,4300,"), "{seen}");
    scene.release(Point::MovePublishBefore);
    let report = scene.finished(id).await;
    assert_eq!(report.state, MigrationState::Done, "{report:#?}");
    assert_eq!(scene.seen("daily").await, seen);
    assert_eq!(scene.sql("SELECT count() FROM hot.daily").await, "400");
    // They travel with the next migration.
    assert_eq!(rows(&scene.migrate("daily", 1).await.moves), 400);
    assert_eq!(scene.seen("daily").await, seen);
}

/// Rows that come while their window is on its way, merged into the parts that are being sent: every answer has
/// each of them once, and they move with the next migration.
#[tokio::test]
async fn late_rows_merged_with_sent_ones_stay_and_move_later() {
    for table in ["daily", "monthly"] {
        let scene = Scene::start().await;
        scene.fill(table, 0, 4_000, 0, 2).await;
        scene.arm(Point::MoveOpenAfterJournal);
        let id = scene.service.migrate(&Scene::request(table, 1)).await.unwrap();
        scene.reached(Point::MoveOpenAfterJournal).await;
        scene.fill(table, 50_000, 300, 0, 1).await;
        scene.sql(&format!("INSERT INTO hot.{table} SELECT * FROM hot.{table} WHERE id < 200")).await;
        scene.sql(&format!("OPTIMIZE TABLE hot.{table} FINAL")).await;
        let seen = scene.seen(table).await;
        assert!(seen.starts_with("4500,4300,"), "{seen}");
        scene.release(Point::MoveOpenAfterJournal);
        let report = scene.finished(id).await;
        assert_eq!(report.state, MigrationState::Done, "{report:#?}");
        assert_eq!(rows(&report.moves), 2_000);
        assert_eq!(scene.seen(table).await, seen);
        assert_eq!(scene.sql(&format!("SELECT count() FROM hot.{table}")).await, "2500");
        assert_eq!(rows(&scene.migrate(table, 1).await.moves), 500);
        assert_eq!(scene.seen(table).await, seen);
    }
}

/// The operator's nightly script drops the partition while its rows are under way: the archive keeps them.
#[tokio::test]
async fn a_partition_dropped_under_a_move_is_archived_all_the_same() {
    for point in [Point::MovePublishBefore, Point::MoveDeleteBefore, Point::MoveTellBefore] {
        let scene = Scene::start().await;
        scene.fill("daily", 0, 4_000, 0, 2).await;
        let seen = scene.seen("daily").await;
        scene.arm(point);
        let id = scene.service.migrate(&Scene::request("daily", 2)).await.unwrap();
        scene.reached(point).await;
        scene.sql("ALTER TABLE hot.daily DROP PARTITION ID '20260110'").await;
        scene.release(point);
        let report = scene.finished(id).await;
        assert_eq!(report.state, MigrationState::Done, "{point}: {report:#?}");
        assert_eq!(scene.seen("daily").await, seen, "{point}");
        assert_eq!(scene.sql("SELECT count() FROM hot.daily").await, "0", "{point}");
    }
}

/// Another table answers to the head's name while rows of the old one are hidden, until the move has looked at it:
/// a query that meets rows of their time there is refused, every other is answered.
#[tokio::test]
async fn another_table_is_not_read_by_the_numbers_of_the_one_that_rows_left() {
    let scene = Scene::start().await;
    scene.fill("daily", 0, 4_000, 0, 2).await;
    scene.sql("CREATE TABLE hot.other AS hot.daily").await;
    scene.sql("INSERT INTO hot.other SELECT * FROM hot.daily WHERE id % 2 = 0").await;
    scene.arm(Point::MoveDeleteBefore);
    let id = scene.service.migrate(&Scene::request("daily", 1)).await.unwrap();
    scene.reached(Point::MoveDeleteBefore).await;
    let seen = scene.seen("daily").await;
    scene.sql("EXCHANGE TABLES hot.daily AND hot.other").await;
    for sql in
        ["SELECT count() FROM daily", "SELECT max(price) FROM daily WHERE ts < '2026-01-11' AND id > 5"]
    {
        let error = scene.service.ask(&serde_json::json!({"sql": sql})).await.unwrap_err();
        let refused = error.downcast_ref::<Refused>().unwrap();
        assert_eq!((refused.status, refused.code.as_str()), (503, "head_replaced"), "{sql}: {refused:?}");
        assert!(refused.message.contains("`hot`.`daily`"), "{refused:?}");
    }
    assert_eq!(scene.ask("SELECT count() FROM daily WHERE ts >= '2026-01-11'").await, "1000");
    scene.sql("EXCHANGE TABLES hot.daily AND hot.other").await;
    assert_eq!(scene.seen("daily").await, seen);
    scene.release(Point::MoveDeleteBefore);
    assert_eq!(scene.finished(id).await.state, MigrationState::Done);
    assert_eq!(scene.seen("daily").await, seen);
}

/// Everything is dropped and the table opened anew, which alone would have it number rows from 1 again: rows that
/// come then, of a window that is published, are late rows and not the old ones.
#[tokio::test]
async fn a_truncated_table_does_not_give_a_moves_numbers_to_new_rows() {
    let scene = Scene::start().await;
    let soon = "old_parts_lifetime = 1, merge_tree_clear_old_parts_interval_seconds = 1, \
        cleanup_delay_period = 1, max_cleanup_delay_period = 1";
    // The other table has no move: once nothing at all is left of it, nothing would be of the first.
    for table in ["monthly", "daily"] {
        scene.sql(&format!("ALTER TABLE hot.{table} MODIFY SETTING {soon}")).await;
        scene.fill(table, 0, 4_000, 0, 2).await;
    }
    scene.arm(Point::MoveDeleteBefore);
    let id = scene.service.migrate(&Scene::request("daily", 1)).await.unwrap();
    scene.reached(Point::MoveDeleteBefore).await;
    for table in ["daily", "monthly"] {
        scene.sql(&format!("TRUNCATE TABLE hot.{table}")).await;
    }
    let left = "SELECT countIf(table = 'monthly' OR NOT active) FROM system.parts WHERE database = 'hot'";
    scene.until("the old parts are gone", async |s| s.sql(left).await == "0").await;
    scene.sql("DETACH TABLE hot.daily SYNC").await;
    scene.sql("ATTACH TABLE hot.daily").await;
    scene.fill("daily", 50_000, 100, 0, 1).await;
    let seen = scene.seen("daily").await;
    assert!(seen.starts_with("2100,2100,"), "{seen}");
    scene.release(Point::MoveDeleteBefore);
    assert_eq!(scene.finished(id).await.state, MigrationState::Done);
    assert_eq!(scene.seen("daily").await, seen);
    assert_eq!(rows(&scene.migrate("daily", 1).await.moves), 100);
    assert_eq!(scene.seen("daily").await, seen);
    // Without a move the table clears away again what is empty.
    let empty = "SELECT count() FROM system.parts WHERE database = 'hot' AND table = 'daily' AND active";
    scene.until("empty parts are cleared away", async |s| s.sql(empty).await == "0").await;
}

/// A mutation changes rows that are being sent, or are published and still in the head: they are sent again, and
/// the answer is what the mutation made of them.
#[tokio::test]
async fn rows_that_a_mutation_changes_are_sent_again() {
    for point in [Point::MovePublishBefore, Point::MoveDeleteBefore] {
        let scene = Scene::start().await;
        scene.fill("daily", 0, 4_000, 0, 2).await;
        scene.arm(point);
        let id = scene.service.migrate(&Scene::request("daily", 2)).await.unwrap();
        scene.reached(point).await;
        for sql in [
            "ALTER TABLE hot.daily UPDATE price = 9 WHERE id < 100 SETTINGS mutations_sync = 1",
            "DELETE FROM hot.daily WHERE id BETWEEN 500 AND 509",
        ] {
            scene.sql(sql).await;
        }
        scene.release(point);
        let report = scene.finished(id).await;
        assert_eq!(report.state, MigrationState::Done, "{point}: {report:#?}");
        assert_eq!(scene.ask("SELECT count(), countIf(price = 9) FROM daily").await, "3990,100", "{point}");
        assert_eq!(scene.sql("SELECT count() FROM hot.daily").await, "0", "{point}");
        assert_eq!(scene.ask("SELECT uniqExact(id) FROM daily").await, "3990", "{point}");
    }
}

#[tokio::test]
async fn a_cold_copy_that_changed_is_withdrawn_and_sent_again() {
    let scene = Scene::start().await;
    scene.fill("daily", 0, 1_000, 0, 1).await;
    let seen = scene.seen("daily").await;
    scene.arm(Point::MoveDeleteBefore);
    let id = scene.service.migrate(&Scene::request("daily", 1)).await.unwrap();
    scene.reached(Point::MoveDeleteBefore).await;
    scene
        .cold
        .query("ALTER TABLE cold.daily DELETE WHERE id = 7 SETTINGS mutations_sync = 1".to_owned())
        .await
        .unwrap();
    scene.release(Point::MoveDeleteBefore);
    let report = scene.finished(id).await;
    assert_eq!(report.state, MigrationState::Done, "{report:#?}");
    assert!(report.moves[0].reason.as_ref().unwrap().contains("cold has 999 rows"), "{report:#?}");
    assert_eq!(scene.seen("daily").await, seen);
    assert_eq!(scene.sql("SELECT count() FROM hot.daily").await, "0");
}

#[tokio::test]
async fn a_cancelled_migration_leaves_hot_alone_and_holds_up_no_other() {
    let scene = Scene::start().await;
    scene.fill("daily", 0, 4_000, 0, 2).await;
    scene.fill("monthly", 0, 1_000, 0, 1).await;
    let seen = scene.seen("daily").await;
    scene.arm(Point::MovePublishBefore);
    let id = scene.service.migrate(&Scene::request("daily", 2)).await.unwrap();
    scene.reached(Point::MovePublishBefore).await;
    assert_eq!(rows(&scene.migrate("monthly", 1).await.moves), 1_000);
    scene.service.cancel(id).await.unwrap();
    scene.release(Point::MovePublishBefore);
    let report = scene.finished(id).await;
    assert_eq!(report.state, MigrationState::Cancelled, "{report:#?}");
    assert!(report.moves.iter().all(|m| m.state == MoveState::Withdrawn), "{report:#?}");
    assert_eq!(scene.seen("daily").await, seen);
    assert_eq!(scene.sql("SELECT count() FROM hot.daily").await, "4000");
    assert_eq!(rows(&scene.migrate("daily", 2).await.moves), 4_000);
    assert_eq!(scene.seen("daily").await, seen);
}

#[tokio::test]
async fn tables_without_a_partition_key_and_rows_that_time_cannot_cut_move() {
    let scene = Scene::start().await;
    scene.sql("DROP TABLE hot.daily SYNC").await;
    scene
        .sql("CREATE TABLE hot.daily (ts Date, v UInt8, note String) ENGINE = MergeTree ORDER BY tuple()")
        .await;
    // A day that is many batches, most of it rows that are equal in every column.
    scene.sql("INSERT INTO hot.daily SELECT toDate('2026-01-10'), 7, 'x' FROM numbers(9000)").await;
    scene.sql("INSERT INTO hot.daily SELECT toDate('2026-01-10'), number % 200, toString(number) FROM numbers(9000)").await;
    scene.sql("INSERT INTO hot.daily SELECT toDate('2026-02-01'), 7, 'x' FROM numbers(10)").await;
    scene
        .until("the table is managed", async |s| {
            let tables = s.service.catalog().await.unwrap().tables;
            tables.iter().all(|t| t.refused.is_none())
        })
        .await;
    let ask = "SELECT count(), sum(v), uniqExact(note) FROM daily";
    let seen = scene.ask(ask).await;
    let report = scene.migrate("daily", 2).await;
    assert_eq!(rows(&report.moves), 18_000);
    assert!(report.moves[0].batches.len() >= 9, "{report:#?}");
    assert_eq!(scene.ask(ask).await, seen);
    assert_eq!(scene.sql("SELECT count() FROM hot.daily").await, "10");
}

#[tokio::test]
async fn a_catalog_lost_in_the_middle_of_a_move_loses_and_doubles_nothing() {
    for (table, point) in [
        ("daily", Point::MoveSendAfterEffect),
        ("daily", Point::MovePublishAfterJournal),
        ("daily", Point::MoveTellAfterJournal),
        ("monthly", Point::MoveDeleteBeforeEffect),
        ("daily", Point::MoveDeletePartDropped),
        ("monthly", Point::MoveDeleteAfterEffect),
        ("daily", Point::MoveFinishAfterJournal),
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
        let left = format!("SELECT count() FROM hot.{table}");
        scene.until("its rows are reclaimed", async |s| s.sql(&left).await == "1500").await;
        assert_eq!(scene.seen(table).await, seen, "{point}");
    }
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
async fn the_gateway_may_be_away_and_the_move_waits() {
    let mut scene = Scene::start().await;
    scene.fill("daily", 0, 3_000, 0, 1).await;
    let seen = scene.seen("daily").await;
    scene.arm(Point::MoveSendBefore);
    let id = scene.service.migrate(&Scene::request("daily", 1)).await.unwrap();
    scene.reached(Point::MoveSendBefore).await;
    scene.stack.kill(Role::Gateway).unwrap();
    scene.release(Point::MoveSendBefore);
    scene
        .until("the report names the cause", async |s| {
            s.service.migration(id).await.unwrap().moves.iter().any(|m| m.waits_for.is_some())
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

/// Yesterday's copy of the catalog does not know what was deleted from the head since: it says so by the hot
/// server's witness, and learns it from the gateway before it answers.
#[tokio::test]
async fn an_older_copy_of_the_catalog_learns_what_was_moved_since() {
    let mut scene = Scene::start().await;
    scene.fill("daily", 0, 4_000, 0, 4).await;
    let seen = scene.seen("daily").await;
    scene.migrate("daily", 1).await;
    let copied = parking_lot::Mutex::new(Vec::new());
    let copy = |file: &std::path::Path| copied.lock().push((file.to_owned(), std::fs::read(file).unwrap()));
    harm_catalog(&mut scene, copy).await;
    scene.migrate("daily", 2).await;

    // Started as often as the file that it is a copy of.
    put_back(&mut scene, copied.into_inner()).await;
    assert_eq!(scene.seen("daily").await, seen);
    assert_eq!(rows(&scene.migrate("daily", 3).await.moves), 1_000);
    assert_eq!(scene.seen("daily").await, seen);
    assert_eq!(scene.cold.number("SELECT count() FROM cold.daily").await.unwrap(), 3_000);
}

async fn put_back(scene: &mut Scene, copied: Vec<(std::path::PathBuf, Vec<u8>)>) {
    scene.stack.kill(Role::Service).unwrap();
    for (file, bytes) in copied {
        std::fs::write(file, bytes).unwrap();
    }
    scene.stack.restart(Role::Service).await.unwrap();
}

/// The copy was taken while batches were under way that were published since, and their rows deleted.
#[tokio::test]
async fn an_older_copy_with_batches_under_way_learns_what_became_of_them() {
    for point in [Point::MoveEncodeAfterJournal, Point::MoveSendAfterJournal, Point::MovePublishBefore] {
        let mut scene = Scene::start().await;
        scene.fill("daily", 0, 4_000, 0, 4).await;
        let seen = scene.seen("daily").await;
        scene.arm(point);
        scene.service.migrate(&Scene::request("daily", 2)).await.unwrap();
        scene.reached(point).await;
        let copied = parking_lot::Mutex::new(Vec::new());
        let copy =
            |file: &std::path::Path| copied.lock().push((file.to_owned(), std::fs::read(file).unwrap()));
        harm_catalog(&mut scene, copy).await;
        let left = "SELECT count() FROM hot.daily";
        scene.until("the rows are moved", async |s| s.sql(left).await == "2000").await;
        put_back(&mut scene, copied.into_inner()).await;
        assert_eq!(scene.seen("daily").await, seen, "{point}");
        scene
            .until("it is claimed again", async |s| {
                s.service.migrate(&Scene::request("daily", 3)).await.is_ok()
            })
            .await;
        scene.until("the next rows are moved", async |s| s.sql(left).await == "1000").await;
        assert_eq!(scene.seen("daily").await, seen, "{point}");
    }
}

/// The catalog is lost while the NAS is proving a batch. It knows of it all the same: the rows go again under
/// another id, and what the NAS has proven by then is not read beside them.
#[tokio::test]
async fn a_batch_proven_for_a_lost_catalog_is_never_read() {
    let mut scene = Scene::start().await;
    scene.fill("daily", 0, 4_000, 0, 4).await;
    scene.migrate("daily", 1).await;
    let seen = scene.seen("daily").await;
    scene.arm(Point::GatewayProveAfterEffect);
    scene.service.migrate(&Scene::request("daily", 2)).await.unwrap();
    scene.reached(Point::GatewayProveAfterEffect).await;
    lose_catalog(&mut scene).await;
    assert_eq!(scene.seen("daily").await, seen);
    scene.release(Point::GatewayProveAfterEffect);
    let twice = "SELECT count() FROM cold.daily";
    assert_eq!(rows(&scene.migrate("daily", 2).await.moves), 1_000);
    scene.until("both have arrived", async |s| s.cold.number(twice).await.unwrap() == 3_000).await;
    assert_eq!(scene.seen("daily").await, seen);
}

/// Only the engine was stopped, put back and started: the service runs on, and notices.
#[tokio::test]
async fn a_hot_server_put_back_under_a_running_service_is_noticed() {
    let mut scene = Scene::start().await;
    scene.fill("daily", 0, 4_000, 0, 4).await;
    let seen = scene.seen("daily").await;
    let (data, kept) = (scene.stack.dir().join("hot"), scene.dir.path().join("yesterday"));
    scene.stack.kill(Role::Hot).unwrap();
    copy_folder(&data, &kept);
    scene.stack.restart(Role::Hot).await.unwrap();
    scene.migrate("daily", 2).await;
    let left = "SELECT count() FROM hot.daily";
    assert_eq!(scene.sql(left).await, "2000");

    scene.stack.kill(Role::Hot).unwrap();
    std::fs::remove_dir_all(&data).unwrap();
    copy_folder(&kept, &data);
    scene.stack.restart(Role::Hot).await.unwrap();
    scene.until("the rows are deleted again", async |s| s.sql(left).await == "2000").await;
    assert_eq!(scene.seen("daily").await, seen);
}

/// An update gives a row of a published window another time: it is in cold with the old one and in the head with the
/// new one. Which is right an operator says; until then the window is not answered for.
#[tokio::test]
async fn a_row_with_another_time_is_not_seen_twice() {
    let scene = Scene::start().await;
    scene.sql("DROP TABLE hot.daily SYNC").await;
    scene.sql("CREATE TABLE hot.daily (id UInt64, ts DateTime64(3, 'UTC'), venue LowCardinality(String), price Decimal64(8), note Nullable(String)) ENGINE = MergeTree ORDER BY id").await;
    scene.fill("daily", 0, 2_000, 0, 2).await;
    scene.arm(Point::MoveDeleteBefore);
    let id = scene.service.migrate(&Scene::request("daily", 1)).await.unwrap();
    scene.reached(Point::MoveDeleteBefore).await;
    scene
        .sql(
            "ALTER TABLE hot.daily UPDATE ts = ts + INTERVAL 30 DAY WHERE id = 5 SETTINGS mutations_sync = 1",
        )
        .await;
    scene.release(Point::MoveDeleteBefore);
    let open = async |s: &Scene| s.service.migration(id).await.unwrap().moves[0].clone();
    scene
        .until("an operator is asked", async |s| open(s).await.waits_for.is_some_and(|wait| wait.operator))
        .await;
    let all = serde_json::json!({"sql": "SELECT count(), uniqExact(id) FROM daily"});
    let error = scene.service.ask(&all).await.unwrap_err();
    assert_eq!(error.downcast_ref::<Refused>().unwrap().code, "unsettled_range");
    let path = format!("/api/v1/moves/{}/decision", open(&scene).await.id);
    let decision = Some(r#"{"keep":"hot"}"#.into());
    let (status, text) = scene.service.raw(reqwest::Method::POST, &path, decision).await.unwrap();
    assert!(status.is_success(), "{text}");
    assert_eq!(scene.finished(id).await.state, MigrationState::Done);
    assert_eq!(scene.ask("SELECT count(), uniqExact(id) FROM daily").await, "2000,2000");
}

/// A row of the year 1850 is a window of its own, and hides nothing but itself.
#[tokio::test]
async fn a_window_before_1900_hides_its_own_rows_only() {
    let scene = Scene::start().await;
    scene.fill("monthly", 1, 1_000, 20, 2).await;
    scene.sql("INSERT INTO hot.monthly SELECT 0, '1850-06-01 00:00:00', 'A', 1, NULL").await;
    scene.fill("monthly", 2_000, 1_000, 0, 1).await;
    let seen = scene.seen("monthly").await;
    assert!(seen.starts_with("2001,2001,"), "{seen}");
    scene.arm(Point::MoveDeleteBefore);
    let id = scene.service.migrate(&Scene::request("monthly", 1)).await.unwrap();
    scene.reached(Point::MoveDeleteBefore).await;
    assert_eq!(scene.seen("monthly").await, seen);
    assert_eq!(scene.ask("SELECT count() FROM monthly WHERE ts < '1900-01-01'").await, "1");
    scene.release(Point::MoveDeleteBefore);
    assert_eq!(scene.finished(id).await.state, MigrationState::Done);
    assert_eq!(scene.seen("monthly").await, seen);
    assert_eq!(scene.sql("SELECT count() FROM hot.monthly").await, "1000");
}

/// A column is dropped while a move is published: the head is visible again, and the move does not wait for ever
/// to compare what cannot be compared.
#[tokio::test]
async fn a_column_dropped_under_a_published_move_does_not_hold_it_up() {
    let scene = Scene::start().await;
    scene.fill("daily", 0, 4_000, 0, 2).await;
    scene.arm(Point::MoveDeleteBefore);
    let id = scene.service.migrate(&Scene::request("daily", 1)).await.unwrap();
    scene.reached(Point::MoveDeleteBefore).await;
    scene.sql("ALTER TABLE hot.daily DROP COLUMN note").await;
    scene.release(Point::MoveDeleteBefore);
    let begins_again = async |s: &Scene| {
        let record = s.service.migration(id).await.unwrap().moves[0].clone();
        record.state == MoveState::Planned && record.batches_proven == 0
    };
    scene.until("it begins again", begins_again).await;
    assert_eq!(scene.sql("SELECT count() FROM hot.daily").await, "4000");
}

/// The hot server is put back to yesterday: rows are in its table again that were moved since.
#[tokio::test]
async fn a_hot_server_put_back_to_an_older_state_doubles_nothing() {
    let mut scene = Scene::start().await;
    scene.fill("daily", 0, 4_000, 0, 4).await;
    scene.migrate("daily", 1).await;
    let seen = scene.seen("daily").await;
    let (data, kept) = (scene.stack.dir().join("hot"), scene.dir.path().join("yesterday"));
    scene.stack.kill(Role::Hot).unwrap();
    copy_folder(&data, &kept);
    scene.stack.restart(Role::Hot).await.unwrap();
    scene.migrate("daily", 2).await;

    scene.stack.kill(Role::Service).unwrap();
    scene.stack.kill(Role::Hot).unwrap();
    std::fs::remove_dir_all(&data).unwrap();
    copy_folder(&kept, &data);
    scene.stack.restart(Role::Hot).await.unwrap();
    scene.stack.restart(Role::Service).await.unwrap();
    assert_eq!(scene.seen("daily").await, seen);
    let left = "SELECT count() FROM hot.daily";
    scene.until("the rows are deleted again", async |s| s.sql(left).await == "2000").await;
    assert_eq!(scene.seen("daily").await, seen);
}

fn copy_folder(from: &std::path::Path, to: &std::path::Path) {
    let copied = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(copied.success());
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
    // Rows of a coarse partition are deleted by their condition, no part is dropped; a move that is not given up
    // retires nothing.
    let reaches = |point: &Point| {
        let drops = table == "daily" || *point != Point::MoveDeletePartDropped;
        drops && !point.name().starts_with("move.retire.")
    };
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
