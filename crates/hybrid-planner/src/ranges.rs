//! Which ranges of which tables a query may read: what a catalog lease is taken for.

use storage_types::TimeRange;

use crate::{CatalogSnapshot, Refusal, bounds, query::Query};

impl Query {
    /// Logical tables and, for each, the range that the text itself bounds its reads to
    /// ([`TimeRange::ALL`] where it does not). `now_unix_ns`: the moment of `now()`.
    pub fn time_ranges(
        &self,
        catalog: &CatalogSnapshot,
        database: &str,
        timezone: &str,
        now_unix_ns: i64,
    ) -> Result<Vec<(String, TimeRange)>, Refusal> {
        let refs = self.logical_refs(catalog, database)?;
        Ok(refs
            .iter()
            .map(|r| (r.table.logical.clone(), bounds::of(self, r, timezone, now_unix_ns)))
            .collect())
    }
}
