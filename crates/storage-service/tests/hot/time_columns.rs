//! Windows and buckets of every time type, at the ends of what a column can hold.

use moves::RowSet;
use storage_types::TimeRange;

use crate::engines::Engine;

const DAY: i64 = 86_400;
/// 1900-01-01 and 2299-12-31 23:59:59.
const EDGES: (i64, i64) = (-2_208_988_800, 10_413_791_999);

#[tokio::test]
async fn every_second_of_every_time_type_can_be_told_apart() {
    for engine in Engine::both().await {
        for scale in 0..=9 {
            let ticks = 10_i64.pow(scale);
            let at = |second: i64, part: i64| second.checked_mul(ticks).and_then(|n| n.checked_add(part));
            let mut values: Vec<i64> = [EDGES.0, -2, -1, 0, 1, 4_294_967_296, EDGES.1, 253_402_300_799]
                .into_iter()
                .flat_map(|second| [at(second, 0), at(second, ticks - 1)])
                .flatten()
                .chain([i64::MIN, i64::MAX])
                .collect();
            values.dedup();
            let value =
                |ticks: i64| format!("reinterpret(toInt64('{ticks}'), 'DateTime64({scale}, \\'UTC\\')')");
            let seconds: Vec<i64> = values.iter().map(|value| value.div_euclid(ticks)).collect();
            let values: Vec<String> = values.into_iter().map(value).collect();
            check(&engine, &format!("DateTime64({scale}, 'UTC')"), &values, &seconds).await;
        }
        let days = |days: &[i64]| days.iter().map(|day| day * DAY).collect::<Vec<i64>>();
        let date32 = [-25_567, -1, 0, 1, 120_529];
        let values = date32.map(|day| format!("toDate32({day})"));
        check(&engine, "Date32", &values, &days(&date32)).await;
        let date = [0, 1, 20_000, 65_535];
        check(&engine, "Date", &date.map(|day| format!("toDate({day})")), &days(&date)).await;
        let seconds = [0, 1, DAY - 1, 4_294_967_295];
        let values = seconds.map(|second| format!("toDateTime({second}, 'UTC')"));
        check(&engine, "DateTime('Asia/Kolkata')", &values, &seconds).await;
    }
}

/// Rows of these `values`, whose seconds are known, counted on both sides of every second of them.
async fn check(engine: &Engine, data_type: &str, values: &[String], seconds: &[i64]) {
    engine
        .sql(&format!(
            "CREATE OR REPLACE TABLE hot.t (ts {data_type}, n UInt32) ENGINE = MergeTree PARTITION BY n % 2 ORDER BY ts"
        ))
        .await;
    let rows: Vec<String> = values.iter().zip(0..).map(|(value, n)| format!("SELECT {value}, {n}")).collect();
    engine.sql(&format!("INSERT INTO hot.t {}", rows.join(" UNION ALL "))).await;
    let table = engine.managed("t").await;
    let set = |lo, hi| RowSet { window: TimeRange::new(lo, hi), watermark: 1000 };
    let far = [i64::MIN + 1, -3_000_000_000, 20_000_000_000, i64::MAX - 1];
    for edge in seconds.iter().flat_map(|second| [*second, second.saturating_add(1)]).chain(far) {
        let (all, below) =
            (values.len() as u64, seconds.iter().filter(|second| **second < edge).count() as u64);
        let counted = engine.hot.count(&table, &set(edge, i64::MAX)).await.unwrap();
        assert_eq!(counted, all - below, "{data_type} from {edge}");
        // The last second has no end: an upper bound of i64::MAX is none.
        let below = if edge == i64::MAX { all } else { below };
        let counted = engine.hot.count(&table, &set(i64::MIN, edge)).await.unwrap();
        assert_eq!(counted, below, "{data_type} below {edge}");
    }
    let slices = engine.hot.histogram(&table, &set(i64::MIN, i64::MAX), DAY).await.unwrap();
    assert_eq!(slices.iter().map(|slice| slice.1).sum::<u64>(), values.len() as u64, "{data_type}");
    for second in seconds.iter().filter(|second| second.unsigned_abs() < 1 << 62) {
        assert!(slices.iter().any(|s| (s.0.lo..s.0.hi).contains(second)), "{data_type}: {second}");
    }
}
