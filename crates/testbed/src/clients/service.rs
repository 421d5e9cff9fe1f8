//! Clients as an outsider would write them: ClickHouse's HTTP interface and the service's API, with
//! nothing of the daemons' own code but the bodies in `storage-types`. Every request has a deadline.

use std::{sync::Once, time::Duration};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use reqwest::StatusCode;
use serde::{Serialize, de::DeserializeOwned};
use storage_types::{
    MigrationId,
    gateway_api::ErrorBody,
    service_api::{
        AdoptReport, CatalogReport, DryRun, MigrationAccepted, MigrationReport, MigrationRequest,
        MigrationState, QueryRequest, ServiceStatus, headers,
    },
};

/// Longest one request may take.
const REQUEST_LIMIT: Duration = Duration::from_secs(600);
/// An idle connection is given up before the engine does (30 s): never while a request is on its way.
const POOL_IDLE: Duration = Duration::from_secs(10);

/// A client for plain HTTP on loopback.
pub fn http() -> Result<reqwest::Client> {
    static PROVIDER: Once = Once::new();
    // The HTTP library wants to know its TLS provider even when no TLS is spoken.
    PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    reqwest::Client::builder()
        .no_proxy()
        .connect_timeout(Duration::from_secs(5))
        .timeout(REQUEST_LIMIT)
        .pool_idle_timeout(POOL_IDLE)
        .build()
        .context("make an HTTP client")
}

/// A refusal or failure that a daemon or engine answered with.
#[derive(Debug, Clone)]
pub struct Refused {
    /// HTTP status.
    pub status: u16,
    /// `code` of the error body; empty for an engine.
    pub code: String,
    /// For people.
    pub message: String,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HTTP {} {}: {}", self.status, self.code, self.message)
    }
}

impl std::error::Error for Refused {}

/// One ClickHouse, by its HTTP interface.
#[derive(Debug, Clone)]
pub struct ClickHouse {
    /// Base URL.
    pub url: String,
    /// User.
    pub user: String,
    /// Password.
    pub password: String,
    http: reqwest::Client,
}

impl ClickHouse {
    /// A client for the engine at `url`.
    pub fn new(url: &str, user: &str, password: &str) -> Result<Self> {
        Ok(Self { url: url.to_owned(), user: user.to_owned(), password: password.to_owned(), http: http()? })
    }

    fn post(&self) -> reqwest::RequestBuilder {
        self.http
            .post(&self.url)
            .header("X-ClickHouse-User", &self.user)
            .header("X-ClickHouse-Key", &self.password)
    }

    /// Whether it answers at all.
    pub async fn ping(&self) -> bool {
        let asked = self.http.get(format!("{}/ping", self.url)).timeout(Duration::from_secs(2)).send().await;
        asked.is_ok_and(|answer| answer.status().is_success())
    }

    /// Runs any statement; the answer's text.
    pub async fn query(&self, sql: impl Into<String>) -> Result<String> {
        self.query_with(sql, &[]).await
    }

    /// The same with settings (and other parameters of the URL).
    pub async fn query_with(&self, sql: impl Into<String>, settings: &[(&str, &str)]) -> Result<String> {
        let sql = sql.into();
        let answer = self.post().query(settings).body(sql.clone()).send().await;
        text(answer).await.with_context(|| format!("asked of {}: {}", self.url, shortened(&sql)))
    }

    /// Runs a SELECT and reads its rows.
    pub async fn rows<T: DeserializeOwned>(&self, sql: &str) -> Result<Vec<T>> {
        let answer = self
            .query(format!("{sql} SETTINGS output_format_json_quote_64bit_integers=0 FORMAT JSONEachRow"))
            .await?;
        answer
            .lines()
            .map(|line| serde_json::from_str(line).with_context(|| format!("row {line:?}")))
            .collect()
    }

    /// Runs a SELECT of one number.
    pub async fn number(&self, sql: &str) -> Result<u64> {
        let answer = self.query(sql).await?;
        answer.trim().parse().with_context(|| format!("a number was expected: {answer:?}"))
    }

    /// Runs a SELECT; the answer's bytes, whatever their format.
    pub async fn bytes(&self, sql: &str, settings: &[(&str, &str)]) -> Result<Bytes> {
        let asked = || format!("asked of {}: {}", self.url, shortened(sql));
        let answer = self.post().query(settings).body(sql.to_owned()).send().await.with_context(asked)?;
        if !answer.status().is_success() {
            text(Ok(answer)).await.with_context(asked)?;
            bail!("the engine failed without saying so");
        }
        answer.bytes().await.with_context(asked)
    }

