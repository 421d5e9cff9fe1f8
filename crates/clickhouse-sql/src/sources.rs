//! Where tables stand in a statement: behind FROM and JOIN, in lists of both, behind IN and DESCRIBE.
//!
//! By words and brackets alone, so that it holds for every text: what is no table's place is at most
//! taken for one, and judged too strictly.

use crate::{token::Kind, tokens::Tokens};

/// What the next name at one depth of brackets can be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Frame {
    /// A SELECT's clauses other than FROM, or the statement itself.
    Clauses,
    /// Sources, with commas and joins between them.
    From,
    /// Expressions behind ARRAY JOIN, until the next join.
    Unrolled,
    /// Arguments of `in(…)`.
    InCall,
    /// Any other brackets.
    Other,
}

impl Frame {
    /// A text in it is a value, not a table's name.
    fn is_argument(self) -> bool {
        self == Self::InCall
    }
}

/// A name, or a text, in a table's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// First token of the name.
    pub at: usize,
    /// Token behind its last part.
    pub end: usize,
    /// It stands in FROM or JOIN, where a call is a table function's.
    pub in_from: bool,
}

/// Words that end FROM.
pub const CLAUSES: &[&str] = &[
    "SELECT",
    "PREWHERE",
    "WHERE",
    "GROUP",
    "HAVING",
    "WINDOW",
    "QUALIFY",
    "ORDER",
    "LIMIT",
    "OFFSET",
    "FETCH",
    "SETTINGS",
    "FORMAT",
    "UNION",
    "EXCEPT",
    "INTERSECT",
    "INTO",
];
/// IN as a function, in lower case: its second argument may be a table (`system.functions` has all sixteen).
pub const IN_CALLS: &[&str] = &[
    "in",
    "notin",
    "nullin",
    "notnullin",
    "globalin",
    "globalnotin",
    "globalnullin",
    "globalnotnullin",
    "inignoreset",
    "notinignoreset",
    "nullinignoreset",
    "notnullinignoreset",
    "globalinignoreset",
    "globalnotinignoreset",
    "globalnullinignoreset",
    "globalnotnullinignoreset",
];

/// Every name in a table's place.
pub(crate) fn places(t: &Tokens) -> Vec<Place> {
    let mut frames = vec![Frame::Clauses];
    let mut out = Vec::new();
    for i in 0..t.len() {
        let top = frames.last().copied().unwrap_or(Frame::Clauses);
        let place = is_place(t, i, top);
        match t.kind(i) {
            Some(Kind::Open) => frames.push(opened(t, i, top, place)),
            Some(Kind::Close) => {
                frames.pop();
            }
            _ => {
                if let Some(frame) = frames.last_mut() {
                    *frame = behind(t, i, top);
                }
            }
        }
        let Some(in_from) = place else { continue };
        if t.is_name(i) {
            let mut end = i + 1;
            while t.sym(end, ".") && t.is_name(end + 1) {
                end += 2;
            }
            out.push(Place { at: i, end, in_from });
        } else if t.kind(i) == Some(Kind::String) && !t.is(i - 1, "IN") && !top.is_argument() {
            out.push(Place { at: i, end: i + 1, in_from });
        }
    }
    out
}

/// A table may begin at token `i`; whether in FROM.
fn is_place(t: &Tokens, i: usize, top: Frame) -> Option<bool> {
    let before = i.checked_sub(1)?;
    let listed = t.is_any(before, &["FROM", "JOIN"]) || t.sym(before, ",") || t.sym(before, "(");
    if top == Frame::From && listed {
        return Some(true);
    }
    let argument = top == Frame::InCall && (t.sym(before, ",") || t.sym(before, "("));
    (argument || t.is_any(before, &["IN", "TABLE", "DESCRIBE", "DESC", "EXISTS"])).then_some(false)
}

