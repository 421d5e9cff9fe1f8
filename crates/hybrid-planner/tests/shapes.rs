//! Which plan a query gets, and what is refused: decided from text and catalog alone.

#![allow(clippy::unwrap_used, clippy::panic)] // A panic here is a failed test.

use std::sync::Arc;

use hybrid_planner::{
    CatalogVersion, HiddenRows, Plan, PlanKind, PlanRequest, QueryKind, Refusal, Route, TableName,
    TableSnapshot, VisibleBatch, plan, read,
};
use proptest::prelude::*;
use storage_types::{BatchId, Column, TimeRange};

/// 2026-10-01 00:00:00 UTC.
const FIRST: i64 = 1_790_812_800;
const DAY: i64 = 86_400;
/// 2026-10-10 12:00:00 UTC.
const NOW_NS: i64 = (FIRST + 9 * DAY + DAY / 2) * 1_000_000_000;

/// Days 1 to 4 of October are cold, a batch each; old rows of day 5 are hidden in the head.
fn catalog() -> CatalogVersion {
    let table = |name: &str, hides: bool| {
        let column = |name: &str, data_type: &str| Column { name: name.into(), data_type: data_type.into() };
        let range = |n: i64| TimeRange::new(FIRST + n * DAY, FIRST + (n + 1) * DAY);
        let hidden = HiddenRows { range: range(4), watermark: 77, table_id: "t-1".into() };
        let id = |n: u64| BatchId::from_u64(100 + n).unwrap();
        Arc::new(TableSnapshot {
            logical: name.into(),
            head: TableName::new("mp", name),
            cold: TableName::new("mp_cold", name),
            columns: vec![
                column("timestamp", "DateTime64(3, 'UTC')"),
                column("symbol", "LowCardinality(String)"),
                column("price", "Decimal(18, 8)"),
                column("id", "UInt64"),
                column("f", "Float64"),
            ],
            time_column: "timestamp".into(),
            hidden: if hides { vec![hidden] } else { vec![] },
            refused: vec![],
            batches: (0..4).map(|n| VisibleBatch { id: id(n as u64), range: range(n) }).collect(),
            batch_ids: vec![(id(0), id(3))],
        })
    };
    CatalogVersion { version: 1, tables: vec![table("trades", true), table("quotes", false)] }
}

fn planned(sql: &str, explain: Option<&str>) -> Result<Plan, Refusal> {
    let query = read(sql)?;
    plan(&PlanRequest {
        query: &query,
        catalog: &catalog(),
        explain,
        database: "default",
        timezone: "UTC",
        now_unix_ns: NOW_NS,
        allow_partial: true,
        allow_float: false,
    })
}

/// `hot`, `pass`, or `union`/`partial` with the number of batches of each arm.
fn shape(sql: &str) -> String {
    match planned(sql, None) {
        Ok(Plan::Passthrough) => "pass".into(),
        Ok(Plan::Hot { .. }) => "hot".into(),
        Ok(Plan::Hybrid { kind, arms, route, .. }) => {
            let kind = if kind == PlanKind::Union { "union" } else { "partial" };
            let batches: Vec<String> = arms.iter().map(|a| a.batches.to_string()).collect();
            let cold = if route == Route::Cold { " cold" } else { "" };
            format!("{kind} {}{cold}", batches.join("+"))
        }
        Err(refusal) => refusal.code().into(),
    }
}

