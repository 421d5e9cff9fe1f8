//! The query API against real engines and a real gateway.
//!
//! One table of rows whose every value follows from its number, spread over twelve days; the oldest
//! of them are migrated for real, so that recent, old and mixed ranges take all three routes.

mod query_support;

use std::time::Duration;

use query_support::{Fixture, ROWS};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

#[tokio::test]
async fn hot_queries_stream_in_every_format() {
    let fixture = Fixture::hot().await;
    let sql = "SELECT id, sym, price FROM ticks WHERE id < 3 ORDER BY id";
    let lines = fixture.ask(json!({"sql": sql, "format": "ndjson"})).await;
    assert_eq!(lines.header("content-type"), "application/x-ndjson; charset=UTF-8");
    assert_eq!(lines.header("x-storage-route"), "hot");
    assert_eq!(lines.header("x-storage-plan"), "passthrough");
    assert_eq!(lines.header("x-storage-coverage"), "complete");
    assert_eq!(lines.header("x-storage-link-bytes"), "0");
    assert_eq!(lines.text().lines().count(), 3);

    let whole: Value = serde_json::from_str(&fixture.ask(json!({"sql": sql})).await.text()).unwrap();
    assert_eq!((whole["rows"].as_u64(), whole["meta"][0]["name"].as_str()), (Some(3), Some("id")));
    let csv = fixture.ask(json!({"sql": sql, "format": "csv"})).await;
    assert_eq!(csv.text().lines().next(), Some("\"id\",\"sym\",\"price\""));
    let parquet = fixture.ask(json!({"sql": sql, "format": "parquet"})).await;
    assert!(parquet.body.starts_with(b"PAR1") && parquet.body.ends_with(b"PAR1"));
    let arrow = fixture.ask(json!({"sql": sql, "format": "arrow"})).await;
    assert!(arrow.body.starts_with(&[0xff, 0xff, 0xff, 0xff]), "an IPC stream begins with its marker");

    // A read-only caller may still choose how fast, and how it is printed.
    let set = format!("{sql} SETTINGS max_threads = 1, output_format_csv_crlf_end_of_line = 1 FORMAT CSV");
    assert_eq!(fixture.ask(json!({"sql": set})).await.text().lines().count(), 3);

    // The text's own FORMAT is honoured, and outranked by the request's.
    let own = format!("{sql} FORMAT TSV");
    assert_eq!(fixture.ask(json!({"sql": own})).await.text().lines().next(), Some("0\tA\t0.25"));
    assert!(fixture.ask(json!({"sql": own, "format": "csv"})).await.text().starts_with("\"id\""));
    fixture.stop();
}

#[tokio::test]
async fn a_query_is_known_by_its_id_afterwards() {
    let fixture = Fixture::hot().await;
    let answer = fixture.ask(json!({"sql": "SELECT count() FROM ticks", "query_id": "mine-1"})).await;
    assert_eq!(answer.header("x-clickhouse-query-id"), "mine-1");
    let report = fixture.get("/api/v1/queries/mine-1").await;
    assert_eq!((report["state"].as_str(), report["link_bytes"].as_u64()), (Some("done"), Some(0)));
    let (status, body) = fixture.raw(Method::GET, "/api/v1/queries/other", None).await;
    assert_eq!((status, body["code"].as_str()), (StatusCode::NOT_FOUND, Some("unknown_query")));
    fixture.stop();
}

