//! The blocks of a query: every SELECT with its clauses, the tables it reads, and how they nest.
//!
//! Only as much structure as splicing needs: clauses are token ranges, expressions stay text. A
//! clause word that stands where it cannot be one makes the query unreadable rather than misread.

use std::ops::Range;

use clickhouse_sql::{IN_CALLS, Tokens};

use crate::{
    Refusal,
    syntax::sources::{self, Source},
};

/// Most SELECTs in one query.
const MAX_BLOCKS: usize = 500;

/// Most names behind IN in one query.
const MAX_IN_NAMES: usize = 1000;

/// Token range.
pub(crate) type Span = Range<usize>;

/// A clause of a SELECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Clause {
    With,
    Select,
    From,
    Prewhere,
    Where,
    GroupBy,
    Having,
    Window,
    Qualify,
    OrderBy,
    Limit,
    Settings,
    Format,
}

/// `name AS (SELECT …)`.
#[derive(Debug, Clone)]
pub(crate) struct Cte {
    pub name: String,
    /// Tokens between its brackets.
    pub body: Span,
    pub recursive: bool,
}

/// Where a block stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The statement itself.
    Top,
    /// In FROM.
    From,
    /// The body of a common table expression.
    Cte,
    /// In an expression: scalar, IN, EXISTS.
    Expression,
}

/// One SELECT.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub parent: Option<usize>,
    pub place: Place,
    /// It is an operand of UNION, EXCEPT or INTERSECT.
    pub in_union: bool,
    /// First block of its union: its WITH reaches here too.
    pub union_head: Option<usize>,
    /// Each clause's tokens, keyword included.
    pub clauses: Vec<(Clause, Span)>,
    pub ctes: Vec<Cte>,
    pub sources: Vec<Source>,
}

impl Block {
    /// Tokens of a clause behind its keyword; empty when it is not there.
    pub fn clause(&self, tokens: &Tokens, clause: Clause) -> Option<Span> {
        let (_, span) = self.clauses.iter().find(|(c, _)| *c == clause)?;
        let keyword = match clause {
            Clause::GroupBy | Clause::OrderBy => 2,
            _ => 1,
        };
        let start = (span.start + keyword).min(span.end);
        debug_assert!(span.end <= tokens.len());
        Some(start..span.end)
    }

    pub fn has(&self, clause: Clause) -> bool {
        self.clauses.iter().any(|(c, _)| *c == clause)
    }
}

/// A name on the right of IN, which reads a whole table when it is one.
#[derive(Debug, Clone)]
pub(crate) struct InName {
    pub block: usize,
    pub name: Span,
    /// It stands in brackets or as an argument, so it may be an expression as well.
    pub doubtful: bool,
}

/// All blocks of a statement, outer before inner.
#[derive(Debug, Clone, Default)]
pub(crate) struct Blocks {
    pub list: Vec<Block>,
    pub in_names: Vec<InName>,
}

impl Blocks {
    /// Reads the query in tokens `span`.
    pub fn read(tokens: &Tokens, span: Span) -> Result<Self, Refusal> {
        let mut blocks = Self::default();
        blocks.union(tokens, span, None, Place::Top)?;
        Ok(blocks)
    }

    /// A SELECT, or several joined by UNION, EXCEPT, INTERSECT.
    pub(crate) fn union(
        &mut self,
        t: &Tokens,
        span: Span,
        parent: Option<usize>,
        place: Place,
    ) -> Result<(), Refusal> {
        let parts = split_union(t, span.clone());
        let in_union = parts.len() > 1;
        let mut head = None;
        for part in parts {
            let first = self.list.len();
            if t.sym(part.start, "(") {
                let close = t.mate(part.start);
                if close + 1 != part.end && !only_tail(t, close + 1) {
                    return Err(Refusal::unreadable(t, close + 1, "something behind a bracketed SELECT"));
                }
                self.union(t, part.start + 1..close, parent, place)?;
                if in_union {
                    self.list
                        .iter_mut()
                        .skip(first)
                        .filter(|b| b.parent == parent)
                        .for_each(|b| b.in_union = true);
                }
            } else {
                self.select(t, part, parent, place, in_union, head)?;
            }
            head.get_or_insert(first);
        }
        Ok(())
    }

