//! The judge on its own: what it refuses, and what it must let pass.

mod corpus;

use clickhouse_sql::{Refused, Tokens, judge};

fn judged(sql: &str) -> Result<(), Refused> {
    judge::check(&Tokens::read(sql)?)
}

#[test]
fn what_reaches_outside_is_refused_however_it_is_written() {
    assert!(corpus::ATTACKS.len() >= 60);
    // Whether it is a SELECT at all is asked by those who know statements.
    let selects = |sql: &&&str| !sql.starts_with("DROP");
    let passed: Vec<_> = corpus::ATTACKS.iter().filter(selects).filter(|sql| judged(sql).is_ok()).collect();
    assert!(passed.is_empty(), "passed: {passed:#?}");
}

#[test]
fn no_place_of_a_text_takes_a_call_to_the_outside() {
    let places = corpus::PLACES.iter().chain(corpus::PASSED_BY);
    for sql in places.map(|place| place.replace("{call}", &corpus::url_call("http://x"))) {
        assert!(matches!(judged(&sql), Err(Refused::Function(_) | Refused::TableFunction(_))), "{sql}");
    }
}

#[test]
fn what_only_looks_like_it_passes() {
    assert!(corpus::INNOCENT.len() >= 40);
    let refused: Vec<_> =
        corpus::INNOCENT.iter().filter_map(|sql| judged(sql).err().map(|why| (sql, why))).collect();
    assert!(refused.is_empty(), "refused: {refused:#?}");
}

#[test]
fn a_refusal_names_the_resolved_name() {
    for (sql, why) in [
        (r"SELECT `\x66ile`('x')", Refused::Function("file".into())),
        (r"SELECT * APPLY `\x66ile` FROM t", Refused::Function("file".into())),
        ("SELECT * FROM nothing_known('x')", Refused::TableFunction("nothing_known".into())),
        (r"SELECT 1 SETTINGS `read\x6fnly` = 0", Refused::Setting("readonly".into())),
        ("SELECT 1 INTO OUTFILE 'x'", Refused::IntoOutfile),
    ] {
        assert_eq!(judged(sql), Err(why), "{sql}");
    }
}

#[test]
fn long_texts_are_judged_in_a_pass() {
    let began = std::time::Instant::now();
    for unit in
        ["SETTINGS max_threads = 1 ", "SETTINGS settings ", "a, ", "FROM t, ", "IN a ", "file ", "`file`, "]
    {
        let text = format!("SELECT {}", unit.repeat(clickhouse_sql::MAX_QUERY_BYTES / unit.len() - 10));
        let _ = judged(&text);
    }
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
}
