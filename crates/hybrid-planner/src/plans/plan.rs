//! What the planner answers with: SQL texts, and where the cold streams go into them.

use storage_types::TimeRange;

use crate::{CatalogVersion, Query};

/// The question put to [`crate::plan`].
#[derive(Debug, Clone, Copy)]
pub struct PlanRequest<'a> {
    /// The query, read.
    pub query: &'a Query,
    /// The catalog snapshot the caller has leased.
    pub catalog: &'a CatalogVersion,
    /// Answer of the hot engine to [`Query::explain_sql`], when [`Query::needs_explain`] asked for it.
    pub explain: Option<&'a str>,
    /// The caller's default database on the hot engine (`default` when not chosen).
    pub database: &'a str,
    /// Effective time zone of the caller's session on the hot engine, e.g. `UTC`. Cold arms must run
    /// with it as `session_timezone`.
    pub timezone: &'a str,
    /// The moment of `now()`, in nanoseconds since the Unix epoch.
    pub now_unix_ns: i64,
    /// The partial plan may be chosen.
    pub allow_partial: bool,
    /// Sums of floating point numbers may be partial too (they differ in the last digits, as they do
    /// between two values of `max_threads`).
    pub allow_float: bool,
}

/// How a query is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// No logical table is read: the caller's text goes to the hot engine as it is.
    Passthrough,
    /// Hot rows only: run `sql` on the hot engine.
    Hot {
        /// The caller's text with logical names resolved.
        sql: String,
        /// Logical tables it reads.
        tables: Vec<String>,
        /// Rows of the head are left out by their block numbers: projections must not be read for it.
        hides: bool,
    },
    /// Cold rows are needed.
    Hybrid {
        /// Raw rows, or states, come over the link.
        kind: PlanKind,
        /// Statement for the hot engine, with a hole for each cold arm; see [`Plan::render`].
        sql_template: Template,
        /// The cold reads; each fills one hole.
        arms: Vec<ColdScan>,
        /// Whether hot rows may be in the answer.
        route: Route,
        /// Why raw rows come over although states were allowed.
        why_not_partial: Option<String>,
        /// Logical tables it reads.
        tables: Vec<String>,
    },
}

/// Shape of a hybrid plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanKind {
    /// Rows come over; the caller's text runs on top of them.
    Union,
    /// Aggregate states come over; the hot engine merges them.
    Partial,
}

/// Where the rows of an answer come from, as far as the catalog tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// The whole range asked for lies within cold batches (the head is still asked for late rows).
    Cold,
    /// Both.
    Hybrid,
}

/// One read of a cold table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColdScan {
    /// A complete SELECT for the gateway, without FORMAT.
    pub sql: String,
    /// What it returns, as `url()` wants it: `` `name` Type, … ``.
    pub structure: String,
    /// Batches it may read.
    pub batches: u64,
    /// Time range of the rows it may read: asked for, and in batches.
    pub range: TimeRange,
    /// Logical table.
    pub logical: String,
}

/// A statement with holes for cold arms.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Template {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Arm(usize),
}

impl Template {
    /// Appends text.
    pub(crate) fn text(&mut self, text: &str) {
        if let Some(Piece::Text(last)) = self.pieces.last_mut() {
            last.push_str(text);
        } else {
            self.pieces.push(Piece::Text(text.to_owned()));
        }
    }

    /// Appends the hole of arm `index`.
    pub(crate) fn arm(&mut self, index: usize) {
        self.pieces.push(Piece::Arm(index));
    }

    /// Appends another template.
    pub(crate) fn append(&mut self, other: Self) {
        for piece in other.pieces {
            match piece {
                Piece::Text(text) => self.text(&text),
                Piece::Arm(index) => self.arm(index),
            }
        }
    }

    /// Its text, when it has no holes.
    pub(crate) fn plain(&self) -> String {
        self.render(|_| String::new())
    }

    fn render(&self, arm: impl Fn(usize) -> String) -> String {
        let mut out = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Arm(index) => out.push_str(&arm(*index)),
            }
        }
        out
    }
}

impl Plan {
    /// The statement for the hot engine. `arm_source` gives what stands behind FROM for a cold arm,
    /// e.g. `url('http://…', 'Native', 'structure')`, or the arm's own SQL in parentheses when
    /// both tables are in one engine. `None` for [`Plan::Passthrough`]: run the caller's text.
    pub fn render(&self, arm_source: impl Fn(usize, &ColdScan) -> String) -> Option<String> {
        match self {
            Self::Passthrough => None,
            Self::Hot { sql, .. } => Some(sql.clone()),
            Self::Hybrid { sql_template, arms, .. } => {
                Some(sql_template.render(|i| arms.get(i).map(|arm| arm_source(i, arm)).unwrap_or_default()))
            }
        }
    }
}
