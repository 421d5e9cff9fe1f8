//! Cold rows fetched by an account of their own: what the account that judges callers' texts refuses, and
//! what the daemons' check finds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

#[path = "../../clickhouse-sql/tests/corpus/mod.rs"]
mod corpus;
mod engine;

use std::net::TcpListener;
use std::path::Path;

use clickhouse_http::client::{Client, NodeList};
use clickhouse_http::query_account::{self, Calls, Finding, Wanted};
use clickhouse_sql::accounts::query_grants;
use clickhouse_sql::{Tokens, judge};
use engine::{Answer, Engine};

const SERVICE: &str = "http://service.internal:8003";
const PASSWORD: &str = "secret";
/// Nobody listens there.
const DISCARD: &str = "http://127.0.0.1:9";
const CONFIG_KEYS: [&str; 2] = ["hot_storage.splice_user", "hot_storage.splice_password_file"];
const ACCESS_DENIED: i32 = 497;

/// An engine with four accounts that read alike and call by `url()`: `none` nowhere, `filtered` the service,
/// `open` anywhere, `elsewhere` another address than the service's.
async fn engine(folder: &Path) -> Engine {
    engine::secret(&folder.join("accounts.password"), PASSWORD);
    let grants = |more: &str| {
        let mut grants = query_grants(&[], None);
        grants.extend(Some(more.to_owned()).filter(|more| !more.is_empty()));
        grants.iter().map(|grant| format!("  - {grant:?}\n")).collect::<String>()
    };
    let accounts: String = [
        ("none", String::new()),
        ("filtered", query_grants(&[], Some(SERVICE)).pop().unwrap()),
        ("open", "GRANT READ ON URL".to_owned()),
        ("elsewhere", "GRANT READ ON URL('http://elsewhere/.*')".to_owned()),
    ]
    .iter()
    .map(|(name, url)| {
        format!("- name: {name}\n  password_file: accounts.password\n  grants:\n{}", grants(url))
    })
    .collect();
    let file = folder.join("accounts.yaml");
    std::fs::write(&file, format!("accounts:\n{accounts}")).unwrap();
    let engine = Engine::start_in(folder, &["--accounts", file.to_str().unwrap()]);
    engine.ok("CREATE DATABASE market").await;
    engine.ok("CREATE TABLE market.t (a UInt8) ENGINE = MergeTree ORDER BY a").await;
    engine.ok("INSERT INTO market.t VALUES (7)").await;
    engine
}

/// The statement by which the router has a caller's text judged.
async fn explained(engine: &Engine, account: &str, sql: &str) -> Answer {
    let settings = [
        ("readonly", "1"),
        ("optimize_trivial_count_query", "0"),
        ("optimize_use_implicit_projections", "0"),
        ("http_max_tries", "1"),
    ];
    let request = reqwest::Client::new().post(&engine.url).query(&settings);
    let sql = format!("EXPLAIN indexes = 1, json = 1 {sql} FORMAT TSVRaw");
    Engine::send(request.basic_auth(account, Some(PASSWORD)).body(sql)).await
}

#[tokio::test]
async fn an_account_without_url_denies_it_in_every_place_of_a_text() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(folder.path()).await;
    let outside = TcpListener::bind("127.0.0.1:0").unwrap();
    outside.set_nonblocking(true).unwrap();
    let call = corpus::url_call(&format!("http://{}", outside.local_addr().unwrap()));
    for place in corpus::PLACES {
        let answer = explained(&engine, "none", &place.replace("{call}", &call)).await;
        assert_eq!(answer.code(), ACCESS_DENIED, "{place}: {}", answer.text());
        // It is the grant that was missing.
        if !place.contains("remote(") && !place.contains("cluster(") {
            let answer =
                explained(&engine, "open", &place.replace("{call}", &corpus::url_call(DISCARD))).await;
            assert_ne!(answer.code(), ACCESS_DENIED, "{place}: {}", answer.text());
        }
    }
    for place in corpus::PASSED_BY {
        let sql = place.replace("{call}", &call);
        let answer = explained(&engine, "none", &sql).await;
        assert_eq!(answer.status, 200, "{place}: the engine sees it now: {}", answer.text());
        assert!(judge::check(&Tokens::read(&sql).unwrap()).is_err(), "{place}");
    }
    assert!(outside.accept().is_err(), "somebody called");
}

