//! The lexer against a real engine: what ours calls a token, the engine's parser takes for one.
//!
//! ClickHouse shows no tokens, but it formats a text (`formatQuerySingleLineOrNull`). So for each text
//! it is asked for the format of the text itself, and
//!
//! - of our tokens with a space, and with a newline, between each two, comments dropped: that must be the
//!   same, or ours cut something in two that is one;
//! - of the text with a space put *into* each of our tokens, at every byte: that must differ, or the engine
//!   had a boundary where we have none.
//!
//! What we cannot read the engine must not be able to read either. Texts go as hex, so that any byte can
//! be in them.

#![allow(clippy::unwrap_used, clippy::panic)] // A panic here is a failed test.

#[allow(dead_code)] // Not every includer uses all of it.
mod engine;

use std::fmt::Write;

use clickhouse_sql::{Kind, Token, outside, settings, tokenize};
use engine::Engine;

const TEXTS: &[&[u8]] = &[
    b"SELECT a, b FROM t WHERE c = 1",
    // Comments.
    b"SELECT 1 -- x\n, 2",
    b"SELECT 1 --x' \n, 2 -- '",
    b"SELECT 1 // x\n, 2",
    b"SELECT 1 # x\n, 2",
    b"SELECT 1 #! x\n, 2",
    b"SELECT 1 #x\n, 2",
    b"SELECT 1 #\n, 2",
    b"SELECT 1 #\t x\n, 2",
    b"SELECT 1 /* x */, 2",
    b"SELECT 1 /* x /* y */ z */, 2",
    b"SELECT 1 /* x /* y */ , 2",
    b"SELECT 1 /*/ x */, 2",
    b"SELECT 1 /**/ + /*'*/ 2 /*'*/",
    b"SELECT 1 - -1, 1 - /* */ - 1",
    b"SELECT 1--1",
    b"SELECT 1//2",
    b"SELECT 1 / /* */ / 2",
    b"SELECT 1 -- x\r, 2",
    b"SELECT 1 -- last",
    // Heredocs and dollars.
    b"SELECT $$ it's $$, 2",
    b"SELECT $x$ $$ ' $x$, 2",
    b"SELECT $x$ $y$ $x$, 1 AS y",
    b"SELECT $a b$ ' $a b$, 2",
    b"SELECT $$$$, $x$$x$",
    b"SELECT a$x$, b$x$ FROM t",
    b"SELECT $x FROM t",
    b"SELECT $x, $y FROM t",
    b"SELECT $1 FROM t",
    b"SELECT $ FROM t",
    b"SELECT 1$x$ 2$x$",
    b"SELECT a$, $b FROM t",
    b"SELECT $x$ open",
    // Numbers.
    b"SELECT 1, 10, 1.5, 1., .5, 0.5e3, 1e5, 1E-5, 1e+5, 1.e5, .5e-3",
    b"SELECT 1_000, 1_000_000.5, 1_0e1_0",
    b"SELECT 1__0 FROM t",
    b"SELECT 1_ FROM t",
    b"SELECT 0x1F, 0X1f, 0x1F.8, 0x1F.8p3, 0x1p-3, 0b101, 0B11",
    b"SELECT 0x FROM t",
    b"SELECT 0xg FROM t",
    b"SELECT 0b2 FROM t",
    b"SELECT 0b12 FROM t",
    b"SELECT 0x_1 FROM t",
    b"SELECT 1e5e + x FROM t",
    b"SELECT 1e5e+file(1) FROM t",
    b"SELECT 1e5+file(1) FROM t",
    b"SELECT 1e+x FROM t",
    b"SELECT 1e+",
    b"SELECT 1e",
    b"SELECT 1e ",
    b"SELECT 1ex FROM t",
    b"SELECT 1.5x FROM t",
    b"SELECT 1.5e5e+2 FROM t",
    b"SELECT 24h_volume, 1a FROM 2t",
    b"SELECT 1 a, 1AS b, 1.AS c FROM t",
    b"SELECT t.1, t.1.2, t . 1 . 2, (1, 2).1, [t][1].2, tuple(1).1.1, `t`.1",
    b"SELECT t.1e+2 FROM t",
    b"SELECT t.1e2 FROM t",
    b"SELECT t .5, a.b.c, a . b",
    b"SELECT a /* x */ .5 FROM t",
    b"SELECT 1.1.1",
    b"SELECT 1..5",
    b"SELECT 1 .5",
    b"SELECT 'a'.5",
    b"SELECT -.5, +.5, (.5), [.5, .5], a=.5, x<.5",
    b"SELECT 0x1.FFp, 1",
    b"SELECT 0_1, 00, 007",
    b"SELECT inf, nan, -inf, +1",
    b".5",
    b".",
    // Quotes and escapes.
    br"SELECT 'it\'s', 'it''s', '\\', '', ''''",
    br"SELECT 'a\', ' , 1 -- '",
    br#"SELECT `a b`, "a b", `a``b`, "a""b", `a\`b`, "a\"b""#,
    br"SELECT `\x66ile`(1), '\x66\n\t\0\N\b\d\%\/'",
    br#"SELECT "fi\x6ce"(1), `\x74imestamp` FROM t"#,
    br"SELECT 'a' 'b'",
    br"SELECT 'open",
    br"SELECT 'open\'",
    br"SELECT `open",
    b"SELECT 'a\nb', 1",
    b"SELECT x'AF', X'af', b'0101', B'1', x''",
    b"SELECT x'AG'",
    b"SELECT b'12'",
    br"SELECT x'\' , file('a') -- '",
    b"SELECT x 'AF', n'a'",
    b"SELECT xx'AF'",
    b"SELECT x'",
    b"SELECT ``",
    b"SELECT 1 AS `select`, 2 AS \"from\"",
    // Beyond ASCII.
    "SELECT ‘a’, ‘it's’ AS “b c”".as_bytes(),
    "SELECT ‘a\\’, 1".as_bytes(),
    "SELECT ‘a‘’ FROM t".as_bytes(),
    "SELECT ’a’".as_bytes(),
    "SELECT ‘open".as_bytes(),
    "SELECT “a`b” FROM t".as_bytes(),
    "SELECT ‘’".as_bytes(),
    "SELECT 3 \u{2212} 1, \u{2212}1".as_bytes(),
    "SELECT 1\u{2212}\u{2212}1".as_bytes(),
    "SELECT\u{a0}1,\u{2003}2\u{3000},\u{feff}3,\u{200b}4,\u{2060}5,\u{85}6,\u{180e}7,\u{202f}8,\u{205f}9"
        .as_bytes(),
    "SELECT 1\u{2028},\u{2029}2, \u{200e}3".as_bytes(),
    "\u{feff}SELECT 1".as_bytes(),
    "SELECT é FROM t".as_bytes(),
    "SELECT `é`, 'é' FROM t -- é".as_bytes(),
    "SELECT 1 — 2".as_bytes(),
    "SELECT a\u{301} FROM t".as_bytes(),
    // Bytes that are no text.
    b"SELECT 'a\0b', 1",
    b"SELECT 1\0",
    b"SELECT 1\0, 2",
    b"SELECT 1 -- \0\n, 2",
    b"SELECT '\xff\xfe', 1",
    b"SELECT `\xff` FROM t",
    b"SELECT \xff FROM t",
    b"SELECT 1 /* \xff */",
    b"SELECT \xe2\x80 FROM t",
    b"SELECT 1 \xe2",
    b"SELECT 1 \xe2\x88",
    b"SELECT 1 \x01",
    b"SELECT 1 \x7f",
    b"SELECT\t1\r,\n2\x0b,\x0c3",
    // Operators.
    b"SELECT a::Date, a :: Date, a::Array(UInt8), b::Int8::String",
    b"SELECT arrayMap(x -> x + 1, a), (x, y) -> x",
    b"SELECT a <=> b, a <= b, a >= b, a != b, a <> b, a == b, a = b, a < b, a > b",
    b"SELECT a < = b",
    b"SELECT a <= > b",
    b"SELECT a || b || 'c', a | b",
    b"SELECT @@version",
    b"SELECT @@ version",
    b"SELECT @a",
    b"SELECT a ? b : c",
    b"SELECT a?b:c, [1,2,3][1]",
    b"SELECT {p:UInt8}, {q : String} FROM {t:Identifier}",
    b"SELECT a % b, a ^ b, a & b, ~a",
    b"SELECT a && b",
    b"SELECT !a",
    b"SELECT a! = b",
    b"SELECT a := 1",
    b"SELECT a => 1",
    b"SELECT f(a => 1)",
    b"SELECT a |> b",
    b"FROM t |> WHERE a",
    b"SELECT a << 1",
    b"SELECT 1\\G",
    b"SELECT 1 \\ G",
    b"SELECT \\a",
    b"SELECT * EXCEPT (a), t.*, COLUMNS('a') APPLY(x -> x)",
    b"SELECT 1;",
    b"SELECT 1; SELECT 2",
    b"SELECT map('a', 1)['a'], {'a': 1}, {}",
    b"SELECT a.^b, j.:Int64, j.a[].b FROM t",
    b"SELECT 1 SETTINGS max_threads=2, `max_block_size`=3 FORMAT Null",
    b"SELECT INTERVAL 1 DAY, DATE '2026-01-01', CASE WHEN 1 THEN 2 END",
    b"",
    b" ",
    b"-- nothing",
];

