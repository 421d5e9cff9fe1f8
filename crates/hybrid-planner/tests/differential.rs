//! Every query of the corpus, asked of one table that holds all rows and through a plan over tables
//! that hold them in pieces: the answers must be the same text. One engine holds everything; the
//! cold arm's own statement stands where a stream from the gateway would.

#![allow(clippy::unwrap_used, clippy::panic)] // A panic here is a failed test.

mod corpus;
mod engine;

use std::sync::Arc;

use engine::Engine;
use hybrid_planner::{
    CatalogVersion, ColdScan, EXPLAIN_SETTINGS, HiddenRows, Plan, PlanKind, PlanRequest, TableName,
    TableSnapshot, VisibleBatch,
};
use storage_types::{BatchId, Column, TimeRange};

const TRADES: &str = "timestamp DateTime64(3, 'UTC'), exchange LowCardinality(String), symbol LowCardinality(String), \
    trade_id String, price Decimal(18, 8), quantity Decimal(18, 8), side LowCardinality(String), is_maker Bool, \
    id UInt64, n Nullable(Int32), f Float64, tags Array(String)";
const QUOTES: &str = "timestamp DateTime64(3, 'UTC'), exchange LowCardinality(String), symbol LowCardinality(String), \
    bid Decimal(18, 8), ask Decimal(18, 8), id UInt64";
const IDS: &str = "timestamp DateTime64(3, 'UTC'), id UInt64";
const ONE_ENGINE: &str = "whole";
/// 2026-10-01 00:00:00 UTC.
const FIRST_DAY: i64 = 1_790_812_800;
const DAY: i64 = 86_400;
const DAYS: i64 = 10;
/// 2026-11-02 00:00:00 UTC.
const NOW_NS: i64 = (FIRST_DAY + 32 * DAY) * 1_000_000_000;

/// One table of the corpus.
struct Table {
    name: &'static str,
    columns: &'static str,
    rows: &'static str,
}

fn tables() -> [Table; 3] {
    [
        Table {
            name: "trades",
            columns: TRADES,
            rows: "SELECT toDateTime64(1790812800 + (cityHash64(number, 'ms') % 864000000) / 1000, 3, 'UTC'), \
                   ['binance', 'okx'][1 + cityHash64(number, 'e') % 2], \
                   ['BTCUSDT', 'ETHUSDT', 'SOLUSDT'][1 + cityHash64(number, 's') % 3], \
                   leftPad(toString(number), 8, '0'), toDecimal64(50 + cityHash64(number, 'p') % 10000 / 100, 8), \
                   toDecimal64(cityHash64(number, 'q') % 1000 / 1000, 8), ['buy', 'sell'][1 + cityHash64(number, 'd') % 2], \
                   cityHash64(number, 'm') % 2, number, if(number % 5 = 0, NULL, toInt32(number % 17)), \
                   number / 7, if(number % 3 = 0, ['x', 'y'], ['z']) FROM numbers(3000)",
        },
        Table {
            name: "quotes",
            columns: QUOTES,
            rows: "SELECT toDateTime64(1790812800 + number * 863, 3, 'UTC'), ['binance', 'okx'][1 + number % 2], \
                   ['BTCUSDT', 'ETHUSDT', 'SOLUSDT'][1 + number % 3], toDecimal64(number % 97, 8), \
                   toDecimal64(number % 97 + 1, 8), number FROM numbers(1000)",
        },
        Table {
            name: "just_ids",
            columns: IDS,
            rows: "SELECT toDateTime64(1790812800 + number * 8000, 3, 'UTC'), number * 10 FROM numbers(100)",
        },
    ]
}

fn columns(text: &str) -> Vec<Column> {
    let (mut out, mut depth, mut from) = (Vec::new(), 0, 0);
    let ends = text.char_indices().chain([(text.len(), ',')]);
    for (i, c) in ends {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                let (name, data_type) = text[from..i].trim().split_once(' ').unwrap();
                out.push(Column { name: name.into(), data_type: data_type.into() });
                from = i + 1;
            }
            _ => {}
        }
    }
    out
}

fn create(name: &str, columns: &str, more: &str) -> String {
    format!(
        "CREATE TABLE {name} ({columns}{more}) ENGINE = MergeTree \
         PARTITION BY toYYYYMM(timestamp) ORDER BY (timestamp, id)"
    )
}

/// How a table's rows are spread.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cut {
    AllHot,
    AllCold,
    /// Days before the fourth are cold, a batch each.
    Mid,
    /// As `Mid`; day 4 is published, but its rows are still in the head, hidden, with late rows among them.
    Moving,
    /// Nothing cold: rows of one day are in the head twice, the older ones hidden.
    Hidden,
}

const CUTS: [Cut; 5] = [Cut::AllHot, Cut::AllCold, Cut::Mid, Cut::Moving, Cut::Hidden];

