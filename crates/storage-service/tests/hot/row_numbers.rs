//! What becomes of rows' block numbers: facts of ClickHouse that moves stand on.

use clickhouse_sql::TableName;

use crate::engines::Engine;

#[tokio::test]
async fn rows_keep_their_numbers_through_everything_that_rewrites_parts() {
    for engine in Engine::both().await {
        engine
            .sql(
                "CREATE TABLE hot.t (id UInt64, ts DateTime64(3, 'UTC'), v UInt64) ENGINE = MergeTree \
                 PARTITION BY toYYYYMM(ts) ORDER BY id",
            )
            .await;
        let head = TableName::new("hot", "t");
        for first in [0, 10, 20] {
            engine.insert("t", first).await;
        }
        engine.sql("OPTIMIZE TABLE hot.t FINAL").await;
        assert!(!engine.hot.has_block_numbers(&head).await.unwrap());
        engine.hot.keep_block_numbers(&head).await.unwrap();
        engine.hot.keep_block_numbers(&head).await.unwrap();
        assert!(engine.hot.has_block_numbers(&head).await.unwrap());
        assert_eq!(engine.hot.watermark(&head).await.unwrap(), 3);
        engine.insert("t", 30).await;
        engine.insert("t", 40).await;
        // Those from before the setting have the lowest number of their part.
        let mut numbers = vec![(1, 30), (4, 10), (5, 10)];
        assert_eq!(engine.numbers("t").await, numbers);
        for statement in [
            "ALTER TABLE hot.t UPDATE v = 1 WHERE id % 2 = 0 SETTINGS mutations_sync = 1",
            "OPTIMIZE TABLE hot.t FINAL",
            "ALTER TABLE hot.t UPDATE v = 2 WHERE 1 SETTINGS mutations_sync = 1",
            "ALTER TABLE hot.t ADD COLUMN w String DEFAULT 'w'",
            "ALTER TABLE hot.t MATERIALIZE COLUMN w SETTINGS mutations_sync = 1",
            "OPTIMIZE TABLE hot.t FINAL",
        ] {
            engine.sql(statement).await;
            assert_eq!(engine.numbers("t").await, numbers, "{statement}");
        }
        engine.sql("DELETE FROM hot.t WHERE id IN (1, 31)").await;
        numbers = vec![(1, 29), (4, 9), (5, 10)];
        assert_eq!(engine.numbers("t").await, numbers);
        engine.sql("ALTER TABLE hot.t DELETE WHERE id IN (2, 32) SETTINGS mutations_sync = 1").await;
        engine.sql("OPTIMIZE TABLE hot.t FINAL").await;
        assert_eq!(engine.numbers("t").await, [(1, 28), (4, 8), (5, 10)]);
    }
}

#[tokio::test]
async fn rows_keep_their_numbers_through_a_lightweight_update() {
    for engine in Engine::both().await {
        engine.create("t", ", enable_block_offset_column = 1").await;
        engine.insert("t", 0).await;
        engine.insert("t", 10).await;
        let update = "UPDATE hot.t SET v = 100 WHERE id IN (3, 13)";
        engine.sql_with(update, &[("enable_lightweight_update", "1")]).await;
        for _ in 0..2 {
            assert_eq!(engine.numbers("t").await, [(1, 10), (2, 10)]);
            assert_eq!(engine.sql("SELECT countIf(v = 100) FROM hot.t WHERE _block_number <= 1").await, "1");
            engine.sql("OPTIMIZE TABLE hot.t FINAL").await;
        }
    }
}

#[tokio::test]
async fn attached_parts_bring_old_numbers_when_they_were_merged_and_new_ones_when_not() {
    for engine in Engine::both().await {
        engine.create("t", "").await;
        engine.create("from", "").await;
        for first in [0, 10] {
            engine.insert("t", first).await;
            engine.insert("from", first).await;
        }
        engine.insert("t", 20).await;
        engine.sql("OPTIMIZE TABLE hot.t FINAL").await;
        engine.insert("t", 30).await;
        // Merged with numbers, and not.
        engine.sql("ALTER TABLE hot.t DETACH PARTITION 202601").await;
        engine.sql("ALTER TABLE hot.t ATTACH PARTITION 202601").await;
        let numbers = engine.numbers("t").await;
        assert_eq!(numbers[..3], [(1, 10), (2, 10), (3, 10)]);
        assert!(numbers.len() == 4 && numbers[3].0 > 4, "{numbers:?}");

        let watermark = engine.hot.watermark(&TableName::new("hot", "t")).await.unwrap();
        engine.sql("ALTER TABLE hot.t ATTACH PARTITION 202601 FROM hot.from").await;
        assert_eq!(engine.numbers("t").await.iter().filter(|(n, _)| *n <= watermark).count(), 4);
        engine.sql("OPTIMIZE TABLE hot.from FINAL").await;
        for (statement, rows) in
            [("ATTACH PARTITION 202601 FROM hot.from", 20), ("REPLACE PARTITION 202601 FROM hot.from", 10)]
        {
            engine.sql(&format!("ALTER TABLE hot.t {statement}")).await;
            let numbers = engine.numbers("t").await;
            assert_eq!(
                numbers[..2],
                [(1, rows), (2, rows)],
                "{statement}: old numbers come in below the watermark"
            );
        }
        engine.sql("ALTER TABLE hot.from MOVE PARTITION 202601 TO TABLE hot.t").await;
        assert_eq!(engine.numbers("t").await, [(1, 20), (2, 20)]);
    }
}

#[tokio::test]
async fn attached_rows_above_the_count_are_below_no_watermark() {
    for engine in Engine::both().await {
        engine.create("t", "").await;
        engine.create("from", "").await;
        for first in 0..8 {
            engine.insert("from", first * 10).await;
        }
        engine.sql("OPTIMIZE TABLE hot.from FINAL").await;
        engine.insert("t", 0).await;
        engine.sql("ALTER TABLE hot.t ATTACH PARTITION 202601 FROM hot.from").await;
        let watermark = engine.hot.watermark(&TableName::new("hot", "t")).await.unwrap();
        let numbers = engine.numbers("t").await;
        assert!(watermark < 8 && numbers.len() == 8 && numbers[7].0 == 8, "{watermark} {numbers:?}");
        engine.insert("t", 0).await;
        let numbers = engine.numbers("t").await;
        assert_eq!(
            numbers[watermark as usize],
            (watermark + 1, 20),
            "what comes is above the watermark: {numbers:?}"
        );
    }
}

#[tokio::test]
async fn an_empty_table_counts_from_one_only_after_a_restart() {
    for mut engine in Engine::both().await {
        engine.create("t", "").await;
        for first in [0, 10, 20] {
            engine.insert("t", first).await;
        }
        engine.sql("TRUNCATE TABLE hot.t SYNC").await;
        engine.insert("t", 0).await;
        assert!(engine.numbers("t").await[0].0 > 3);
        engine.sql("TRUNCATE TABLE hot.t SYNC").await;
        engine.restart().await;
        assert_eq!(engine.hot.watermark(&TableName::new("hot", "t")).await.unwrap(), 0);
        engine.insert("t", 0).await;
        assert_eq!(engine.numbers("t").await, [(1, 10)]);
    }
}
