//! ClickHouse by its HTTP interface.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::{http, refuse, shortened};

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

async fn text(answer: reqwest::Result<reqwest::Response>) -> Result<String> {
    let response = refuse(answer?).await?;
    let text = response.text().await?;
    // A result that fails after its head has gone ends in a tagged exception.
    if text.contains("\r\n__exception__\r\n") {
        bail!("failed midway: {}", shortened(&text[text.len().saturating_sub(600)..]));
    }
    Ok(text)
}
