//! Which columns a managed table may have.

use moves::RowSet;
use storage_types::TimeRange;

use crate::engines::Engine;

/// Every kind of column that ClickHouse knows, by `system.columns.default_kind`.
const KINDS: [(&str, &str, Option<&str>); 6] = [
    ("plain", "UInt8", None),
    ("defaulted", "UInt8 DEFAULT 1", None),
    ("computed", "UInt8 ALIAS 1", None),
    ("stored", "UInt8 MATERIALIZED 1", Some("column stored of `hot`.`stored` is MATERIALIZED")),
    ("passing", "UInt8 EPHEMERAL 1", Some("column passing of `hot`.`passing` is EPHEMERAL")),
    ("valueless", "UInt8 EPHEMERAL", Some("column valueless of `hot`.`valueless` is EPHEMERAL")),
];

#[tokio::test]
async fn a_column_whose_values_a_move_would_lose_is_named() {
    for engine in Engine::both().await {
        for (name, definition, reason) in KINDS {
            engine
                .sql(&format!(
                    "CREATE TABLE hot.{name} (ts DateTime, v UInt8, {name} {definition}) \
                     ENGINE = MergeTree PARTITION BY toYYYYMM(ts) ORDER BY ts"
                ))
                .await;
            let said = engine.refusal(name).await;
            match reason {
                None => assert_eq!(said, None, "{name}"),
                Some(reason) => assert!(said.is_some_and(|said| said.contains(reason)), "{name}"),
            }
        }
        let columns = engine.managed("computed").await.columns;
        assert!(
            columns.iter().map(|column| &column.name).eq(["ts", "v"]),
            "an ALIAS holds nothing: {columns:?}"
        );
    }
}

#[tokio::test]
async fn a_column_named_like_what_statements_of_ours_use_is_refused() {
    for engine in Engine::both().await {
        for (n, column) in ["_part", "_partition_id", "_batch", "_storage_rows"].into_iter().enumerate() {
            for kind in ["UInt8", "UInt8 ALIAS 1"] {
                engine
                    .sql(&format!(
                        "CREATE OR REPLACE TABLE hot.t{n} (ts DateTime, {column} {kind}) \
                         ENGINE = MergeTree PARTITION BY toYYYYMM(ts) ORDER BY ts"
                    ))
                    .await;
                let said = engine.refusal(&format!("t{n}")).await;
                assert!(said.is_some_and(|said| said.contains(column)), "{column} {kind}");
            }
        }
        // These ClickHouse refuses by itself.
        for column in ["_block_number", "_row_exists"] {
            let create =
                format!("CREATE TABLE hot.x (ts DateTime, {column} UInt64) ENGINE = MergeTree ORDER BY ts");
            assert!(engine.refuses(&create, "reserved for persistent virtual column").await, "{column}");
        }
    }
}

#[tokio::test]
async fn a_column_named_like_a_word_of_ours_is_a_column() {
    for engine in Engine::both().await {
        engine
            .sql(
                "CREATE TABLE hot.words (ts DateTime, rows UInt8, n UInt8, t UInt8, hash String, bucket UInt8, \
                 class UInt8, part String, place UInt8) ENGINE = MergeTree PARTITION BY toYYYYMM(ts) ORDER BY ts \
                 SETTINGS enable_block_number_column = 1",
            )
            .await;
        engine
            .sql("INSERT INTO hot.words SELECT 1000 + number, 1, 2, 3, 'h', 4, 5, 'p', 6 FROM numbers(10)")
            .await;
        let table = engine.managed("words").await;
        let rows = RowSet { window: TimeRange::new(1000, 1005), watermark: 1 };
        assert_eq!(engine.hot.count(&table, &rows).await.unwrap(), 5);
        assert_eq!(engine.hot.histogram(&table, &rows, 5).await.unwrap()[0].1, 5);
        assert_eq!(engine.hot.classes(&table, &rows, 3).await.unwrap().iter().sum::<u64>(), 5);
        assert_eq!(engine.hot.head_proof(&table, &rows, true).await.unwrap()[0].proof.rows, 5);
    }
}
