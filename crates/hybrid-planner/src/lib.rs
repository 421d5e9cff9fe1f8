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

mod analysis;
mod catalog;
mod plans;
mod refusal;
mod settings;
mod structured;
mod syntax;

pub use analysis::query::{Query, read};
pub use analysis::survey::EXPLAIN_SETTINGS;
pub use catalog::{CatalogVersion, HiddenRows, TableSnapshot, VisibleBatch};
pub use clickhouse_sql::{MAX_DEPTH, MAX_QUERY_BYTES, TableName};
pub use plans::plan::{ColdScan, Plan, PlanKind, PlanRequest, Route, Template};
pub use plans::planner::plan;
pub use plans::scan::HEAD_REPLACED;
pub use refusal::Refusal;
pub use structured::structured;
pub use syntax::statement::QueryKind;
