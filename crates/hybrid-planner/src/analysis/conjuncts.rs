//! The conditions of a WHERE, one by one, and which of them speak of one table's rows alone.
//!
//! A condition of a block may be applied to a source before the join only where the join keeps it
//! equal: every row of the source that fails it can then add nothing to the answer.

use clickhouse_sql::{Tokens, settings};
use storage_types::Column;

use crate::{
    analysis::query::{LogicalRef, Query},
    syntax::{
        blocks::{Block, Clause, Span},
        sources::Source,
    },
};

/// How far a block's WHERE reaches one of its sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reach {
    /// Only names with the source's own qualifier are surely its columns.
    pub qualified_only: bool,
    /// Arrays are unrolled: only the time column may be judged.
    pub time_only: bool,
}

/// The query's own settings change nothing about what its conditions mean.
pub(crate) fn settings_harmless(query: &Query) -> bool {
    query.settings().iter().all(|s| settings::is_harmless(s))
}

/// Whether, and how, the WHERE of the reference's block may be applied to its source.
pub(crate) fn reach(query: &Query, r: &LogicalRef) -> Option<Reach> {
    let block = query.blocks.list.get(r.block)?;
    let index = r.source?;
    let source = block.sources.get(index)?;
    if source.renamed_columns || !settings_harmless(query) {
        return None;
    }
    let arrays: Vec<&Source> = block.sources.iter().filter(|s| has(s, "ARRAY")).collect();
    let unrolled = |s: &&Source| s.span.clone().any(|i| query.tokens.name(i) == r.table.time_column);
    if arrays.iter().any(unrolled) {
        return None;
    }
    let joined: Vec<&Source> =
        block.sources.iter().filter(|s| !s.join.is_empty() && !has(s, "ARRAY")).collect();
    let keeps = if index == 0 { keeps_left } else { keeps_right };
    joined
        .iter()
        .all(|s| keeps(s))
        .then_some(Reach { qualified_only: !joined.is_empty(), time_only: !arrays.is_empty() })
}

fn has(source: &Source, word: &str) -> bool {
    source.join.iter().any(|w| w == word)
}

/// The join gives for each left row what it gives without the other left rows.
fn keeps_left(s: &Source) -> bool {
    let any = has(s, "ANY") && !has(s, "LEFT");
    !has(s, "RIGHT") && !has(s, "FULL") && !has(s, "PASTE") && !any
}

/// A plain inner or cross join: either side may be filtered first.
fn keeps_right(s: &Source) -> bool {
    s.join.iter().all(|w| matches!(w.as_str(), "," | "INNER" | "ALL" | "GLOBAL" | "CROSS" | "JOIN" | "LOCAL"))
}

/// The conditions in WHERE and PREWHERE that must all hold.
pub(crate) fn of_block(t: &Tokens, block: &Block) -> Vec<Span> {
    let mut out = Vec::new();
    for clause in [Clause::Prewhere, Clause::Where] {
        if let Some(span) = block.clause(t, clause) {
            split_and(t, span, &mut out);
        }
    }
    out
}

/// Takes a span apart at its ANDs, and apart again inside brackets that hold nothing else.
fn split_and(t: &Tokens, span: Span, out: &mut Vec<Span>) {
    let span = bare(t, span);
    let parts = if has_lower(t, &span) { vec![span.clone()] } else { split_word(t, span.clone(), "AND") };
    if parts.len() < 2 {
        out.push(span);
        return;
    }
    for part in parts {
        split_and(t, part, out);
    }
}

/// Takes off brackets around the whole of a span, unless they make a tuple or hold a query.
pub(crate) fn bare(t: &Tokens, mut span: Span) -> Span {
    while t.sym(span.start, "(") && t.mate(span.start) + 1 == span.end && !t.starts_query(span.start + 1) {
        let inside = span.start + 1..span.end - 1;
        if inside.is_empty() || t.commas(inside.clone()).len() > 1 {
            break;
        }
        span = inside;
    }
    span
}

/// Something that binds weaker than AND stands outside brackets.
fn has_lower(t: &Tokens, span: &Span) -> bool {
    has_odd(t, span) || split_word(t, span.clone(), "OR").len() > 1
}

/// A ternary, a lambda or an alias stands outside brackets: its reach is not ours to tell.
pub(crate) fn has_odd(t: &Tokens, span: &Span) -> bool {
    let mut i = span.start;
    while i < span.end {
        if t.sym(i, "?") || t.sym(i, "->") || t.sym(i, "|") || t.is_any(i, &["AS", "XOR", "CASE"]) {
            return true;
        }
        i = t.step(i);
    }
    false
}

/// Parts of a span between a connective outside brackets. The AND of a BETWEEN is not one.
pub(crate) fn split_word(t: &Tokens, span: Span, word: &str) -> Vec<Span> {
    let mut out = Vec::new();
    let (mut from, mut i, mut between) = (span.start, span.start, 0_usize);
    while i < span.end {
        if t.is(i, "BETWEEN") {
            between += 1;
        } else if t.is(i, "AND") && between > 0 {
            between -= 1;
        } else if t.is(i, word) {
            out.push(from..i);
            from = i + 1;
        }
        i = t.step(i);
    }
    out.push(from..span.end);
    out
}

/// The column of the reference's table that is named at token `i`, and the token behind its name.
pub(crate) fn column_at<'r>(
    query: &Query,
    r: &'r LogicalRef,
    reach: Reach,
    i: usize,
) -> Option<(&'r Column, usize)> {
    let t = &query.tokens;
    if !t.is_name(i) || (i > 0 && t.sym(i - 1, ".")) {
        return None;
    }
    let end = crate::syntax::blocks::chain_end(t, i);
    if t.sym(end, "(") || t.sym(end, ".") {
        return None;
    }
    let parts = query.parts(&(i..end));
    let (name, qualifier) = parts.split_last()?;
    let column = r.table.column(name)?;
    if qualifier.is_empty() {
        let sure = !reach.qualified_only && !query.scope.aliases.contains(name);
        return sure.then_some((column, end));
    }
    let source = query.blocks.list.get(r.block)?.sources.get(r.source?)?;
    let used = query.parts(&r.span);
    let ours = match (&source.alias, qualifier) {
        (Some(alias), [q]) => q == alias,
        (None, [q]) => used.last() == Some(q),
        (None, [_, _]) => used == qualifier,
        _ => false,
    };
    ours.then_some((column, end))
}