    fn select(
        &mut self,
        t: &Tokens,
        span: Span,
        parent: Option<usize>,
        place: Place,
        in_union: bool,
        union_head: Option<usize>,
    ) -> Result<(), Refusal> {
        let index = self.list.len();
        if index >= MAX_BLOCKS {
            return Err(Refusal::unreadable(t, span.start, "more SELECTs than one query may have"));
        }
        let clauses = clauses(t, span, place == Place::Top)?;
        self.list.push(Block {
            parent,
            place,
            in_union,
            union_head,
            clauses: clauses.clone(),
            ctes: Vec::new(),
            sources: Vec::new(),
        });
        for (clause, span) in clauses {
            match clause {
                Clause::With => self.with(t, index, span.start + 1..span.end)?,
                Clause::From => {
                    let sources = sources::read(self, t, index, span.start + 1..span.end)?;
                    if let Some(block) = self.list.get_mut(index) {
                        block.sources = sources;
                    }
                }
                Clause::Settings | Clause::Format => {}
                _ => self.expressions(t, index, span)?,
            }
        }
        Ok(())
    }

    /// The items behind WITH: `name AS (SELECT …)` and `expression AS name`.
    fn with(&mut self, t: &Tokens, block: usize, span: Span) -> Result<(), Refusal> {
        let recursive = t.is(span.start, "RECURSIVE");
        let items = t.commas(span.start + usize::from(recursive)..span.end);
        for item in items {
            let mut at = item.start + 1;
            if t.sym(at, "(") && t.is(t.mate(at) + 1, "AS") {
                at = t.mate(at) + 1;
            }
            if t.is(at, "AS") {
                at += 1;
                at += usize::from(t.is(at, "MATERIALIZED"));
            }
            let is_cte =
                t.is_name(item.start) && at > item.start + 1 && t.sym(at, "(") && t.starts_query(at + 1);
            if !is_cte {
                self.expressions(t, block, item)?;
                continue;
            }
            let body = at + 1..t.mate(at);
            if body.end + 1 != item.end {
                return Err(Refusal::unreadable(
                    t,
                    body.end + 1,
                    "something behind a common table expression",
                ));
            }
            if let Some(b) = self.list.get_mut(block) {
                b.ctes.push(Cte { name: t.name(item.start), body: body.clone(), recursive });
            }
            self.union(t, body, Some(block), Place::Cte)?;
        }
        Ok(())
    }

    /// Finds subqueries and names behind IN in expressions.
    pub(crate) fn expressions(&mut self, t: &Tokens, block: usize, span: Span) -> Result<(), Refusal> {
        let mut i = span.start;
        while i < span.end {
            if t.sym(i, "(") && t.starts_query(i + 1) {
                let close = t.mate(i);
                let mut from = i;
                // `((SELECT 1))` is the same query in two brackets; `((SELECT 1) + 1)` is not.
                while t.sym(from + 1, "(") && t.mate(from + 1) + 1 == t.mate(from) {
                    from += 1;
                }
                if t.sym(from + 1, "(") && split_union(t, from + 1..t.mate(from)).len() < 2 {
                    i += 1;
                    continue;
                }
                self.union(t, from + 1..t.mate(from), Some(block), Place::Expression)?;
                i = close + 1;
                continue;
            }
            if t.is_name(i) {
                self.behind_in(t, block, i);
            }
            i += 1;
        }
        if self.in_names.len() > MAX_IN_NAMES {
            return Err(Refusal::unreadable(t, span.start, "more names behind IN than one query may have"));
        }
        Ok(())
    }

    /// Notes the table name behind an IN at token `i`, if there is one.
    fn behind_in(&mut self, t: &Tokens, block: usize, i: usize) {
        let word = t.name(i).to_ascii_lowercase();
        let mut left = i.wrapping_sub(1);
        while t.is_any(left, &["NOT", "GLOBAL"]) {
            left = left.wrapping_sub(1);
        }
        let operator = t.is(i, "IN") && t.ends_operand(left);
        if !operator && (IN_CALLS.contains(&word.as_str()) || word == "joinget") && t.sym(i + 1, "(") {
            let close = t.mate(i + 1);
            let mut at = i + 2;
            while at < close {
                if t.is_name(at) {
                    let end = chain_end(t, at);
                    self.in_names.push(InName { block, name: at..end, doubtful: true });
                    at = end;
                } else {
                    at = t.step(at);
                }
            }
        } else if t.is(i, "IN") && t.is_name(i + 1) {
            let end = chain_end(t, i + 1);
            if !t.sym(end, "(") {
                self.in_names.push(InName { block, name: i + 1..end, doubtful: false });
            }
        }
    }
}

/// End of `a.b.c` that begins at `i`.
pub(crate) fn chain_end(t: &Tokens, i: usize) -> usize {
    let mut end = i + 1;
    while t.sym(end, ".") && t.is_name(end + 1) {
        end += 2;
    }
    end
}