#[test]
fn each_query_gets_its_plan() {
    let expected = [
        // Nothing of ours.
        ("SELECT 1", "pass"),
        ("SELECT * FROM system.tables", "pass"),
        ("SELECT 'trades' AS trades", "pass"),
        ("SELECT trades FROM other", "pass"),
        ("SELECT file, length(url) FROM other", "pass"),
        ("SELECT * FROM other.trades", "pass"),
        ("SELECT number FROM numbers(10)", "pass"),
        ("SHOW TABLES FROM mp", "pass"),
        ("WITH trades AS (SELECT 1 AS x) SELECT x FROM trades", "pass"),
        ("WITH trades AS (SELECT 1 AS x) SELECT x FROM (SELECT * FROM trades)", "pass"),
        ("SELECT '(SELECT * FROM trades)' -- FROM trades\n /* FROM trades */", "pass"),
        // Only hot rows.
        ("SELECT count() FROM trades WHERE timestamp >= '2026-10-06 00:00:00'", "hot"),
        ("SELECT count() FROM mp.trades WHERE timestamp >= '2026-10-06 00:00:00'", "hot"),
        ("SELECT count() FROM trades FINAL WHERE timestamp >= '2026-10-06 00:00:00'", "hot"),
        ("SELECT count() FROM trades WHERE timestamp > now() - INTERVAL 3 DAY", "hot"),
        ("SELECT count() FROM trades WHERE timestamp >= today()", "hot"),
        (
            "SELECT count() FROM trades WHERE timestamp >= today() - 2 AND symbol = 'x' OR timestamp > yesterday()",
            "hot",
        ),
        ("SELECT count() FROM trades WHERE toDate(timestamp) = '2026-10-08'", "hot"),
        ("SELECT count() FROM trades WHERE timestamp >= toDateTime64('2026-10-07 00:00:00.000', 3)", "hot"),
        (
            "SELECT count() FROM trades WHERE timestamp BETWEEN '2026-10-07 00:00:00' AND '2026-10-08 00:00:00'",
            "hot",
        ),
        ("SELECT count() FROM trades WHERE timestamp > 1791331200", "hot"),
        ("SELECT count() FROM trades PREWHERE timestamp > '2026-10-07 00:00:00' WHERE id > 5", "hot"),
        ("SELECT * FROM (SELECT * FROM trades WHERE timestamp > '2026-10-07 00:00:00')", "hot"),
        (
            "SELECT * FROM trades t JOIN quotes q ON t.id = q.id WHERE t.timestamp > '2026-10-07 00:00:00' AND q.timestamp > '2026-10-07 00:00:00'",
            "hot",
        ),
        ("DESCRIBE trades", "hot"),
        ("SHOW CREATE TABLE trades", "hot"),
        ("EXISTS TABLE trades", "hot"),
        ("EXPLAIN SELECT * FROM trades", "hot"),
        // No cold rows, but hidden ones: spliced, still hot.
        ("SELECT count() FROM trades WHERE timestamp >= '2026-10-05 00:00:00'", "hot"),
        // Rows of both.
        ("SELECT * FROM trades", "union 4"),
        ("SELECT * FROM trades WHERE timestamp < '2026-10-02 00:00:00'", "union 1"),
        ("SELECT * FROM trades WHERE timestamp <= '2026-10-02 00:00:00'", "union 2"),
        (
            "SELECT * FROM trades WHERE timestamp >= '2026-10-02 00:00:00' AND timestamp < '2026-10-04 00:00:00'",
            "union 2 cold",
        ),
        ("SELECT * FROM trades WHERE timestamp = '2026-10-02 11:00:00'", "union 1 cold"),
        (
            "SELECT * FROM trades WHERE timestamp IN ('2026-10-01 11:00:00', '2026-10-03 11:00:00')",
            "union 3 cold",
        ),
        (
            "SELECT * FROM trades WHERE (timestamp < '2026-10-02 00:00:00' OR timestamp >= '2026-10-08 00:00:00')",
            "union 4",
        ),
        ("SELECT * FROM trades WHERE NOT (timestamp >= '2026-10-08 00:00:00')", "union 4"),
        ("SELECT * FROM trades WHERE timestamp >= '2026-10-07 00:00:00' OR id = 1", "union 4"),
        ("SELECT * FROM trades WHERE id > 5 ? timestamp > '2026-10-07 00:00:00' : 1", "union 4"),
        ("SELECT * FROM trades WHERE timestamp >= 'garbage'", "union 4"),
        ("SELECT * FROM trades WHERE timestamp >= toDateTime('2026-10-07 00:00:00', 'Asia/Tokyo')", "hot"),
        (
            "SELECT * FROM trades WHERE timestamp >= toDateTime('2026-10-05 10:00:00', 'Asia/Tokyo')",
            "union 1",
        ),
        ("SELECT id AS timestamp FROM trades WHERE timestamp >= '2026-10-07 00:00:00'", "union 4"),
        (r"SELECT id AS `\x74imestamp` FROM trades WHERE timestamp >= '2026-10-07 00:00:00'", "union 4"),
        ("SELECT timestamp AS timestamp FROM trades WHERE timestamp >= '2026-10-07 00:00:00'", "hot"),
        ("SELECT * FROM trades WHERE timestamp > (SELECT max(timestamp) FROM quotes)", "union 4+4"),
        (
            "SELECT * FROM trades AS a JOIN trades AS b USING id WHERE a.timestamp < '2026-10-02 00:00:00'",
            "union 1+4",
        ),
        (
            "SELECT * FROM trades AS a LEFT JOIN trades AS b USING id WHERE b.timestamp < '2026-10-02 00:00:00'",
            "union 4+4",
        ),
        (
            "SELECT * FROM trades a ASOF JOIN quotes b ON a.symbol = b.symbol AND a.timestamp >= b.timestamp WHERE b.timestamp < '2026-10-02 00:00:00'",
            "union 4+4",
        ),
        (
            "SELECT * FROM trades a FULL JOIN quotes b ON a.id = b.id WHERE a.timestamp < '2026-10-02 00:00:00'",
            "union 4+4",
        ),
        ("SELECT * FROM trades ARRAY JOIN [1, 2] AS timestamp WHERE timestamp < 5", "union 4"),
        (
            "SELECT id FROM quotes WHERE (id, timestamp) IN (SELECT id, timestamp FROM trades WHERE timestamp < '2026-10-02 00:00:00')",
            "union 4+1",
        ),
        (
            "WITH trades AS (SELECT * FROM trades WHERE timestamp < '2026-10-02 00:00:00') SELECT * FROM trades",
            "union 1",
        ),
        (
            "SELECT 1 FROM trades WHERE timestamp < '2026-10-02 00:00:00' UNION ALL SELECT 1 FROM quotes",
            "union 1+4",
        ),
        (
            "SELECT id FROM trades WHERE timestamp < '2026-10-02 00:00:00' SETTINGS session_timezone = 'Asia/Tokyo'",
            "union 4",
        ),
        ("SELECT count() FROM trades WHERE id IN (SELECT 1)", "union 4"),
        // States.
        ("SELECT count() FROM trades", "partial 4"),
        ("SELECT count() FROM quotes WHERE timestamp < '2026-10-02 00:00:00'", "partial 1"),
        ("SELECT symbol, sum(price) AS s FROM mp.trades GROUP BY symbol ORDER BY s LIMIT 3", "partial 4"),
        (
            "SELECT toStartOfHour(timestamp) AS h, argMax(price, timestamp) AS close FROM trades GROUP BY h",
            "partial 4",
        ),
        (
            "SELECT count() FROM trades WHERE symbol IN ('A', 'B') AND id BETWEEN 1 AND 5 AND symbol NOT LIKE 'x%'",
            "partial 4",
        ),
        ("SELECT count() FROM trades WHERE timestamp > now() - INTERVAL 30 DAY", "partial 4"),
        (
            "SELECT toStartOfInterval(timestamp, INTERVAL 5 MINUTE) AS t, count() FROM trades GROUP BY t",
            "partial 4",
        ),
        ("SELECT uniqExact(id), quantileExact(0.9)(price) FROM trades WHERE symbol = 'A'", "partial 4"),
        // Not states.
        ("SELECT sum(f) FROM trades", "union 4"),
        ("SELECT any(price) FROM trades", "union 4"),
        ("SELECT groupArray(id) FROM trades", "union 4"),
        ("SELECT count(DISTINCT id) FROM trades", "union 4"),
        ("SELECT DISTINCT symbol FROM trades", "union 4"),
        ("SELECT count() + 1 FROM trades", "union 4"),
        ("SELECT count() FROM trades WHERE rand() % 2 = 0", "union 4"),
        ("SELECT arrayJoin([1, 2]) AS x, count() FROM trades GROUP BY x", "union 4"),
        ("SELECT symbol, count() OVER () FROM trades", "union 4"),
        ("SELECT max(timestamp) AS timestamp FROM trades", "union 4"),
        // Refused.
        ("", "not_a_single_select"),
        ("HELLO", "not_a_single_select"),
        ("INSERT INTO trades VALUES (1)", "write_statement"),
        ("DROP TABLE trades", "write_statement"),
        ("alter table trades delete where 1", "write_statement"),
        ("SET readonly = 0", "write_statement"),
        ("KILL QUERY WHERE 1", "write_statement"),
        ("WITH 1 AS x INSERT INTO trades SELECT x", "write_statement"),
        ("SELECT 1; SELECT 2", "multiple_statements"),
        ("SELECT 1; DROP TABLE trades", "multiple_statements"),
        ("SELECT 1 INTO OUTFILE '/tmp/x'", "into_outfile"),
        ("SELECT * FROM trades INTO OUTFILE '/tmp/x' FORMAT CSV", "into_outfile"),
        ("SELECT * FROM url('http://x', 'CSV')", "forbidden_table_function"),
        ("SELECT * FROM file('/etc/passwd')", "forbidden_table_function"),
        ("SELECT * FROM remote('h', mp, trades)", "forbidden_table_function"),
        ("SELECT * FROM merge('mp', 'trades')", "forbidden_table_function"),
        ("SELECT 1 WHERE 1 IN (SELECT * FROM s3('x'))", "forbidden_table_function"),
        ("DESCRIBE url('http://x', 'CSV')", "forbidden_table_function"),
        (
            "WITH x AS (SELECT * FROM executable('sh', TSV, 'a String')) SELECT * FROM x",
            "forbidden_table_function",
        ),
        ("SELECT file('/etc/hostname')", "forbidden_function"),
        ("SELECT `file` ('/etc/hostname')", "forbidden_function"),
        ("SELECT \"file\"('/etc/hostname')", "forbidden_function"),
        ("SELECT arrayMap(file, ['/etc/hostname'])", "forbidden_function"),
        ("SELECT * APPLY file FROM (SELECT '/etc/hostname')", "forbidden_function"),
        ("EXPLAIN SELECT file('/etc/hostname')", "forbidden_function"),
        ("SELECT x'\\' , file('/etc/hostname') -- '", "unreadable_query"),
        ("SELECT catboostEvaluate('m', 1)", "forbidden_function"),
        (r"SELECT `\x66ile`('/etc/hostname')", "forbidden_function"),
        (r"SELECT * APPLY `\x66ile` FROM (SELECT '/etc/hostname')", "forbidden_function"),
        ("SELECT 1e5e+file('/etc/hostname')", "forbidden_function"),
        ("SELECT * FROM `/etc/passwd`", "forbidden_file"),
        ("SELECT * FROM trades FINAL", "final_unsupported"),
        ("SELECT * FROM trades AS t FINAL", "final_unsupported"),
        ("SELECT * FROM trades SAMPLE 1/10", "sample_unsupported"),
        ("SELECT * FROM trades t JOIN quotes q USING id PREWHERE t.id = 1", "prewhere_unsupported"),
        (
            "SELECT * FROM trades SETTINGS additional_table_filters = {'mp.trades': '1'}",
            "setting_unsupported",
        ),
        ("SELECT * FROM trades SETTINGS final = 1", "setting_unsupported"),
        ("SELECT 1 WHERE 1 IN (trades)", "ambiguous_name"),
        ("SELECT in(1, trades)", "ambiguous_name"),
        ("SELECT notInIgnoreSet(1, trades)", "ambiguous_name"),
        ("SELECT globalInIgnoreSet(1, trades)", "ambiguous_name"),
        ("SELECT globalNotInIgnoreSet(1, trades)", "ambiguous_name"),
        ("SELECT nullInIgnoreSet(1, trades)", "ambiguous_name"),
        ("SELECT globalNotNullInIgnoreSet(1, trades)", "ambiguous_name"),
        ("SELECT * FROM {t:Identifier}", "unreadable_query"),
        ("SELECT (1", "unreadable_query"),
        ("SELECT 'abc", "unreadable_query"),
        ("SELECT 1 FROM trades WHERE 1 FROM trades", "unreadable_query"),
    ];
    assert!(expected.len() >= 60);
    let wrong: Vec<String> = expected
        .iter()
        .filter(|(sql, want)| shape(sql) != *want)
        .map(|(sql, want)| format!("{sql}\n  is {:?}, expected {want:?}", shape(sql)))
        .collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), expected.len(), wrong.join("\n"));
}

