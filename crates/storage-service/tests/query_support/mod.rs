//! A stack with one table, and the API as an outsider calls it.

#![allow(dead_code)] // Not every includer uses all of it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{net::TcpListener, path::Path, time::Duration};

use bytes::Bytes;
use reqwest::{Method, StatusCode, header::HeaderMap};
use serde_json::Value;
use storage_types::service_api::{MigrationRequest, MigrationState};
use testbed::{
    clients::ClickHouse,
    stack::{ManagedTable, Options, Role, Stack, StackConfig},
    wait::eventually,
    wire::exchange,
};

#[path = "../../../clickhouse-sql/tests/corpus/mod.rs"]
pub mod corpus;

/// Rows a fixture begins with.
pub const ROWS: u64 = 120_000;
/// Seconds.
const DAY: i64 = 86_400;

/// Longest wait for anything.
const LIMIT: Duration = Duration::from_secs(60);

/// An answer, whole.
pub struct Answer {
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn header(&self, name: &str) -> String {
        self.headers.get(name).map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default()
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }
}

/// A running stack.
pub struct Fixture {
    stack: Stack,
    http: reqwest::Client,
    dir: tempfile::TempDir,
}

impl Fixture {
    /// All rows are hot: one every few seconds, from twelve days ago until now, but none within an hour of a
    /// whole number of days ago, so that what `now()` picks does not change while a test runs.
    pub async fn hot() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::filled(Stack::start(Self::options(dir.path())).await.unwrap(), dir).await
    }

    /// The same, where an account of its own fetches cold rows.
    pub async fn hot_with_a_splice_account() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut options = Self::options(dir.path());
        options.config.splice_account = true;
        Self::filled(Stack::start(options).await.unwrap(), dir).await
    }

    /// The stack of a fixture.
    pub fn options(dir: &Path) -> Options {
        let tables = vec![ManagedTable::named("ticks", "market", "market_cold", "ts")];
        let config = StackConfig { tables, retention_days: 7, timeout_s: 5, ..StackConfig::default() };
        Options { config, ..Options::new(dir) }
    }

    /// A fixture of a stack that runs in `dir`, with its rows.
    pub async fn filled(stack: Stack, dir: tempfile::TempDir) -> Self {
        let fixture = Self { stack, http: testbed::clients::http().unwrap(), dir };
        fixture.sql("CREATE DATABASE market").await;
        fixture
            .sql(
                "CREATE TABLE market.ticks (id UInt64, ts DateTime64(3, 'UTC'), sym LowCardinality(String), \
                 price Decimal(18, 8), note String) ENGINE = MergeTree PARTITION BY toYYYYMMDD(ts) ORDER BY (sym, ts)",
            )
            .await;
        fixture
            .sql(&format!(
                "WITH {ROWS} - 1 - number AS k, {ROWS} / 12 AS of_a_day, 3600 AS hour, \
                 intDiv(k, of_a_day) * {DAY} + hour + k % of_a_day * 22 * hour / of_a_day AS age_s \
                 INSERT INTO market.ticks SELECT number, now64(3) - toIntervalMillisecond(age_s * 1000), \
                 substring('ABCDE', number % 5 + 1, 1), number / 4 + 0.25, concat('n', toString(number)) \
                 FROM numbers({ROWS})"
            ))
            .await;
        // The service looks at its tables by itself; wait until it knows this one.
        fixture.until("the table is managed", async |f| f.managed().await).await;
        fixture
    }

    async fn managed(&self) -> bool {
        let (status, _) = self
            .raw(Method::POST, "/api/v1/query", Some(serde_json::json!({"table": "ticks", "limit": 1})))
            .await;
        status == StatusCode::OK
    }

    /// Polls `what` until it holds.
    async fn until(&self, what: &str, holds: impl AsyncFn(&Self) -> bool) {
        eventually(what, async || holds(self).await.then_some(())).await.unwrap();
    }

    /// Runs a statement on the hot engine itself.
    pub async fn sql(&self, sql: &str) -> String {
        self.stack.hot().unwrap().query(sql).await.unwrap()
    }

    /// The hot engine's owner.
    pub fn owner(&self) -> ClickHouse {
        self.stack.hot().unwrap()
    }

    /// Asks of texts that call out by `url()`, themselves or by a view or function of `administrator`'s: each
    /// is refused, wherever it calls, whatever the cold rows would make of it, and nobody is called.
    pub async fn serves_no_call(&self, administrator: &ClickHouse) {
        let outside = TcpListener::bind("127.0.0.1:0").unwrap();
        outside.set_nonblocking(true).unwrap();
        let call = corpus::url_call(&format!("http://{}", outside.local_addr().unwrap()));
        let refused = async |sql: &str| {
            let request = serde_json::json!({"sql": sql});
            let asked = self.raw(Method::POST, "/api/v1/query", Some(request));
            // Whoever called waits for an answer that nobody gives.
            let (status, body) = tokio::time::timeout(LIMIT, asked).await.unwrap();
            (status.as_u16(), body["code"].to_string(), body["message"].to_string())
        };
        for place in corpus::PLACES.iter().chain(corpus::PASSED_BY) {
            let sql = place.replace("market.t", "ticks").replace("{call}", &call);
            let (status, code, message) = refused(&sql).await;
            assert_eq!((status, code.starts_with("\"forbidden_")), (400, true), "{sql}: {code} {message}");
        }
        for made in ["VIEW market.outside AS (SELECT a", "FUNCTION callout AS x -> (SELECT max(a) + x"] {
            administrator.query(format!("CREATE {made} FROM {call})")).await.unwrap();
        }
        // What the engine has of the table while it judges, and less than it has when the text runs.
        let hot = self.hot_rows().await;
        for sql in [
            "SELECT count() FROM ticks WHERE id IN (SELECT a FROM market.outside)".to_owned(),
            "SELECT count() FROM ticks AS t JOIN market.outside AS o ON t.id = o.a".to_owned(),
            "SELECT count() FROM (SELECT id, id IN (SELECT a FROM market.outside) FROM ticks)".to_owned(),
            format!("SELECT if((SELECT count() FROM ticks) > {hot}, (SELECT max(a) FROM market.outside), 1)"),
            format!("SELECT if((SELECT count() FROM ticks) > {hot}, `callout`(1), 1)"),
            format!(
                "SELECT count() FROM ticks WHERE (SELECT count() FROM ticks) > {hot} \
                 AND id IN (SELECT a FROM market.outside)"
            ),
        ] {
            let (status, _, message) = refused(&sql).await;
            assert_eq!((status, message.contains("ACCESS_DENIED")), (403, true), "{sql}: {message}");
        }
        assert!(outside.accept().is_err(), "somebody called");
    }

    /// Waits until the service has said this of its accounts.
    pub async fn said(&self, words: &str) {
        self.until(words, async |f| {
            std::fs::read_to_string(f.stack.log(Role::Service)).unwrap().contains(words)
        })
        .await;
    }

    /// More rows, eleven days old.
    pub async fn fill_old(&self, rows: u64) {
        self.sql(&format!(
            "INSERT INTO market.ticks SELECT {ROWS} + number, \
             toDateTime64(toStartOfDay(now('UTC')) - INTERVAL 10 DAY, 3, 'UTC') + toIntervalMillisecond(number % 80000000), \
             'Z', 1, repeat('x', 40) FROM numbers({rows})"
        ))
        .await;
    }

    pub async fn hot_rows(&self) -> u64 {
        self.sql("SELECT count() FROM market.ticks").await.trim().parse().unwrap()
    }

    pub async fn count(&self, table: &str) -> u64 {
        let sql = format!("SELECT count() FROM {table} FORMAT TSV");
        self.ask(serde_json::json!({"sql": sql})).await.text().trim().parse().unwrap()
    }

    /// Moves what is older than seven days, to the end.
    pub async fn migrate(&self) {
        let service = self.stack.service().unwrap();
        let id = service.migrate(&MigrationRequest::default()).await.unwrap();
        let report = service.finished(id, LIMIT * 2, |_| ()).await.unwrap();
        assert_eq!(report.state, MigrationState::Done, "{report:#?}");
    }

    /// Moves what may move between two askings of `queries`, each a text and the route that it has after the
    /// move; the answers must be the same to the byte.
    pub async fn answers_alike_after_a_move(&self, queries: &[(&str, &str)]) {
        let mut before = Vec::new();
        for (sql, _) in queries {
            before.push(self.ask(serde_json::json!({"sql": sql, "format": "csv"})).await.text());
        }
        self.migrate().await;
        for ((sql, route), expected) in queries.iter().zip(&before) {
            let answer = self.ask(serde_json::json!({"sql": sql, "format": "csv"})).await;
            assert_eq!(&answer.text(), expected, "{sql}");
            assert_eq!(answer.header("x-storage-route"), *route, "{sql}");
        }
    }

    /// Asks and reads the whole answer; anything but 200 fails the test.
    pub async fn ask(&self, request: Value) -> Answer {
        let response = self.open(request.clone()).await;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.bytes().await.unwrap();
        assert_eq!(status, StatusCode::OK, "{request}: {}", String::from_utf8_lossy(&body));
        Answer { headers, body }
    }

    /// Asks; the answer is not read yet.
    pub async fn open(&self, request: Value) -> reqwest::Response {
        let service = self.stack.info().service;
        let url = format!("{}/api/v1/query", service.url);
        self.http.post(url).bearer_auth(&service.token).json(&request).send().await.unwrap()
    }

    /// A query's answer as it is on the wire, by a caller that takes trailers.
    pub async fn wire(&self, request: Value) -> String {
        let service = self.stack.info().service;
        let body = request.to_string();
        let head = format!(
            "POST /api/v1/query HTTP/1.1\r\nHost: service\r\nAuthorization: Bearer {}\r\nTE: trailers\r\n\
             Connection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            service.token,
            body.len()
        );
        exchange(&service.url, &(head + &body)).await.unwrap()
    }

    /// Sends a stranger's requests to both daemons: the rest of the body when its refusal was read, then the
    /// next request over the same connection. Each one's answers.
    pub async fn refused_halfway(&self) -> [(&'static str, String, String); 2] {
        let info = self.stack.info();
        [
            ("service", refused_halfway(&info.service.url, "POST /api/v1/query", "/healthz").await),
            ("gateway", refused_halfway(&info.gateway.url, "PUT /v1/batches/1/chunks/0", "/healthz").await),
        ]
        .map(|(who, (refusal, next))| (who, refusal, next))
    }

    /// Any request with the right token; the body as JSON when it is some.
    pub async fn raw(&self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let service = self.stack.info().service;
        let mut request =
            self.http.request(method, format!("{}{path}", service.url)).bearer_auth(&service.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    pub async fn get(&self, path: &str) -> Value {
        let (status, body) = self.raw(Method::GET, path, None).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        body
    }

    pub async fn status_with_token(&self, token: Option<&str>, method: Method, path: &str) -> StatusCode {
        let mut request = self.http.request(method, format!("{}{path}", self.stack.info().service.url));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        request.send().await.unwrap().status()
    }

    /// Waits until a query of this id runs on the hot engine, or no longer does.
    pub async fn until_running(&self, query_id: &str, running: bool) {
        // The embedded engine names its queries itself: the text tells them apart.
        let _ = query_id;
        let sql = "SELECT count() FROM system.processes WHERE query LIKE '%numbers_mt(100000000000)%' \
                   AND query NOT LIKE '%system.processes%'";
        self.until("the engine's list of queries", async |f| (f.sql(sql).await.trim() != "0") == running)
            .await;
    }

    pub fn kill_gateway(&mut self) {
        self.stack.kill(Role::Gateway).unwrap();
    }

    pub async fn start_hot(&mut self) {
        self.stack.restart(Role::Hot).await.unwrap();
        self.stack.ready(Role::Service).await.unwrap();
    }

    pub async fn restart_service_without_hot(&mut self) {
        self.stack.kill(Role::Hot).unwrap();
        self.stack.stop_one(Role::Service).unwrap();
        self.stack.relaunch(Role::Service).unwrap();
        let url = format!("{}/healthz", self.stack.info().service.url);
        self.until("health", async |f| f.http.get(&url).send().await.is_ok()).await;
    }

    /// As an operator would: takes the key out of the configuration.
    pub async fn restart_service_without_internal_url(&mut self) {
        self.stack.stop_one(Role::Service).unwrap();
        let path = self.dir.path().join("config/cloud_storage.yaml");
        let text = std::fs::read_to_string(&path).unwrap();
        let kept: Vec<&str> = text.lines().filter(|line| !line.trim().starts_with("internal_url")).collect();
        assert!(kept.len() < text.lines().count());
        std::fs::write(&path, kept.join("\n") + "\n").unwrap();
        self.stack.restart(Role::Service).await.unwrap();
    }

    /// Ends everything cleanly.
    pub fn stop(self) {
        self.stack.stop().unwrap();
    }
}

/// One connection: `method_and_path` with a body of which a part is sent, its answer's first line, the rest,
/// `GET next`, and its answer's first line.
async fn refused_halfway(url: &str, method_and_path: &str, next: &str) -> (String, String) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    // The rest is such that it might be taken for the beginning of a request with a long URL.
    let (part, rest) = ("x".repeat(100), "x ?".repeat(100_000));
    let mut connection = tokio::net::TcpStream::connect(url.trim_start_matches("http://")).await.unwrap();
    let mut exchange = async |sent: String| {
        connection.write_all(sent.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let mut piece = [0; 4096];
        // No body here has an empty line in it; what is left of the last one comes first.
        while !answer.windows(4).any(|at| at == b"\r\n\r\n") {
            let count = tokio::time::timeout(LIMIT, connection.read(&mut piece)).await.unwrap().unwrap();
            assert!(count > 0, "{url} closed the connection: {}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&piece[..count]);
        }
        let text = String::from_utf8_lossy(&answer);
        text[text.find("HTTP/1.1 ").unwrap()..].lines().next().unwrap_or_default().to_owned()
    };
    let length = part.len() + rest.len();
    let head = format!("{method_and_path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    let refusal = exchange(head + &part).await;
    let next = exchange(rest + &format!("GET {next} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
    (refusal, next)
}
