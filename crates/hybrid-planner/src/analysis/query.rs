//! A query, read: its kind, its blocks, and which logical tables it names.
//!
//! A name in FROM is a logical table when it is one's logical name, or the qualified name of one's
//! head, and no common table expression shadows it. Where the engine's scope rules leave doubt, the
//! query is refused: answering from the wrong table is worse than not answering.

use std::sync::Arc;

use clickhouse_sql::{Kind, Tokens, judge};

use crate::{
    CatalogVersion, Refusal, TableSnapshot,
    syntax::{
        blocks::{Block, Blocks, Clause, Place, Span, chain_end},
        scope::Scope,
        sources::SourceKind,
        statement::{self, QueryKind, check_table_function},
    },
};

/// A query's text with what was understood of it.
#[derive(Debug, Clone)]
pub struct Query {
    pub(crate) tokens: Tokens,
    pub(crate) kind: QueryKind,
    pub(crate) blocks: Blocks,
    /// Names of tables in statements that are no SELECT.
    names: Vec<Span>,
    pub(crate) scope: Scope,
}

/// A place where a logical table is read.
#[derive(Debug, Clone)]
pub(crate) struct LogicalRef {
    pub table: Arc<TableSnapshot>,
    pub block: usize,
    /// Index among the block's sources; `None` behind IN and in DESCRIBE.
    pub source: Option<usize>,
    /// Tokens of the name.
    pub span: Span,
}

/// Most reads of managed tables in one query; each may become a stream from cold.
const MAX_REFERENCES: usize = 64;

/// Reads a query. Refuses what is not a single question, what cannot be read safely, and what names
/// functions that reach outside the tables.
pub fn read(sql: &str) -> Result<Query, Refusal> {
    let tokens = Tokens::read(sql)?;
    let kind = statement::kind(&tokens)?;
    let (blocks, names) = match kind {
        QueryKind::Select => (Blocks::read(&tokens, 0..tokens.len())?, Vec::new()),
        QueryKind::Explain => (explained(&tokens)?, Vec::new()),
        _ => about_schema(&tokens)?,
    };
    judge::functions(&tokens)?;
    judge::tables(&tokens)?;
    judge::files(&tokens)?;
    let scope = Scope::read(&tokens, &blocks);
    Ok(Query { tokens, kind, blocks, names, scope })
}

/// EXPLAIN [what] [setting = value, …] SELECT …
fn explained(t: &Tokens) -> Result<Blocks, Refusal> {
    let mut i = 1;
    while i < t.len() && !t.starts_query(i) && !t.is(i, "FROM") {
        if t.is_any(i, &["INSERT", "OVERRIDE"]) {
            return Err(Refusal::NotASingleSelect("only a SELECT can be explained".into()));
        }
        i = t.step(i);
    }
    if i >= t.len() {
        return Err(Refusal::NotASingleSelect("EXPLAIN of something that is no SELECT".into()));
    }
    Blocks::read(t, i..t.len())
}

/// SHOW, DESCRIBE, EXISTS: names of tables, and subqueries if there are any.
fn about_schema(t: &Tokens) -> Result<(Blocks, Vec<Span>), Refusal> {
    let all = 0..t.len();
    let mut blocks = Blocks::default();
    if t.starts_query(1) {
        return Ok((Blocks::read(t, 1..t.len())?, Vec::new()));
    }
    blocks.list.push(Block {
        parent: None,
        place: Place::Top,
        in_union: false,
        union_head: None,
        clauses: Vec::new(),
        ctes: Vec::new(),
        sources: Vec::new(),
    });
    blocks.expressions(t, 0, all)?;
    let mut names = Vec::new();
    for i in 1..t.len() {
        let before = i - 1;
        let listed = t.is_any(before, &["FROM", "IN"])
            && before > 0
            && t.is_any(before - 1, &["COLUMNS", "FIELDS", "INDEX", "INDEXES", "INDICES", "KEYS"]);
        let direct = before == 0 && t.is_any(0, &["DESCRIBE", "DESC", "EXISTS"]);
        let named = t.is(before, "TABLE") || listed || direct;
        if !named || !t.is_name(i) || t.is_any(i, &["TABLE", "TEMPORARY", "DATABASE", "VIEW", "DICTIONARY"]) {
            continue;
        }
        let end = chain_end(t, i);
        if t.sym(end, "(") {
            check_table_function(&t.name(end - 1))?;
        } else {
            names.push(i..end);
        }
    }
    Ok((blocks, names))
}

impl Query {
    /// The text as it came.
    pub fn text(&self) -> &str {
        self.tokens.text()
    }

    /// The text up to its last token: without semicolons and comments at its end, so that a clause can
    /// be put behind it.
    pub(crate) fn statement(&self) -> &str {
        self.tokens.statement()
    }