/// The frame that the bracket at `i` opens.
fn opened(t: &Tokens, i: usize, top: Frame, place: Option<bool>) -> Frame {
    if t.is_any(i + 1, &["SELECT", "WITH", "FROM", "EXPLAIN"]) {
        return Frame::Clauses;
    }
    if top == Frame::From && place.is_some() {
        return Frame::From;
    }
    // The engine takes off brackets around a table behind IN.
    let before = i.checked_sub(1).filter(|before| t.is_name(*before) || t.sym(*before, "("));
    let in_call = before.is_some_and(|b| {
        IN_CALLS.contains(&t.name(b).to_ascii_lowercase().as_str()) || (top == Frame::InCall && t.sym(b, "("))
    });
    match t.sym(i + 1, "(") {
        _ if in_call => Frame::InCall,
        true => Frame::Clauses,
        false => Frame::Other,
    }
}

/// What the frame `top` is behind the word at `i`.
fn behind(t: &Tokens, i: usize, top: Frame) -> Frame {
    let Some(before) = i.checked_sub(1) else { return if t.is(i, "FROM") { Frame::From } else { top } };
    if t.sym(before, ".") || t.is(before, "AS") {
        return top;
    }
    match top {
        Frame::Clauses | Frame::From | Frame::Unrolled if t.is(i, "FROM") => {
            let distinct = t.is(before, "DISTINCT") && t.is_any(i.wrapping_sub(2), &["IS", "NOT"]);
            if distinct || t.is(before, "FILL") { top } else { Frame::From }
        }
        Frame::From | Frame::Unrolled if t.is(i, "JOIN") => {
            if t.is(before, "ARRAY") {
                Frame::Unrolled
            } else {
                Frame::From
            }
        }
        // Where an operand is still to come the word is a name: `ON a = limit`.
        Frame::From | Frame::Unrolled if t.is_any(i, CLAUSES) && t.ends_operand(before) => Frame::Clauses,
        _ => top,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(sql: &str) -> Vec<String> {
        let t = Tokens::read(sql).unwrap();
        places(&t).iter().map(|p| t.slice(p.at, p.end).to_owned()).collect()
    }

    #[test]
    fn tables_are_found_by_words_and_brackets() {
        for (sql, found) in [
            ("SELECT a, b FROM x.y AS t, z WHERE c = d", vec!["x.y", "z"]),
            ("SELECT * FROM a JOIN b ON a.x = b.x, c ORDER BY d, e", vec!["a", "b", "c"]),
            ("SELECT * FROM a ARRAY JOIN t AS q, f(u) AS r LEFT JOIN b USING k", vec!["a", "b"]),
            ("SELECT extract(DAY FROM f(x)), trim(BOTH 'a' FROM b) FROM t", vec!["t"]),
            (
                "SELECT 1 FROM (SELECT x, y FROM v UNION ALL SELECT z FROM w), numbers(1)",
                vec!["v", "w", "numbers"],
            ),
            ("SELECT x IN t, in(y, s.u), g(v, w) FROM m", vec!["t", "y", "s.u", "m"]),
            ("SELECT globalNotNullInIgnoreSet(y, s.u) FROM m", vec!["y", "s.u", "m"]),
            ("SELECT 1 FROM t ORDER BY x WITH FILL FROM f(1) TO 2", vec!["t"]),
            ("SELECT a IS NOT DISTINCT FROM b, c FROM t", vec!["t"]),
            ("FROM t SELECT a, b", vec!["t"]),
            (
                "SELECT 1 FROM a AS limit, b JOIN c ON c.x = format, d WHERE settings, e",
                vec!["a", "b", "c", "d"],
            ),
            ("SELECT 1 FROM settings, b", vec!["settings", "b"]),
            ("SELECT in((1, 2), t), a IN ((u)), b IN ('x'), c IN 'y'", vec!["t", "u"]),
            ("SELECT 1 FROM 'a', t JOIN 'b' ON 1", vec!["'a'", "t", "'b'"]),
            ("DESCRIBE TABLE d.t", vec!["TABLE", "d.t"]),
            ("SELECT * FROM ((a JOIN b ON 1), c)", vec!["a", "b", "c"]),
        ] {
            assert_eq!(tables(sql), found, "{sql}");
        }
    }
}
