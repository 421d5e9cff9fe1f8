//! The engine's own reading of the caller's text, as the caller: under `readonly=1` it refuses what
//! reaches outside (`url`, `file`, `remote`, …) however deep it hides, and tells the planner ranges.

use std::time::Duration;

use hybrid_planner::{CatalogVersion, EXPLAIN_SETTINGS, Query};

use super::{QueryError, Router};

/// Longest wait for an EXPLAIN.
const EXPLAIN_WAIT: Duration = Duration::from_secs(30);

impl Router {
    /// Text of `EXPLAIN … json = 1` over the caller's query with logical names resolved.
    pub(super) async fn explain(
        &self,
        query: &Query,
        catalog: &CatalogVersion,
    ) -> Result<String, QueryError> {
        let sql = query.explain_sql(catalog, self.facts.database())?;
        let mut asked = self.hot.query(sql).database(self.facts.database()).readonly().deadline(EXPLAIN_WAIT);
        for (name, value) in EXPLAIN_SETTINGS {
            asked = asked.setting(name, value);
        }
        asked.text().await.map_err(QueryError::from)
    }
}
