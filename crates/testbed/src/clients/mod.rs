//! Clients as an outsider would write them: ClickHouse's HTTP interface and the service's API, with
//! nothing of the daemons' own code but the bodies in `storage-types`. Every request has a deadline.

mod clickhouse;
mod service;

use std::{sync::Once, time::Duration};

use anyhow::{Context, Result};
pub use clickhouse::ClickHouse;
pub use service::{Answer, Service};
use storage_types::gateway_api::ErrorBody;

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

/// An answer that is a success, or [`Refused`].
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

/// The beginning of a text, for messages.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(300) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
