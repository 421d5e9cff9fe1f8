//! Rows through the batch codec and back into an engine: the engine's own content hash of both sides
//! is the same, for every table of the first user and for values of every type.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic here is a failed test")]

mod support;

use std::io::{Read as _, Write as _};

use batch_codec::{Decoder, Effort, Encoder, Limits};
use futures::StreamExt as _;
use support::Engine;

const SHARED: &str = "timestamp DateTime64(3,'UTC'), exchange LowCardinality(String), market_type LowCardinality(String), symbol LowCardinality(String)";
const LAST: &str = "data_source LowCardinality(String), created_at DateTime64(3,'UTC')";

/// The own columns of the eight tables.
const TABLES: [(&str, &str); 8] = [
    (
        "trades",
        "trade_id String, price Decimal64(8), quantity Decimal64(8), side LowCardinality(String), is_maker Bool, trade_time DateTime64(3,'UTC')",
    ),
    (
        "orderbooks",
        "last_update_id UInt64, bids_count UInt32, asks_count UInt32, best_bid_price Decimal64(8), best_ask_price Decimal64(8), best_bid_quantity Decimal64(8), best_ask_quantity Decimal64(8), bids String, asks String",
    ),
    (
        "funding_rates",
        "funding_rate Decimal64(8), funding_time DateTime64(3,'UTC'), next_funding_time DateTime64(3,'UTC'), mark_price Decimal64(8), index_price Decimal64(8)",
    ),
    ("open_interests", "open_interest Decimal64(8), open_interest_value Decimal64(8), count UInt64"),
    (
        "liquidations",
        "side LowCardinality(String), price Decimal64(8), quantity Decimal64(8), liquidation_time DateTime64(3,'UTC')",
    ),
    (
        "lsr_top_positions",
        "long_position_ratio Decimal64(8), short_position_ratio Decimal64(8), period LowCardinality(String)",
    ),
    (
        "lsr_all_accounts",
        "long_account_ratio Decimal64(8), short_account_ratio Decimal64(8), period LowCardinality(String)",
    ),
    (
        "volatility_indices",
        "index_value Decimal64(8), underlying_asset LowCardinality(String), maturity_date Date",
    ),
];

/// Types whose values the engine makes up.
const TYPES: [&str; 52] = [
    "UInt8",
    "UInt16",
    "UInt32",
    "UInt64",
    "UInt128",
    "UInt256",
    "Int8",
    "Int16",
    "Int32",
    "Int64",
    "Int128",
    "Int256",
    "Float32",
    "Float64",
    "BFloat16",
    "Decimal32(4)",
    "Decimal64(8)",
    "Decimal128(20)",
    "Decimal256(40)",
    "Bool",
    "Date",
    "Date32",
    "DateTime",
    "DateTime('Europe/Berlin')",
    "DateTime64(9, 'UTC')",
    "Enum8('a' = -128, 'b, (c)' = 0, 'it\\'s' = 127)",
    "Enum16('x' = -32768, 'y' = 32767)",
    "UUID",
    "IPv4",
    "IPv6",
    "FixedString(7)",
    "FixedString(16)",
    "String",
    "LowCardinality(String)",
    "LowCardinality(Nullable(String))",
    "LowCardinality(FixedString(3))",
    "Nullable(UInt64)",
    "Nullable(String)",
    "Nullable(Decimal128(3))",
    "Array(UInt32)",
    "Array(String)",
    "Array(Nullable(Float64))",
    "Array(Array(Int16))",
    "Array(LowCardinality(String))",
    "Map(String, UInt64)",
    "Map(LowCardinality(String), Array(String))",
    "Tuple(UInt8, String)",
    "Tuple(a UInt8, b Nullable(String), `c d` Array(Float64))",
    "Array(Tuple(x Float64, y LowCardinality(String)))",
    "Nested(a UInt8, b String)",
    "Point",
    "MultiPolygon",
];

async fn native(engine: &Engine, sql: &str) -> Vec<u8> {
    let query = engine.client.query(sql).format("Native").setting("max_block_size", 700);
    let mut stream = query.stream().await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    let mut raw = Vec::new();
    while let Some(piece) = stream.next().await {
        raw.extend_from_slice(&piece.unwrap());
    }
    raw
}

