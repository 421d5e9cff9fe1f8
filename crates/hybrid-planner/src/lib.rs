//! From a query's text and a catalog snapshot to a plan: which statement the hot engine runs, and
//! which reads of cold tables flow into it.
//!
//! Pure: no I/O, no clock, no randomness. The caller's text is tokenized with byte spans and
//! **spliced**, never regenerated from a syntax tree: every byte that is not a reference to a logical
//! table stays as it was, so whatever the engine understands keeps its meaning.
//!
//! The rule for everything the planner does not fully understand is to *widen*: more columns, a wider
//! time range, raw rows instead of states, no push-down. Where even that could answer wrongly, the
//! query is refused with a reason ([`Refusal`]).
//!
//! ```text
//! let query = hybrid_planner::read(sql)?;
//! let explain = query
//!     .needs_explain(&catalog, database, timezone, now_unix_ns)
//!     .then(|| hot.run(query.explain_sql(&catalog, database)?, EXPLAIN_SETTINGS));
//! let plan = hybrid_planner::plan(&PlanRequest { query: &query, catalog: &catalog, explain, … })?;
//! let sql = plan.render(|n, arm| format!("url('http://…/{n}', 'Native', {})", quote::string(&arm.structure)));
//! ```

mod aggregates;
mod blocks;
mod bounds;
mod catalog;
mod conjuncts;
mod explain;
mod expression;
mod moments;
mod partial;
mod plan;
mod planner;
mod query;
mod reading;
mod refusal;
mod scope;
mod settings;
mod sources;
mod splice;
mod statement;
mod structured;
mod survey;
mod types;
mod union;

pub use catalog::{CatalogSnapshot, Hide, HotPart, TableSnapshot, VisibleBatch};
pub use clickhouse_sql::{MAX_DEPTH, MAX_QUERY_BYTES, TableName};
pub use plan::{ColdArm, Plan, PlanKind, PlanRequest, Route, Template};
pub use planner::plan;
pub use query::{Query, read};
pub use refusal::Refusal;
pub use statement::QueryKind;
pub use structured::structured;
pub use survey::EXPLAIN_SETTINGS;
