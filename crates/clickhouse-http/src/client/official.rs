//! Statements, collected answers and inserts, run by the `clickhouse` crate: one client of it for each
//! attempt, aimed at one node over a [`Connector`](super::transport::Connector) of ours.
//!
//! Every statement asks for `wait_end_of_query=1`: the server sends the status only when it knows the
//! outcome, so an error is never hidden behind the first rows, and the crate's own look at an answer's tail
//! does not matter. Until then the server holds the answer in memory, as far as `buffer_size` goes, and behind that
//! in a file; where its disk is full it answers without that part, as if that were all (26.7). So the buffer is
//! larger than any answer that is taken.

use std::{ops::ControlFlow, pin::Pin};

use bytes::Bytes;
use clickhouse::{Compression, error::Error as CrateError};
use futures::{Stream, StreamExt, stream::Fuse};
use hyper_util::client::legacy;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::DropGuard;
use url::Url;

use super::{
    Error, Query,
    error::chain,
    send::{Attempts, Failure, first_line, unsent_or_lost},
};
use crate::exception::{Exception, behind_data};

/// Runs a statement and collects its answer up to the client's cap, all within its deadline.
pub(super) async fn collected(query: Query) -> Result<Vec<u8>, Error> {
    if !query.external.is_empty() {
        return Err(Error::Protocol("external tables go with a stream".into()));
    }
    let until = Instant::now() + query.deadline;
    let mut attempts = Attempts::new(&query, query.is_idempotent())?;
    while let Some(node) = attempts.next() {
        let outcome = timeout_at(until, ask(&query, &node)).await.unwrap_or(Err(Failure::Late));
        if let ControlFlow::Break(done) = attempts.outcome(outcome) {
            return done;
        }
    }
    Err(attempts.exhausted())
}

async fn ask(query: &Query, node: &Url) -> Result<Vec<u8>, Failure> {
    let limit_bytes = query.client.inner.list.max_response_bytes;
    let (engine, _guard) = engine(query, node);
    let format = query.format.as_deref().unwrap_or("TabSeparated");
    let mut cursor = engine.query_raw(&query.sql).fetch_bytes(format).map_err(|error| judge(error, &[]))?;
    let mut answer = Vec::new();
    while let Some(chunk) = cursor.next().await.map_err(|error| judge(error, &answer))? {
        if (answer.len() + chunk.len()) as u64 > limit_bytes {
            return Err(Failure::Final(Error::TooLarge { limit_bytes }));
        }
        answer.extend_from_slice(&chunk);
    }
    Ok(answer)
}

/// Streams `body` in; the deadline holds for each wait: for a piece of it, for the network to take one,
/// and for the answer.
pub(super) async fn insert<S>(query: Query, body: S) -> Result<(), Error>
where
    S: Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static,
{
    let mut rows = Rows { body: Box::pin(body).fuse(), piece: None };
    let mut attempts = Attempts::new(&query, false)?;
    while let Some(node) = attempts.next() {
        let outcome = send_rows(&query, &node, &mut rows).await;
        if let ControlFlow::Break(done) = attempts.outcome(outcome) {
            return done;
        }
    }
    Err(attempts.exhausted())
}

/// The body of an insert.
struct Rows<S> {
    body: Fuse<Pin<Box<S>>>,
    /// A piece that no connection has taken yet.
    piece: Option<Bytes>,
}

async fn send_rows<S>(query: &Query, node: &Url, rows: &mut Rows<S>) -> Result<(), Failure>
where
    S: Stream<Item = Result<Bytes, std::io::Error>>,
{
    let wait = query.deadline;
    let (engine, _guard) = engine(query, node);
    let mut insert = engine.insert_formatted_with(query.sql.as_str()).with_timeouts(Some(wait), Some(wait));
    // This empty piece starts the request. Its pipe has room for one: the next is taken only once the
    // connection stands, so a refusal costs no rows.
    let mut sent = insert.send(Bytes::new()).await;
    while sent.is_ok() {
        if rows.piece.is_none() {
            let next = timeout(wait, rows.body.next()).await.map_err(|_| Failure::Late)?.transpose();
            rows.piece = next.map_err(|error| Failure::Lost(format!("the rows broke off: {error}")))?;
        }
        let Some(piece) = rows.piece.clone() else { break };
        sent = insert.send(piece).await;
        if sent.is_ok() {
            rows.piece = None;
        }
    }
    let ended = match sent {
        Ok(()) => insert.end().await,
        Err(CrateError::TimedOut) => Err(CrateError::TimedOut),
        // Sending knows that nobody takes more; the end knows why.
        Err(error) => Err(insert.end().await.err().unwrap_or(error)),
    };
    ended.map_err(|error| judge(error, &[]))
}

/// The crate's client for one statement on one node; what it does ends with the guard.
fn engine(query: &Query, node: &Url) -> (clickhouse::Client, DropGuard) {
    let list = &query.client.inner.list;
    let (connector, guard) = query.client.inner.connector.bounded(list.max_response_bytes);
    let mut engine = clickhouse::Client::with_http_client(connector.client())
        .with_url(node.as_str())
        .with_compression(Compression::None);
    if !list.user.is_empty() {
        engine = engine.with_user(&list.user);
    }
    if !list.password.is_empty() {
        engine = engine.with_password(list.password.expose());
    }
    for (name, value) in query.pairs() {
        engine.set_setting(name, value);
    }
    let buffer_bytes = list.max_response_bytes.saturating_add(1);
    let engine = engine.with_setting("buffer_size", buffer_bytes.to_string());
    (engine.with_setting("wait_end_of_query", "1"), guard)
}

/// What the crate's error says about the statement, given what it read of the answer.
fn judge(error: CrateError, answer: &[u8]) -> Failure {
    match error {
        CrateError::BadResponse(text) => match Exception::parse(&text) {
            Some(exception) => Failure::Refused(exception),
            None => Failure::Lost(first_line(&text)),
        },
        CrateError::Network(cause) => match (behind_data(answer), cause.downcast_ref::<legacy::Error>()) {
            (Some(exception), _) => Failure::Refused(exception),
            (None, Some(error)) => unsent_or_lost(error),
            (None, None) => Failure::Lost(chain(&*cause)),
        },
        CrateError::TimedOut => Failure::Late,
        other => Failure::Final(Error::Protocol(other.to_string())),
    }
}
