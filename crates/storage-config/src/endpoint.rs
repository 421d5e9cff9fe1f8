//! Addresses as the configuration writes them: `host`, `host:port`, or a whole URL.
//!
//! ClickHouse's nodes are usually known by their native port: `host:9000` therefore means "the HTTP
//! interface of that host", on `http_port`. Any other port is taken as written.

use url::Url;

/// ClickHouse's native port, which does not speak HTTP.
const NATIVE_PORT: u16 = 9000;
/// The same over TLS.
const NATIVE_TLS_PORT: u16 = 9440;

/// Base URL of a ClickHouse node's HTTP interface.
pub(crate) fn clickhouse(text: &str, http_port: u16) -> Result<Url, String> {
    if text.contains("://") {
        return base_url(text);
    }
    let mut url = host_and_port(text)?;
    let port = match url.port_or_known_default() {
        Some(NATIVE_TLS_PORT) => {
            return Err(format!(
                "{text:?} is the native TLS port (write the HTTPS interface: \"https://HOST:8443\")"
            ));
        }
        // `http://host` has the default port 80: the text named none.
        Some(NATIVE_PORT) | None => http_port,
        Some(80) if !text.ends_with(":80") => http_port,
        Some(port) => port,
    };
    url.set_port(Some(port)).map_err(|()| format!("{text:?} cannot have a port (write \"host:{port}\")"))?;
    Ok(url)
}

/// Base URL of one of our own daemons: a URL, or `host:port` over HTTP.
pub(crate) fn daemon(text: &str) -> Result<Url, String> {
    if text.contains("://") {
        return base_url(text);
    }
    let url = host_and_port(text)?;
    if url.port().is_none() && !text.ends_with(":80") {
        return Err(format!("{text:?} has no port (write \"host:port\" or a URL)"));
    }
    Ok(url)
}

/// `http` or `https`, host, port and nothing else.
pub(crate) fn base_url(text: &str) -> Result<Url, String> {
    let url =
        Url::parse(text).map_err(|e| format!("{text:?} is not a URL: {e} (write \"http://host:port\")"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("{text:?} has scheme {:?} (only http and https are spoken)", url.scheme()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        // Not shown: it may hold a password.
        return Err(
            "the URL holds a user or password (use `user` and `password_file` or `token_file`)".into()
        );
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err(format!("{text:?} has a path or query (write only \"http://host:port\")"));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(format!("{text:?} has no host (write \"http://host:port\")"));
    }
    Ok(url)
}

fn host_and_port(text: &str) -> Result<Url, String> {
    let wrong = || format!("{text:?} is not an address (write \"host\", \"host:port\" or a URL)");
    let plain = !text.is_empty() && !text.contains(['/', '@', '?', '#', '\\', ' ']) && !text.ends_with(':');
    if !plain {
        return Err(wrong());
    }
    let url = Url::parse(&format!("http://{text}")).map_err(|_| wrong())?;
    if url.port() == Some(0) { Err(wrong()) } else { Ok(url) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_native_port_becomes_the_http_port() {
        for (text, url) in [
            ("ch-1.cloud.internal:9000", "http://ch-1.cloud.internal:8123/"),
            ("ch-1", "http://ch-1:8123/"),
            ("ch-1:80", "http://ch-1/"),
            ("ch-1:18123", "http://ch-1:18123/"),
            ("[::1]:9000", "http://[::1]:8123/"),
            ("https://ch.example:8443", "https://ch.example:8443/"),
            ("http://ch:9000", "http://ch:9000/"),
        ] {
            assert_eq!(clickhouse(text, 8123).map(String::from), Ok(url.to_owned()), "{text}");
        }
        for bad in
            ["", "a b", "a:9440", "a:99999", "a:0", "a:", "ftp://a", "http://u:p@a", "http://a/x", "a/x"]
        {
            assert!(clickhouse(bad, 8123).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn our_own_daemons_keep_their_port() {
        assert_eq!(daemon("10.0.1.2:9000").map(String::from), Ok("http://10.0.1.2:9000/".to_owned()));
        assert!(daemon("10.0.1.2").is_err());
    }
}
