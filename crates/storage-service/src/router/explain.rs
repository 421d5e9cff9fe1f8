//! The engine's own reading of the caller's text, as the query account: under `readonly=1` it refuses what
//! reaches outside (`url`, `file`, `remote`, …) however deep it hides, and tells the planner ranges.
//!
//! EXPLAIN resolves every table function that the query can come to, and is refused there for the grant that
//! is missing: in subqueries, in IN, in expressions, in branches that return nothing, in views. What it does
//! not resolve is met elsewhere:
//! - a `WITH` that nothing names again: a splice does not use it either;
//! - the branch of an `if` that a constant leaves out (a count of rows is one, and a splice has more rows),
//!   and `viewIfPermitted`, another text for another account: the planner refuses every function that reaches
//!   outside by its name ([`hybrid_planner::read`]);
//! - a view in such a branch: the planner has each explained beside the text;
//! - a call, in such a branch, of a SQL function that an administrator made over a source: [`Router::was_judged_whole`].

use std::time::Duration;

use hybrid_planner::{EXPLAIN_SETTINGS, Query};

use super::{QueryError, Router};

/// Longest wait for an EXPLAIN.
const EXPLAIN_WAIT: Duration = Duration::from_secs(30);
/// Functions that administrators made by `CREATE FUNCTION name AS …`.
const SQL_FUNCTIONS: &str = "SELECT name FROM system.functions WHERE origin = 'SQLUserDefined' FORMAT TSVRaw";
/// Settings of the caller that bound its answer, which an EXPLAIN is not.
const OF_THE_ANSWER: [&str; 2] = ["max_result_bytes", "max_result_rows"];

impl Router {
    /// Text of `EXPLAIN … json = 1`, under the caller's settings.
    pub(super) async fn explain(
        &self,
        sql: String,
        settings: &[(String, String)],
    ) -> Result<String, QueryError> {
        let queries = &self.clients.queries;
        let mut asked = queries.query(sql).database(self.facts.database()).readonly().deadline(EXPLAIN_WAIT);
        for (name, value) in settings.iter().filter(|(name, _)| !OF_THE_ANSWER.contains(&name.as_str())) {
            asked = asked.setting(name, value);
        }
        for (name, value) in EXPLAIN_SETTINGS {
            asked = asked.setting(name, value);
        }
        asked.text().await.map_err(QueryError::from)
    }
    /// Whether the judgement holds for an account that may call anywhere, as the splice account may: not where
    /// the text has a name of a SQL function, which could call out. Its cold rows then come as external
    /// tables, and it runs as the account that judged it.
    pub(super) async fn was_judged_whole(&self, query: &Query) -> Result<bool, QueryError> {
        if self.clients.splices.is_none() {
            return Ok(true);
        }
        let names =
            self.clients.queries.query(SQL_FUNCTIONS).readonly().deadline(EXPLAIN_WAIT).text().await?;
        Ok(!names.lines().any(|name| query.has_name(name)))
    }
}