#[test]
fn limits_hold() {
    let deep = format!("SELECT {}1{}", "(".repeat(300), ")".repeat(300));
    assert!(matches!(read(&deep), Err(Refusal::TooDeep(_))));
    let long = format!("SELECT '{}'", "x".repeat(hybrid_planner::MAX_QUERY_BYTES));
    assert!(matches!(read(&long), Err(Refusal::TooLong { .. })));
    let many = vec!["SELECT 1"; 5000].join(" UNION ALL ");
    assert!(matches!(read(&many), Err(Refusal::Unreadable { .. })));
    let nested = format!("{}SELECT * FROM trades{}", "SELECT * FROM (".repeat(190), ")".repeat(190));
    planned(&nested, None).unwrap();
    let wide = format!("SELECT * FROM trades{}", ", trades".repeat(10_000));
    assert!(matches!(planned(&wide, None), Err(Refusal::Unreadable { .. })));
    // Texts of the longest length that are made to be slow.
    for unit in
        ["now(), ", "a, ", "a IN b AND ", "f(a = ", "x -> ", "id = 1 AND ", "(id), ", "symbol, ", "a.b, "]
    {
        let count = hybrid_planner::MAX_QUERY_BYTES / unit.len() - 20;
        let began = std::time::Instant::now();
        let _ = planned(&format!("SELECT {}1 FROM trades WHERE 1", unit.repeat(count)), None);
        let _ = planned(&format!("SELECT count() FROM trades GROUP BY {}1", unit.repeat(count)), None);
        let _ = planned(&format!("SELECT (({}1", unit.repeat(count)), None);
        let _ = planned(&format!("SELECT (({}1)) FROM trades", unit.repeat(count)), None);
        assert!(began.elapsed().as_secs() < 20, "{unit} takes {:?}", began.elapsed());
    }
    // Long chains of operators and conditions are read without deep recursion.
    for unit in [" + 1", " AND id = 1", " OR timestamp > 5", "::Int8", " - now()"] {
        let sql = format!("SELECT * FROM trades WHERE timestamp > 1{}", unit.repeat(20_000));
        planned(&sql, None).unwrap();
    }
}

