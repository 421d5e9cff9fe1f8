//! The managed tables: described by the engine, judged by the guard, reported to callers.

use std::collections::HashMap;

use hybrid_planner::TableSnapshot;
use moves::ManagedTable;
use storage_config::TableConfig;
use storage_types::{
    TimeRange,
    service_api::{AdoptReport, MigrationRequest, TableReport},
};

use super::{Inner, MigrationError, plan, world::now};
use crate::{
    consistency::{TtlVerdict, judge_ttl},
    hot::{Described, HotError, head_of},
};

/// Why tables are not managed, by logical name.
pub(super) type Refusals = HashMap<String, String>;

/// What is said of a table that nobody has been able to look at.
const UNSEEN: &str = "the hot engine has not answered for it yet";

impl Inner {
    /// Describes and judges every configured table. `false` when one could not be asked about, or nobody knows
    /// which server would answer.
    pub(super) async fn refresh_tables(&self) -> bool {
        if let Some(reason) = self.world().hot.nodes_differ().await {
            for config in &self.world().tables {
                self.set_refusal(&config.logical, Some(reason.clone()));
            }
            return false;
        }
        let mut complete = true;
        for config in &self.world().tables {
            let refusal = match self.refresh_table(config).await {
                Ok(refusal) => refusal,
                Err(MigrationError::Hot(_)) => {
                    complete = false;
                    continue;
                }
                Err(error) => Some(error.to_string()),
            };
            self.set_refusal(&config.logical, refusal);
        }
        complete
    }

    /// Why the table is not managed; `None` when it is.
    async fn refresh_table(&self, config: &TableConfig) -> Result<Option<String>, MigrationError> {
        let described = match self.world().hot.describe(config).await? {
            Ok(described) => described,
            Err(reason) => return Ok(Some(reason)),
        };
        let refusal = self.verdict(&described, config).await?;
        // The verdict first: a table that is known and not refused counts as managed.
        self.set_refusal(&config.logical, refusal.clone());
        self.world().catalog.describe_table(&described.table)?;
        Ok(refusal)
    }

    async fn verdict(&self, described: &Described, config: &TableConfig) -> Result<Option<String>, HotError> {
        let (hot, days) = (&self.world().hot, self.retention_days);
        Ok(match judge_ttl(hot, described, config, days, self.outage_days).await? {
            TtlVerdict::Safe => None,
            TtlVerdict::Deletes(reason) => Some(reason),
        })
    }

    fn set_refusal(&self, logical: &str, refusal: Option<String>) {
        let mut refused = self.refused.write();
        if refused.get(logical) == refusal.as_ref() {
            return;
        }
        match refusal {
            Some(reason) => {
                tracing::warn!(table = logical, reason, "table is not managed");
                refused.insert(logical.to_owned(), reason);
            }
            None => {
                refused.remove(logical);
            }
        }
    }

    /// A table that is missing may be made any moment.
    pub(super) fn any_refused(&self) -> bool {
        !self.refused.read().is_empty()
    }

    fn refusal(&self, logical: &str) -> Option<String> {
        self.refused.read().get(logical).cloned()
    }

    fn config(&self, logical: &str) -> Result<&TableConfig, MigrationError> {
        self.world()
            .tables
            .iter()
            .find(|table| table.logical == logical)
            .ok_or_else(|| MigrationError::UnknownTable(logical.chars().take(128).collect()))
    }

    /// A request's tables and its `before`. Looks at the tables afresh, so that a table made a moment
    /// ago is known; fails when every table that was named is refused.
    pub(super) async fn judge(
        &self,
        request: &MigrationRequest,
    ) -> Result<(Vec<String>, i64), MigrationError> {
        for name in &request.tables {
            self.config(name)?;
        }
        let before = match &request.before {
            Some(text) => plan::parse_before(text)?,
            None => plan::default_before(now(), self.retention_days),
        };
        let all = || self.world().tables.iter().map(|table| table.logical.clone()).collect();
        let names: Vec<String> = if request.tables.is_empty() { all() } else { request.tables.clone() };
        self.refresh_tables().await;
        let refusals: Vec<_> = request.tables.iter().filter_map(|n| Some((n, self.refusal(n)?))).collect();
        if let Some((table, reason)) = refusals.first().filter(|_| refusals.len() == request.tables.len()) {
            return Err(MigrationError::Refused { table: (*table).clone(), reason: reason.clone() });
        }
        Ok((names, before))
    }

    /// Those of `names` that are described and not refused.
    pub(super) fn allowed(&self, names: &[String]) -> Vec<ManagedTable> {
        let mut known = self.world().catalog.managed_tables();
        known.retain(|t| names.contains(&t.logical) && self.refusal(&t.logical).is_none());
        known
    }

    pub(super) async fn adopt_ttl(&self, logical: &str) -> Result<AdoptReport, MigrationError> {
        let config = self.config(logical)?;
        let described = self
            .world()
            .hot
            .describe(config)
            .await?
            .map_err(|reason| MigrationError::Refused { table: logical.to_owned(), reason })?;
        let removed_ttl = described.engine.ttl.clone();
        if removed_ttl.is_some() {
            self.world().hot.remove_ttl(&head_of(&described.table)).await?;
            tracing::info!(table = logical, ttl = removed_ttl.as_deref(), "TTL taken over");
        }
        let refusal = self.refresh_table(config).await?;
        self.set_refusal(logical, refusal);
        Ok(AdoptReport { table: logical.to_owned(), removed_ttl })
    }

    pub(super) fn table_reports(&self) -> Vec<TableReport> {
        let view = self.world().catalog.current();
        self.world()
            .tables
            .iter()
            .map(|config| {
                let seen = view.tables.iter().find(|table| table.logical == config.logical);
                self.table_report(config, seen.map(AsRef::as_ref))
            })
            .collect()
    }

    fn table_report(&self, config: &TableConfig, seen: Option<&TableSnapshot>) -> TableReport {
        let (cold_batches, cold_rows) = self.world().catalog.cold_totals(&config.logical);
        let hull = seen.map(|s| s.batches.iter().fold(TimeRange::new(0, 0), |hull, b| hull.hull(b.range)));
        let unseen = || seen.is_none().then(|| UNSEEN.to_owned());
        TableReport {
            table: config.logical.clone(),
            hot: format!("{}.{}", config.hot_database, config.hot_table),
            cold: format!("{}.{}", config.cold_database, config.cold_table),
            refused: self.refusal(&config.logical).or_else(unseen),
            cold_batches,
            cold_rows,
            cold_range: hull.filter(|range| !range.is_empty()),
        }
    }
}