/// Pieces of which texts are made at random.
const PIECES: &[&str] = &[
    "1", "0x1F", "1e", "5", ".", "..", ".5", "_", "e", "+", "-", "--\n", "//\n", "# \n", "/*", "*/", "/**/",
    "$", "$x$", "$$", "'", "''", "\\", "`", "\"", "a", "file", "x'", "b'1'", "x", "(", ")", "[", "]", ",",
    "=", "<", ">", ":", "::", "?", "->", "|", "||", "@@", "!=", "%", "*", " ", "\n", "\t", "‘", "’", "“",
    "”", "\u{2212}", "\u{a0}", "é", "1_0", "p", "t.1", "AS b", "::Int8", "^", "{", "}", "0b1", "E-3",
    "\\x66", "'a'", "`a`", "f(1)",
];

fn hex(text: &[u8]) -> String {
    text.iter().fold(String::new(), |mut out, byte| {
        write!(out, "{byte:02x}").unwrap();
        out
    })
}

/// The engine's format of each text; `None` for what it cannot parse.
fn formats(engine: &Engine, texts: &[Vec<u8>]) -> Vec<Option<String>> {
    let mut out = Vec::new();
    for some in texts.chunks(500) {
        let list: Vec<String> = some.iter().map(|text| format!("'{}'", hex(text))).collect();
        let sql = format!(
            "SELECT arrayJoin([{}]) AS t, ifNull(hex(formatQuerySingleLineOrNull(unhex(t))), 'none') FORMAT TSV",
            list.join(", ")
        );
        let answer = engine.run(&sql, "").unwrap_or_else(|e| panic!("{e}"));
        let lines: Vec<Option<String>> = answer
            .lines()
            .map(|line| line.split_once('\t').unwrap().1.to_owned())
            .map(|format| (format != "none").then_some(format))
            .collect();
        assert_eq!(lines.len(), some.len());
        out.extend(lines);
    }
    out
}