    /// Inserts `body`; `sql` is `INSERT INTO t [(columns)] FORMAT X`, `settings` go along.
    pub async fn insert(
        &self,
        sql: &str,
        settings: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> Result<()> {
        let answer = self.post().query(&[("query", sql)]).query(settings).body(body).send().await;
        text(answer).await.with_context(|| format!("asked of {}: {}", self.url, shortened(sql))).map(drop)
    }

    /// Inserts a packed `body`: `encoding` as in `Content-Encoding` (`zstd`, `lz4`).
    pub async fn insert_packed(
        &self,
        sql: &str,
        encoding: &str,
        body: impl Into<reqwest::Body>,
    ) -> Result<()> {
        let request = self.post().query(&[("query", sql)]).header("Content-Encoding", encoding);
        let answer = request.body(body).send().await;
        text(answer).await.with_context(|| format!("asked of {}: {}", self.url, shortened(sql))).map(drop)
    }
}

/// The service's API with its token.
#[derive(Debug, Clone)]
pub struct Service {
    /// Base URL.
    pub url: String,
    /// Bearer token.
    pub token: String,
    http: reqwest::Client,
}

/// An answer of the query API.
#[derive(Debug, Clone)]
pub struct Answer {
    /// `hot`, `cold` or `hybrid`.
    pub route: String,
    /// `union`, `partial` or `passthrough`.
    pub plan: String,
    /// `complete`, or what is missing.
    pub coverage: String,
    /// Catalog version it was answered from.
    pub catalog_version: u64,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Service {
    /// A client for the service at `url`.
    pub fn new(url: &str, token: &str) -> Result<Self> {
        Ok(Self { url: url.to_owned(), token: token.to_owned(), http: http()? })
    }

    fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url)).bearer_auth(&self.token)
    }

    /// Asks SQL and returns the answer whole.
    pub async fn query(&self, sql: &str, format: &str) -> Result<Answer> {
        let request = QueryRequest {
            sql: Some(sql.to_owned()),
            format: Some(format.to_owned()),
            ..QueryRequest::default()
        };
        self.ask(&request).await.with_context(|| format!("asked of the service: {}", shortened(sql)))
    }

    /// Asks anything the query API takes.
    pub async fn ask(&self, request: &impl Serialize) -> Result<Answer> {
        let response = self.request(reqwest::Method::POST, "/api/v1/query").json(request).send().await?;
        let response = refuse(response).await?;
        if response.headers().contains_key("x-clickhouse-exception-code") {
            bail!("the engine failed: {}", response.text().await?);
        }
        let header = |name: &str| {
            response.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned()
        };
        Ok(Answer {
            route: header(headers::ROUTE),
            plan: header(headers::PLAN),
            coverage: header(headers::COVERAGE),
            catalog_version: header(headers::CATALOG_VERSION).parse().unwrap_or(0),
            body: response.bytes().await.context("read the answer")?,
        })
    }

    /// Asks SQL and reads the rows.
    pub async fn rows<T: DeserializeOwned>(&self, sql: &str) -> Result<Vec<T>> {
        let answer = self.query(sql, "ndjson").await?;
        let text = answer.text();
        text.lines().map(|line| serde_json::from_str(line).with_context(|| format!("row {line:?}"))).collect()
    }

    /// Starts a migration.
    pub async fn migrate(&self, request: &MigrationRequest) -> Result<MigrationId> {
        let accepted: MigrationAccepted =
            self.json(reqwest::Method::POST, "/api/v1/migrations", Some(request)).await?;
        Ok(accepted.id)
    }

    /// What a migration would do.
    pub async fn dry_run(&self, request: &MigrationRequest) -> Result<DryRun> {
        let request = MigrationRequest { dry_run: true, ..request.clone() };
        self.json(reqwest::Method::POST, "/api/v1/migrations", Some(&request)).await
    }

    /// Progress of a migration.
    pub async fn migration(&self, id: MigrationId) -> Result<MigrationReport> {
        self.json(reqwest::Method::GET, &format!("/api/v1/migrations/{id}"), None::<&()>).await
    }

    /// All migrations, newest first.
    pub async fn migrations(&self) -> Result<Vec<MigrationReport>> {
        self.json(reqwest::Method::GET, "/api/v1/migrations", None::<&()>).await
    }

    /// Waits until a migration has ended, calling `seen` on every look.
    pub async fn finished(
        &self,
        id: MigrationId,
        limit: Duration,
        mut seen: impl FnMut(&MigrationReport),
    ) -> Result<MigrationReport> {
        let deadline = tokio::time::Instant::now() + limit;
        loop {
            let report = self.migration(id).await?;
            seen(&report);
            if report.state != MigrationState::Running {
                return Ok(report);
            }
            if tokio::time::Instant::now() > deadline {
                bail!("migration {id} still runs after {} s: {report:#?}", limit.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What is visible where.
    pub async fn catalog(&self) -> Result<CatalogReport> {
        self.json(reqwest::Method::GET, "/api/v1/catalog", None::<&()>).await
    }

    /// State of the service.
    pub async fn status(&self) -> Result<ServiceStatus> {
        self.json(reqwest::Method::GET, "/api/v1/status", None::<&()>).await
    }

    /// Takes over a table's TTL.
    pub async fn adopt(&self, table: &str) -> Result<AdoptReport> {
        self.json(reqwest::Method::POST, &format!("/api/v1/tables/{table}/adopt"), None::<&()>).await
    }

    /// Sends anything and returns status and body, for tests of refusals.
    pub async fn raw(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<Bytes>,
    ) -> Result<(StatusCode, String)> {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        let response = request.send().await?;
        let status = response.status();
        Ok((status, response.text().await?))
    }

    async fn json<T: DeserializeOwned>(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T> {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.with_context(|| format!("ask the service for {path}"))?;
        let response = refuse(response).await.with_context(|| format!("ask the service for {path}"))?;
        let text = response.text().await?;
        serde_json::from_str(&text).with_context(|| format!("{path} answered {}", shortened(&text)))
    }
}

async fn refuse(response: reqwest::Response) -> Result<reqwest::Response> {
    if response.status().is_success() {
        return Ok(response);
    }
    let status = response.status().as_u16();
    let text = response.text().await.unwrap_or_default();
    let (code, message) = match serde_json::from_str::<ErrorBody>(&text) {
        Ok(body) => (body.code, body.message),
        Err(_) => (String::new(), text),
    };
    Err(Refused { status, code, message }.into())
}

async fn text(answer: reqwest::Result<reqwest::Response>) -> Result<String> {
    let response = refuse(answer?).await?;
    let text = response.text().await?;
    // A result that fails after its head has gone ends in a tagged exception.
    if text.contains("\r\n__exception__\r\n") {
        bail!("failed midway: {}", shortened(&text[text.len().saturating_sub(600)..]));
    }
    Ok(text)
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(300) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
