//! Aggregate calls, and which of them may be computed in pieces.

use clickhouse_sql::{Kind, Tokens};

use crate::{
    TableSnapshot,
    analysis::{
        conjuncts::Reach,
        expression::portable,
        query::{LogicalRef, Query},
        time_literals::Clock,
        types,
    },
    syntax::blocks::Span,
};

/// How a function's pieces add up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// The same in any order, for every type.
    Exact,
    /// Exact for integers and Decimals; the last digits of floating point sums depend on the order.
    ExactUnlessFloat,
    /// The last digits depend on the order.
    Rounding,
}

/// Name, canonical name, class, takes parameters.
type Function = (&'static str, &'static str, Class, bool);

/// Functions whose states may be merged, their canonical names in a state's type, and whether they
/// take parameters.
const FUNCTIONS: &[Function] = &[
    ("count", "count", Class::Exact, false),
    ("sum", "sum", Class::ExactUnlessFloat, false),
    ("avg", "avg", Class::ExactUnlessFloat, false),
    ("min", "min", Class::Exact, false),
    ("max", "max", Class::Exact, false),
    ("argMin", "argMin", Class::Exact, false),
    ("argMax", "argMax", Class::Exact, false),
    ("groupBitAnd", "groupBitAnd", Class::Exact, false),
    ("groupBitOr", "groupBitOr", Class::Exact, false),
    ("groupBitXor", "groupBitXor", Class::Exact, false),
    ("uniqExact", "uniqExact", Class::Exact, false),
    ("groupUniqArray", "groupUniqArray", Class::Exact, false),
    ("quantileExact", "quantileExact", Class::Exact, true),
    ("quantilesExact", "quantilesExact", Class::Exact, true),
    ("medianExact", "quantileExact", Class::Exact, false),
    ("uniq", "uniq", Class::Exact, false),
    ("uniqCombined", "uniqCombined", Class::Exact, false),
    ("uniqCombined64", "uniqCombined64", Class::Exact, false),
    ("uniqHLL12", "uniqHLL12", Class::Exact, false),
    ("stddevPop", "stddevPop", Class::Rounding, false),
    ("stddevSamp", "stddevSamp", Class::Rounding, false),
    ("varPop", "varPop", Class::Rounding, false),
    ("varSamp", "varSamp", Class::Rounding, false),
];

/// An aggregate call as each tier computes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    /// `sumIfState(`price`, toUInt8(…))`.
    pub call: String,
    /// `sumIfMerge`, with parameters if there are any: `quantileExactMerge(0.9)`.
    pub merge: String,
    /// `AggregateFunction(sumIf, Decimal(18, 8), UInt8)`.
    pub data_type: String,
}

/// An aggregate function's name, apart from `If`.
fn known(name: &str) -> Option<(&'static Function, bool)> {
    let plain = FUNCTIONS.iter().find(|f| f.0 == name).map(|f| (f, false));
    plain.or_else(|| {
        let base = name.strip_suffix("If")?;
        FUNCTIONS.iter().find(|f| f.0 == base).map(|f| (f, true))
    })
}

/// Token `i` is the name of a call of an aggregate function that may be merged.
pub(crate) fn is_aggregate(t: &Tokens, i: usize) -> bool {
    t.kind(i) == Some(Kind::Word) && t.sym(i + 1, "(") && known(t.at(i)).is_some()
}

/// End of the call at `i`: `f(…)` or `f(…)(…)`.
pub(crate) fn call_end(t: &Tokens, i: usize) -> usize {
    let first = t.mate(i + 1) + 1;
    if t.sym(first, "(") { t.mate(first) + 1 } else { first }
}

