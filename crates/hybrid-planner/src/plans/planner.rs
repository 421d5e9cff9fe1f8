//! From a query and a catalog snapshot to a plan.

use storage_types::TimeRange;

use crate::{
    Plan, PlanRequest, Refusal,
    analysis::{bounds, explain, time_literals::Clock},
    plans::{
        partial,
        scan::{self, Scan},
        union,
    },
    syntax::statement::QueryKind,
};

/// Settings that mean one table where there are several.
const ONE_TABLE_SETTINGS: &[&str] = &["additional_table_filters", "final"];

/// Plans a query.
pub fn plan(request: &PlanRequest<'_>) -> Result<Plan, Refusal> {
    let PlanRequest { query, catalog, .. } = *request;
    let refs = query.logical_refs(catalog, request.database)?;
    let others = !query.unmanaged(catalog, request.database).is_empty();
    if let Some(text) = request.explain {
        let unmanaged = query.hidden_unmanaged(catalog, request.database, &refs).len();
        if let Some(name) = explain::hidden_read(text, catalog, &refs, unmanaged, others) {
            return Err(Refusal::HiddenRead(name));
        }
    }
    if refs.is_empty() {
        return Ok(Plan::Passthrough);
    }
    let mut tables: Vec<String> = refs.iter().map(|r| r.table.logical.clone()).collect();
    tables.sort();
    tables.dedup();
    if query.kind != QueryKind::Select {
        return Ok(Plan::Hot { sql: union::hot(query, &refs), tables, hides: false });
    }
    let clock = Clock { timezone: request.timezone, now_unix_ns: request.now_unix_ns };
    let explained = request.explain.filter(|_| explain::may_help(query, &refs));
    let scans: Vec<Scan> = refs
        .iter()
        .map(|r| {
            let own = bounds::of(query, r, request.timezone, request.now_unix_ns);
            let theirs = explained.map_or(TimeRange::ALL, |text| explain::range(text, &r.table));
            Scan::of(query, r.clone(), own.intersect(theirs), clock)
        })
        .collect();
    scans.iter().try_for_each(scan::check_settled)?;
    if scans.iter().all(Scan::head_only) {
        return Ok(Plan::Hot { sql: union::hot(query, &refs), tables, hides: false });
    }
    for reading in scans.iter().filter(|r| !r.head_only()) {
        scan::check(query, reading)?;
    }
    if let Some(setting) = query.settings().into_iter().find(|s| ONE_TABLE_SETTINGS.contains(&s.as_str())) {
        return Err(Refusal::Setting(setting));
    }
    let why = if request.allow_partial {
        match partial::plan(query, &scans, clock, request.allow_float) {
            Ok(plan) => return Ok(plan),
            Err(why) => why,
        }
    } else {
        "states were not allowed by the caller".to_owned()
    };
    Ok(union::plan(query, &scans, clock, Some(why)))
}