#[tokio::test]
async fn what_is_not_one_harmless_select_is_refused() {
    let fixture = Fixture::hot().await;
    let cases = [
        ("INSERT INTO ticks VALUES (1)", 400, "write_statement"),
        ("DROP TABLE ticks", 400, "write_statement"),
        ("SELECT 1; SELECT 2", 400, "multiple_statements"),
        ("", 400, "not_a_single_select"),
        ("SELECT * FROM url('http://127.0.0.1:1/', 'TSV', 'a Int8')", 400, "forbidden_table_function"),
        ("SELECT file('/etc/hostname')", 400, "forbidden_function"),
        ("SELECT 1 INTO OUTFILE '/tmp/x'", 400, "into_outfile"),
        ("SELECT nothing FROM ticks", 400, "engine_error"),
        ("SELECT 1 SETTINGS readonly = 0", 403, "forbidden_setting"),
        ("SELECT 1 SETTINGS max_threads = 1, max_memory_usage = 0", 403, "forbidden_setting"),
        ("SELECT * FROM (SELECT 1 FROM system.one SETTINGS readonly = 0)", 403, "forbidden_setting"),
        ("SELECT 1 AS a SETTINGS output_format_schema = 'a.proto' FORMAT Protobuf", 403, "forbidden_setting"),
        (r"SELECT `\x66ile`('/etc/hostname')", 400, "forbidden_function"),
        ("SELECT * FROM `/etc/hostname`", 400, "forbidden_file"),
        ("SELECT 1 FROM nowhere.at_all", 404, "engine_error"),
    ];
    for (sql, status, code) in cases {
        let (got, body) = fixture.raw(Method::POST, "/api/v1/query", Some(json!({"sql": sql}))).await;
        assert_eq!((got.as_u16(), body["code"].as_str()), (status, Some(code)), "{sql}: {body}");
    }
    assert_eq!(fixture.count("ticks").await, ROWS);
    fixture.stop();
}

#[tokio::test]
async fn requests_that_contradict_themselves_are_told_why() {
    let fixture = Fixture::hot().await;
    let cases = [
        (json!({}), 400, "bad_request", "exactly one of sql and table"),
        (json!({"sql": "SELECT 1", "table": "ticks"}), 400, "bad_request", "exactly one of sql and table"),
        (
            json!({"sql": "SELECT 1", "format": "xlsx"}),
            400,
            "bad_request",
            "json, ndjson, csv, arrow, parquet",
        ),
        (json!({"sql": "SELECT 1", "query_id": "a b"}), 400, "bad_request", "query_id"),
        (json!({"sql": 7}), 400, "bad_json", "sql"),
        (
            json!({"table": "ticks", "filters": [{"column": "id", "operator": "="}]}),
            400,
            "bad_json",
            "operator",
        ),
        (json!({"table": "no_such"}), 404, "unknown_table", "no_such"),
        (json!({"table": "ticks", "columns": ["no_such"]}), 400, "unknown_column", "no_such"),
    ];
    for (request, status, code, words) in cases {
        let (got, body) = fixture.raw(Method::POST, "/api/v1/query", Some(request.clone())).await;
        let message = body["message"].as_str().unwrap_or_default();
        assert_eq!((got.as_u16(), body["code"].as_str()), (status, Some(code)), "{request}: {body}");
        assert!(message.contains(words), "{request}: {message}");
    }
    fixture.stop();
}

#[tokio::test]
async fn strangers_large_bodies_and_unknown_routes_are_turned_away() {
    let fixture = Fixture::hot().await;
    for token in [None, Some("wrong-wrong-wrong-wrong")] {
        let status = fixture.status_with_token(token, Method::GET, "/api/v1/status").await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
    }
    for (who, refusal, next) in fixture.refused_halfway().await {
        assert!(refusal.starts_with("HTTP/1.1 40"), "{who}: {refusal}");
        assert_eq!(next, "HTTP/1.1 200 OK", "{who}");
    }
    for health in ["/healthz", "/readyz"] {
        assert_eq!(fixture.status_with_token(None, Method::GET, health).await, StatusCode::OK);
    }
    let large = json!({"sql": format!("SELECT '{}'", "x".repeat(17 << 20))});
    let (status, body) = fixture.raw(Method::POST, "/api/v1/query", Some(large)).await;
    assert_eq!((status.as_u16(), body["code"].as_str()), (413, Some("body_too_large")));
    let (status, body) = fixture.raw(Method::GET, "/nothing/here", None).await;
    assert_eq!((status.as_u16(), body["code"].as_str()), (404, Some("unknown_route")));
    let (status, body) = fixture.raw(Method::DELETE, "/api/v1/query", None).await;
    assert_eq!((status.as_u16(), body["code"].as_str()), (405, Some("wrong_method")));
    for ticket in ["0123456789abcdef0123456789abcdef", "..%2Fx", "1"] {
        let (status, body) = fixture.raw(Method::GET, &format!("/internal/v1/cold/{ticket}"), None).await;
        assert_eq!((status.as_u16(), body["code"].as_str()), (410, Some("ticket_spent")), "{ticket}");
    }
    fixture.stop();
}

