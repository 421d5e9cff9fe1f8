//! The head's note of the catalog.

use storage_service::hot::Witness;
use testbed::wait::eventually;

use crate::engines::Engine;

fn witness(catalog: u64, version: u64, before: i64) -> Witness {
    Witness { catalog, version, before, at: 4_000_000_000 }
}

#[tokio::test]
async fn the_latest_witness_is_read_whoever_wrote_it_and_however_often() {
    for mut engine in Engine::both().await {
        assert_eq!(engine.hot.read_witness().await.unwrap(), None);
        for (written, read) in [
            (witness(u64::MAX, 5, -100), witness(u64::MAX, 5, -100)),
            (witness(u64::MAX, 5, -100), witness(u64::MAX, 5, -100)),
            (witness(u64::MAX, 6, 500), witness(u64::MAX, 6, 500)),
            // An older catalog.
            (witness(u64::MAX, 4, 900), witness(u64::MAX, 6, 500)),
            // One that has taken over.
            (witness(7, 7, i64::MIN), witness(7, 7, i64::MIN)),
            (witness(u64::MAX, 6, 500), witness(7, 7, i64::MIN)),
        ] {
            engine.hot.write_witness(written).await.unwrap();
            assert_eq!(engine.hot.read_witness().await.unwrap(), Some(read));
        }
        assert_eq!(engine.sql("SELECT count() FROM storage_internal.witness").await, "3");
        engine.restart().await;
        assert_eq!(engine.hot.read_witness().await.unwrap(), Some(witness(7, 7, i64::MIN)));
    }
}

#[tokio::test]
async fn witnesses_do_not_grow_without_end() {
    for engine in Engine::both().await {
        engine.hot.write_witness(witness(1, 1, 0)).await.unwrap();
        engine.sql("INSERT INTO storage_internal.witness SELECT 1, 2 + number, 0, 0 FROM numbers(300)").await;
        engine.hot.write_witness(witness(1, 1000, 0)).await.unwrap();
        eventually("the old ones go", async || {
            let rows = engine.sql("SELECT count() FROM storage_internal.witness").await;
            (rows == "1").then_some(())
        })
        .await
        .unwrap();
        assert_eq!(engine.hot.read_witness().await.unwrap(), Some(witness(1, 1000, 0)));
    }
}