/// A view reads as who asks it. The planner has each explained beside the text, so that it does not matter
/// where in the text it stands.
#[tokio::test]
async fn views_over_url_are_denied_like_url() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(folder.path()).await;
    let call = corpus::url_call(DISCARD);
    for (name, select) in [
        ("plain", format!("SELECT * FROM {call}")),
        ("scalar", format!("SELECT (SELECT max(a) FROM {call}) AS a")),
        ("behind_in", format!("SELECT a FROM market.t WHERE a IN (SELECT a FROM {call})")),
        ("of_a_view", "SELECT * FROM market.plain".to_owned()),
    ] {
        engine.ok(&format!("CREATE VIEW market.{name} AS {select}")).await;
    }
    engine.ok("CREATE TABLE market.merged (a UInt8) ENGINE = Merge('market', '^plain$')").await;
    for view in ["plain", "scalar", "behind_in", "of_a_view", "merged"] {
        for sql in [
            format!("SELECT * FROM market.{view}"),
            format!(
                "SELECT count() FROM (SELECT a FROM market.t) UNION ALL SELECT count() FROM market.{view}"
            ),
        ] {
            let answer = explained(&engine, "none", &sql).await;
            assert_eq!(answer.code(), ACCESS_DENIED, "{sql}: {}", answer.text());
            let answer = explained(&engine, "open", &sql).await;
            assert_ne!(answer.code(), ACCESS_DENIED, "{sql}: {}", answer.text());
        }
    }
}

#[tokio::test]
async fn the_check_knows_who_may_call_where() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(folder.path()).await;
    let checked = async |account: &str, calls: Calls| -> Vec<Finding> {
        let node = NodeList::single(engine.url.parse().unwrap(), account, PASSWORD.to_owned());
        let wanted = Wanted { account: account.to_owned(), databases: vec!["market".to_owned()], calls };
        query_account::check(&Client::new(node).unwrap(), &wanted).await.unwrap()
    };
    let service = || SERVICE.to_owned();
    // Without a splice account the filter has to hold, with one the query account calls nowhere.
    assert_eq!(checked("filtered", Calls::OnlyService(service())).await, []);
    assert_eq!(checked("none", Calls::Nowhere).await, []);
    assert_eq!(checked("open", Calls::Service(service())).await, []);
    assert_eq!(checked("filtered", Calls::Service(service())).await, []);

    let findings = checked("open", Calls::OnlyService(service())).await;
    let [open] = &findings[..] else { panic!("{findings:#?}") };
    assert!(open.what.starts_with("it reaches beyond the engine by URL"), "{open:?}");
    assert!(CONFIG_KEYS.iter().all(|key| open.what.contains(key)), "{open:?}");
    assert!(open.mend.starts_with("REVOKE READ, WRITE ON URL FROM `open`"), "{open:?}");
    for account in ["open", "filtered", "elsewhere"] {
        let findings = checked(account, Calls::Nowhere).await;
        let [finding] = &findings[..] else { panic!("{account}: {findings:#?}") };
        assert_eq!(finding.what, "it reaches beyond the engine by URL", "{account}");
        assert!(finding.mend.starts_with("REVOKE READ, WRITE ON URL FROM"), "{finding:?}");
    }
    for account in ["none", "elsewhere"] {
        let findings = checked(account, Calls::Service(service())).await;
        let [finding] = &findings[..] else { panic!("{account}: {findings:#?}") };
        assert_eq!(finding.what, "it cannot fetch cold rows from storage-service", "{account}");
    }
}
