//! Cold reads: one SELECT, run with `readonly=1` and the gateway's own limits, streamed as it comes.
//!
//! **Bounds.** A query holds one of `max_concurrent_queries` places from before it is sent until its
//! answer is read or its time is over, whoever is slow. In memory it has a few network buffers.
//!
//! **Failure.** Until the first byte an error is an error answer. After it, the body breaks off: the
//! reader sees a truncated answer, never a short one that looks whole. That is why the pump ends the
//! channel with an explicit mark, and a channel that closes without it is an error.
//!
//! **Cancellation.** When the caller hangs up the body is dropped, the pump notices and drops the
//! engine's answer, and the engine cancels the read.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use clickhouse_http::client::ResponseStream;
use futures::{Stream, StreamExt, stream};
use http::HeaderMap;
use storage_types::gateway_api::ColdQuery;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::Instant,
};

use super::{custody, guard};
use crate::{error::GatewayError, gateway::Gateway};

/// Pieces between the engine's answer and the caller.
const PIECES: usize = 4;
/// What the caller may take longer than the query itself to read the rest.
const READING_TIME: Duration = Duration::from_secs(60);

enum Piece {
    Bytes(Bytes),
    Failed(io::Error),
    End,
}

/// An answer on its way.
pub struct ColdAnswer<S> {
    /// The engine's headers.
    pub headers: HeaderMap,
    /// The body; ends with an error unless it is whole.
    pub body: S,
}

/// Runs a cold query. The caller's span gets its id (`query_id`).
pub async fn run(
    gateway: &Arc<Gateway>,
    query: ColdQuery,
) -> Result<ColdAnswer<impl Stream<Item = Result<Bytes, io::Error>> + Send + 'static>, GatewayError> {
    check_words(&query)?;
    tracing::Span::current().record("query_id", &query.query_id);
    let sql = guard::check_select(&query.sql)?;
    custody::check_query(gateway, sql).await?;
    let permit = gateway.query_slot().await?;
    let limits = &gateway.config.limits;
    let longest = Duration::from_secs(limits.max_query_seconds);
    let mut statement = gateway
        .reader
        .query(sql)
        .format(query.format.as_str())
        .query_id(query.query_id.as_str())
        .readonly()
        .setting("max_execution_time", limits.max_query_seconds)
        .setting("max_memory_usage", limits.max_query_memory_bytes)
        .setting("cancel_http_readonly_queries_on_client_close", "1")
        .deadline(longest + READING_TIME);
    if let Some(zone) = &query.session_timezone {
        statement = statement.setting("session_timezone", zone);
    }
    let until = Instant::now() + longest + READING_TIME;
    let answer = statement.stream().await.map_err(GatewayError::Statement)?;
    tracing::info!("a cold read begins");
    let headers = answer.headers().clone();
    let (pieces, body) = mpsc::channel(PIECES);
    gateway.supervisor.spawn_brief(pump(answer, pieces, until, permit));
    Ok(ColdAnswer { headers, body: unmark(body) })
}

fn check_words(query: &ColdQuery) -> Result<(), GatewayError> {
    let refuse = |what: &str| Err(GatewayError::RefusedQuery(what.into()));
    if query.format.is_empty()
        || query.format.len() > 64
        || !query.format.chars().all(|c| c.is_ascii_alphanumeric())
    {
        return refuse("format is not the name of a format");
    }
    if query.query_id.is_empty()
        || query.query_id.len() > 200
        || !query.query_id.chars().all(|c| c.is_ascii_graphic())
    {
        return refuse("query_id has 1 to 200 printable characters");
    }
    if query.session_timezone.as_ref().is_some_and(|zone| zone.len() > 64) {
        return refuse("session_timezone is not a time zone");
    }
    Ok(())
}

/// Carries the answer to the caller until it ends, fails, or its time is over.
async fn pump(
    mut answer: ResponseStream,
    pieces: mpsc::Sender<Piece>,
    until: Instant,
    permit: OwnedSemaphorePermit,
) {
    let carrying = async {
        loop {
            let next = tokio::select! {
                next = answer.next() => next,
                // The caller hung up.
                () = pieces.closed() => return,
            };
            let (piece, last) = match next {
                Some(Ok(bytes)) => (Piece::Bytes(bytes), false),
                Some(Err(error)) => (Piece::Failed(io::Error::other(error.to_string())), true),
                None => (Piece::End, true),
            };
            if pieces.send(piece).await.is_err() || last {
                return;
            }
        }
    };
    if tokio::time::timeout_at(until, carrying).await.is_err() {
        tracing::warn!("a cold query's answer was not read in time: broken off");
    }
    drop(permit);
}

/// The pieces as a body; a channel that closes before the end mark is an error.
fn unmark(pieces: mpsc::Receiver<Piece>) -> impl Stream<Item = Result<Bytes, io::Error>> + Send + 'static {
    stream::unfold(Some(pieces), |pieces| async move {
        let mut pieces = pieces?;
        match pieces.recv().await {
            Some(Piece::Bytes(bytes)) => Some((Ok(bytes), Some(pieces))),
            Some(Piece::End) => None,
            Some(Piece::Failed(error)) => Some((Err(error), None)),
            None => Some((Err(io::Error::other("the answer was not read in time")), None)),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_channel_that_closes_without_its_mark_is_an_error() {
        let (pieces, body) = mpsc::channel(2);
        pieces.send(Piece::Bytes(Bytes::from_static(b"a"))).await.unwrap();
        drop(pieces);
        let seen: Vec<_> = unmark(body).collect().await;
        assert!(seen[0].is_ok() && seen[1].is_err() && seen.len() == 2);

        let (pieces, body) = mpsc::channel(2);
        pieces.send(Piece::End).await.unwrap();
        drop(pieces);
        assert_eq!(unmark(body).count().await, 0);
    }
}