#[test]
fn a_hot_query_is_the_callers_text() {
    let sql =
        "SELECT  /* x */ price\nFROM mp.trades -- y\n WHERE timestamp > '2026-10-07 00:00:00' FORMAT JSON";
    let Plan::Hot { sql: got, .. } = planned(sql, None).unwrap() else { panic!("not hot") };
    assert_eq!(got, sql);
    let logical = sql.replace("mp.trades", "trades");
    let Plan::Hot { sql: got, .. } = planned(&logical, None).unwrap() else { panic!("not hot") };
    assert_eq!(got, sql.replace("mp.trades", "`mp`.`trades`"));
}

#[test]
fn formats_are_found_and_taken_off() {
    let format = |sql: &str| read(sql).unwrap().format().map(str::to_owned);
    assert_eq!(format("SELECT 1 FORMAT JSON;").as_deref(), Some("JSON"));
    assert_eq!(format("SELECT 1 FORMAT CSV SETTINGS max_threads = 1").as_deref(), Some("CSV"));
    assert_eq!(format("SELECT format FROM t"), None);
    let query = read("SELECT 1 FORMAT JSON -- bye\n;").unwrap();
    assert_eq!(query.text_without_format().trim(), "SELECT 1");
    assert_eq!(query.kind(), QueryKind::Select);
}

