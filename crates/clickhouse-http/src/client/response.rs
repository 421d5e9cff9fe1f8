//! An answer as it comes, which cannot end early without saying so.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use http::{HeaderMap, Response};
use http_body_util::BodyDataStream;
use hyper::body::Incoming;
use memchr::memmem;
use tokio::time::{Instant, Sleep};
use url::Url;

use super::{Error, error::chain, send::late};
use crate::exception::{Exception, RECENT_BYTES, TAG_HEADER, behind_data, tail_message, tail_opening};

/// Of an exception behind the data, this much is kept.
const MAX_MESSAGE_BYTES: usize = 64 << 10;

/// Headers and body of an answer. Dropping it closes the connection.
///
/// The stream ends with `None` only after the whole answer; after an `Err` comes `None`.
pub struct ResponseStream {
    headers: HeaderMap,
    node: Url,
    idempotent: bool,
    body: BodyDataStream<Incoming>,
    idle: Duration,
    timer: Pin<Box<Sleep>>,
    /// The timer counts only while the server keeps us waiting, not while the reader does.
    waiting: bool,
    scan: Scan,
    done: bool,
}

impl std::fmt::Debug for ResponseStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResponseStream")
            .field("node", &self.node.as_str())
            .field("done", &self.done)
            .finish_non_exhaustive()
    }
}

impl ResponseStream {
    pub(super) fn new(answer: Response<Incoming>, node: &Url, idle: Duration, idempotent: bool) -> Self {
        let (head, body) = answer.into_parts();
        let headers = head.headers;
        let tag = headers.get(TAG_HEADER).and_then(|v| v.to_str().ok()).map(str::to_owned);
        Self {
            headers,
            node: node.clone(),
            idempotent,
            body: BodyDataStream::new(body),
            idle,
            timer: Box::pin(tokio::time::sleep(idle)),
            waiting: false,
            scan: Scan::new(tag),
            done: false,
        }
    }

    /// The answer's headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    fn lost(&self, reason: String) -> Error {
        let node = self.node.to_string();
        if self.idempotent { Error::Unreachable { node, reason } } else { Error::Unknown { node, reason } }
    }
}

impl Stream for ResponseStream {
    type Item = Result<Bytes, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        while !this.done {
            let next = match this.body.poll_next_unpin(cx) {
                Poll::Ready(next) => next,
                Poll::Pending => {
                    if !this.waiting {
                        this.waiting = true;
                        this.timer.as_mut().reset(Instant::now() + this.idle);
                    }
                    ready!(this.timer.as_mut().poll(cx));
                    this.done = true;
                    return Poll::Ready(Some(Err(late(this.idempotent, this.node.to_string(), this.idle))));
                }
            };
            this.waiting = false;
            match next {
                Some(Ok(chunk)) => {
                    let data = this.scan.push(chunk);
                    if !data.is_empty() {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
                Some(Err(error)) => {
                    this.done = true;
                    let error = match this.scan.broken() {
                        Some(exception) => exception.into(),
                        None => this.lost(format!("the answer was cut: {}", chain(&error))),
                    };
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    this.done = true;
                    return match this.scan.finish() {
                        Ok(rest) if rest.is_empty() => Poll::Ready(None),
                        Ok(rest) => Poll::Ready(Some(Ok(rest))),
                        Err(error) => Poll::Ready(Some(Err(error))),
                    };
                }
            }
        }
        Poll::Ready(None)
    }
}

/// Looks for the tagged tail in bytes that come in any cut.
struct Scan {
    /// Tag and opening, when the server announced one.
    tagged: Option<(String, Vec<u8>)>,
    /// Bytes that may be the beginning of the opening.
    held: BytesMut,
    /// The opening was found: what came behind it, capped.
    message: Option<Vec<u8>>,
    /// The end of the last chunk, for servers without a tag.
    recent: Bytes,
}

impl Scan {
    fn new(tag: Option<String>) -> Self {
        let tagged = tag.filter(|t| !t.is_empty()).map(|tag| {
            let opening = tail_opening(&tag);
            (tag, opening)
        });
        Self { tagged, held: BytesMut::new(), message: None, recent: Bytes::new() }
    }

    /// Takes a chunk, gives the bytes that are certainly data.
    fn push(&mut self, chunk: Bytes) -> Bytes {
        if let Some(message) = &mut self.message {
            let room = MAX_MESSAGE_BYTES.saturating_sub(message.len());
            message.extend_from_slice(&chunk[..chunk.len().min(room)]);
            return Bytes::new();
        }
        let Some((_, opening)) = &self.tagged else {
            self.recent = chunk.slice(chunk.len().saturating_sub(RECENT_BYTES)..);
            return chunk;
        };
        let mut data = if self.held.is_empty() {
            chunk
        } else {
            self.held.extend_from_slice(&chunk);
            self.held.split().freeze()
        };
        if let Some(at) = memmem::find(&data, opening) {
            let rest = &data[at + opening.len()..];
            self.message = Some(rest[..rest.len().min(MAX_MESSAGE_BYTES)].to_vec());
            return data.slice(..at);
        }
        let held = longest_prefix_at_end(&data, opening);
        let held = data.split_off(data.len() - held);
        self.held.extend_from_slice(&held);
        data
    }

    /// The body ended as it should: the held bytes were data, unless an exception was found.
    fn finish(&mut self) -> Result<Bytes, Error> {
        if self.message.is_none() {
            return Ok(self.held.split().freeze());
        }
        Err(match self.broken() {
            Some(exception) => exception.into(),
            None => Error::Protocol("the answer ended in an exception that cannot be read".into()),
        })
    }

    /// The body broke: the exception behind it, if one can be read.
    fn broken(&self) -> Option<Exception> {
        if let (Some(message), Some((tag, _))) = (&self.message, &self.tagged) {
            return Exception::parse(&tail_message(message, tag));
        }
        behind_data(&self.recent)
    }
}

/// Length of the longest end of `data` that `pattern` begins with (never the whole pattern).
fn longest_prefix_at_end(data: &[u8], pattern: &[u8]) -> usize {
    let most = data.len().min(pattern.len() - 1);
    (1..=most).rev().find(|&n| data[data.len() - n..] == pattern[..n]).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exception::tail;

    fn run(scan: &mut Scan, body: &[u8], cut: usize) -> (Vec<u8>, Result<(), Error>) {
        let mut data = Vec::new();
        for chunk in body.chunks(cut) {
            data.extend_from_slice(&scan.push(Bytes::copy_from_slice(chunk)));
        }
        let end = scan.finish().map(|rest| data.extend_from_slice(&rest));
        (data, end)
    }

    #[test]
    fn the_tail_is_found_in_every_cut_and_data_stay_whole() {
        let text = "Code: 395. DB::Exception: boom\nmore (SOME_NAME)";
        let mut body = b"data\r\n__exception__\r\nother tag\r\n\r\n\r\n__exc".to_vec();
        let clean = body.clone();
        body.extend(tail("TAGTAG", text));
        for cut in 1..body.len() {
            let (data, end) = run(&mut Scan::new(Some("TAGTAG".into())), &body, cut);
            assert_eq!(data, clean, "cut {cut}");
            assert!(matches!(end, Err(Error::Server { code: 395, .. })), "cut {cut}: {end:?}");
            let (data, end) = run(&mut Scan::new(Some("TAGTAG".into())), &clean, cut);
            assert_eq!(data, clean);
            assert!(end.is_ok());
        }
    }
}