/// A format in hex without its blanks: a parameter (`{p:UInt8}`) keeps those of the text.
fn unspaced(format: Option<String>) -> Option<String> {
    let blank = |byte: &&[u8]| matches!(*byte, b"20" | b"0A");
    let kept =
        |format: String| format.as_bytes().chunks(2).filter(|b| !blank(b)).flatten().copied().collect();
    format.map(kept).map(|bytes: Vec<u8>| String::from_utf8(bytes).unwrap())
}

fn significant(tokens: &[Token]) -> impl Iterator<Item = &Token> {
    tokens.iter().filter(|t| !matches!(t.kind, Kind::Space | Kind::Comment))
}

/// What the engine is asked about one text: the text, its tokens apart, and each cut inside a token.
struct Case {
    text: Vec<u8>,
    apart: Option<[Vec<u8>; 2]>,
    cuts: Vec<Vec<u8>>,
}

impl Case {
    fn of(text: &[u8]) -> Self {
        let Ok(tokens) = tokenize(text) else {
            return Self { text: text.to_vec(), apart: None, cuts: Vec::new() };
        };
        let mut pieces: Vec<&[u8]> = significant(&tokens).map(|t| &text[t.start..t.end]).collect();
        // Whether something stands behind the last one matters: `1e` is a word at the end of a text.
        if tokens.last().is_some_and(|t| matches!(t.kind, Kind::Space | Kind::Comment)) {
            pieces.push(b"");
        }
        let cut = |at: usize| [&text[..at], b" ", &text[at..]].concat();
        Self {
            text: text.to_vec(),
            apart: Some([pieces.join(&b' '), pieces.join(&b'\n')]),
            cuts: significant(&tokens).flat_map(|t| t.start + 1..t.end).map(cut).collect(),
        }
    }
}

/// Where the engine reads the texts differently from us.
fn differences(engine: &Engine, texts: &[Vec<u8>]) -> (Vec<String>, usize) {
    let cases: Vec<Case> = texts.iter().map(|text| Case::of(text)).collect();
    let asked: Vec<Vec<u8>> = cases
        .iter()
        .flat_map(|c| [&c.text].into_iter().chain(c.apart.iter().flatten()).chain(&c.cuts).cloned())
        .collect();
    let mut answers = formats(engine, &asked).into_iter();
    let (mut wrong, mut parsed) = (Vec::new(), 0);
    for case in cases {
        let shown = String::from_utf8_lossy(&case.text).into_owned();
        let whole = answers.next().unwrap();
        parsed += usize::from(whole.is_some());
        if case.apart.is_none() && whole.is_some() {
            wrong.push(format!("we cannot read {shown:?}, the engine can"));
        }
        for apart in case.apart.iter().flatten() {
            if unspaced(answers.next().unwrap()) != unspaced(whole.clone()) {
                wrong.push(format!("{shown:?} is not {:?}", String::from_utf8_lossy(apart)));
            }
        }
        for cut in &case.cuts {
            let answer = answers.next().unwrap();
            if whole.is_some() && answer == whole {
                wrong.push(format!("{shown:?} is also {:?}", String::from_utf8_lossy(cut)));
            }
        }
    }
    (wrong, parsed)
}