/// What the engine prints (shortened) for `SELECT count() FROM (SELECT * FROM trades) WHERE …`.
fn explained(table: &str, condition: &str) -> String {
    format!(
        r#"[{{"Plan": {{"Node Type": "Expression", "Plans": [{{"Node Type": "ReadFromMergeTree", "Description": "{table}",
        "Indexes": [{{"Type": "Min-Max", "Keys": ["timestamp"], "Condition": "{condition}"}}]}}]}}}}]"#
    )
}

#[test]
fn the_engines_reading_narrows_only_where_it_is_sure() {
    let sql = "SELECT count() FROM (SELECT * FROM trades) WHERE timestamp >= '2026-10-08 00:00:00'";
    let query = read(sql).unwrap();
    assert!(query.needs_explain(&catalog(), "default", "UTC", NOW_NS));
    let late = explained("mp.trades", "(timestamp in ['1791417600', +Inf))");
    assert!(matches!(planned(sql, Some(&late)), Ok(Plan::Hot { .. })));
    for unsure in ["true", "(timestamp in 3-element set)", "unknown", "(id in [1, 2])"] {
        let text = explained("mp.trades", unsure);
        assert!(matches!(planned(sql, Some(&text)), Ok(Plan::Hybrid { .. })), "{unsure}");
    }
    assert!(matches!(planned(sql, Some("not json")), Ok(Plan::Hybrid { .. })));
    // Bounds folded from the head's own rows say nothing about cold ones.
    let folded = "SELECT count() FROM trades WHERE timestamp >= (SELECT min(timestamp) FROM trades)";
    assert!(matches!(planned(folded, Some(&late)), Ok(Plan::Hybrid { .. })));
}

