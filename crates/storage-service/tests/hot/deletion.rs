//! Deleting the rows of a set, and nothing else.

use std::{collections::BTreeMap, os::unix::fs::MetadataExt};

use moves::world::Deletion;
use moves::{ManagedTable, RowSet};
use testbed::wait::eventually;

use crate::engines::{Engine, START, WINDOW, head};
use storage_types::TimeRange;

const MARKER: &str = "12";

/// Waits for a deletion's end.
pub async fn done(engine: &Engine, table: &ManagedTable, marker: &str) {
    eventually("the deletion is done", async || {
        let stands = engine.hot.deletion_of(&head(table), marker).await.unwrap();
        (stands == Deletion::Done).then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_deletion_takes_its_rows_and_leaves_later_ones_though_they_are_equal() {
    for engine in Engine::both().await {
        let (hot, table) = (&engine.hot, engine.create("t", "").await);
        let head = head(&table);
        engine.insert("t", 0).await;
        engine.insert("t", 10).await;
        engine.sql("OPTIMIZE TABLE hot.t FINAL").await;
        let rows = RowSet {
            window: TimeRange::new(START, START + 5),
            watermark: hot.watermark(&head).await.unwrap(),
        };
        engine.insert("t", 0).await;
        engine.sql("OPTIMIZE TABLE hot.t FINAL").await;
        assert_eq!(hot.deletion_of(&head, MARKER).await.unwrap(), Deletion::Absent);
        let earlier = "ALTER TABLE hot.t UPDATE v = 7 WHERE id = 3 SETTINGS mutations_sync = 1";
        engine.sql(earlier).await;
        let watermark = hot.watermark(&head).await.unwrap();
        hot.delete_rows(&table, &rows, MARKER).await.unwrap();
        done(&engine, &table, MARKER).await;
        let number = hot.mutation_number(&head, MARKER).await.unwrap().unwrap();
        assert_eq!(number, watermark + 1, "the next of one count");
        let left = async || (engine.numbers("t").await, hot.count(&table, &rows).await.unwrap());
        assert_eq!(left().await, (vec![(1, 5), (2, 5), (3, 10)], 0));
        // Again, as after a lost answer.
        hot.delete_rows(&table, &rows, MARKER).await.unwrap();
        done(&engine, &table, MARKER).await;
        engine.sql("OPTIMIZE TABLE hot.t FINAL").await;
        assert_eq!(left().await, (vec![(1, 5), (2, 5), (3, 10)], 0));
        assert_eq!(hot.mutation_number(&head, MARKER).await.unwrap(), Some(number));
        // A marker that begins like it is another.
        for other in ["1", "123"] {
            assert_eq!(hot.deletion_of(&head, other).await.unwrap(), Deletion::Absent);
        }
        for bad in ["", "1 2", "1') = 0 OR ('"] {
            assert!(hot.delete_rows(&table, &rows, bad).await.is_err(), "{bad:?}");
        }
        assert_eq!(engine.sql("SELECT count() FROM hot.t").await, "20");
    }
}

#[tokio::test]
async fn a_deletion_that_cannot_run_is_seen_and_can_be_given_up() {
    for engine in Engine::both().await {
        let (hot, table) = (&engine.hot, engine.create("t", "").await);
        engine.insert("t", 0).await;
        engine.sql("SYSTEM STOP MERGES hot.t").await;
        hot.delete_rows(&table, &RowSet { window: WINDOW, watermark: 1 }, MARKER).await.unwrap();
        let stands = hot.deletion_of(&head(&table), MARKER).await.unwrap();
        assert!(matches!(stands, Deletion::Running(_)), "{stands:?}");
        hot.kill_deletion(&head(&table), MARKER).await.unwrap();
        engine.sql("SYSTEM START MERGES hot.t").await;
        assert_eq!(hot.deletion_of(&head(&table), MARKER).await.unwrap(), Deletion::Absent);
        engine.sql("OPTIMIZE TABLE hot.t FINAL").await;
        assert_eq!(engine.numbers("t").await, [(1, 10)]);
        // What is not there is given up as well.
        hot.kill_deletion(&head(&table), MARKER).await.unwrap();
    }
}

/// Inodes of the columns' files in the only active part.
async fn files(engine: &Engine) -> BTreeMap<String, u64> {
    let path = engine.sql("SELECT path FROM system.parts WHERE table = 't' AND active AND rows > 0").await;
    let files = std::fs::read_dir(path).unwrap().map(|file| {
        let file = file.unwrap();
        (file.file_name().into_string().unwrap(), file.metadata().unwrap().ino())
    });
    files.filter(|(name, _)| name.ends_with(".bin")).collect()
}

#[tokio::test]
async fn a_deletion_links_the_columns_files_and_writes_a_mask() {
    for engine in Engine::both().await {
        let wide = ", min_bytes_for_wide_part = 0, min_rows_for_wide_part = 0";
        let table = engine.create("t", wide).await;
        engine.insert("t", 0).await;
        engine.insert("t", 10).await;
        engine.sql("OPTIMIZE TABLE hot.t FINAL").await;
        let before = files(&engine).await;
        engine.hot.delete_rows(&table, &RowSet { window: WINDOW, watermark: 1 }, MARKER).await.unwrap();
        done(&engine, &table, MARKER).await;
        let mut after = files(&engine).await;
        assert!(after.remove("_row_exists.bin").is_some(), "{after:?}");
        assert!(before.len() >= 3 && before == after, "{before:?} {after:?}");
        assert_eq!(engine.numbers("t").await, [(2, 10)]);
    }
}

#[tokio::test]
async fn a_lightweight_delete_is_refused_beside_projections_and_ours_is_not() {
    for engine in Engine::both().await {
        let table = engine.create("t", "").await;
        engine.sql("ALTER TABLE hot.t ADD PROJECTION sums (SELECT v, count() GROUP BY v)").await;
        engine.insert("t", 0).await;
        engine.insert("t", 10).await;
        assert!(
            engine.refuses("DELETE FROM hot.t WHERE id = 1", "lightweight_mutation_projection_mode").await
        );
        engine.hot.delete_rows(&table, &RowSet { window: WINDOW, watermark: 1 }, MARKER).await.unwrap();
        done(&engine, &table, MARKER).await;
        assert_eq!(
            engine.sql("SELECT sum(c) FROM (SELECT v, count() AS c FROM hot.t GROUP BY v)").await,
            "10"
        );
        assert_eq!(engine.numbers("t").await, [(2, 10)]);
    }
}

#[tokio::test]
async fn a_projection_is_not_read_in_the_place_of_the_rows() {
    for engine in Engine::both().await {
        let table = engine.create("t", "").await;
        engine.sql("ALTER TABLE hot.t ADD PROJECTION by_time (SELECT * ORDER BY ts)").await;
        for _ in 0..3 {
            // Many, so that a projection is worth reading.
            let times = format!("toDateTime64({START} + number, 3, 'UTC')");
            engine
                .sql(&format!("INSERT INTO hot.t SELECT number, {times}, number FROM numbers(100000)"))
                .await;
        }
        engine.sql("OPTIMIZE TABLE hot.t FINAL").await;
        let rows = RowSet { window: WINDOW, watermark: 2 };
        assert_eq!(engine.hot.count(&table, &rows).await.unwrap(), 20);
        assert_eq!(engine.hot.head_proof(&table, &rows, true).await.unwrap()[0].proof.rows, 20);
        assert_eq!(engine.hot.histogram(&table, &rows, 5).await.unwrap().len(), 2);
        assert_eq!(engine.hot.classes(&table, &rows, 2).await.unwrap().iter().sum::<u64>(), 20);
        engine.hot.delete_rows(&table, &rows, MARKER).await.unwrap();
        done(&engine, &table, MARKER).await;
        assert_eq!(engine.numbers("t").await, [(1, 99_990), (2, 99_990), (3, 100_000)]);
    }
}