    /// Refuses settings that a reader may not choose, in every SETTINGS clause of the text.
    ///
    /// # Errors
    /// [`Refusal::ForbiddenSetting`].
    pub fn check_settings(&self) -> Result<(), Refusal> {
        Ok(judge::chosen_settings(&self.tokens)?)
    }

    /// Whether this name stands anywhere in the text, whatever it means there.
    pub fn has_name(&self, name: &str) -> bool {
        (0..self.tokens.len()).any(|i| self.tokens.is_name(i) && self.tokens.name(i) == name)
    }

    /// What kind of statement it is.
    pub fn kind(&self) -> QueryKind {
        self.kind
    }

    /// The format that the text itself asks for.
    pub fn format(&self) -> Option<&str> {
        let span = self.format_span()?;
        Some(self.tokens.at(span.start + 1))
    }

    /// Tokens `FORMAT name` at the end of the statement.
    pub(crate) fn format_span(&self) -> Option<Span> {
        let t = &self.tokens;
        let last = t.len().checked_sub(1)?;
        let mut i = last;
        // FORMAT may be followed by SETTINGS; nothing else can.
        while i > 0 && !t.is(i, "FORMAT") {
            i -= 1;
        }
        let tail = i + 1 == last || t.is(i + 2, "SETTINGS");
        let ours = i > 0 && tail && t.is_name(i + 1) && !t.sym(i - 1, ".") && !t.is(i - 1, "AS");
        (ours && self.kind != QueryKind::Show).then_some(i..i + 2)
    }

    /// The statement without its FORMAT clause (and without semicolons at its end): for callers that choose the format themselves.
    pub fn text_without_format(&self) -> String {
        match self.format_span() {
            Some(span) => {
                let (start, end) = (self.tokens.start(span.start), self.tokens.end(span.end));
                let text = self.statement();
                format!("{} {}", text.get(..start).unwrap_or_default(), text.get(end..).unwrap_or_default())
            }
            None => self.statement().to_owned(),
        }
    }

    /// Logical tables the query reads, each once, in order of appearance. `database` is the caller's
    /// default database.
    pub fn logical_tables(
        &self,
        catalog: &CatalogVersion,
        database: &str,
    ) -> Result<Vec<Arc<TableSnapshot>>, Refusal> {
        let mut out: Vec<Arc<TableSnapshot>> = Vec::new();
        for found in self.logical_refs(catalog, database)? {
            if !out.iter().any(|t| t.logical == found.table.logical) {
                out.push(found.table);
            }
        }
        Ok(out)
    }

    /// Every place where a logical table is read.
    pub(crate) fn logical_refs(
        &self,
        catalog: &CatalogVersion,
        database: &str,
    ) -> Result<Vec<LogicalRef>, Refusal> {
        let mut out = Vec::new();
        for (block, b) in self.blocks.list.iter().enumerate() {
            for (index, source) in b.sources.iter().enumerate() {
                let SourceKind::Table(parts) = &source.kind else { continue };
                let Some(table) = find(catalog, parts, database) else { continue };
                if self.shadowed(parts, block, source.span.start)? {
                    continue;
                }
                out.push(LogicalRef { table, block, source: Some(index), span: source.span.clone() });
            }
        }
        for name in &self.blocks.in_names {
            let parts = self.parts(&name.name);
            let Some(table) = find(catalog, &parts, database) else { continue };
            if self.shadowed(&parts, name.block, name.name.start)? {
                continue;
            }
            let column = parts.last().is_some_and(|p| {
                self.scope.aliases.contains(p) || catalog.tables.iter().any(|t| t.column(p).is_some())
            });
            if name.doubtful || column {
                return Err(ambiguous(
                    &parts,
                    "behind IN it may be a table or an expression; write IN (SELECT …)",
                ));
            }
            out.push(LogicalRef { table, block: name.block, source: None, span: name.name.clone() });
        }
        self.check_bracketed_in(catalog, database)?;
        for name in &self.names {
            if let Some(table) = find(catalog, &self.parts(name), database) {
                out.push(LogicalRef { table, block: 0, source: None, span: name.clone() });
            }
        }
        if out.len() > MAX_REFERENCES {
            let what = format!("more than {MAX_REFERENCES} reads of managed tables in one query");
            return Err(Refusal::Unreadable { at: 0, what });
        }
        out.sort_by_key(|r| r.span.start);
        Ok(out)
    }

    /// `IN (trades)`: the engine drops the brackets.
    fn check_bracketed_in(&self, catalog: &CatalogVersion, database: &str) -> Result<(), Refusal> {
        let t = &self.tokens;
        for i in 0..t.len() {
            if !t.is(i, "IN") || !t.sym(i + 1, "(") {
                continue;
            }
            let mut at = i + 1;
            while t.sym(at, "(") {
                at += 1;
            }
            if t.is_name(at) && t.sym(chain_end(t, at), ")") {
                let parts = self.parts(&(at..chain_end(t, at)));
                if find(catalog, &parts, database).is_some() {
                    return Err(ambiguous(
                        &parts,
                        "in brackets behind IN it may be a table; write IN (SELECT …)",
                    ));
                }
            }
        }
        Ok(())
    }