/// Queries, and the route each takes once rows older than seven days are cold.
const QUERIES: [(&str, &str); 15] = [
    ("SELECT count(), sum(id), min(ts), max(ts) FROM ticks", "hybrid"),
    ("SELECT * FROM ticks ORDER BY id LIMIT 100 OFFSET 1000", "hybrid"),
    ("SELECT sym, count(), sum(price), avg(id), max(ts) FROM ticks GROUP BY sym ORDER BY sym", "hybrid"),
    (
        "SELECT toDate(ts) AS d, count(), argMin(price, id), argMax(price, id), min(price), max(price) \
      FROM ticks GROUP BY d ORDER BY d",
        "hybrid",
    ),
    ("SELECT count() FROM ticks WHERE ts >= now() - INTERVAL 2 DAY", "hot"),
    ("SELECT count(), sum(id) FROM ticks WHERE ts < now() - INTERVAL 9 DAY", "hybrid"),
    (
        "SELECT count(), sum(id) FROM ticks WHERE ts >= now() - INTERVAL 11 DAY AND ts < now() - INTERVAL 9 DAY",
        "cold",
    ),
    ("SELECT uniqExact(sym), quantileExact(0.9)(id) FROM ticks WHERE id % 3 = 0", "hybrid"),
    ("SELECT count() FROM ticks WHERE id IN (SELECT id * 2 FROM ticks WHERE sym = 'A')", "hybrid"),
    (
        "SELECT a.sym, count() FROM ticks AS a JOIN ticks AS b ON a.id = b.id + 1 GROUP BY a.sym ORDER BY 1",
        "hybrid",
    ),
    (
        "WITH t AS (SELECT id, price, row_number() OVER (PARTITION BY sym ORDER BY id) AS n FROM ticks) \
      SELECT sum(n), max(price) FROM t WHERE n % 7 = 1",
        "hybrid",
    ),
    ("SELECT DISTINCT sym FROM ticks ORDER BY sym", "hybrid"),
    ("SELECT sym, id FROM ticks ORDER BY id DESC LIMIT 2 BY sym", "hybrid"),
    ("SELECT sym, sum(id) AS s FROM ticks GROUP BY sym WITH TOTALS HAVING s > 0 ORDER BY s", "hybrid"),
    ("SELECT groupArray(id) FROM (SELECT id FROM ticks WHERE id < 500 ORDER BY id)", "hybrid"),
];