#[test]
fn views_over_managed_tables_are_refused() {
    let sql = "SELECT count() FROM mp.a_view";
    assert!(read(sql).unwrap().needs_explain(&catalog(), "default", "UTC", NOW_NS));
    let text = explained("mp.trades", "true");
    assert_eq!(planned(sql, Some(&text)), Err(Refusal::HiddenRead("trades".into())));
    assert_eq!(planned(sql, Some(&explained("mp.other", "true"))), Ok(Plan::Passthrough));
    // Beside a logical table the view's read is told apart by its branch.
    let sql = "SELECT count() FROM trades JOIN mp.a_view AS v ON trades.id = v.id";
    assert!(
        read(sql)
            .unwrap()
            .explain_sql(&catalog(), "default")
            .unwrap()
            .contains("UNION ALL SELECT count() FROM `mp`.`a_view`")
    );
    assert!(matches!(planned(sql, Some(&text)), Err(Refusal::HiddenRead(_))));
}

#[test]
fn a_window_that_is_not_settled_is_refused_and_no_other() {
    let mut catalog = catalog();
    let window = TimeRange::new(FIRST + 6 * DAY, FIRST + 7 * DAY);
    Arc::make_mut(&mut catalog.tables[0]).refused.push((window, "its copies differ".into()));
    let ask = |sql: &str| {
        let query = read(sql).unwrap();
        let request = PlanRequest {
            query: &query,
            catalog: &catalog,
            explain: None,
            database: "default",
            timezone: "UTC",
            now_unix_ns: NOW_NS,
            allow_partial: true,
            allow_float: false,
        };
        plan(&request).map(drop)
    };
    // Also where nothing of it is cold.
    for touches in
        ["SELECT count() FROM trades", "SELECT 1 FROM trades WHERE timestamp >= '2026-10-07 12:00:00'"]
    {
        let refusal = ask(touches).unwrap_err();
        assert_eq!(refusal.code(), "unsettled_range");
        assert!(refusal.to_string().contains("its copies differ"), "{refusal}");
    }
    assert_eq!(ask("SELECT count() FROM trades WHERE timestamp < '2026-10-07 00:00:00'"), Ok(()));
    assert_eq!(ask("SELECT count() FROM quotes"), Ok(()));
}

