//! HTTP by hand: what no client would send, and answers as they are on the wire.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// Longest one exchange may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Sends `request`, head and body, to the server at `url` (`http://host:port`) over a connection of its own;
/// everything that comes back until the server closes it. The request says `Connection: close`.
///
/// # Errors
/// When there is no connection, no end in time, or the answer is not UTF-8.
pub async fn exchange(url: &str, request: &str) -> Result<String> {
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    let all = async {
        let mut connection = TcpStream::connect(address).await?;
        connection.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = timeout(LIMIT, all).await.with_context(|| format!("{url} does not end its answer"))?;
    String::from_utf8(answer.with_context(|| format!("speak to {url}"))?).context("an answer that is no text")
}