fn split_union(t: &Tokens, span: Span) -> Vec<Span> {
    let mut out = Vec::new();
    let (mut from, mut i) = (span.start, span.start);
    while i < span.end {
        if t.is_any(i, &["UNION", "EXCEPT", "INTERSECT"]) {
            let next = i + 1 + usize::from(t.is_any(i + 1, &["ALL", "DISTINCT"]));
            if next < span.end && t.starts_query(next) {
                out.push(from..i);
                from = next;
                i = next;
            }
        }
        i = t.step(i);
    }
    out.push(from..span.end);
    out
}

/// Only FORMAT or SETTINGS follow.
fn only_tail(t: &Tokens, i: usize) -> bool {
    t.is_any(i, &["FORMAT", "SETTINGS"])
}

/// Which clause begins at token `i`, and how many words its keyword has.
fn clause_at(t: &Tokens, i: usize, top: bool) -> Option<Clause> {
    if i > 0 && (t.sym(i - 1, ".") || t.is(i - 1, "AS")) {
        return None;
    }
    let word = t.at(i).to_ascii_uppercase();
    Some(match word.as_str() {
        "SELECT" => Clause::Select,
        "FROM" if i == 0 || !t.is(i - 1, "FILL") => Clause::From,
        "PREWHERE" => Clause::Prewhere,
        "WHERE" => Clause::Where,
        "GROUP" if t.is(i + 1, "BY") => Clause::GroupBy,
        "HAVING" => Clause::Having,
        "WINDOW" if t.is_name(i + 1) && t.is(i + 2, "AS") => Clause::Window,
        "QUALIFY" => Clause::Qualify,
        "ORDER" if t.is(i + 1, "BY") => Clause::OrderBy,
        "LIMIT" | "OFFSET" | "FETCH" => Clause::Limit,
        "SETTINGS" if t.is_name(i + 1) && t.sym(i + 2, "=") => Clause::Settings,
        "FORMAT" if top && t.is_name(i + 1) && (i + 2 >= t.len() || t.is(i + 2, "SETTINGS")) => {
            Clause::Format
        }
        _ => return None,
    })
}

/// Cuts a SELECT into its clauses.
fn clauses(t: &Tokens, span: Span, top: bool) -> Result<Vec<(Clause, Span)>, Refusal> {
    let mut out: Vec<(Clause, Span)> = Vec::new();
    let mut i = span.start;
    if t.is(i, "WITH") {
        out.push((Clause::With, i..span.end));
        i += 1;
    } else if !t.is_any(i, &["SELECT", "FROM"]) {
        return Err(Refusal::unreadable(t, i, "a SELECT was expected"));
    }
    while i < span.end {
        if t.kind(i) == Some(clickhouse_sql::Kind::Word) {
            if let Some(clause) = clause_at(t, i, top) {
                open_clause(t, &mut out, clause, i, span.end)?;
            } else if t.is(i, "INTO") && t.is(i + 1, "OUTFILE") {
                return Err(Refusal::IntoOutfile);
            } else if t.is(i, "INSERT") && t.is(i + 1, "INTO") {
                return Err(Refusal::WriteStatement("INSERT".into()));
            } else if t.is(i, "PARALLEL") && t.is(i + 1, "WITH") {
                return Err(Refusal::MultipleStatements);
            }
        }
        i = t.step(i);
    }
    if !out.iter().any(|(c, _)| *c == Clause::Select) {
        return Err(Refusal::unreadable(t, span.start, "a query without SELECT"));
    }
    Ok(out)
}

/// Ends the clause before and begins the next, in the order that SELECT has (FROM may come first).
fn open_clause(
    t: &Tokens,
    out: &mut Vec<(Clause, Span)>,
    clause: Clause,
    i: usize,
    end: usize,
) -> Result<(), Refusal> {
    let Some((last, span)) = out.last_mut() else {
        out.push((clause, i..end));
        return Ok(());
    };
    if *last == clause && clause == Clause::Limit {
        return Ok(());
    }
    let from_first = *last == Clause::From && clause == Clause::Select;
    let tail = matches!((*last, clause), (Clause::Format, Clause::Settings));
    let repeated = out_of(clause, *last);
    if repeated && !from_first && !tail {
        return Err(Refusal::unreadable(t, i, "a clause where none can stand (quote it if it is a name)"));
    }
    span.end = i;
    if from_first && out.iter().any(|(c, _)| *c == Clause::Select) {
        return Err(Refusal::unreadable(t, i, "a second SELECT in one query"));
    }
    out.push((clause, i..end));
    Ok(())
}

fn out_of(clause: Clause, last: Clause) -> bool {
    clause <= last
}