fn day(n: i64) -> TimeRange {
    TimeRange::new(FIRST_DAY + n * DAY, FIRST_DAY + (n + 1) * DAY)
}

fn within(range: TimeRange) -> String {
    format!("timestamp >= toDateTime({}) AND timestamp < toDateTime({})", range.lo, range.hi)
}

/// Makes the cut's tables and says where the rows are.
fn spread(engine: &Engine, cut: Cut) -> CatalogVersion {
    let (hot, cold) = (format!("hot_{cut:?}"), format!("cold_{cut:?}"));
    engine.all(&[format!("CREATE DATABASE {hot}"), format!("CREATE DATABASE {cold}")]);
    let tables =
        tables().iter().map(|table| Arc::new(spread_table(engine, cut, &hot, &cold, table))).collect();
    CatalogVersion { version: 1, tables }
}

fn spread_table(engine: &Engine, cut: Cut, hot: &str, cold: &str, table: &Table) -> TableSnapshot {
    let name = table.name;
    let list = columns(table.columns);
    let names: Vec<&str> = list.iter().map(|c| c.name.as_str()).collect();
    let names = names.join(", ");
    let whole = format!("{ONE_ENGINE}.{name}");
    let mut sql = vec![
        create(&format!("{hot}.{name}"), table.columns, ", day Date MATERIALIZED toDate(timestamp)"),
        create(&format!("{cold}.{name}"), table.columns, ", _batch UInt64 MATERIALIZED 0"),
        // A batch that is there but not visible.
        format!("INSERT INTO {cold}.{name} ({names}, _batch) SELECT {names}, 999999 FROM {whole}"),
    ];
    let mut snapshot = TableSnapshot {
        logical: name.into(),
        head: TableName::new(hot, name),
        cold: TableName::new(cold, name),
        columns: list,
        time_column: "timestamp".into(),
        hidden: vec![],
        refused: vec![],
        batches: vec![],
        batch_ids: vec![],
    };
    let cold_days = match cut {
        Cut::AllHot | Cut::Hidden => 0,
        Cut::AllCold => DAYS,
        Cut::Mid | Cut::Moving => 4,
    };
    for n in 0..cold_days {
        let id = 1_000_000 + n as u64;
        sql.push(format!(
            "INSERT INTO {cold}.{name} ({names}, _batch) SELECT {names}, {id} FROM {whole} WHERE {}",
            within(day(n))
        ));
        snapshot.batches.push(VisibleBatch { id: BatchId::from_u64(id).unwrap(), range: day(n) });
    }
    engine.all(&std::mem::take(&mut sql));
    let head_id =
        format!("SELECT uuid FROM system.tables WHERE database = '{hot}' AND name = '{name}' FORMAT TSVRaw");
    let table_id = engine.run(&head_id, "").unwrap().trim().to_owned();
    let hidden = |range| HiddenRows { range, watermark: 1, table_id: table_id.clone() };
    let in_head = format!("timestamp >= toDateTime({})", FIRST_DAY + cold_days * DAY);
    // What was inserted first has block number 1.
    let first = |filter: &str| {
        format!("INSERT INTO {hot}.{name} ({names}) SELECT {names} FROM {whole} WHERE {filter}")
    };
    if cut == Cut::Moving {
        // Day 4: rows with an even id were shipped; the odd ones came late and are the head's alone.
        let (shipped, id) = (format!("{} AND id % 2 = 0", within(day(4))), 2_000_000);
        sql.push(first(&shipped));
        sql.push(format!(
            "INSERT INTO {cold}.{name} ({names}, _batch) SELECT {names}, {id} FROM {whole} WHERE {shipped}"
        ));
        snapshot.batches.push(VisibleBatch { id: BatchId::from_u64(id).unwrap(), range: day(4) });
        snapshot.hidden.push(hidden(day(4)));
        sql.push(first(&format!("{in_head} AND NOT ({shipped})")));
    } else if cut == Cut::Hidden {
        // A copy of day 2 that must not be seen.
        sql.push(first(&within(day(2))));
        snapshot.hidden.push(hidden(day(2)));
        sql.push(first(&in_head));
    } else {
        sql.push(first(&in_head));
    }
    snapshot.batch_ids = snapshot.batches.iter().map(|batch| (batch.id, batch.id)).collect();
    engine.all(&sql);
    snapshot
}

