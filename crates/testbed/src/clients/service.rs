//! The service's API.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use reqwest::StatusCode;
use serde::{Serialize, de::DeserializeOwned};
use storage_types::{
    MigrationId,
    service_api::{
        AdoptReport, CatalogReport, DryRun, MigrationAccepted, MigrationReport, MigrationRequest,
        MigrationState, QueryRequest, ServiceStatus, headers,
    },
};

use super::{http, refuse, shortened};

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

    /// Cancels a migration.
    pub async fn cancel(&self, id: MigrationId) -> Result<()> {
        let path = format!("/api/v1/migrations/{id}");
        let response =
            self.request(reqwest::Method::DELETE, &path).send().await.context("cancel a migration")?;
        refuse(response).await.map(drop)
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
