//! The union plan: each logical table in the caller's text is replaced by the union of the places
//! where its rows are, and the text runs unchanged on top.

use clickhouse_sql::{Kind, quote};

use crate::{
    ColdScan, Plan, PlanKind, Route,
    analysis::{
        expression::now_literal,
        query::{LogicalRef, Query},
        time_literals::Clock,
    },
    plans::{
        plan::Template,
        scan::{Scan, column_list, structure},
    },
    syntax::{
        blocks::{Clause, chain_end},
        scope::item_alias,
        splice::Edits,
    },
};

/// Puts the head's name where the logical name stands.
pub(crate) fn name_only(query: &Query, r: &LogicalRef, edits: &mut Edits) {
    let parts = query.parts(&r.span);
    let head = &r.table.head;
    if parts.len() == 2 {
        return;
    }
    let mut text = head.to_string();
    let source = r.source.and_then(|i| query.blocks.list.get(r.block)?.sources.get(i));
    if let (Some(source), Some(used)) = (source, parts.last())
        && source.alias.is_none()
        && *used != head.table
    {
        text.push_str(&format!(" AS {}", quote::ident(used)));
    }
    edits.replace(bytes(query, r), &text);
}

fn bytes(query: &Query, r: &LogicalRef) -> std::ops::Range<usize> {
    query.tokens.start(r.span.start)..query.tokens.end(r.span.end)
}

/// The caller's text on the head alone.
pub(crate) fn hot(query: &Query, refs: &[LogicalRef]) -> String {
    let mut edits = Edits::default();
    for r in refs {
        name_only(query, r, &mut edits);
    }
    edits.apply(query.statement())
}

/// The caller's text with every reference that needs it replaced by a union.
pub(crate) fn plan(query: &Query, scans: &[Scan], clock: Clock<'_>, why_not_partial: Option<String>) -> Plan {
    let mut edits = Edits::default();
    let mut arms = Vec::new();
    for reading in scans {
        if reading.head_only() {
            name_only(query, &reading.r, &mut edits);
        } else {
            edits.replace_with(bytes(query, &reading.r), union(query, reading, &mut arms));
            drop_database(query, reading, &mut edits);
        }
    }
    prewhere(query, scans, &mut edits);
    moments(query, clock, &mut edits);
    let mut tables: Vec<String> = scans.iter().map(|r| r.table().logical.clone()).collect();
    tables.sort();
    tables.dedup();
    let text = query.statement();
    let sql_template = edits.template(text, 0..text.len());
    if arms.is_empty() {
        let hides = scans.iter().any(|scan| !scan.hidden.is_empty());
        return Plan::Hot { sql: sql_template.plain(), tables, hides };
    }
    let cold = scans.iter().all(Scan::cold_covers);
    let route = if cold { Route::Cold } else { Route::Hybrid };
    Plan::Hybrid { kind: PlanKind::Union, sql_template, arms, route, why_not_partial, tables }
}

/// `(SELECT … FROM head … UNION ALL SELECT … FROM part … UNION ALL SELECT … FROM <arm>) AS name`.
fn union(query: &Query, reading: &Scan, arms: &mut Vec<ColdScan>) -> Template {
    let columns = column_list(&reading.columns);
    let tail = &reading.tail;
    let one = |table: String, filter: String| {
        let select = format!("SELECT {columns} FROM {table}{filter}{tail}");
        // ORDER BY and LIMIT of an arm must not be taken for the union's.
        if tail.is_empty() { select } else { format!("SELECT {columns} FROM ({select})") }
    };
    let mut out = Template::default();
    let wrap = reading.r.source.is_none();
    out.text(if wrap { "(SELECT * FROM (" } else { "(" });
    out.text(&one(reading.table().head.to_string(), reading.head_filter()));
    if reading.batches > 0 {
        out.text(&format!(" UNION ALL SELECT {columns} FROM "));
        out.arm(arms.len());
        arms.push(ColdScan {
            sql: format!("SELECT {columns} FROM {}{}{tail}", reading.table().cold, reading.cold_filter()),
            structure: structure(&reading.columns),
            logical: reading.table().logical.clone(),
            batches: reading.batches,
            range: reading.held.intersect(reading.range),
        });
    }
    out.text(if wrap { "))" } else { ")" });
    let source = reading.r.source.and_then(|i| query.blocks.list.get(reading.r.block)?.sources.get(i));
    if let Some(source) = source
        && source.alias.is_none()
        && let Some(name) = query.parts(&reading.r.span).last()
    {
        out.text(&format!(" AS {}", quote::ident(name)));
    }
    out
}

/// `db.table.column` becomes `table.column`: the union is known by the table's name only.
fn drop_database(query: &Query, reading: &Scan, edits: &mut Edits) {
    let t = &query.tokens;
    let used = query.parts(&reading.r.span);
    if used.len() != 2 {
        return;
    }
    for i in 0..t.len() {
        let starts = t.is_name(i) && (i == 0 || !t.sym(i - 1, "."));
        if !starts || !t.sym(i + 1, ".") || !t.is_name(i + 2) || !t.sym(i + 3, ".") {
            continue;
        }
        if chain_end(t, i) >= i + 3 && [t.name(i), t.name(i + 2)] == used[..] {
            edits.replace(t.start(i)..t.start(i + 2), "");
        }
    }
}

/// PREWHERE means nothing to a union: it becomes (part of) the WHERE.
fn prewhere(query: &Query, scans: &[Scan], edits: &mut Edits) {
    let t = &query.tokens;
    for reading in scans.iter().filter(|r| !r.head_only()) {
        let Some(block) = query.blocks.list.get(reading.r.block) else { continue };
        let Some((_, span)) = block.clauses.iter().find(|(c, _)| *c == Clause::Prewhere) else { continue };
        let keyword = t.start(span.start)..t.end(span.start + 1);
        let Some((_, other)) = block.clauses.iter().find(|(c, _)| *c == Clause::Where) else {
            edits.replace(keyword, "WHERE");
            continue;
        };
        edits.replace(keyword, "WHERE (");
        edits.replace(t.start(other.start)..t.end(other.start + 1), ") AND (");
        edits.replace(t.end(other.end)..t.end(other.end), ")");
    }
}

/// `now()` and its like become literals, so that every place sees the same moment; not in a column of
/// the answer that has no alias, whose name is its text.
fn moments(query: &Query, clock: Clock<'_>, edits: &mut Edits) {
    let t = &query.tokens;
    let mut named = vec![false; t.len()];
    for block in &query.blocks.list {
        let Some(select) = block.clause(t, Clause::Select) else { continue };
        for item in t.commas(select) {
            if item_alias(t, &item).is_none() {
                named.iter_mut().take(item.end).skip(item.start).for_each(|n| *n = true);
            }
        }
    }
    let mut i = 0;
    while i < t.len() {
        if t.kind(i) == Some(Kind::Word)
            && let Some((literal, end)) = now_literal(t, i, clock)
        {
            if named.get(i) == Some(&false) {
                edits.replace(t.start(i)..t.end(end), &literal);
            }
            i = end;
            continue;
        }
        i += 1;
    }
}
