//! What users do to a table under a move: they drop, truncate, exchange, alter, update.

use fault_points::Point;
use storage_types::{MoveState, service_api::MigrationState};
use testbed::clients::Refused;

use crate::scene::{Scene, rows};

/// The operator's nightly script drops the partition while its rows are under way: the archive keeps them.
#[tokio::test]
async fn a_partition_dropped_under_a_move_is_archived_all_the_same() {
    for point in [Point::MovePublishBefore, Point::MoveDeleteBefore, Point::MoveTellBefore] {
        let scene = Scene::start().await;
        scene.fill("daily", 0, 4_000, 0, 2).await;
        let seen = scene.seen("daily").await;
        let id = scene.hold("daily", 2, point).await;
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
    let id = scene.hold("daily", 1, Point::MoveDeleteBefore).await;
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
    let id = scene.hold("daily", 1, Point::MoveDeleteBefore).await;
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
        let id = scene.hold("daily", 2, point).await;
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

/// A lightweight UPDATE changes rows without renaming their parts, after they were read and before they are
/// published: what is published is what it made of them.
#[tokio::test]
async fn a_patch_that_comes_after_the_batches_were_read_is_published() {
    let scene = Scene::start().await;
    scene.sql("DROP TABLE hot.daily SYNC").await;
    let settings = "SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1";
    scene.create("daily", "toYYYYMMDD(ts)", settings).await;
    scene.fill("daily", 0, 4_000, 0, 2).await;
    let id = scene.hold("daily", 2, Point::MovePublishBefore).await;
    scene.sql("UPDATE hot.daily SET price = 9 WHERE id < 100 SETTINGS enable_lightweight_update = 1").await;
    let patches = "SELECT count() > 0 FROM system.parts WHERE database = 'hot' AND active AND startsWith(partition_id, 'patch-')";
    assert_eq!(scene.sql(patches).await, "1");
    scene.arm(Point::MoveDeleteBefore);
    scene.release(Point::MovePublishBefore);
    scene.reached(Point::MoveDeleteBefore).await;
    assert_eq!(scene.ask("SELECT count(), countIf(price = 9) FROM daily").await, "4000,100");
    scene.release(Point::MoveDeleteBefore);
    assert_eq!(scene.finished(id).await.state, MigrationState::Done);
    assert_eq!(scene.ask("SELECT count(), countIf(price = 9) FROM daily").await, "4000,100");
    assert_eq!(scene.sql("SELECT count() FROM hot.daily").await, "0");
}

/// Where nothing keeps a table's count up (25.8 leaves no empty parts behind when partitions are moved to another
/// table; somebody has them cleared away), it begins at one again: what comes then is none of the move's rows.
#[tokio::test]
async fn rows_of_a_table_that_counts_from_one_again_are_not_deleted() {
    let scene = Scene::start().await;
    scene.sql("DROP TABLE hot.daily SYNC").await;
    let quick = "SETTINGS old_parts_lifetime = 1, merge_tree_clear_old_parts_interval_seconds = 1, \
                 cleanup_delay_period = 1, max_cleanup_delay_period = 1";
    scene.create("daily", "toYYYYMMDD(ts)", quick).await;
    scene.fill("daily", 0, 4_000, 0, 2).await;
    let id = scene.hold("daily", 2, Point::MoveDeleteBefore).await;
    scene.sql("CREATE TABLE hot.aside AS hot.daily").await;
    scene.sql("ALTER TABLE hot.daily MODIFY SETTING remove_empty_parts = 1").await;
    for day in ["20260110", "20260111"] {
        scene.sql(&format!("ALTER TABLE hot.daily MOVE PARTITION ID '{day}' TO TABLE hot.aside")).await;
    }
    let parts = "SELECT count() FROM system.parts WHERE database = 'hot' AND table = 'daily'";
    scene.until("no part is left", async |s| s.sql(parts).await == "0").await;
    scene.sql("DETACH TABLE hot.daily SYNC").await;
    scene.sql("ATTACH TABLE hot.daily").await;
    // Fewer rows than there were, under the number of a part of theirs.
    scene.fill("daily", 10_000, 1_000, 0, 1).await;
    assert_eq!(scene.sql("SELECT min(_block_number) FROM hot.daily").await, "1");
    scene.release(Point::MoveDeleteBefore);
    let open = async |s: &Scene| s.service.migration(id).await.unwrap().moves[0].clone();
    scene
        .until("an operator is asked", async |s| open(s).await.waits_for.is_some_and(|wait| wait.operator))
        .await;
    let what = open(&scene).await.waits_for.unwrap().what;
    assert!(what.contains("counts from a lower number"), "{what}");
    let all = serde_json::json!({"sql": "SELECT count() FROM daily"});
    let error = scene.service.ask(&all).await.unwrap_err();
    assert_eq!(error.downcast_ref::<Refused>().unwrap().code, "unsettled_range");
    // Once the window is empty nothing is unclear: the archive is what is left.
    scene.sql("ALTER TABLE hot.daily MOVE PARTITION ID '20260110' TO TABLE hot.aside").await;
    let path = format!("/api/v1/moves/{}/decision", open(&scene).await.id);
    let decision = Some(r#"{"keep":"cold"}"#.into());
    let (status, text) = scene.service.raw(reqwest::Method::POST, &path, decision).await.unwrap();
    assert!(status.is_success(), "{text}");
    assert_eq!(scene.finished(id).await.state, MigrationState::Done);
    assert_eq!(scene.ask("SELECT count(), uniqExact(id) FROM daily").await, "4000,4000");
    scene.fill("daily", 10_000, 1_000, 0, 1).await;
    assert_eq!(scene.ask("SELECT count(), uniqExact(id) FROM daily").await, "5000,5000");
}

/// An update gives a row of a published window another time: it is in cold with the old one and in the head with the
/// new one. Which is right an operator says; until then the window is not answered for.
#[tokio::test]
async fn a_row_with_another_time_is_not_seen_twice() {
    let scene = Scene::start().await;
    scene.sql("DROP TABLE hot.daily SYNC").await;
    scene.sql("CREATE TABLE hot.daily (id UInt64, ts DateTime64(3, 'UTC'), venue LowCardinality(String), price Decimal64(8), note Nullable(String)) ENGINE = MergeTree ORDER BY id").await;
    scene.fill("daily", 0, 2_000, 0, 2).await;
    let id = scene.hold("daily", 1, Point::MoveDeleteBefore).await;
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
    let id = scene.hold("monthly", 1, Point::MoveDeleteBefore).await;
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
    let id = scene.hold("daily", 1, Point::MoveDeleteBefore).await;
    scene.sql("ALTER TABLE hot.daily DROP COLUMN note").await;
    scene.release(Point::MoveDeleteBefore);
    let begins_again = async |s: &Scene| {
        let record = s.service.migration(id).await.unwrap().moves[0].clone();
        record.state == MoveState::Planned && record.batches_proven == 0
    };
    scene.until("it begins again", begins_again).await;
    assert_eq!(scene.sql("SELECT count() FROM hot.daily").await, "4000");
}