#[test]
fn limits_and_conditions_go_to_both_tiers() {
    let arm = |sql: &str| match planned(sql, None).unwrap() {
        Plan::Hybrid { arms, .. } => arms[0].sql.clone(),
        other => panic!("{other:?}"),
    };
    let sql = arm(
        "SELECT id FROM trades AS t WHERE t.symbol = 'A' -- c\n AND price * 2 > 5 ORDER BY id DESC LIMIT 5 OFFSET 2",
    );
    assert!(sql.ends_with("(`symbol` = 'A') AND (`price` * 2 > 5) ORDER BY `id` DESC LIMIT 7"), "{sql}");
    assert!(sql.contains("(_batch BETWEEN 100 AND 103)"), "{sql}");
    for unsafe_limit in [
        "SELECT max(id) FROM trades WHERE f > 0 LIMIT 1",
        "WITH max(id) AS m SELECT m FROM trades LIMIT 1",
        "SELECT DISTINCT id FROM trades LIMIT 1",
        "SELECT id FROM trades LIMIT 1 BY symbol",
        "SELECT COLUMNS('id') APPLY max FROM trades LIMIT 1",
        "SELECT * APPLY max FROM trades LIMIT 1",
        "SELECT id FROM trades WHERE rand() > 5 LIMIT 1",
        "SELECT row_number() OVER () FROM trades LIMIT 1",
        "SELECT id AS price FROM trades ORDER BY price LIMIT 1",
        "SELECT id FROM trades ORDER BY id LIMIT 1 WITH TIES",
    ] {
        assert!(!arm(unsafe_limit).contains("LIMIT"), "{unsafe_limit}");
    }
    // A condition is not pushed when a name in it may mean something else.
    assert!(!arm("SELECT f AS id FROM trades WHERE id = 1").contains("`id` ="));
    assert!(!arm("SELECT id FROM trades WHERE generateUUIDv4() != toUUID('x')").contains("UUID"));
    // A column without an alias keeps its name; elsewhere now() is the same literal for everyone.
    let plan = planned("SELECT now() - INTERVAL 1 DAY FROM trades WHERE timestamp < now()", None).unwrap();
    assert!(plan.render(|_, arm| arm.sql.clone()).unwrap().starts_with("SELECT now() - INTERVAL 1 DAY FROM"));
    // now() is the same literal in both.
    let plan = planned("SELECT id FROM trades WHERE timestamp < now()", None).unwrap();
    let text = plan.render(|_, arm| arm.sql.clone()).unwrap();
    assert!(!text.contains("now()") && text.matches("toDateTime(1791633600)").count() >= 3, "{text}");
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,120}") {
        let _ = planned(&text, None);
    }

    #[test]
    fn no_soup_of_sql_panics(words in proptest::collection::vec(prop::sample::select(vec![
        "SELECT", "FROM", "trades", "mp", ".", "WHERE", "timestamp", ">", "'2026-10-01 00:00:00'", "AND", "OR", "(", ")",
        "GROUP", "BY", "symbol", "count()", "sum(price)", ",", "AS", "x", "LIMIT", "5", "JOIN", "ON", "USING", "WITH",
        "UNION", "ALL", "IN", "now()", "-", "INTERVAL", "1", "DAY", "*", "?", ":", "->", "ORDER", "HAVING", "FORMAT",
        "JSON", "SETTINGS", "=", "BETWEEN", "NOT", "PREWHERE", "FINAL", "SAMPLE", "::", "DISTINCT", "ARRAY", "[", "]",
        "{", "}", "toDate(timestamp)", "CASE", "END", "EXCEPT", "WINDOW", "OVER", "EXPLAIN", "DESCRIBE", ";",
    ]), 0..40)) {
        let text = words.join(" ");
        let _ = planned(&text, Some("[]"));
        if let Ok(query) = read(&text) {
            let _ = query.explain_sql(&catalog(), "default");
            let _ = query.needs_explain(&catalog(), "mp", "Asia/Tokyo", NOW_NS);
            let _ = query.text_without_format();
        }
    }

    #[test]
    fn no_explain_panics(text in "\\PC{0,80}", condition in "[a-z0-9 (),'\\[\\]+.-]{0,60}") {
        let sql = "SELECT count() FROM (SELECT * FROM trades) WHERE timestamp >= '2026-10-08 00:00:00'";
        let _ = planned(sql, Some(&text));
        let _ = planned(sql, Some(&explained("mp.trades", &condition)));
    }
}

fn asked(json: &str) -> Result<String, Refusal> {
    hybrid_planner::structured(&serde_json::from_str(json).unwrap(), &catalog())
}