/// The state of the call at token `i`, or why there is none.
pub(crate) fn state(
    query: &Query,
    r: &LogicalRef,
    i: usize,
    clock: Clock<'_>,
    allow_float: bool,
) -> Result<State, String> {
    let t = &query.tokens;
    let name = t.at(i);
    let Some((&(_, canonical, class, parametric), with_if)) = known(name) else {
        return Err(format!("{name} is not known to merge exactly"));
    };
    let first_end = t.mate(i + 1);
    let second = t.sym(first_end + 1, "(");
    let parameters = if second { parameters(t, i + 2..first_end)? } else { String::new() };
    if second != parametric && (second || name.starts_with("quantiles")) {
        return Err(format!("the parameters of {name}"));
    }
    let open = if second { first_end + 1 } else { i + 1 };
    let mut spans = t.commas(open + 1..t.mate(open));
    if canonical == "count" && spans.len() == 1 && spans.iter().all(|s| s.len() == 1 && t.sym(s.start, "*")) {
        spans.clear();
    }
    let mut args = Vec::new();
    let mut arg_types = Vec::new();
    let last = spans.len().saturating_sub(1);
    for (n, span) in spans.into_iter().enumerate() {
        let (text, data_type) = argument(query, r, span, clock, with_if && n == last)?;
        let is_condition = with_if && n == last;
        let float = !is_condition && types::is_float(&data_type);
        let rounding = class == Class::Rounding || (class == Class::ExactUnlessFloat && float);
        if rounding && !allow_float {
            return Err(format!("{name} of floating point numbers depends on their order"));
        }
        let exact = float || types::is_integer(&data_type) || types::decimal(&data_type).is_some();
        if class == Class::ExactUnlessFloat && !is_condition && !exact {
            return Err(format!("{name} of {data_type}"));
        }
        args.push(text);
        arg_types.push(data_type);
    }
    let suffix = if with_if { "If" } else { "" };
    let head = format!("{canonical}{suffix}{parameters}");
    let types: String = arg_types.iter().map(|t| format!(", {t}")).collect();
    Ok(State {
        call: format!("{canonical}{suffix}State{parameters}({})", args.join(", ")),
        merge: format!("{canonical}{suffix}Merge{parameters}"),
        data_type: format!("AggregateFunction({head}{types})"),
    })
}

/// `(0.5, 0.9)`: numbers that print as they are written.
fn parameters(t: &Tokens, span: Span) -> Result<String, String> {
    let mut out = Vec::new();
    for item in t.commas(span) {
        let text = t.slice(item.start, item.end);
        let canonical = text.parse::<f64>().is_ok_and(|n| n.to_string() == text);
        if item.len() != 1 || !canonical {
            return Err(format!("the parameter {text:.40}"));
        }
        out.push(text);
    }
    Ok(format!("({})", out.join(", ")))
}

/// An argument's text and type, as an aggregate function sees it.
fn argument(
    query: &Query,
    r: &LogicalRef,
    span: Span,
    clock: Clock<'_>,
    condition: bool,
) -> Result<(String, String), String> {
    let t = &query.tokens;
    let shown = t.slice(span.start, span.end).chars().take(60).collect::<String>();
    let reach = Reach { qualified_only: false, time_only: false };
    if t.is(span.start, "DISTINCT") {
        return Err("DISTINCT in an aggregate".into());
    }
    let Some(text) = portable(query, r, reach, span.clone(), clock) else {
        return Err(format!("{shown} is not known to mean the same in both tiers"));
    };
    if condition {
        let nullable = |name: &String| is_nullable(&r.table, name);
        if text.columns.is_empty() || text.columns.iter().any(nullable) {
            return Err(format!("the condition {shown} may be NULL or constant"));
        }
        return Ok((format!("toUInt8({})", text.text), "UInt8".into()));
    }
    let data_type =
        types::type_of(t, &r.table, span).ok_or_else(|| format!("the type of {shown} is not known"))?;
    if text.columns.is_empty() {
        return Err(format!("{shown} is constant"));
    }
    Ok((text.text, types::full(&data_type).to_owned()))
}

fn is_nullable(table: &TableSnapshot, name: &str) -> bool {
    table.column(name).is_none_or(|c| c.data_type.contains("Nullable("))
}
