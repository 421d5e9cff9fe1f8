//! What becomes of rows' block numbers: facts of ClickHouse that moves stand on.

use clickhouse_sql::TableName;

use testbed::wait::eventually;

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
        engine.hot.keep_block_numbers(&head).await.unwrap();
        engine.hot.keep_block_numbers(&head).await.unwrap();
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

/// Every way in which a table loses its rows, and then is opened anew.
#[tokio::test]
async fn a_table_counts_on_whatever_became_of_its_parts() {
    let partitions = |statement: &str| {
        ["20260110", "20260111"].map(|id| statement.replace("ID", &format!("ID '{id}'"))).join(";")
    };
    for engine in Engine::both().await {
        for statements in [
            "TRUNCATE TABLE hot.t".to_owned(),
            "ALTER TABLE hot.t DROP PARTITION ALL".to_owned(),
            "ALTER TABLE hot.t DETACH PARTITION ALL".to_owned(),
            partitions("ALTER TABLE hot.t DROP PARTITION ID"),
            partitions("ALTER TABLE hot.t MOVE PARTITION ID TO TABLE hot.u"),
            "DELETE FROM hot.t WHERE 1;OPTIMIZE TABLE hot.t FINAL".to_owned(),
            "ALTER TABLE hot.t DELETE WHERE 1 SETTINGS mutations_sync = 1".to_owned(),
            "ALTER TABLE hot.t MODIFY TTL toDateTime(ts) + INTERVAL 1 SECOND SETTINGS mutations_sync = 1;\
             OPTIMIZE TABLE hot.t FINAL"
                .to_owned(),
        ] {
            for name in ["t", "u"] {
                engine.sql(&format!("DROP TABLE IF EXISTS hot.{name} SYNC")).await;
                engine
                    .sql(&format!(
                        "CREATE TABLE hot.{name} (id UInt64, ts DateTime64(3, 'UTC'), v UInt64) ENGINE = MergeTree \
                         PARTITION BY toYYYYMMDD(ts) ORDER BY id SETTINGS old_parts_lifetime = 1, \
                         merge_tree_clear_old_parts_interval_seconds = 1, cleanup_delay_period = 1, \
                         max_cleanup_delay_period = 1, finished_mutations_to_keep = 1"
                    ))
                    .await;
            }
            let head = TableName::new("hot", "t");
            engine.hot.keep_block_numbers(&head).await.unwrap();
            for first in [0, 10, 86_400, 86_410] {
                engine.sql(&format!("INSERT INTO hot.t SELECT {first} + number AS id, toDateTime64(1768003200 + id, 3, 'UTC'), 0 FROM numbers(10)")).await;
            }
            let watermark = engine.hot.watermark(&head).await.unwrap();
            for statement in statements.split(';') {
                engine.sql(statement).await;
            }
            let there =
                "SELECT count() FROM system.parts WHERE database = 'hot' AND table = 't' AND rows > 0";
            eventually("the parts are gone", async || (engine.sql(there).await == "0").then_some(()))
                .await
                .unwrap();
            if engine.hot.watermark(&head).await.unwrap() < watermark {
                // Where nothing is left behind, that is seen before any number comes again.
                let version = engine.sql("SELECT version()").await;
                assert!(
                    version.starts_with("25.8") && statements.contains("MOVE"),
                    "{version}: {statements}"
                );
                continue;
            }
            engine.sql("DETACH TABLE hot.t SYNC").await;
            engine.sql("ATTACH TABLE hot.t").await;
            assert!(engine.hot.watermark(&head).await.unwrap() >= watermark, "{statements}");
            if statements.contains("TTL") {
                engine.sql("ALTER TABLE hot.t REMOVE TTL").await;
            }
            engine.sql("INSERT INTO hot.t SELECT 5, '2026-01-10 00:00:05', 0").await;
            let numbers = engine.numbers("t").await;
            assert!(
                matches!(numbers[..], [(n, 1)] if n > watermark),
                "{statements}: {numbers:?} > {watermark}"
            );
        }
    }
}