#[tokio::test]
async fn answers_stay_the_same_when_old_rows_are_cold() {
    let fixture = Fixture::hot().await;
    let mut before = Vec::new();
    for (sql, _) in QUERIES {
        let answer = fixture.ask(json!({"sql": sql, "format": "csv"})).await;
        assert_eq!(answer.header("x-storage-route"), "hot", "{sql}");
        before.push(answer.text());
    }
    fixture.migrate().await;
    assert!(fixture.hot_rows().await < ROWS, "rows have left the hot engine");
    for ((sql, route), expected) in QUERIES.iter().zip(&before) {
        let answer =
            fixture.ask(json!({"sql": sql, "format": "csv", "query_id": format!("q-{}", sql.len())})).await;
        assert_eq!(&answer.text(), expected, "{sql}");
        assert_eq!(answer.header("x-storage-route"), *route, "{sql}");
        let report = fixture.get(&format!("/api/v1/queries/q-{}", sql.len())).await;
        assert_eq!(report["state"], "done", "{sql}: {report}");
        assert_eq!(report["link_bytes"].as_u64().unwrap() > 0, *route != "hot", "{sql}: {report}");
    }
    let structured = fixture
        .ask(json!({"table": "ticks", "group_by": ["sym"], "aggregates": [{"function": "count"}],
                    "order_by": [{"column": "sym"}], "format": "csv"}))
        .await;
    assert_eq!(structured.text().lines().count(), 6, "{}", structured.text());
    // Many at once share what the gateway serves at once; none fails for it.
    let join = "SELECT count() FROM ticks AS a JOIN ticks AS b ON a.id = b.id + 1 FORMAT TSV";
    let many = (0..24).map(|_| fixture.ask(json!({"sql": join})));
    for answer in futures::future::join_all(many).await {
        assert_eq!(answer.text(), format!("{}\n", ROWS - 1));
    }
    // Bytes over the link are known at the end: a trailer, for callers that take one.
    let raw = fixture.wire(json!({"sql": "SELECT sum(id) FROM ticks"})).await;
    let (_, trailers) = raw.rsplit_once("0\r\nx-storage-link-bytes: ").expect("a trailer");
    assert!(trailers.trim().parse::<u64>().unwrap() > 0, "{trailers}");
    // What is refused stays refused when the plan is a spliced one.
    for sql in [
        "SELECT count() FROM ticks WHERE id IN (SELECT a FROM url('http://127.0.0.1:1/', 'TSV', 'a UInt64'))",
        "SELECT count() FROM ticks, remote('127.0.0.1', 'system', 'one')",
    ] {
        let (status, body) = fixture.raw(Method::POST, "/api/v1/query", Some(json!({"sql": sql}))).await;
        assert_eq!(
            (status.as_u16(), body["code"].as_str()),
            (400, Some("forbidden_table_function")),
            "{body}"
        );
    }
    fixture.serves_no_call(&fixture.owner()).await;
    fixture.stop();
}

/// As on ClickHouse 25.8, which forgets filters: one account judges callers' texts and calls nowhere, another
/// fetches cold rows and may call anywhere. (The way of the test above: one account, which calls the service.)
#[tokio::test]
async fn a_splice_account_fetches_cold_rows_and_serves_no_call_of_a_caller() {
    let fixture = Fixture::hot_with_a_splice_account().await;
    fixture.said("the query account reads what it must, and nothing else").await;
    fixture.said("the splice account reads what it must, and nothing else").await;
    fixture.answers_alike_after_a_move(&QUERIES).await;
    // Bounds of the caller's answer are not bounds of the engine's judgement.
    let bounded = "SELECT count() FROM ticks SETTINGS max_result_rows = 1, max_result_bytes = 100 FORMAT TSV";
    assert_eq!(fixture.ask(json!({"sql": bounded})).await.text(), format!("{ROWS}\n"));
    fixture.serves_no_call(&fixture.owner()).await;
    fixture.stop();
}

#[tokio::test]
async fn a_dead_nas_hurts_only_cold_queries_and_says_which_range() {
    let mut fixture = Fixture::hot().await;
    fixture.migrate().await;
    fixture.kill_gateway();
    let hot =
        fixture.ask(json!({"sql": "SELECT count() FROM ticks WHERE ts >= now() - INTERVAL 2 DAY"})).await;
    assert_eq!(hot.header("x-storage-route"), "hot");
    assert_eq!(fixture.status_with_token(None, Method::GET, "/readyz").await, StatusCode::OK);
    let asked = std::time::Instant::now();
    let request = json!({"sql": "SELECT count() FROM ticks", "query_id": "cold-1"});
    let (status, body) = fixture.raw(Method::POST, "/api/v1/query", Some(request)).await;
    assert_eq!((status.as_u16(), body["code"].as_str()), (503, Some("cold_unavailable")), "{body}");
    let message = body["message"].as_str().unwrap();
    assert!(message.contains("ticks") && message.contains(" UTC"), "{message}");
    assert!(asked.elapsed() < Duration::from_secs(40), "bounded by the link's timeout and its retries");
    assert_eq!(fixture.get("/api/v1/queries/cold-1").await["state"], "failed");
    fixture.stop();
}

