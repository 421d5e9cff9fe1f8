//! No hole below a watermark: what several writers of every kind do while watermarks are taken.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
};

use clickhouse_sql::TableName;
use futures::future::{join, join_all};

use crate::engines::Engine;

const WRITERS: u64 = 6;
const INSERTS: u64 = 40;
/// Rows of an insert, on [`DAYS`] in turn.
const ROWS: u64 = 30;
/// Three partitions.
const DAYS: [&str; 3] = ["2026-01-10", "2026-02-10", "2026-03-10"];

/// The n-th insert of a writer: plain, asynchronous, through a Buffer table, through a materialized view.
async fn write(engine: &Engine, writer: u64, n: u64) {
    let place = ["hot.busy", "hot.busy", "hot.buffer", "hot.feed"][writer as usize % 4];
    let settings = if writer % 4 == 1 { "SETTINGS async_insert = 1, wait_for_async_insert = 1 " } else { "" };
    let first = (writer * INSERTS + n) * ROWS;
    let values: Vec<String> =
        (0..ROWS).map(|row| format!("({}, '{}', 0)", first + row, DAYS[row as usize % DAYS.len()])).collect();
    engine.sql(&format!("INSERT INTO {place} (id, ts, v) {settings}VALUES {}", values.join(", "))).await;
    match (writer, n % 10) {
        (0, 3) => drop(engine.sql("OPTIMIZE TABLE hot.busy FINAL").await),
        (4, 5) => drop(
            engine
                .sql("ALTER TABLE hot.busy UPDATE v = v + 1 WHERE id % 7 = 0 SETTINGS mutations_sync = 0")
                .await,
        ),
        _ => {}
    }
}

#[tokio::test]
async fn what_is_below_a_watermark_is_there_when_it_is_taken_and_stays() {
    for engine in Engine::both().await {
        engine.create("busy", "").await;
        let columns = "(id UInt64, ts DateTime64(3, 'UTC'), v UInt64)";
        engine
            .sql(&format!("CREATE TABLE hot.buffer {columns} ENGINE = Buffer(hot, busy, 1, 0.1, 1, 100, 1000, 10000, 1000000)"))
            .await;
        engine.sql(&format!("CREATE TABLE hot.feed {columns} ENGINE = Null")).await;
        engine.sql("CREATE MATERIALIZED VIEW hot.feeding TO hot.busy AS SELECT * FROM hot.feed").await;
        let head = TableName::new("hot", "busy");
        let count = async |watermark: u64| {
            engine.sql(&format!("SELECT count() FROM hot.busy WHERE _block_number <= {watermark}")).await
        };
        let (writing, seen) = (Cell::new(WRITERS), RefCell::new(BTreeMap::new()));
        let writers = (0..WRITERS).map(async |writer| {
            for n in 0..INSERTS {
                write(&engine, writer, n).await;
            }
            writing.set(writing.get() - 1);
        });
        let watcher = async || {
            while writing.get() > 0 {
                let watermark = engine.hot.watermark(&head).await.unwrap();
                let at_once = count(watermark).await;
                seen.borrow_mut().insert(watermark, at_once);
            }
        };
        join(join_all(writers), join(watcher(), watcher())).await;
        let seen = seen.into_inner();
        assert!(seen.len() > 20, "too few to tell: {}", seen.len());
        for _ in 0..2 {
            for (watermark, at_once) in &seen {
                assert_eq!(count(*watermark).await, *at_once, "watermark {watermark}");
            }
            engine.sql("OPTIMIZE TABLE hot.buffer").await;
            engine.sql("OPTIMIZE TABLE hot.busy FINAL").await;
        }
        let rows = WRITERS * INSERTS * ROWS;
        assert_eq!(
            engine.sql("SELECT count(), uniqExact(id) FROM hot.busy").await,
            format!("{rows}\t{rows}")
        );
        assert_eq!(engine.sql("SELECT uniqExact(_partition_id) FROM hot.busy").await, "3");
        let last = engine.hot.watermark(&head).await.unwrap();
        assert_eq!(count(last).await, rows.to_string());
    }
}
