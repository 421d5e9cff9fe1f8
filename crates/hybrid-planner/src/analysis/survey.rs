//! What a query means against a catalog, before it is planned: in which time range each logical table is
//! read, and whether the hot engine's own reading of the query is needed, and how it is asked for.

use clickhouse_sql::quote;
use storage_types::TimeRange;

use crate::{
    CatalogVersion, Refusal,
    analysis::{
        bounds, explain,
        query::{LogicalRef, Query},
    },
    plans::union,
    syntax::{blocks::Span, splice::Edits, statement::QueryKind},
};

/// Settings under which the hot engine must run [`Query::explain_sql`]: without them it may answer
/// a count from metadata and not say which table it read.
pub const EXPLAIN_SETTINGS: [(&str, &str); 2] =
    [("optimize_trivial_count_query", "0"), ("optimize_use_implicit_projections", "0")];

impl Query {
    /// Strangers that the plain EXPLAIN could hide: it prints no reads inside expressions, and does not
    /// tell a view's read of a head from the query's own.
    pub(crate) fn hidden_unmanaged(
        &self,
        catalog: &CatalogVersion,
        database: &str,
        refs: &[LogicalRef],
    ) -> Vec<Span> {
        let all = self.unmanaged(catalog, database);
        if refs.is_empty() && !all.iter().any(|(_, inside)| *inside) {
            return Vec::new();
        }
        all.into_iter().map(|(span, _)| span).collect()
    }

    /// The time range that each logical table may be read in (all of time where the text does not tell):
    /// for leasing a catalog snapshot before planning.
    pub fn time_ranges(
        &self,
        catalog: &CatalogVersion,
        database: &str,
        timezone: &str,
        now_unix_ns: i64,
    ) -> Result<Vec<(String, TimeRange)>, Refusal> {
        let mut out: Vec<(String, TimeRange)> = Vec::new();
        for r in self.logical_refs(catalog, database)? {
            let range = bounds::of(self, &r, timezone, now_unix_ns);
            match out.iter_mut().find(|(name, _)| *name == r.table.logical) {
                Some((_, hull)) => *hull = hull.hull(range),
                None => out.push((r.table.logical.clone(), range)),
            }
        }
        Ok(out)
    }

    /// The plan would be better, or can only be judged, with the hot engine's own reading of the query
    /// ([`Self::explain_sql`]): a table in FROM is not ours and may be a view over one that is, or no
    /// time range can be read from the text although cold batches exist.
    pub fn needs_explain(
        &self,
        catalog: &CatalogVersion,
        database: &str,
        timezone: &str,
        now_unix_ns: i64,
    ) -> bool {
        if self.kind != QueryKind::Select {
            return false;
        }
        if !catalog.tables.is_empty() && !self.unmanaged(catalog, database).is_empty() {
            return true;
        }
        let Ok(refs) = self.logical_refs(catalog, database) else { return false };
        explain::may_help(self, &refs)
            && refs.iter().any(|r| {
                let unbounded = bounds::of(self, r, timezone, now_unix_ns) == TimeRange::ALL;
                unbounded && !r.table.batches.is_empty()
            })
    }

    /// The statement whose answer goes into [`crate::PlanRequest::explain`]: run it as the caller,
    /// read-only, with [`EXPLAIN_SETTINGS`]. Tables that are not ours are explained beside the query, one
    /// by one, where its own plan would not show what they read.
    pub fn explain_sql(&self, catalog: &CatalogVersion, database: &str) -> Result<String, Refusal> {
        let refs = self.logical_refs(catalog, database)?;
        let mut text = self.over_heads(&refs);
        let hidden = self.hidden_unmanaged(catalog, database, &refs);
        if !hidden.is_empty() {
            text = format!("SELECT count() FROM ({text})");
            for span in hidden {
                let name: Vec<String> = self.parts(&span).iter().map(|p| quote::ident(p)).collect();
                text.push_str(&format!(" UNION ALL SELECT count() FROM {}", name.join(".")));
            }
        }
        Ok(explained(&text))
    }

    /// The statement by which the engine judges the text as it stands: run it as the caller, read-only, before
    /// a plan with cold reads. Where it is no other than [`Self::explain_sql`], one answer serves both.
    pub fn judge_sql(&self, catalog: &CatalogVersion, database: &str) -> Result<String, Refusal> {
        Ok(explained(&self.over_heads(&self.logical_refs(catalog, database)?)))
    }

    /// The text with the heads' names for the logical ones, without its FORMAT.
    fn over_heads(&self, refs: &[LogicalRef]) -> String {
        let mut edits = Edits::default();
        for r in refs {
            union::name_only(self, r, &mut edits);
        }
        if let Some(span) = self.format_span() {
            edits.replace(self.tokens.start(span.start)..self.tokens.end(span.end), "");
        }
        edits.apply(self.statement())
    }
}

fn explained(text: &str) -> String {
    format!("EXPLAIN indexes = 1, json = 1 {text} FORMAT TSVRaw")
}
