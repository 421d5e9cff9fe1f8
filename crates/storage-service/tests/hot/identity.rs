//! Which server, and which table.

use clickhouse_sql::TableName;

use crate::engines::Engine;

#[tokio::test]
async fn a_server_keeps_its_identity_and_shares_it_with_nobody() {
    let mut ids = Vec::new();
    for mut engine in Engine::both().await.into_iter().chain([Engine::embedded().await]) {
        let id = engine.hot.server_id().await.unwrap();
        engine.restart().await;
        assert_eq!(engine.hot.server_id().await.unwrap(), id);
        assert!(!ids.contains(&id), "{ids:?}");
        ids.push(id);
    }
}

#[tokio::test]
async fn a_table_keeps_its_identity_when_it_is_renamed_and_loses_it_when_it_is_made_anew() {
    for engine in Engine::both().await {
        let id = async |name: &str| engine.hot.table_id(&TableName::new("hot", name)).await.unwrap();
        assert_eq!(id("a").await, None);
        engine.create("a", "").await;
        engine.create("b", "").await;
        let (a, b) = (id("a").await.unwrap(), id("b").await.unwrap());
        assert_ne!(a, b);
        engine.sql("EXCHANGE TABLES hot.a AND hot.b").await;
        assert_eq!((id("a").await, id("b").await), (Some(b), Some(a.clone())));
        engine.sql("RENAME TABLE hot.b TO hot.c").await;
        engine.sql("ALTER TABLE hot.c ADD COLUMN w UInt8").await;
        assert_eq!(id("c").await, Some(a.clone()));
        engine.sql("DROP TABLE hot.c SYNC").await;
        engine.create("c", "").await;
        assert!(id("c").await.is_some_and(|id| id != a));
        let place = engine.hot.place(&TableName::new("hot", "c")).await.unwrap().unwrap();
        assert_eq!((Some(place.table), place.server), (id("c").await, engine.hot.server_id().await.unwrap()));

        let allowed = [("allow_deprecated_database_ordinary", "1")];
        engine.sql_with("CREATE DATABASE ordinary ENGINE = Ordinary", &allowed).await;
        engine.sql("CREATE TABLE ordinary.t (ts DateTime) ENGINE = MergeTree ORDER BY ts").await;
        let none = engine.hot.table_id(&TableName::new("ordinary", "t")).await.unwrap_err();
        assert!(none.to_string().contains("has no UUID"), "{none}");
    }
}