#[test]
fn structured_queries_become_the_text_a_person_would_write() {
    let rows = r#"{"table": "trades", "start": "2026-10-01T00:00:00Z", "end": "2026-10-02", "columns": ["id", "price"],
        "filters": [{"column": "symbol", "op": "in", "value": ["A", "it's"]}, {"column": "id", "op": ">=", "value": 5}],
        "order_by": [{"column": "id", "desc": true}], "limit": 10}"#;
    let text = asked(rows).unwrap();
    assert_eq!(
        text,
        "SELECT `id`, `price` FROM `trades` WHERE `timestamp` >= toDateTime64('2026-10-01 00:00:00', 0, 'UTC') AND \
         `timestamp` < toDateTime64('2026-10-02 00:00:00', 0, 'UTC') AND `symbol` IN ('A', 'it\\'s') AND `id` >= 5 \
         ORDER BY `id` DESC LIMIT 10"
    );
    assert_eq!(shape(&text), "union 1 cold");
    let bars = r#"{"table": "trades", "interval": "1h", "group_by": ["symbol"], "aggregates": [{"function": "argMax",
        "columns": ["price", "timestamp"], "alias": "close"}, {"function": "count"}], "order_by": [{"column": "time_bucket"}]}"#;
    let text = asked(bars).unwrap();
    assert_eq!(
        text,
        "SELECT toStartOfInterval(`timestamp`, INTERVAL 1 HOUR) AS `time_bucket`, `symbol`, argMax(`price`, `timestamp`) \
         AS `close`, count() AS `count` FROM `trades` GROUP BY `time_bucket`, `symbol` ORDER BY `time_bucket`"
    );
    assert_eq!(shape(&text), "partial 4");
}

#[test]
fn structured_queries_refuse_what_is_not_a_name() {
    for (json, code) in [
        (r#"{"sql": "SELECT 1"}"#, "bad_request"),
        (r#"{"table": "nope"}"#, "unknown_table"),
        (r#"{"table": "trades", "columns": ["id; DROP TABLE x"]}"#, "unknown_column"),
        (r#"{"table": "trades", "columns": ["`id`"]}"#, "unknown_column"),
        (r#"{"table": "trades", "filters": [{"column": "id", "op": "= 1 OR", "value": 1}]}"#, "bad_request"),
        (
            r#"{"table": "trades", "filters": [{"column": "id", "op": "=", "value": {"a": 1}}]}"#,
            "bad_request",
        ),
        (
            r#"{"table": "trades", "aggregates": [{"function": "file('x')", "columns": ["id"]}]}"#,
            "bad_request",
        ),
        (
            r#"{"table": "trades", "aggregates": [{"function": "sum(1); --", "columns": ["id"]}]}"#,
            "bad_request",
        ),
        (
            r#"{"table": "trades", "aggregates": [{"function": "sum", "columns": ["id"], "alias": "price"}]}"#,
            "bad_request",
        ),
        (r#"{"table": "trades", "start": "'; DROP"}"#, "bad_request"),
        (r#"{"table": "trades", "order_by": [{"column": "rand()"}]}"#, "bad_request"),
        (r#"{"table": "trades", "interval": "1h"}"#, "bad_request"),
        (
            r#"{"table": "trades", "interval": "1 DAY) --", "aggregates": [{"function": "count"}]}"#,
            "bad_request",
        ),
        (
            r#"{"table": "trades", "columns": ["price"], "aggregates": [{"function": "count"}]}"#,
            "bad_request",
        ),
    ] {
        assert_eq!(asked(json).unwrap_err().code(), code, "{json}");
    }
}

/// Batches need not reach to the edges of their window: between them the head is asked, and leaves rows out.
#[test]
fn a_gap_between_batches_is_asked_of_the_head_without_its_hidden_rows() {
    let sql = "SELECT count() FROM trades WHERE timestamp >= '2026-10-05 01:00:00' AND timestamp < '2026-10-05 02:00:00'";
    let Plan::Hot { sql: got, hides, .. } = planned(sql, None).unwrap() else { panic!("not hot") };
    assert!(hides && got.contains("_block_number <= 77 + throwIf("), "{got}");
    let sql = "SELECT count() FROM trades WHERE timestamp >= '2026-10-06 01:00:00'";
    let Plan::Hot { sql: got, hides, .. } = planned(sql, None).unwrap() else { panic!("not hot") };
    assert!(!hides && !got.contains("_block_number"), "{got}");
}
