//! What the daemons' reports look like on a terminal.

use std::io::{self, Write};

use storage_types::{
    gateway_api::{BatchFacts, BatchPage, ColdTableState, ColdTableStatus, GatewayStatus},
    service_api::{
        CatalogReport, DryRun, LinkStatus, MigrationReport, MigrationState, ServiceStatus, WaitReport,
    },
};

use crate::text;

/// State of the service, its engines and its gateway.
pub fn status(out: &mut impl Write, status: &ServiceStatus) -> io::Result<()> {
    writeln!(out, "{} {}, catalog version {}", status.name, status.version, status.catalog_version)?;
    for (url, healthy) in &status.hot_nodes {
        writeln!(out, "hot node  {url}  {}", if *healthy { "answers" } else { "does not answer" })?;
    }
    match (status.gateway_heard_s, &status.gateway) {
        (Some(seconds), Some(status)) => {
            writeln!(out, "gateway   heard {seconds} s ago")?;
            gateway(out, status)?;
        }
        _ => writeln!(out, "gateway   not heard since the service started")?,
    }
    if let Some(status) = &status.link {
        link(out, status)?;
    }
    match status.next_migration {
        Some(unix) => writeln!(out, "next migration at {} UTC", text::time(unix)),
        None => writeln!(out, "no migration is scheduled"),
    }
}

/// The way to the NAS: one line, with what is known.
fn link(out: &mut impl Write, status: &LinkStatus) -> io::Result<()> {
    write!(out, "link      {} ({})", status.state, status.mode)?;
    if let Some(seconds) = status.handshake_s {
        write!(out, ", handshake {seconds} s ago")?;
    }
    if let (Some(rtt), Some(loss)) = (status.rtt_ms, status.loss) {
        write!(out, ", round trip {rtt:.1} ms, loss {:.1} %", loss * 100.0)?;
    }
    if let Some(rate) = status.bandwidth_bytes_s {
        write!(out, ", {}/s", text::bytes(rate as u64))?;
    }
    if let Some(figure) = status.stability {
        let pauses = if status.is_stable { "" } else { " (moves pause)" };
        write!(out, ", stability {figure:.2}{pauses}")?;
    }
    match status.limit_bytes_s {
        Some(limit) => write!(out, ", limited to {}/s", text::bytes(limit))?,
        None => write!(out, ", no limit")?,
    }
    match status.pace_bytes_s.filter(|pace| status.limit_bytes_s.is_none_or(|limit| *pace < limit)) {
        Some(pace) => writeln!(out, ", gives way at {}/s", text::bytes(pace))?,
        None => writeln!(out)?,
    }
    status.problem.iter().try_for_each(|problem| writeln!(out, "          {problem}"))
}

/// The gateway.
pub fn gateway(out: &mut impl Write, status: &GatewayStatus) -> io::Result<()> {
    let engine = status.engine_version.as_deref().unwrap_or("does not answer");
    writeln!(out, "{} {}, ClickHouse {engine}", status.name, status.version)?;
    writeln!(
        out,
        "disk      {} free, {} kept in reserve",
        text::bytes(status.disk_free_bytes),
        text::bytes(status.min_free_bytes)
    )?;
    writeln!(out, "batches   {} held, {} pending", status.batches_held, status.batches_pending)?;
    status.tables.iter().filter(|table| table.state != ColdTableState::Ok).try_for_each(|table| {
        let ColdTableStatus { database, table: name, state, rows, rows_found, .. } = table;
        let state = format!("{state:?}").to_lowercase();
        let found = rows_found.map_or_else(|| "no table".to_owned(), text::count);
        writeln!(
            out,
            "refused   {database}.{name}: {state}; {} rows on record, {found} there",
            text::count(*rows)
        )
    })
}

