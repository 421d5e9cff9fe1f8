//! The connections below: one reqwest client for all nodes, configured once.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use super::{Error, NodeList};

/// Idle connections are given up well before a server's own `keep_alive_timeout` (3 s in the oldest
/// default configuration still met): a statement sent into a connection that the server is closing
/// has an unknown outcome.
const POOL_IDLE: Duration = Duration::from_millis(2500);

pub(super) fn build(list: &NodeList) -> Result<reqwest::Client, Error> {
    if list.nodes.is_empty() {
        return Err(Error::Protocol("the node list is empty".into()));
    }
    let mut tls = false;
    for node in &list.nodes {
        match node.scheme() {
            "http" => {}
            "https" => tls = true,
            other => return Err(Error::Protocol(format!("{node}: {other} is neither http nor https"))),
        }
        if node.host_str().is_none() || node.query().is_some() {
            return Err(Error::Protocol(format!("{node}: expected a base URL with a host and no query")));
        }
    }
    // Whoever installed a provider first wins; any will do.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
        .default_headers(credentials(list)?)
        .connect_timeout(list.connect_timeout)
        .pool_idle_timeout(POOL_IDLE)
        .tcp_nodelay(true)
        .tcp_keepalive(Duration::from_secs(30))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .http1_only()
        // A proxy from the environment must not come between two of our own processes.
        .no_proxy();
    if !tls {
        // No https node: do not read the system's certificates (a bare container has none).
        builder = builder.tls_certs_only(std::iter::empty());
    }
    builder.build().map_err(|e| Error::Protocol(super::error::chain(&e)))
}

fn credentials(list: &NodeList) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::new();
    let mut put = |name: &'static str, value: &str| {
        let mut value = HeaderValue::from_bytes(value.as_bytes())
            .map_err(|_| Error::Protocol(format!("{name}: not a header value")))?;
        value.set_sensitive(true);
        headers.insert(name, value);
        Ok::<_, Error>(())
    };
    if !list.user.is_empty() {
        put("x-clickhouse-user", &list.user)?;
    }
    if !list.password.is_empty() {
        put("x-clickhouse-key", list.password.expose())?;
    }
    Ok(headers)
}
