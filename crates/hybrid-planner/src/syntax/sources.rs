//! What stands in FROM: tables, subqueries, table functions, and how they are joined.

use clickhouse_sql::{CLAUSES, Kind, Tokens};

use crate::{
    Refusal,
    syntax::{
        blocks::{Blocks, Place, Span, chain_end},
        statement::check_table_function,
    },
};

/// Most sources in one FROM.
const MAX_SOURCES: usize = 100;

/// What kind of source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SourceKind {
    /// A name of one, two or more parts, unquoted.
    Table(Vec<String>),
    /// `(SELECT …)`.
    Subquery,
    /// `name(…)`.
    Function,
}

/// One source in FROM.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub kind: SourceKind,
    /// Tokens of the name, the bracketed subquery or the function call.
    pub span: Span,
    /// The caller's alias, unquoted.
    pub alias: Option<String>,
    /// The alias names the columns too.
    pub renamed_columns: bool,
    /// FINAL is asked for.
    pub is_final: bool,
    /// SAMPLE is asked for.
    pub sample: bool,
    /// Words of the join that brings this source in, upper case; empty for the first, `,` for a comma.
    pub join: Vec<String>,
}

/// Words that cannot be an alias without AS.
const NOT_ALIAS: &[&str] = &[
    "LEFT", "RIGHT", "INNER", "FULL", "CROSS", "ASOF", "ANY", "ALL", "SEMI", "ANTI", "GLOBAL", "JOIN",
    "ARRAY", "PASTE", "ON", "USING", "FINAL", "SAMPLE", "NATURAL", "AS", "OUTER", "LOCAL", "ONLY",
];
const JOIN_WORDS: &[&str] = &[
    "LEFT", "RIGHT", "INNER", "FULL", "CROSS", "ASOF", "ANY", "ALL", "SEMI", "ANTI", "GLOBAL", "JOIN",
    "ARRAY", "PASTE", "NATURAL", "OUTER", "LOCAL",
];

/// Reads the sources of block `block` from the tokens behind FROM.
pub(crate) fn read(
    blocks: &mut Blocks,
    t: &Tokens,
    block: usize,
    span: Span,
) -> Result<Vec<Source>, Refusal> {
    let mut out = Vec::new();
    let mut i = span.start;
    let mut join = Vec::new();
    while i < span.end {
        if join.iter().any(|w| w == "ARRAY") {
            let end = until_join(t, i, span.end, true);
            blocks.expressions(t, block, i..end)?;
            out.push(array_join(i..end, std::mem::take(&mut join)));
            i = end;
        } else {
            i = source(blocks, t, block, i, std::mem::take(&mut join), &mut out)?;
            if i > span.end {
                return Err(Refusal::unreadable(t, span.end, "FROM ends too early"));
            }
            if t.is_any(i, &["ON", "USING"]) && i < span.end {
                let commas_inside = t.is(i, "USING") && !t.sym(i + 1, "(");
                let end = until_join(t, i + 1, span.end, commas_inside);
                blocks.expressions(t, block, i + 1..end)?;
                i = end;
            }
        }
        if out.len() > MAX_SOURCES {
            return Err(Refusal::unreadable(t, i, "more tables than one FROM may have"));
        }
        if i < span.end {
            (join, i) = join_words(t, i, span.end)?;
        }
    }
    Ok(out)
}

fn array_join(span: Span, join: Vec<String>) -> Source {
    let kind = SourceKind::Function;
    Source { kind, span, alias: None, renamed_columns: false, is_final: false, sample: false, join }
}

fn source(
    blocks: &mut Blocks,
    t: &Tokens,
    block: usize,
    i: usize,
    join: Vec<String>,
    out: &mut Vec<Source>,
) -> Result<usize, Refusal> {
    let (kind, end) = if t.sym(i, "(") {
        if !t.starts_query(i + 1) {
            return Err(Refusal::unreadable(t, i, "brackets in FROM that hold no SELECT"));
        }
        blocks.union(t, i + 1..t.mate(i), Some(block), Place::From)?;
        (SourceKind::Subquery, t.mate(i) + 1)
    } else if t.is_name(i) {
        let end = chain_end(t, i);
        if t.sym(end, "(") {
            check_table_function(&t.name(end - 1))?;
            let inside = end + 1..t.mate(end);
            if t.starts_query(inside.start) {
                blocks.union(t, inside, Some(block), Place::From)?;
            } else {
                blocks.expressions(t, block, inside)?;
            }
            (SourceKind::Function, t.mate(end) + 1)
        } else {
            (SourceKind::Table((i..end).step_by(2).map(|n| t.name(n)).collect()), end)
        }
    } else if t.sym(i, "{") {
        return Err(Refusal::unreadable(t, i, "a table's name cannot be a parameter here"));
    } else {
        return Err(Refusal::unreadable(t, i, "a table was expected in FROM"));
    };
    let mut source = Source { kind, span: i..end, ..array_join(i..end, join) };
    let end = modifiers(t, end, &mut source);
    out.push(source);
    Ok(end)
}

/// FINAL, SAMPLE and the alias, in either order.
fn modifiers(t: &Tokens, mut i: usize, source: &mut Source) -> usize {
    loop {
        if t.is(i, "FINAL") {
            source.is_final = true;
            i += 1;
        } else if t.is(i, "SAMPLE") {
            source.sample = true;
            i += 1;
            while matches!(t.kind(i), Some(Kind::Number))
                || t.sym(i, "/")
                || t.sym(i, ".")
                || t.is(i, "OFFSET")
            {
                i += 1;
            }
        } else if source.alias.is_none() && t.is(i, "AS") && t.is_name(i + 1) {
            source.alias = Some(t.name(i + 1));
            i += 2;
        } else if source.alias.is_none() && t.is_name(i) && !t.is_any(i, NOT_ALIAS) && !t.is_any(i, CLAUSES) {
            source.alias = Some(t.name(i));
            i += 1;
        } else if source.alias.is_some() && t.sym(i, "(") && !source.renamed_columns {
            source.renamed_columns = true;
            i = t.mate(i) + 1;
        } else {
            return i;
        }
    }
}

/// The run of join words at `i`, or a comma; then the next source begins.
fn join_words(t: &Tokens, mut i: usize, end: usize) -> Result<(Vec<String>, usize), Refusal> {
    if t.sym(i, ",") {
        return Ok((vec![",".into()], i + 1));
    }
    let mut words = Vec::new();
    while i < end && t.is_any(i, JOIN_WORDS) {
        words.push(t.at(i).to_ascii_uppercase());
        i += 1;
    }
    if words.last().is_none_or(|w| w != "JOIN") || i >= end {
        return Err(Refusal::unreadable(t, i.min(end), "a JOIN was expected in FROM"));
    }
    Ok((words, i))
}

/// Where the next join (or comma, unless commas belong to the list) begins.
fn until_join(t: &Tokens, mut i: usize, end: usize, commas_inside: bool) -> usize {
    while i < end {
        if t.sym(i, ",") && !commas_inside {
            return i;
        }
        if t.is_any(i, JOIN_WORDS) && !t.sym(i.wrapping_sub(1), ".") {
            let mut last = i;
            while t.is_any(last + 1, JOIN_WORDS) && last + 1 < end {
                last += 1;
            }
            if t.is(last, "JOIN") {
                return i;
            }
        }
        i = t.step(i);
    }
    end
}