/// Managed tables.
pub fn tables(out: &mut impl Write, report: &CatalogReport) -> io::Result<()> {
    let rows: Vec<Vec<String>> = report
        .tables
        .iter()
        .map(|t| {
            vec![
                t.table.clone(),
                t.hot.clone(),
                t.cold.clone(),
                text::count(t.cold_batches),
                text::count(t.cold_rows),
                t.cold_range.map_or_else(|| "-".into(), text::range),
                t.refused.clone().unwrap_or_else(|| "managed".into()),
            ]
        })
        .collect();
    text::table(out, &["table", "hot", "cold", "batches", "cold rows", "cold range (UTC)", "state"], &rows)
}

/// One page of a gateway's batches.
pub fn batches(out: &mut impl Write, page: &BatchPage) -> io::Result<()> {
    let rows: Vec<Vec<String>> = page
        .batches
        .iter()
        .map(|BatchFacts { state, manifest: m }| {
            vec![
                m.batch.to_string(),
                state.to_string(),
                m.table.clone(),
                text::range(m.range),
                text::count(m.proof.rows),
                text::bytes(m.raw_bytes),
                text::bytes(m.encoded_bytes),
            ]
        })
        .collect();
    text::table(out, &["batch", "state", "table", "range (UTC)", "rows", "raw", "encoded"], &rows)?;
    page.next.iter().try_for_each(|last| writeln!(out, "there are more: --after {last}"))
}

/// What a migration would do.
pub fn dry_run(out: &mut impl Write, plan: &DryRun) -> io::Result<()> {
    let rows: Vec<Vec<String>> = plan
        .moves
        .iter()
        .map(|m| {
            let rows = text::count(m.rows);
            vec![m.table.clone(), text::range(m.range), rows, text::bytes(m.bytes)]
        })
        .collect();
    text::table(out, &["table", "range (UTC)", "rows", "bytes"], &rows)?;
    writeln!(
        out,
        "rows before {} UTC: {} in {} moves, {}, about {:.0} s",
        text::time(plan.before),
        text::count(plan.rows),
        plan.moves.len(),
        text::bytes(plan.bytes),
        plan.expected_seconds
    )
}

/// Migrations, one line each.
pub fn migrations(out: &mut impl Write, reports: &[MigrationReport]) -> io::Result<()> {
    let rows: Vec<Vec<String>> = reports
        .iter()
        .map(|r| {
            vec![
                r.id.to_string(),
                state(r.state).to_owned(),
                r.trigger.clone(),
                text::time(r.started_at),
                r.moves.len().to_string(),
                text::count(r.rows_published),
                text::bytes(r.raw_bytes),
                text::bytes(r.wire_bytes),
            ]
        })
        .collect();
    let header = ["migration", "state", "trigger", "started (UTC)", "moves", "rows", "raw", "wire"];
    text::table(out, &header, &rows)
}

/// One migration with its moves.
pub fn migration(out: &mut impl Write, report: &MigrationReport) -> io::Result<()> {
    migrations(out, std::slice::from_ref(report))?;
    writeln!(out)?;
    let rows: Vec<Vec<String>> = report
        .moves
        .iter()
        .map(|m| {
            vec![
                m.id.to_string(),
                m.table.clone(),
                text::range(m.range),
                m.state.to_string(),
                text::count(m.rows),
                format!("{}/{}", m.batches_proven, m.batches.len()),
                m.waits_for.as_ref().map(waits_for).or_else(|| m.reason.clone()).unwrap_or_default(),
            ]
        })
        .collect();
    let header = ["move", "table", "range (UTC)", "state", "rows", "proven", "waits for"];
    text::table(out, &header, &rows)?;
    for error in &report.errors {
        writeln!(out, "error: {error}")?;
    }
    Ok(())
}

/// The state's name, as in JSON.
pub fn state(state: MigrationState) -> &'static str {
    match state {
        MigrationState::Running => "running",
        MigrationState::Done => "done",
        MigrationState::Failed => "failed",
        MigrationState::Cancelled => "cancelled",
    }
}

/// What a move waits for, since when, and what would help.
fn waits_for(wait: &WaitReport) -> String {
    let help = if wait.help.is_empty() { String::new() } else { format!("; {}", wait.help) };
    format!("{} (since {}{help})", wait.what, text::time(wait.since))
}
