//! ClickHouse 25.8, which forgets the filter of a URL grant when it starts again: what the check says of it,
//! and hybrid queries over it by a splice account.
//!
//! Where the server cannot be fetched the test says so and passes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod query_support;
#[path = "clickhouse_25_8/server.rs"]
mod server;

use clickhouse_http::{
    client::Client,
    query_account::{self, Calls, Finding, Wanted},
};
use clickhouse_sql::accounts::{ColdRows, query_grants, server_script};
use query_support::{Fixture, corpus};
use server::Server;
use testbed::{
    clients::ClickHouse,
    stack::{Info, Role, Stack},
};

const DATABASES: [&str; 2] = ["market", "storage_internal"];
/// An address that nobody serves.
const DISCARD: &str = "http://127.0.0.1:9";
const ACCESS_DENIED: Option<i32> = Some(497);

/// Queries, and the route each takes once old rows are cold.
const QUERIES: [(&str, &str); 5] = [
    ("SELECT count(), sum(id), min(ts), max(ts) FROM ticks", "hybrid"),
    ("SELECT sym, count(), sum(price), max(ts) FROM ticks GROUP BY sym ORDER BY sym", "hybrid"),
    ("SELECT * FROM ticks ORDER BY id LIMIT 100 OFFSET 1000", "hybrid"),
    ("SELECT count() FROM ticks WHERE id IN (SELECT id * 2 FROM ticks WHERE sym = 'A')", "hybrid"),
    ("SELECT count() FROM ticks WHERE ts >= now() - INTERVAL 2 DAY", "hot"),
];

async fn checked(client: &Client, account: &str, calls: Calls) -> Vec<Finding> {
    let databases = DATABASES.map(str::to_owned).to_vec();
    query_account::check(client, &Wanted { account: account.to_owned(), databases, calls }).await.unwrap()
}

/// Makes the accounts as an administrator would, by `deploy/sql/accounts-25.8.sql` with the stack's names.
async fn make_accounts(admin: &ClickHouse, info: &Info, query: &str, splice: &str) {
    let script = server_script(&DATABASES, &info.service.url, ColdRows::BySpliceAccount)
        .replace("storage_owner", &info.hot.user)
        .replace("storage_query", "query")
        .replace("storage_splice", "splice")
        .replace("OWNER_PASSWORD", &info.hot.password)
        .replace("QUERY_PASSWORD", query)
        .replace("SPLICE_PASSWORD", splice);
    let lines: String = script.lines().filter(|line| !line.starts_with("--")).collect::<Vec<_>>().join("\n");
    for statement in lines.split(";\n").filter(|statement| !statement.trim().is_empty()) {
        admin.query(statement.trim_end_matches(';')).await.unwrap();
    }
}

#[tokio::test]
async fn on_25_8_a_splice_account_fetches_cold_rows_since_no_filter_is_kept() {
    let package = match server::package() {
        Ok(package) => package,
        Err(why) => return println!("SKIPPED: ClickHouse 25.8 cannot be fetched: {why}"),
    };
    let dir = tempfile::tempdir().unwrap();
    let mut options = Fixture::options(dir.path());
    options.config.splice_account = true;
    let mut stack = Stack::engines(options).await.unwrap();
    // In the place of the hot engine.
    stack.kill(Role::Hot).unwrap();
    let info = stack.info();
    let mut server = Server::start(package, dir.path().join("hot-25.8"), &info.hot.url).await;
    let version = server.admin.query("SELECT version()").await.unwrap();
    assert!(version.starts_with("25.8."), "{version}");

    let secret = |name: &str| {
        std::fs::read_to_string(dir.path().join("secrets").join(name)).unwrap().trim().to_owned()
    };
    let (query, splice) = (secret("hot_query_password"), secret("hot_splice_password"));
    make_accounts(&server.admin, &info, &query, &splice).await;
    // An account as accounts.sql makes it for later versions.
    let careless = "CREATE USER careless IDENTIFIED WITH sha256_password BY 'careless'";
    server.admin.query(careless).await.unwrap();
    for grant in query_grants(&DATABASES, Some(&info.service.url)) {
        server.admin.query(format!("{grant} TO careless")).await.unwrap();
    }

    // Its filter holds until the server starts again. The check knows before.
    let careless = server.as_account("careless", "careless");
    let elsewhere = format!("SELECT * FROM {} FORMAT Null", corpus::url_call(DISCARD));
    for denied in [true, false] {
        let call = careless.query(&elsewhere).setting("http_max_tries", "1");
        assert_eq!(call.text().await.unwrap_err().code() == ACCESS_DENIED, denied);
        let findings = checked(&careless, "careless", Calls::OnlyService(info.service.url.clone())).await;
        let [finding] = &findings[..] else { panic!("{findings:#?}") };
        let keys = ["hot_storage.splice_user", "hot_storage.splice_password_file", "accounts-25.8.sql"];
        assert!(keys.iter().all(|key| finding.what.contains(key)), "{finding:?}");
        assert!(finding.mend.starts_with("REVOKE READ, WRITE ON URL FROM `careless`"), "{finding:?}");
        if denied {
            server.restart().await;
        }
    }

    let queries = server.as_account("query", &query);
    assert_eq!(checked(&queries, "query", Calls::Nowhere).await, []);
    let splices = server.as_account("splice", &splice);
    assert_eq!(checked(&splices, "splice", Calls::Service(info.service.url.clone())).await, []);

    stack.daemons().await.unwrap();
    let fixture = Fixture::filled(stack, dir).await;
    fixture.sql("CREATE TABLE market.t (a UInt8) ENGINE = MergeTree ORDER BY a").await;
    fixture.sql("INSERT INTO market.t VALUES (7)").await;
    for place in corpus::PLACES {
        let sql = place.replace("{call}", &corpus::url_call(DISCARD));
        let denied = queries.query(format!("EXPLAIN indexes = 1, json = 1 {sql}")).readonly().text().await;
        let denied = denied.unwrap_err();
        assert_eq!(denied.code(), ACCESS_DENIED, "{place}: {denied}");
    }
    fixture.answers_alike_after_a_move(&QUERIES).await;
    fixture.serves_no_call(&server.admin).await;
    fixture.stop();
}