/// `from` through the codec into a table like it; both have the same rows by the engine's hash.
async fn there_and_back(engine: &Engine, from: &str, order_by: &str, effort: Effort) {
    let raw = native(engine, &format!("SELECT * FROM {from} ORDER BY {order_by}")).await;
    let mut encoder = Encoder::with_threads(Vec::new(), effort, 2).unwrap();
    encoder.write_all(&raw).unwrap();
    let encoded = encoder.finish().unwrap();
    let described = engine
        .number(&format!(
            "SELECT count() FROM system.columns WHERE database = 'default' AND table = '{from}'"
        ))
        .await;
    assert_eq!(encoded.column_bytes.len() as u64, described, "{from} was read column by column");
    let mut decoder = Decoder::new(encoded.w.as_slice(), Limits::raw(raw.len() as u64)).unwrap();
    let mut back = Vec::new();
    decoder.read_to_end(&mut back).unwrap();
    assert!(back == raw, "{from}: other bytes came back");

    engine.run("DROP TABLE IF EXISTS back SYNC").await;
    engine.run(&format!("CREATE TABLE back AS {from} ENGINE = MergeTree ORDER BY tuple()")).await;
    let body = futures::stream::iter([Ok::<_, std::io::Error>(bytes::Bytes::from(back))]);
    engine.client.query("INSERT INTO back FORMAT Native").insert(body).await.unwrap();
    let names = engine
        .text(&format!("SELECT arrayStringConcat(groupArray('`' || name || '`'), ', ') FROM system.columns WHERE database = 'default' AND table = '{from}' FORMAT TSVRaw"))
        .await;
    let hash = storage_types::hash_sql::content_hash(&names);
    let of =
        async |table: &str| engine.text(&format!("SELECT count(), {hash} FROM {table} FORMAT TSV")).await;
    assert_eq!(of(from).await, of("back").await, "{from}");
}

#[tokio::test]
async fn all_tables_come_back_by_the_engines_hash() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::start(dir.path()).await;
    for (seed, (table, own)) in TABLES.iter().enumerate() {
        engine
            .run(&format!(
                "CREATE TABLE {table} ({SHARED}, {own}, {LAST}) ENGINE = MergeTree ORDER BY timestamp"
            ))
            .await;
        // Random values are harder than real ones; words and JSON are made to look like the real ones.
        let values = match *table {
            "orderbooks" => {
                "bids, asks) SELECT now64(3) + number, 'binance', ['spot', 'perpetual'][1 + number % 2], 'S' || number % 3, '[' || arrayStringConcat(arrayMap(i -> format('[\"{}.{}\",\"{}\"]', 61000 + i, leftPad(toString(rand(i) % 100), 2, '0'), rand(i + 1) % 3 ? '0.000' : toString(rand(i) % 1000)), range(number % 20)), ',') || ']', if(number % 50 = 0, '[[\"007\",\"+1\"]]', '[]') FROM numbers(3000)"
            }
            "trades" => {
                "trade_id) SELECT now64(3) + number / 7, 'okx', 'spot', 'S' || number % 5, if(number % 99 = 0, '0' || number, toString(number * 3)) FROM numbers(5000)"
            }
            _ => {
                "created_at) SELECT now64(3) - number, 'deribit', 'options', 'S' || number % 2, now64(3) FROM numbers(1500)"
            }
        };
        engine.run(&format!("INSERT INTO {table} (timestamp, exchange, market_type, symbol, {values}")).await;
        engine
            .run(&format!(
                "INSERT INTO {table} SELECT * FROM generateRandom('{}', {seed}, 20, 3) LIMIT 2000",
                format!("{SHARED}, {own}, {LAST}").replace('\'', "\\'")
            ))
            .await;
        for (order_by, effort) in [
            ("timestamp", Effort::Auto),
            ("exchange, market_type, symbol, timestamp", Effort::Fast),
            ("exchange", Effort::Ultra),
        ] {
            there_and_back(&engine, table, order_by, effort).await;
        }
    }
}

#[tokio::test]
async fn values_of_every_type_come_back_by_the_engines_hash() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::start(dir.path()).await;
    for (seed, ty) in TYPES.iter().enumerate() {
        let table = format!("t{seed}");
        engine.run(&format!("CREATE TABLE {table} (id UInt64, v {ty}) ENGINE = MergeTree ORDER BY id SETTINGS index_granularity = 1000")).await;
        let structure = format!("id UInt64, v {ty}").replace('\\', "\\\\").replace('\'', "\\'");
        // One type the engine makes no random values of.
        let values = match *ty {
            "BFloat16" => "SELECT number, toBFloat16(number / 7 - 100) FROM numbers(1500)".to_owned(),
            _ => format!("SELECT * FROM generateRandom('{structure}', {seed}, 12, 4) LIMIT 1500"),
        };
        engine.run(&format!("INSERT INTO {table} {values}")).await;
        // And as many defaults: zeros, empty strings, NULLs, empty arrays.
        engine.run(&format!("INSERT INTO {table} (id) SELECT number FROM numbers(900)")).await;
        there_and_back(&engine, &table, "id", if seed % 2 == 0 { Effort::Auto } else { Effort::Ultra }).await;
    }
}
