//! Which columns a managed table may have.

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
