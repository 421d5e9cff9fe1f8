//! What others do to the rows of a head.

use moves::RowSet;
use storage_service::hot::Changes;
use testbed::wait::eventually;

use crate::engines::{Engine, WINDOW, head};

const MARKER: &str = "1";

#[tokio::test]
async fn mutations_of_others_are_seen_and_ours_are_not() {
    for engine in Engine::both().await {
        let (hot, table) = (&engine.hot, engine.create("t", "").await);
        let head = head(&table);
        engine.insert("t", 0).await;
        engine.sql("ALTER TABLE hot.t UPDATE v = 1 WHERE id = 1 SETTINGS mutations_sync = 1").await;
        let watermark = hot.watermark(&head).await.unwrap();
        let changes = async || hot.changes_since(&head, watermark).await.unwrap();
        assert!(changes().await.is_empty(), "it was before: {:?}", changes().await);
        engine.insert("t", 10).await;
        assert!(changes().await.is_empty(), "rows that come are no change");
        hot.delete_rows(&table, &RowSet { window: WINDOW, watermark: 1 }, MARKER).await.unwrap();
        crate::deletion::done(&engine, &table, MARKER).await;
        engine.sql("OPTIMIZE TABLE hot.t FINAL").await;
        assert!(changes().await.is_empty(), "{:?}", changes().await);

        engine.sql("SYSTEM STOP MERGES hot.t").await;
        engine.sql("ALTER TABLE hot.t UPDATE v = 2 WHERE id = 12 SETTINGS mutations_sync = 0").await;
        let pending = changes().await;
        assert!(pending.pending.len() == 1 && pending.pending[0].contains("UPDATE v = 2"), "{pending:?}");
        assert!(!pending.deletes && pending.latest == 0, "it has changed nothing yet: {pending:?}");
        let number = hot.watermark(&head).await.unwrap();
        engine.sql("SYSTEM START MERGES hot.t").await;
        let found = eventually("the mutation is done", async || {
            let found = changes().await;
            found.pending.is_empty().then_some(found)
        });
        let found = found.await.unwrap();
        assert_eq!(found, Changes { latest: number, ..Changes::default() });
        for delete in [
            "DELETE FROM hot.t WHERE id = 13",
            "ALTER TABLE hot.t DELETE WHERE id = 14 SETTINGS mutations_sync = 1",
        ] {
            let watermark = hot.watermark(&head).await.unwrap();
            engine.sql(delete).await;
            let found = hot.changes_since(&head, watermark).await.unwrap();
            let expected = Changes { deletes: true, latest: watermark + 1, ..Changes::default() };
            assert_eq!(found, expected, "{delete}");
        }
        let settled = hot.watermark(&head).await.unwrap();
        assert!(hot.changes_since(&head, settled).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_lightweight_update_is_seen_before_and_after_its_patch_is_merged() {
    for engine in Engine::both().await {
        let (hot, table) = (&engine.hot, engine.create("t", ", enable_block_offset_column = 1").await);
        let head = head(&table);
        engine.insert("t", 0).await;
        engine.insert("t", 10).await;
        let watermark = hot.watermark(&head).await.unwrap();
        let enabled = [("enable_lightweight_update", "1")];
        engine.sql_with("UPDATE hot.t SET v = 100 WHERE id IN (3, 13)", &enabled).await;
        let found = hot.changes_since(&head, watermark).await.unwrap();
        assert!(!found.deletes && found.latest > watermark, "{found:?}");
        engine.sql("OPTIMIZE TABLE hot.t FINAL").await;
        let found = hot.changes_since(&head, watermark).await.unwrap();
        assert!(found.latest > watermark && found.deletes, "nobody knows any more what it was: {found:?}");
        let watermark = hot.watermark(&head).await.unwrap();
        assert!(hot.changes_since(&head, watermark).await.unwrap().is_empty());
        engine
            .sql("DELETE FROM hot.t WHERE id = 4 SETTINGS lightweight_delete_mode = 'lightweight_update'")
            .await;
        let found = hot.changes_since(&head, watermark).await.unwrap();
        assert!(found.latest > watermark && found.deletes, "{found:?}");
    }
}

#[tokio::test]
async fn mutations_that_may_be_forgotten_are_said_to_be() {
    for engine in Engine::both().await {
        let (hot, table) = (&engine.hot, engine.create("t", ", finished_mutations_to_keep = 2").await);
        engine.insert("t", 0).await;
        let watermark = hot.watermark(&head(&table)).await.unwrap();
        for v in 0..4 {
            let found = hot.changes_since(&head(&table), watermark).await.unwrap();
            assert_eq!(found.deletes, v > 1, "{v}: {found:?}");
            engine
                .sql(&format!("ALTER TABLE hot.t UPDATE v = {v} WHERE 1 SETTINGS mutations_sync = 1"))
                .await;
        }
    }
}

#[tokio::test]
async fn a_table_whose_rows_expire_is_known() {
    for engine in Engine::both().await {
        let (hot, table) = (&engine.hot, engine.create("t", "").await);
        assert!(!hot.changes_since(&head(&table), 0).await.unwrap().expires);
        engine.sql("ALTER TABLE hot.t MODIFY TTL toDateTime(ts) + INTERVAL 50 YEAR").await;
        assert!(hot.changes_since(&head(&table), 100).await.unwrap().expires);
    }
}
