//! The partial plan: each tier computes aggregate states per group, the hot engine merges them.
//!
//! The caller's text stays the outer query: aggregate calls become `-Merge` of a state column, group
//! expressions become key columns, WHERE is gone (each tier has applied it whole), and HAVING, ORDER
//! BY, LIMIT and WITH TOTALS work on the merged groups as they stand. States are merged, never finished
//! values: an empty tier's finished `min()` would be 0. Anything not surely the same falls back to the
//! union plan, with the reason.

use std::ops::Range;

use clickhouse_sql::{Kind, Tokens, quote};

use crate::{
    ColdScan, Plan, PlanKind, Route,
    analysis::{
        aggregates::{self, State},
        conjuncts::Reach,
        expression::{is_row_function, portable},
        query::Query,
        time_literals::Clock,
        types,
    },
    plans::{plan::Template, scan::Scan},
    syntax::{
        blocks::{Block, Clause, Span},
        scope::item_alias,
        splice::Edits,
    },
};

/// Words that may stand in SELECT, HAVING, ORDER BY and LIMIT BY besides names.
const WORDS: &[&str] = &[
    "AS", "AND", "OR", "NOT", "IN", "LIKE", "ILIKE", "BETWEEN", "IS", "NULL", "TRUE", "FALSE", "CASE",
    "WHEN", "THEN", "ELSE", "END", "ASC", "DESC", "NULLS", "FIRST", "LAST", "WITH", "FILL", "FROM", "TO",
    "STEP", "INTERVAL", "SECOND", "MINUTE", "HOUR", "DAY", "WEEK", "MONTH", "QUARTER", "YEAR", "LIMIT",
    "OFFSET", "BY", "TIES", "HAVING", "ORDER", "DIV", "MOD",
];

/// Most group keys of a partial plan.
const MAX_KEYS: usize = 50;

/// One column of the answer.
struct Item {
    expression: Span,
    alias: Option<String>,
}

/// A group key.
struct Key {
    /// Tokens of the expression.
    expression: Span,
    /// The text each tier computes.
    text: String,
    data_type: String,
}

struct Partial<'a> {
    query: &'a Query,
    reading: &'a Scan,
    block: &'a Block,
    items: Vec<Item>,
    keys: Vec<Key>,
    states: Vec<State>,
    clock: Clock<'a>,
    allow_float: bool,
    edits: Edits,
}

/// A partial plan, or why there is none.
pub(crate) fn plan(
    query: &Query,
    scans: &[Scan],
    clock: Clock<'_>,
    allow_float: bool,
) -> Result<Plan, String> {
    let [reading] = scans else { return Err("more than one read of a logical table".into()) };
    let ([block], Some(_)) = (query.blocks.list.as_slice(), reading.r.source) else {
        return Err("more than one SELECT".into());
    };
    check_shape(query, reading, block)?;
    let mut partial = Partial {
        query,
        reading,
        block,
        items: items(&query.tokens, block)?,
        keys: Vec::new(),
        states: Vec::new(),
        clock,
        allow_float,
        edits: Edits::default(),
    };
    partial.check_aliases()?;
    partial.group_keys()?;
    partial.rewrite()?;
    Ok(partial.finish())
}

fn check_shape(query: &Query, reading: &Scan, block: &Block) -> Result<(), String> {
    let t = &query.tokens;
    if block.sources.len() != 1 {
        return Err("a join".into());
    }
    for (clause, name) in [(Clause::With, "WITH"), (Clause::Window, "WINDOW"), (Clause::Qualify, "QUALIFY")] {
        if block.has(clause) {
            return Err(format!("{name} clause"));
        }
    }
    if reading.batches == 0 {
        return Err("no cold rows".into());
    }
    if !reading.whole_where {
        return Err("a condition of WHERE cannot be applied in both tiers".into());
    }
    let select = block.clause(t, Clause::Select).unwrap_or(0..0);
    if t.is_any(select.start, &["DISTINCT", "TOP", "ALL"]) {
        return Err("DISTINCT or TOP".into());
    }
    let odd = (0..t.len()).any(|i| t.sym(i, "{") || t.sym(i, "->") || t.is(i, "OVER"));
    if odd {
        return Err("a parameter, lambda or window".into());
    }
    let reserved =
        reading.table().columns.iter().any(|c| c.name.starts_with("__g") || c.name.starts_with("__s"));
    if reserved { Err("a column is named like ours".into()) } else { Ok(()) }
}