#[test]
fn tokens_end_where_the_engines_end() {
    let engine = Engine::start();
    let texts: Vec<Vec<u8>> = TEXTS.iter().map(|text| text.to_vec()).collect();
    let (mut wrong, parsed) = differences(&engine, &texts);
    assert!(parsed > 60, "{parsed} texts of the list are SQL at all");

    // Texts put together at random, the same ones each time.
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % below as u64).unwrap()
    };
    let texts: Vec<Vec<u8>> = (0..6000)
        .map(|_| {
            let pieces: String = (0..1 + random(5)).map(|_| PIECES[random(PIECES.len())]).collect();
            format!("SELECT {pieces}").into_bytes()
        })
        .collect();
    let (more, parsed) = differences(&engine, &texts);
    assert!(parsed > 500, "{parsed} random texts are SQL at all");
    wrong.extend(more);
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}

/// Every function of the engine that is told apart by name has its place in our lists, so that a new
/// version's cannot come in unseen.
#[test]
fn the_engines_own_lists_hold_nothing_we_have_not_judged() {
    let engine = Engine::start();
    let names =
        |sql: &str| -> Vec<String> { engine.run(sql, "").unwrap().lines().map(str::to_owned).collect() };
    // Parse what they are given, no more; not let stand in FROM either.
    let inert = ["format", "fuzzJSON", "SQLStandardValues"];
    let unjudged: Vec<String> = names("SELECT name FROM system.table_functions FORMAT TSV")
        .into_iter()
        .filter(|n| {
            !outside::is_outside(n) && !outside::is_harmless_table_function(n) && !inert.contains(&n.as_str())
        })
        .collect();
    assert!(unjudged.is_empty(), "table functions: {unjudged:?}");

    let doubtful = "SELECT name FROM system.functions WHERE match(lower(name), \
        '^(ai|dict)[^v]|file$|^eval|exec|remote|^url$|http|catboost|bayesclassifier|joinget|hascolumn|^sleep') FORMAT TSV";
    let unjudged: Vec<String> = names(doubtful).into_iter().filter(|n| !outside::is_outside(n)).collect();
    assert!(unjudged.is_empty(), "functions: {unjudged:?}");

    let known = names("SELECT name FROM system.settings FORMAT TSV");
    let unknown: Vec<&str> = settings::harmless().filter(|name| !known.iter().any(|k| k == name)).collect();
    assert!(unknown.is_empty(), "settings that the engine has not: {unknown:?}");
}

/// A bare name of a function is taken for the function by `array…` and `map…` functions and by APPLY; by
/// no other, and through no alias.
#[test]
fn functions_are_handed_on_only_where_we_look_for_it() {
    let engine = Engine::start();
    let names =
        engine.run("SELECT name FROM system.functions WHERE NOT is_aggregate FORMAT TSV", "").unwrap();
    let judged = |name: &str| {
        let lower = name.to_ascii_lowercase();
        let plain = ["array", "arrayelement", "arrayjoin", "map"].contains(&lower.as_str());
        !plain && (lower.starts_with("array") || lower.starts_with("map") || outside::is_outside(name))
    };
    // The engine says "unknown identifier" (47) when it looks for a column of that name, or that the
    // function itself is switched off.
    let mut taken = Vec::new();
    for name in names.lines().filter(|name| !judged(name)) {
        let sql = format!("SELECT `{name}`(length, ['abc'])");
        match engine.run(&sql, "") {
            Err(error) if error.contains("Code: 47.") || error.contains("Code: 62.") => {}
            Err(error)
                if ["Code: 721.", "Code: 48.", "Code: 156.", "Code: 344.", "Code: 446."]
                    .iter()
                    .any(|c| error.contains(c)) => {}
            other => taken.push(format!("{name}: {other:?}")),
        }
    }
    assert!(taken.is_empty(), "{taken:#?}");
    for sql in [
        "WITH length AS f SELECT arrayMap(f, ['abc'])",
        "WITH (f, x) -> f(x) AS g SELECT g(length, 'abc')",
        "WITH length AS f SELECT * APPLY f FROM (SELECT 'abc')",
    ] {
        assert!(engine.run(sql, "").is_err(), "{sql}");
    }
    for sql in ["SELECT arrayMap(length, ['abc'])", "SELECT * APPLY length FROM (SELECT 'abc')"] {
        assert_eq!(
            engine.run(sql, "").map(|answer| answer.trim_matches(['[', ']', '\n']).to_owned()),
            Ok("3".into())
        );
    }
}
