//! What is moved, and what is seen meanwhile.

use fault_points::Point;
use storage_types::{MoveState, service_api::MigrationState};
use testbed::{clients::Refused, engine::Engine, stack::Role};

use crate::scene::{Scene, rows};

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
    let id = scene.hold("daily", 1, Point::MoveDeleteBefore).await;
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
    let id = scene.hold("daily", 1, Point::MovePublishBefore).await;
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
        let id = scene.hold(table, 1, Point::MoveOpenAfterJournal).await;
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

#[tokio::test]
async fn a_cold_copy_that_changed_is_withdrawn_and_sent_again() {
    let scene = Scene::start().await;
    scene.fill("daily", 0, 1_000, 0, 1).await;
    let seen = scene.seen("daily").await;
    let id = scene.hold("daily", 1, Point::MoveDeleteBefore).await;
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
    let id = scene.hold("daily", 2, Point::MovePublishBefore).await;
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
    let id = scene.hold("daily", 1, Point::MoveSendBefore).await;
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
