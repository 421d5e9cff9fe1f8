//! The rows of a window up to a watermark.

use moves::{RowSet, Slice};
use storage_service::hot::predicate;
use storage_types::{Proof, TimeRange};

use crate::engines::{Engine, START, WINDOW, head};

#[tokio::test]
async fn a_row_set_is_counted_cut_and_proven_and_never_grows() {
    for engine in Engine::both().await {
        let table = engine.create("t", "").await;
        engine.insert("t", 0).await;
        engine.insert("t", 10).await;
        let watermark = engine.hot.watermark(&head(&table)).await.unwrap();
        let half = RowSet { window: TimeRange::new(START, START + 5), watermark };
        let all = RowSet { window: TimeRange::ALL, watermark };
        let before = engine.hot.head_proof(&table, &half, true).await.unwrap();
        assert!(
            before.iter().all(|part| !part.is_whole() && part.proof.rows == 5 && part.rows_in_part == 10)
        );
        let everything = Slice { range: TimeRange::ALL, class: None, ranks: None, rows: 20 };
        let whole = engine.hot.slice_proof(&table, &all, &everything).await.unwrap();
        assert_eq!(whole.parts.len(), 2);
        let whole = whole.proof();
        // Late rows, some of them copies of the first.
        engine.insert("t", 0).await;
        engine.insert("t", 20).await;
        for _ in 0..2 {
            let parts = engine.hot.head_proof(&table, &all, true).await.unwrap();
            let sum: Proof = parts.iter().map(|part| part.proof).sum();
            assert_eq!(sum, whole);
            assert!(parts.iter().all(|part| part.partition_id == "202601"));
            let counts = engine.hot.head_proof(&table, &half, false).await.unwrap();
            assert_eq!(counts.iter().map(|part| part.proof.rows).sum::<u64>(), 10);
            assert_eq!(engine.hot.count(&table, &half).await.unwrap(), 10);
            let slices = engine.hot.histogram(&table, &half, 4).await.unwrap();
            assert_eq!(slices.iter().map(|slice| slice.1).sum::<u64>(), 10);
            assert_eq!((slices[0].0.lo, slices.last().unwrap().0.hi), (START, START + 5));
            let classes = engine.hot.classes(&table, &all, 4).await.unwrap();
            assert_eq!((classes.len(), classes.iter().sum::<u64>()), (4, 20));
            assert!(classes.iter().filter(|rows| **rows > 0).count() > 1, "{classes:?}");
            engine.sql("OPTIMIZE TABLE hot.t FINAL").await;
        }
        let merged = engine.hot.head_proof(&table, &all, true).await.unwrap();
        assert!(merged.len() == 1 && !merged[0].is_whole() && merged[0].rows_in_part == 40, "{merged:?}");
        let later = RowSet { window: WINDOW, watermark: engine.hot.watermark(&head(&table)).await.unwrap() };
        assert!(engine.hot.head_proof(&table, &later, true).await.unwrap()[0].is_whole());
    }
}

#[tokio::test]
async fn a_window_reads_only_its_own_parts() {
    for engine in Engine::both().await {
        let table = engine.create("t", "").await;
        for day in 0..90 {
            let ts = START + day * 86_400;
            engine.sql(&format!("INSERT INTO hot.t VALUES ({day}, toDateTime64({ts}, 3, 'UTC'), 0)")).await;
        }
        engine.sql("OPTIMIZE TABLE hot.t FINAL").await;
        let rows =
            RowSet { window: TimeRange::new(START + 30 * 86_400, START + 31 * 86_400), watermark: 1000 };
        let estimate = format!("EXPLAIN ESTIMATE SELECT id FROM hot.t WHERE {}", predicate(&table, &rows));
        let read = engine.sql(&estimate).await;
        assert_eq!(read.split('\t').nth(2), Some("1"), "{read}");
    }
}