#[tokio::test]
async fn a_cold_stream_that_breaks_off_never_gives_a_short_answer() {
    let mut fixture = Fixture::hot().await;
    fixture.fill_old(4_000_000).await;
    fixture.migrate().await;
    let total = fixture.count("ticks").await;
    // Rows flow straight through to us; we stop reading, so both streams stand still half-way.
    let mut response =
        fixture.open(json!({"sql": "SELECT * FROM ticks", "format": "ndjson", "query_id": "cut"})).await;
    let mut rows = 0;
    let first = response.chunk().await.unwrap().unwrap();
    rows += first.iter().filter(|b| **b == b'\n').count() as u64;
    fixture.kill_gateway();
    let error = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => rows += chunk.iter().filter(|b| **b == b'\n').count() as u64,
            Ok(None) => panic!("a clean end after {rows} of {total} rows"),
            Err(error) => break error,
        }
    };
    assert!(rows < total, "{rows} of {total}: {error}");
    let report = fixture.get("/api/v1/queries/cut").await;
    assert_eq!(report["state"], "failed", "{report}");
    assert!(report["error"].as_str().unwrap().contains("cold rows of ticks"), "{report}");
    fixture.stop();
}

#[tokio::test]
async fn hanging_up_cancels_the_query_in_the_engine() {
    let fixture = Fixture::hot().await;
    let sql = "SELECT count() FROM numbers_mt(100000000000) WHERE NOT ignore(sipHash64(number))";
    let asking = fixture.open(json!({"sql": sql, "query_id": "endless"}));
    // The head of the answer never comes: give up as soon as the engine is seen working.
    tokio::select! {
        _ = asking => panic!("an endless query has answered"),
        () = fixture.until_running("endless", true) => {}
    }
    fixture.until_running("endless", false).await;
    fixture.stop();
}

#[tokio::test]
async fn it_starts_and_serves_health_without_engine_and_nas() {
    let mut fixture = Fixture::hot().await;
    fixture.kill_gateway();
    fixture.restart_service_without_hot().await;
    assert_eq!(fixture.status_with_token(None, Method::GET, "/healthz").await, StatusCode::OK);
    let (status, body) = fixture.raw(Method::GET, "/readyz", None).await;
    assert_eq!((status.as_u16(), body["code"].as_str()), (503, Some("not_ready")));
    let (status, body) = fixture.raw(Method::POST, "/api/v1/query", Some(json!({"sql": "SELECT 1"}))).await;
    assert_eq!((status.as_u16(), body["code"].as_str()), (503, Some("hot_unavailable")), "{body}");
    fixture.start_hot().await;
    assert_eq!(fixture.ask(json!({"sql": "SELECT 1", "format": "csv"})).await.text(), "\"1\"\n1\n");
    fixture.stop();
}

#[tokio::test]
async fn engines_that_cannot_reach_the_service_get_cold_rows_as_external_tables() {
    let mut fixture = Fixture::hot().await;
    let sql = "SELECT sym, count(), sum(id) FROM ticks GROUP BY sym ORDER BY sym";
    let before = fixture.ask(json!({"sql": sql, "format": "csv"})).await.text();
    fixture.migrate().await;
    fixture.restart_service_without_internal_url().await;
    let answer = fixture.ask(json!({"sql": sql, "format": "csv"})).await;
    assert_eq!((answer.header("x-storage-route").as_str(), answer.text()), ("hybrid", before));
    fixture.stop();
}