fn items(t: &Tokens, block: &Block) -> Result<Vec<Item>, String> {
    let select = block.clause(t, Clause::Select).ok_or("no SELECT")?;
    let mut out = Vec::new();
    for span in t.commas(select) {
        let alias = item_alias(t, &span);
        out.push(match alias {
            Some((name, end)) => Item { expression: span.start..end, alias: Some(t.name(name)) },
            None => Item { expression: span, alias: None },
        });
    }
    Ok(out)
}

impl Partial<'_> {
    fn tokens(&self) -> &Tokens {
        &self.query.tokens
    }

    /// An alias that hides a column would mean one thing to a tier and another on top.
    fn check_aliases(&self) -> Result<(), String> {
        let t = self.tokens();
        for item in &self.items {
            let Some(alias) = &item.alias else { continue };
            let own =
                types::column(t, self.reading.table(), &item.expression).is_some_and(|c| c.name == *alias);
            if self.reading.table().column(alias).is_some() && !own {
                return Err(format!("alias {alias:.60} is the name of a column"));
            }
        }
        Ok(())
    }

    fn alias(&self, name: &str) -> Option<&Item> {
        self.items.iter().find(|i| i.alias.as_deref() == Some(name))
    }

    fn group_keys(&mut self) -> Result<(), String> {
        let t = &self.query.tokens;
        let Some(mut span) = self.block.clause(t, Clause::GroupBy) else { return Ok(()) };
        while span.len() > 2
            && t.is(span.end - 2, "WITH")
            && t.is_any(span.end - 1, &["TOTALS", "ROLLUP", "CUBE"])
        {
            span.end -= 2;
        }
        let keys = t.commas(span);
        if keys.len() > MAX_KEYS {
            return Err("too many keys".into());
        }
        for item in keys {
            let mut expression = item.clone();
            let mut by_alias = false;
            if item.len() == 1 && t.is_name(item.start) {
                let name = t.name(item.start);
                if let Some(found) =
                    self.alias(&name).filter(|_| self.reading.table().column(&name).is_none())
                {
                    expression = found.expression.clone();
                    by_alias = true;
                }
            }
            let index = self.keys.len();
            let key = self.key(expression)?;
            self.keys.push(key);
            if !by_alias {
                self.edits.replace(bytes(t, &item), &key_name(index));
            }
        }
        Ok(())
    }

    fn key(&self, expression: Span) -> Result<Key, String> {
        let t = self.tokens();
        let shown: String = t.slice(expression.start, expression.end).chars().take(60).collect();
        let reach = Reach { qualified_only: false, time_only: false };
        let text = portable(self.query, &self.reading.r, reach, expression.clone(), self.clock)
            .filter(|p| !p.columns.is_empty())
            .ok_or_else(|| format!("GROUP BY {shown} is not known to mean the same in both tiers"))?;
        let data_type = types::type_of(t, self.reading.table(), expression.clone())
            .ok_or_else(|| format!("the type of GROUP BY {shown} is not known"))?;
        Ok(Key { expression, text: text.text, data_type })
    }

    /// Rewrites what stands above the groups.
    fn rewrite(&mut self) -> Result<(), String> {
        let t = &self.query.tokens;
        let items: Vec<(Span, bool)> =
            self.items.iter().map(|i| (i.expression.clone(), i.alias.is_some())).collect();
        for (span, has_alias) in items {
            let name = if has_alias { None } else { Some(self.column_name(span.clone())?) };
            self.walk(span.clone())?;
            if let Some(name) = name {
                let end = t.end(span.end);
                self.edits.replace(end..end, &format!(" AS {}", quote::ident(&name)));
            }
        }
        for clause in [Clause::Having, Clause::OrderBy, Clause::Limit] {
            if let Some(span) = self.block.clause(t, clause) {
                if t.is(span.start, "ALL") {
                    return Err("ORDER BY ALL".into());
                }
                self.walk(span)?;
            }
        }
        if self.keys.is_empty() && self.states.is_empty() {
            return Err("no aggregate".into());
        }
        Ok(())
    }

    /// Replaces aggregates and keys in a span; refuses every other name that could be a column.
    fn walk(&mut self, span: Span) -> Result<(), String> {
        let t = &self.query.tokens;
        let mut i = span.start;
        while i < span.end {
            if let Some((index, end)) = self.key_at(&span, i) {
                self.edits.replace(bytes(t, &(i..end)), &key_name(index));
                i = end;
                continue;
            }
            if aggregates::is_aggregate(t, i) {
                let end = aggregates::call_end(t, i);
                let state = aggregates::state(self.query, &self.reading.r, i, self.clock, self.allow_float)?;
                let merged = self.merged(state);
                self.edits.replace(bytes(t, &(i..end)), &merged);
                i = end;
                continue;
            }
            self.allowed(i)?;
            i += 1;
        }
        Ok(())
    }

    fn allowed(&self, i: usize) -> Result<(), String> {
        let t = self.tokens();
        let name = t.name(i);
        let shown: String = name.chars().take(60).collect();
        match t.kind(i) {
            Some(Kind::Word | Kind::Quoted) => {
                if t.sym(i + 1, "(") && !t.is_any(i, WORDS) {
                    if is_row_function(&name.to_ascii_lowercase()) {
                        return Ok(());
                    }
                    return Err(format!("{shown}() is not known to merge exactly"));
                }
                let keyword = t.is_any(i, WORDS) && self.reading.table().column(&name).is_none();
                if keyword || self.alias(&name).is_some() {
                    return Ok(());
                }
                Err(format!("{shown} stands outside aggregates and keys"))
            }
            Some(Kind::Symbol) if t.sym(i, "*") => {
                // A multiplication has something on its left.
                if i > 0 && t.ends_operand(i - 1) { Ok(()) } else { Err("an asterisk".into()) }
            }
            Some(_) => Ok(()),
            None => Err("the query ends too early".into()),
        }
    }

    /// A group key that begins at token `i`, and the token behind it.
    fn key_at(&self, within: &Span, i: usize) -> Option<(usize, usize)> {
        let t = self.tokens();
        if i > 0 && t.sym(i - 1, ".") {
            return None;
        }
        let found = self.keys.iter().enumerate().filter_map(|(index, key)| {
            let len = key.expression.len();
            let end = i + len;
            let same = end <= within.end && (0..len).all(|n| same_token(t, key.expression.start + n, i + n));
            let closed = t.is_name(key.expression.start)
                && (len == 1
                    || t.mate(key.expression.start + 1) + 1 == key.expression.end
                    || is_column(t, &key.expression));
            // An expression with operators is a key only where it stands alone.
            let alone = i == within.start && end == within.end;
            let goes_on = t.sym(end, ".") || (t.sym(end, "(") && end < within.end);
            (same && !goes_on && (closed || alone)).then_some((index, end))
        });
        found.max_by_key(|(_, end)| *end)
    }

    /// The merge of a state; the same state is computed once.
    fn merged(&mut self, state: State) -> String {
        let index = self.states.iter().position(|s| *s == state).unwrap_or_else(|| {
            self.states.push(state.clone());
            self.states.len() - 1
        });
        format!("{}({})", state.merge, state_name(index))
    }

    /// The name that the engine gives to a column without an alias: known for plain calls and columns.
    fn column_name(&self, span: Span) -> Result<String, String> {
        let t = self.tokens();
        let unknown = || {
            let shown: String = t.slice(span.start, span.end).chars().take(60).collect();
            format!("the column name of {shown} is not known: give it an alias")
        };
        if span.len() == 1 && self.reading.table().column(&t.name(span.start)).is_some() {
            return Ok(t.name(span.start));
        }
        let one_call = aggregates::is_aggregate(t, span.start)
            || (t.kind(span.start) == Some(Kind::Word) && t.sym(span.start + 1, "("));
        if !one_call || aggregates::call_end(t, span.start) != span.end {
            return Err(unknown());
        }
        let mut name = String::new();
        for i in span.clone() {
            match t.kind(i) {
                Some(Kind::Symbol) if t.sym(i, ",") => name.push_str(", "),
                Some(Kind::Symbol) if t.sym(i, "*") && t.sym(i - 1, "(") => {}
                Some(Kind::Word | Kind::Open | Kind::Close)
                    if !t.is_any(i, WORDS) && !t.is(i, "DISTINCT") =>
                {
                    // A tuple prints as a call.
                    if t.sym(i, "(") && !t.is_name(i - 1) && !t.sym(i - 1, ")") {
                        return Err(unknown());
                    }
                    name.push_str(t.at(i));
                }
                Some(Kind::Number) if t.at(i).parse::<f64>().is_ok_and(|n| n.to_string() == t.at(i)) => {
                    name.push_str(t.at(i));
                }
                _ => return Err(unknown()),
            }
        }
        Ok(name)
    }

    fn finish(mut self) -> Plan {
        let t = &self.query.tokens;
        for clause in [Clause::Prewhere, Clause::Where] {
            if let Some((_, span)) = self.block.clauses.iter().find(|(c, _)| *c == clause) {
                self.edits.replace(bytes(t, span), "");
            }
        }
        let mut columns = Vec::new();
        let mut structure = Vec::new();
        for (index, key) in self.keys.iter().enumerate() {
            columns.push(format!("{} AS {}", key.text, key_name(index)));
            structure.push(format!("{} {}", key_name(index), key.data_type));
        }
        for (index, state) in self.states.iter().enumerate() {
            columns.push(format!("{} AS {}", state.call, state_name(index)));
            structure.push(format!("{} {}", state_name(index), state.data_type));
        }
        let keys: Vec<String> = (0..self.keys.len()).map(key_name).collect();
        let group = if keys.is_empty() { String::new() } else { format!(" GROUP BY {}", keys.join(", ")) };
        let select = |table: String, filter: String| {
            format!("SELECT {} FROM {table}{filter}{group}", columns.join(", "))
        };
        let reading = self.reading;
        let names: Vec<String> = keys.iter().cloned().chain((0..self.states.len()).map(state_name)).collect();
        let mut union = Template::default();
        union.text("(");
        union.text(&select(reading.table().head.to_string(), reading.head_filter()));
        union.text(&format!(" UNION ALL SELECT {} FROM ", names.join(", ")));
        union.arm(0);
        union.text(")");
        self.edits.replace_with(bytes(t, &reading.r.span), union);
        let arm = ColdScan {
            sql: select(reading.table().cold.to_string(), reading.cold_filter()),
            structure: structure.join(", "),
            logical: reading.table().logical.clone(),
            batches: reading.batches,
            range: reading.held.intersect(reading.range),
        };
        let text = self.query.statement();
        Plan::Hybrid {
            kind: PlanKind::Partial,
            sql_template: self.edits.template(text, 0..text.len()),
            arms: vec![arm],
            route: if reading.cold_covers() { Route::Cold } else { Route::Hybrid },
            why_not_partial: None,
            tables: vec![reading.table().logical.clone()],
        }
    }
}

fn key_name(index: usize) -> String {
    format!("__g{index}")
}

fn state_name(index: usize) -> String {
    format!("__s{index}")
}

fn bytes(t: &Tokens, span: &Span) -> Range<usize> {
    t.start(span.start)..t.end(span.end)
}

fn is_column(t: &Tokens, span: &Span) -> bool {
    crate::syntax::blocks::chain_end(t, span.start) == span.end
}

/// Two tokens mean the same: names by what they name, everything else by its text.
fn same_token(t: &Tokens, a: usize, b: usize) -> bool {
    if t.is_name(a) && t.is_name(b) { t.name(a) == t.name(b) } else { t.at(a) == t.at(b) }
}
