//! SQL in, plan out: `cargo run -p hybrid-planner --example plan [SQL]`.
//!
//! The catalog here has one managed table, `trades`: January 2026 is cold in one batch, later rows are hot.
//! In storage-service the catalog comes from `catalog/` and the plan goes to `router/hybrid.rs`.

use std::{error::Error, sync::Arc};

use hybrid_planner::{CatalogVersion, Plan, PlanRequest, TableName, TableSnapshot, VisibleBatch};
use storage_types::{BatchId, Column, TimeRange};

/// 2026-01-01 and 2026-02-01 in UTC, Unix seconds.
const JANUARY: i64 = 1_767_225_600;
const FEBRUARY: i64 = 1_769_904_000;

fn catalog() -> CatalogVersion {
    let column = |name: &str, kind: &str| Column { name: name.into(), data_type: kind.into() };
    let batch = BatchId::from_parts(1_770_000_000_000, 1);
    let trades = TableSnapshot {
        logical: "trades".into(),
        head: TableName::new("hot", "trades"),
        cold: TableName::new("cold", "trades"),
        columns: vec![
            column("ts", "DateTime64(3, 'UTC')"),
            column("symbol", "LowCardinality(String)"),
            column("quantity", "Decimal(18, 8)"),
        ],
        time_column: "ts".into(),
        hidden: Vec::new(),
        refused: Vec::new(),
        batches: vec![VisibleBatch { id: batch, range: TimeRange::new(JANUARY, FEBRUARY) }],
        batch_ids: vec![(batch, batch)],
    };
    CatalogVersion { version: 1, tables: vec![Arc::new(trades)] }
}

fn main() -> Result<(), Box<dyn Error>> {
    let sql = std::env::args().nth(1).unwrap_or_else(|| {
        "SELECT symbol, ts, quantity FROM trades WHERE ts >= '2026-01-20 00:00:00' ORDER BY ts LIMIT 5".into()
    });
    let catalog = catalog();
    let query = hybrid_planner::read(&sql)?;
    let now_unix_ns = (FEBRUARY + 86_400) * 1_000_000_000;
    if query.needs_explain(&catalog, "hot", "UTC", now_unix_ns) {
        println!("the service first asks the hot engine:\n  {}\n", query.explain_sql(&catalog, "hot")?);
    }
    let plan = hybrid_planner::plan(&PlanRequest {
        query: &query,
        catalog: &catalog,
        // Without the engine's explanation the plan is wider: all columns, raw rows.
        explain: None,
        database: "hot",
        timezone: "UTC",
        now_unix_ns,
        allow_partial: true,
        allow_float: false,
    })?;
    match &plan {
        Plan::Passthrough => println!("passthrough: no managed table is read"),
        Plan::Hot { sql, .. } => println!("hot:\n  {sql}"),
        Plan::Hybrid { kind, arms, .. } => {
            for (n, arm) in arms.iter().enumerate() {
                println!("cold read {n} for the gateway:\n  {}\n  returns {}\n", arm.sql, arm.structure);
            }
            let hot = plan.render(|n, _| format!("url('http://service/internal/v1/cold/{n}', 'Native', …)"));
            println!("{kind:?} on the hot engine:\n  {}", hot.unwrap_or_default());
        }
    }
    Ok(())
}
