//! What a reader may not write, wherever in a statement it stands: functions that reach outside, settings
//! that are not harmless, files.
//!
//! An engine that is asked with `readonly=1` refuses most of it by itself; not scalar `file()`, and not,
//! before 26.7.6, what a nested `SETTINGS readonly = 0` lets in. Names are judged as the engine resolves
//! them, strings and comments not at all: every setting that would make SQL of a string is refused.
//! Where the text could be read in two ways it is judged by the worse.

use crate::{Kind, Refused, Tokens, outside, settings, sources};

/// Holds a statement against everything below.
///
/// # Errors
/// The first thing in it that a reader may not write.
pub fn check(t: &Tokens) -> Result<(), Refused> {
    functions(t)?;
    tables(t)?;
    files(t)?;
    chosen_settings(t)
}

/// Refuses calls of functions that reach outside. A function's name is also a value where functions
/// are handed to others (`arrayMap(file, …)`, `APPLY file`): a text that does so anywhere may not hold
/// the bare name of such a scalar function, unless it is plainly a column's (`t.file`) or an alias
/// (`AS file`).
///
/// # Errors
/// [`Refused::Function`].
pub fn functions(t: &Tokens) -> Result<(), Refused> {
    let mut bare = None;
    for i in (0..t.len()).filter(|i| t.is_name(*i)) {
        let name = t.name(i);
        if t.sym(i + 1, "(") && outside::is_outside(&name) {
            return Err(Refused::Function(name));
        }
        let plain = i > 0 && (t.sym(i - 1, ".") || t.is(i - 1, "AS"));
        if bare.is_none() && !plain && outside::is_outside_scalar(&name) {
            bare = Some(name);
        }
    }
    match bare {
        Some(name) if (0..t.len()).any(|i| hands_on(t, i)) => Err(Refused::Function(name)),
        _ => Ok(()),
    }
}

/// A function is handed to another at token `i`. By name only `array…` and `map…` functions take one,
/// and of those not the ones that build, unroll or index.
fn hands_on(t: &Tokens, i: usize) -> bool {
    let higher = || {
        let name = t.name(i).to_ascii_lowercase();
        let plain = matches!(name.as_str(), "array" | "arrayelement" | "arrayjoin" | "map");
        !plain && (name.starts_with("array") || name.starts_with("map"))
    };
    t.is(i, "APPLY") || t.sym(i, "->") || (t.is_name(i) && t.sym(i + 1, "(") && higher())
}

/// Refuses tables that are none: table functions that are not known to be harmless, and names that an
/// engine which is no server opens as files (``FROM `/etc/passwd` ``, `FROM 'x.csv'`).
///
/// # Errors
/// [`Refused::TableFunction`], [`Refused::File`].
pub fn tables(t: &Tokens) -> Result<(), Refused> {
    for place in sources::places(t) {
        let name = t.name(place.end - 1);
        if place.in_from && t.sym(place.end, "(") && !outside::is_harmless_table_function(&name) {
            return Err(Refused::TableFunction(name.chars().take(60).collect()));
        }
        let path = |i: usize| t.kind(i) == Some(Kind::Quoted) && t.name(i).contains(['/', '*', '?', '{']);
        if t.kind(place.at) == Some(Kind::String) || (place.at..place.end).any(path) {
            return Err(Refused::File("a table whose name is a path"));
        }
    }
    Ok(())
}

/// Refuses `INTO OUTFILE` and `FROM INFILE`.
///
/// # Errors
/// [`Refused::IntoOutfile`], [`Refused::File`].
pub fn files(t: &Tokens) -> Result<(), Refused> {
    for i in 1..t.len() {
        if t.is(i, "OUTFILE") && t.is(i - 1, "INTO") {
            return Err(Refused::IntoOutfile);
        }
        if t.is(i, "INFILE") && t.is(i - 1, "FROM") {
            return Err(Refused::File("FROM INFILE"));
        }
    }
    Ok(())
}

/// Words that may follow a column called `settings`.
const BEHIND_A_COLUMN: &[&str] = &[
    "ALL",
    "AND",
    "ANTI",
    "ANY",
    "ARRAY",
    "AS",
    "ASC",
    "ASOF",
    "CROSS",
    "PASTE",
    "SAMPLE",
    "SEMI",
    "BETWEEN",
    "COLLATE",
    "DESC",
    "DIV",
    "EXCEPT",
    "FETCH",
    "FINAL",
    "FORMAT",
    "FROM",
    "FULL",
    "GLOBAL",
    "GROUP",
    "HAVING",
    "ILIKE",
    "IN",
    "INNER",
    "INTERSECT",
    "INTO",
    "IS",
    "JOIN",
    "LEFT",
    "LIKE",
    "LIMIT",
    "MOD",
    "NOT",
    "NULLS",
    "OFFSET",
    "ON",
    "OR",
    "ORDER",
    "PREWHERE",
    "QUALIFY",
    "REGEXP",
    "RIGHT",
    "SELECT",
    "SETTINGS",
    "THEN",
    "ELSE",
    "END",
    "WHEN",
    "UNION",
    "USING",
    "WHERE",
    "WINDOW",
    "WITH",
    "XOR",
];

/// Refuses settings that are not harmless, in every SETTINGS clause of the text, in brackets or not.
///
/// # Errors
/// [`Refused::Setting`].
pub fn chosen_settings(t: &Tokens) -> Result<(), Refused> {
    for i in (0..t.len()).filter(|i| t.is(*i, "SETTINGS")) {
        let mut at = i + 1;
        // `SETTINGS a = 1, b` (a Boolean needs no value) up to the first thing that is no setting.
        while is_setting(t, at) {
            let mut end = at + 1;
            while t.sym(end, ".") && t.is_name(end + 1) {
                end += 2;
            }
            let name: Vec<String> = (at..end).step_by(2).map(|part| t.name(part)).collect();
            if !settings::is_harmless(&name.join(".")) {
                return Err(Refused::Setting(name.join(".").chars().take(60).collect()));
            }
            let Some(comma) = (end..t.len()).take_while(|j| !ends_list(t, *j)).find(|j| t.sym(*j, ","))
            else {
                break;
            };
            at = comma + 1;
        }
    }
    Ok(())
}

/// A setting's name stands at `i`, or what may be one.
fn is_setting(t: &Tokens, i: usize) -> bool {
    let assigned = t.sym(i + 1, "=") || t.sym(i + 1, "==") || t.sym(i + 1, ".");
    t.is_name(i) && (assigned || !t.is_any(i, BEHIND_A_COLUMN)) || t.sym(i, "{")
}

/// No value of a setting goes on behind token `i`.
fn ends_list(t: &Tokens, i: usize) -> bool {
    t.sym(i, ")") || t.is_any(i, &["FORMAT", "UNION", "EXCEPT", "INTERSECT", "SELECT", "FROM", "SETTINGS"])
}