    pub(crate) fn parts(&self, span: &Span) -> Vec<String> {
        span.clone().step_by(2).map(|i| self.tokens.name(i)).collect()
    }

    /// A common table expression takes the name. One's own body still sees the table.
    fn shadowed(&self, parts: &[String], block: usize, at: usize) -> Result<bool, Refusal> {
        let [name] = parts else { return Ok(false) };
        if !self.blocks.list.iter().any(|b| b.ctes.iter().any(|c| c.name == *name)) {
            return Ok(false);
        }
        let mut own_body = false;
        let mut scope = Some(block);
        while let Some(b) = scope.and_then(|i| self.blocks.list.get(i)) {
            let siblings = b.union_head.and_then(|h| self.blocks.list.get(h));
            for cte in b.ctes.iter().chain(siblings.into_iter().flat_map(|s| &s.ctes)) {
                if cte.name != *name {
                    continue;
                }
                if cte.recursive || !cte.body.contains(&at) {
                    return Ok(true);
                }
                own_body = true;
            }
            scope = b.parent;
        }
        if own_body {
            return Ok(false);
        }
        Err(ambiguous(parts, "a common table expression elsewhere in the query has the same name"))
    }

    /// Names that are neither logical tables nor common table expressions nor the engine's own: views,
    /// dictionaries, other tables. They could reach a managed table unseen. Each with the tokens of its
    /// name, and whether it is read inside an expression.
    pub(crate) fn unmanaged(&self, catalog: &CatalogVersion, database: &str) -> Vec<(Span, bool)> {
        let system = |db: &str| matches!(db.to_ascii_lowercase().as_str(), "system" | "information_schema");
        let cte = |n: &String| self.blocks.list.iter().any(|b| b.ctes.iter().any(|c| c.name == *n));
        let strange = |parts: &[String]| match parts {
            [name] => find(catalog, parts, database).is_none() && !cte(name) && !system(database),
            [db, _] => find(catalog, parts, database).is_none() && !system(db),
            _ => false,
        };
        let mut out = Vec::new();
        for block in &self.blocks.list {
            for source in &block.sources {
                if let SourceKind::Table(parts) = &source.kind
                    && strange(parts)
                {
                    out.push((source.span.clone(), self.in_expression(block)));
                }
            }
        }
        let sources = || self.blocks.list.iter().flat_map(|b| &b.sources);
        for name in self.blocks.in_names.iter().filter(|n| !n.doubtful) {
            let parts = self.parts(&name.name);
            // `x IN t.values` and `x IN alias` are no tables.
            let inner = parts.first().is_some_and(|first| {
                self.scope.aliases.contains(first)
                    || sources().any(|s| matches!(&s.kind, SourceKind::Table(p) if p.last() == Some(first)))
                    || (parts.len() == 1 && catalog.tables.iter().any(|t| t.column(first).is_some()))
            });
            if strange(&parts) && !inner {
                out.push((name.name.clone(), true));
            }
        }
        out
    }

    fn in_expression(&self, block: &Block) -> bool {
        let mut at = Some(block);
        while let Some(b) = at {
            if b.place == Place::Expression {
                return true;
            }
            at = b.parent.and_then(|i| self.blocks.list.get(i));
        }
        false
    }

    /// Names of the settings in SETTINGS clauses, lower case.
    pub(crate) fn settings(&self) -> Vec<String> {
        let t = &self.tokens;
        let clauses = self.blocks.list.iter().filter_map(|b| b.clause(t, Clause::Settings));
        let mut names = Vec::new();
        for span in clauses {
            for item in t.commas(span) {
                names.push(t.name(item.start).to_ascii_lowercase());
            }
        }
        names
    }

    /// A `{name:Identifier}` stands somewhere: a name we cannot see.
    pub(crate) fn has_name_parameter(&self) -> bool {
        let t = &self.tokens;
        (0..t.len())
            .any(|i| t.kind(i) == Some(Kind::Open) && t.at(i) == "{" && t.is(t.mate(i) - 1, "Identifier"))
    }
}

fn ambiguous(parts: &[String], why: &str) -> Refusal {
    Refusal::Ambiguous { name: parts.join("."), why: why.to_owned() }
}

/// The managed table that a name means.
fn find(catalog: &CatalogVersion, parts: &[String], database: &str) -> Option<Arc<TableSnapshot>> {
    let by = |test: &dyn Fn(&TableSnapshot) -> bool| catalog.tables.iter().find(|t| test(t)).cloned();
    match parts {
        [name] => by(&|t| t.logical == *name)
            .or_else(|| by(&|t| t.head.table == *name && t.head.database == database)),
        [db, name] => by(&|t| t.head.table == *name && t.head.database == *db),
        _ => None,
    }
}
