//! What names can mean in a query, read conservatively: everything that could define a name counts
//! as defining it, everything that could be a column counts as one.

use std::collections::HashSet;

use clickhouse_sql::{Kind, Tokens};
use storage_types::Column;

use crate::syntax::blocks::Blocks;

/// Parameters of one lambda that are looked at.
const MAX_PARAMETERS: usize = 16;

/// Names defined and used anywhere in a query.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scope {
    /// Names that some alias or lambda defines (an alias that only repeats its column is not one).
    pub aliases: HashSet<String>,
    /// Every name that occurs.
    names: HashSet<String>,
    /// Some expression takes all columns, or columns by pattern.
    pub all_columns: bool,
}

impl Scope {
    pub fn read(t: &Tokens, blocks: &Blocks) -> Self {
        let mut scope = Self::default();
        for i in 0..t.len() {
            match t.kind(i) {
                Some(Kind::Word | Kind::Quoted) => {
                    scope.names.insert(t.name(i));
                    if defines(t, i) {
                        scope.aliases.insert(t.name(i));
                    }
                    let pattern = t.is_any(i, &["COLUMNS", "getSubcolumn"]) && t.sym(i + 1, "(");
                    scope.all_columns |= pattern || t.is(i, "NATURAL");
                }
                Some(Kind::Symbol) if t.sym(i, "*") && is_asterisk(t, i) => scope.all_columns = true,
                _ => {}
            }
        }
        scope.all_columns |= blocks.list.iter().flat_map(|b| &b.sources).any(|s| s.renamed_columns);
        scope
    }

    /// The query may use this column.
    pub fn uses(&self, column: &Column) -> bool {
        let head = column.name.split('.').next().unwrap_or_default();
        self.all_columns || self.names.contains(&column.name) || self.names.contains(head)
    }
}

/// The name at `i` stands where an alias or a lambda's parameter stands.
fn defines(t: &Tokens, i: usize) -> bool {
    let Some(before) = i.checked_sub(1) else { return false };
    if t.is(before, "AS") {
        return !repeats_column(t, i);
    }
    if t.sym(i + 1, "->") {
        return true;
    }
    // A list of lambda parameters: `(x, y) ->`.
    let mut close = i + 1;
    while t.sym(close, ",") && t.is_name(close + 1) && close < i + 2 * MAX_PARAMETERS {
        close += 2;
    }
    if t.sym(close, ")") && t.sym(close + 1, "->") {
        return true;
    }
    t.ends_operand(before)
}

/// `SELECT ts AS ts`: the alias means the column.
fn repeats_column(t: &Tokens, i: usize) -> bool {
    let item_starts = i >= 3 && (t.sym(i - 3, ",") || t.is_any(i - 3, &["SELECT", "DISTINCT"]));
    item_starts && t.is_name(i - 2) && t.name(i - 2) == t.name(i)
}

/// `*` that stands for columns, not for a multiplication. `count(*)` needs none.
fn is_asterisk(t: &Tokens, i: usize) -> bool {
    let before = i.checked_sub(1);
    let counts = t.sym(i + 1, ")") && i >= 2 && t.sym(i - 1, "(") && t.is(i - 2, "count");
    if counts {
        return false;
    }
    let left = before.is_some_and(|b| t.ends_operand(b));
    let right = match t.kind(i + 1) {
        Some(Kind::Quoted | Kind::String | Kind::Number | Kind::Open) => true,
        Some(Kind::Word) => !t.is_any(
            i + 1,
            &["FROM", "EXCEPT", "APPLY", "REPLACE", "WHERE", "LIMIT", "UNION", "ORDER", "SETTINGS"],
        ),
        _ => t.sym(i + 1, "-") || t.sym(i + 1, "+") || t.sym(i + 1, "."),
    };
    !(left && right)
}

/// The alias at the end of an item of a SELECT list: its token, and the token behind the expression.
pub(crate) fn item_alias(t: &Tokens, span: &std::ops::Range<usize>) -> Option<(usize, usize)> {
    const NO_ALIAS: &[&str] = &[
        "END", "NULL", "TRUE", "FALSE", "SECOND", "MINUTE", "HOUR", "DAY", "WEEK", "MONTH", "QUARTER",
        "YEAR", "SECONDS", "MINUTES", "HOURS", "DAYS", "WEEKS", "MONTHS", "QUARTERS", "YEARS",
    ];
    let last = span.end.checked_sub(1).filter(|last| *last > span.start && t.is_name(*last))?;
    if t.is(last - 1, "AS") {
        return Some((last, last - 1));
    }
    (t.ends_operand(last - 1) && !t.is_any(last, NO_ALIAS)).then_some((last, last))
}

/// Whether the tokens call any function for which `test` holds; the name comes in lower case.
pub(crate) fn calls(t: &Tokens, span: std::ops::Range<usize>, test: impl Fn(&str) -> bool) -> bool {
    span.into_iter().any(|i| t.is_name(i) && t.sym(i + 1, "(") && test(&t.name(i).to_ascii_lowercase()))
}