/// Asks the query through a plan.
fn hybrid(
    engine: &Engine,
    catalog: &CatalogVersion,
    text: &str,
    allow_partial: bool,
) -> Result<(String, String), String> {
    let query = hybrid_planner::read(text).map_err(|e| e.to_string())?;
    let explain = query.needs_explain(catalog, "default", "UTC", NOW_NS).then(|| {
        let sql = query.explain_sql(catalog, "default").unwrap();
        let settings: Vec<String> = EXPLAIN_SETTINGS.iter().map(|(k, v)| format!("{k}={v}")).collect();
        engine.run(&sql, &settings.join("&")).unwrap_or_else(|e| panic!("{sql}\n{e}"))
    });
    let plan = hybrid_planner::plan(&PlanRequest {
        query: &query,
        catalog,
        explain: explain.as_deref(),
        database: "default",
        timezone: "UTC",
        now_unix_ns: NOW_NS,
        allow_partial,
        allow_float: true,
    })
    .map_err(|e| e.to_string())?;
    if let Plan::Hybrid { arms, .. } = &plan {
        for arm in arms {
            check_structure(engine, arm)?;
        }
    }
    let sql = plan.render(|_, arm| format!("({})", arm.sql)).unwrap_or_else(|| text.to_owned());
    // The engine's clock is not the plan's: a plan for the head alone leaves now() to the engine.
    let sql = sql.replace("now()", &format!("toDateTime({})", NOW_NS / 1_000_000_000));
    let shape = match &plan {
        Plan::Passthrough => "passthrough".to_owned(),
        Plan::Hot { .. } => "hot".to_owned(),
        Plan::Hybrid { kind: PlanKind::Partial, .. } => "partial".to_owned(),
        Plan::Hybrid { why_not_partial, .. } => {
            format!("union ({})", why_not_partial.clone().unwrap_or_default())
        }
    };
    let answer = engine
        .run(&sql, "default_format=JSONCompactEachRowWithNamesAndTypes")
        .map_err(|e| format!("{e}\nas: {sql}"))?;
    Ok((answer, format!("{shape}: {sql}")))
}

/// The arm's declared structure is what its statement really returns: a stream is read by it.
fn check_structure(engine: &Engine, arm: &ColdScan) -> Result<(), String> {
    let described = engine
        .run(&format!("DESCRIBE ({}) FORMAT TSVRaw", arm.sql), "")
        .map_err(|e| format!("{e}\n{}", arm.sql))?;
    let real: Vec<(&str, &str)> = described.lines().map(|l| l.split_once('\t').unwrap()).collect();
    let declared = columns(&arm.structure);
    let same = real.len() == declared.len()
        && real.iter().zip(&declared).all(|((name, rest), c)| {
            *name == c.name.trim_matches('`') && rest.split('\t').next() == Some(c.data_type.as_str())
        });
    if same { Ok(()) } else { Err(format!("structure {}\nbut the arm returns\n{described}", arm.structure)) }
}

fn normal(text: &str, unordered: bool) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    if unordered {
        lines.sort_unstable();
    }
    lines.join("\n")
}

#[test]
fn every_cut_answers_as_one_table_does() {
    let engine = Engine::start();
    engine.all(&[format!("CREATE DATABASE {ONE_ENGINE}")]);
    for table in tables() {
        let name = format!("{ONE_ENGINE}.{}", table.name);
        engine.all(&[create(&name, table.columns, ""), format!("INSERT INTO {name} {}", table.rows)]);
    }
    let catalogs: Vec<(Cut, CatalogVersion)> = CUTS.iter().map(|cut| (*cut, spread(&engine, *cut))).collect();
    let mut wrong = Vec::new();
    let mut compared = 0;
    let mut partial = 0;
    for query in corpus::QUERIES {
        let unordered = query.starts_with('~');
        let text = query.trim_start_matches('~');
        let parameters = format!("default_format=JSONCompactEachRowWithNamesAndTypes&database={ONE_ENGINE}");
        // The moment of now() is the plan's, not the engine's.
        let asked = text
            .replace("{hot}", ONE_ENGINE)
            .replace("now()", &format!("toDateTime({})", NOW_NS / 1_000_000_000));
        let expected = match engine.run(&asked, &parameters) {
            Ok(answer) => answer,
            Err(error) => {
                wrong.push(format!("the corpus itself: {text}\n{error}"));
                continue;
            }
        };
        for (cut, catalog) in &catalogs {
            let text = text.replace("{hot}", &format!("hot_{cut:?}"));
            for allow_partial in [false, true] {
                compared += 1;
                match hybrid(&engine, catalog, &text, allow_partial) {
                    Ok((got, how)) => {
                        partial += usize::from(how.starts_with("partial"));
                        if std::env::var_os("SHOW_PLANS").is_some() && *cut == Cut::Moving {
                            eprintln!("{text}\n    {how}\n");
                        }
                        if normal(&got, unordered) != normal(&expected, unordered) {
                            wrong.push(format!(
                                "{cut:?} {text}\n  {how}\n  got      {got:.400}\n  expected {expected:.400}"
                            ));
                        }
                    }
                    Err(error) => wrong.push(format!("{cut:?} partial={allow_partial} {text}\n  {error}")),
                }
            }
        }
    }
    eprintln!("{} queries, {compared} comparisons, {partial} by partial plans", corpus::QUERIES.len());
    assert!(wrong.is_empty(), "{} of {compared} differ:\n{}", wrong.len(), wrong.join("\n\n"));
}
