//! URLs of up to 1 MiB, which ClickHouse takes and the `http` crate does not (its limit is 64 KiB).
//!
//! [`LongUrlReader`] stands between socket and HTTP parser. It looks at the first line of each request; when
//! that is longer than the parser takes, it moves the query string into a header of a name nobody can guess,
//! where `take_query` finds it. Every other byte passes unchanged.
//!
//! Only the parser knows where a request ends, so the service tells: [`Conversation::next_request`] hands
//! out a value for each request, to be kept as long as its body is read and its answer written; when that is
//! dropped the next line is a request's first. A client that pipelines a long URL behind another request, or
//! sends it right behind a body that was refused unread, gets the parser's own refusal.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use http::{HeaderMap, HeaderName};
use tokio::io::{AsyncRead, ReadBuf};

/// Lines up to this long are the parser's own business.
const SHORT_BYTES: usize = 32 << 10;
/// The longest first line taken: 1 MiB of URL, method and version.
pub const MAX_LINE_BYTES: usize = (1 << 20) + 1024;

/// What one connection's stream and service know together.
#[derive(Clone)]
pub struct Conversation {
    turn: Arc<Turn>,
    header: HeaderName,
}

/// The number of the request that was begun last, doubled; one more once it is over, so that the next line is
/// a request's first.
struct Turn(AtomicU64);

impl Turn {
    const AT_HEAD: u64 = 1;

    fn is_at_head(&self) -> bool {
        self.0.load(Ordering::Acquire) & Self::AT_HEAD != 0
    }

    /// The first line was found.
    fn begin(&self) {
        self.0.fetch_and(!Self::AT_HEAD, Ordering::AcqRel);
    }

    fn next_request(&self) -> u64 {
        let next = |turn: u64| Some((turn & !Self::AT_HEAD).wrapping_add(2));
        let before = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, next);
        before.ok().and_then(next).unwrap_or_default()
    }

    /// Request `number` is over. Nothing happens when another was begun meanwhile: its body is no head.
    fn end(&self, number: u64) {
        let over = number | Self::AT_HEAD;
        let _ = self.0.compare_exchange(number, over, Ordering::AcqRel, Ordering::Acquire);
    }
}

/// Held as long as a request is being read or answered.
pub struct Answering {
    turn: Arc<Turn>,
    number: u64,
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.turn.end(self.number);
    }
}

impl Conversation {
    /// A new connection's; `secret` names its header and must not be guessable: lower-case letters, digits.
    ///
    /// # Errors
    /// When `secret` has other characters.
    pub fn new(secret: &str) -> Result<Self, http::Error> {
        let header = HeaderName::try_from(format!("x-long-query-{secret}"))?;
        Ok(Self { turn: Arc::new(Turn(AtomicU64::new(Turn::AT_HEAD))), header })
    }

    /// Says that a request is being answered until the returned value is dropped.
    #[must_use]
    pub fn next_request(&self) -> Answering {
        Answering { turn: Arc::clone(&self.turn), number: self.turn.next_request() }
    }

    /// The query string that was moved out of the URL of the request with `headers`.
    pub fn take_query(&self, headers: &mut HeaderMap) -> Option<String> {
        headers.remove(&self.header).and_then(|value| value.to_str().ok().map(str::to_owned))
    }

    /// `line` and what follows it, with a long URL's query string as a header.
    fn shortened(&self, held: Vec<u8>, line_end: usize) -> Vec<u8> {
        let line = &held[..line_end];
        if line.len() <= SHORT_BYTES {
            return held;
        }
        let target = line.iter().position(|&b| b == b' ').zip(line.iter().rposition(|&b| b == b' '));
        let Some((start, end)) = target.filter(|(start, end)| start < end) else { return held };
        let Some(mark) = line[start..end].iter().position(|&b| b == b'?') else { return held };
        let mark = start + mark;
        let mut short = Vec::with_capacity(held.len() + 64);
        short.extend_from_slice(&line[..mark]);
        short.extend_from_slice(&line[end..]);
        short.extend_from_slice(b"\r\n");
        short.extend_from_slice(self.header.as_str().as_bytes());
        short.extend_from_slice(b": ");
        short.extend_from_slice(&line[mark + 1..end]);
        short.extend_from_slice(&held[line_end..]);
        short
    }
}

/// See the module.
pub struct LongUrlReader<S> {
    inner: S,
    conversation: Conversation,
    held: Vec<u8>,
    searched: usize,
    ready: Vec<u8>,
    given: usize,
}

impl<S> LongUrlReader<S> {
    /// Wraps a fresh connection's reading half.
    pub fn new(inner: S, conversation: Conversation) -> Self {
        Self { inner, conversation, held: Vec::new(), searched: 0, ready: Vec::new(), given: 0 }
    }

    /// Lets what is held go, once the first line is whole or too long to be.
    fn settle(&mut self, ended: bool) {
        let end = self.held[self.searched..].iter().position(|&b| b == b'\n').map(|at| self.searched + at);
        self.searched = self.held.len();
        if end.is_none() && !ended && self.held.len() <= MAX_LINE_BYTES {
            return;
        }
        let held = std::mem::take(&mut self.held);
        self.ready = match end {
            Some(end) if end <= MAX_LINE_BYTES => {
                let line_end = if end > 0 && held[end - 1] == b'\r' { end - 1 } else { end };
                self.conversation.shortened(held, line_end)
            }
            _ => held,
        };
        self.given = 0;
        self.searched = 0;
        self.conversation.turn.begin();
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for LongUrlReader<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.given < this.ready.len() {
                let count = buffer.remaining().min(this.ready.len() - this.given);
                buffer.put_slice(&this.ready[this.given..this.given + count]);
                this.given += count;
                if this.given == this.ready.len() {
                    this.ready = Vec::new();
                    this.given = 0;
                }
                return Poll::Ready(Ok(()));
            }
            if !this.conversation.turn.is_at_head() {
                return Pin::new(&mut this.inner).poll_read(cx, buffer);
            }
            let mut piece = [0; 16 << 10];
            let mut read = ReadBuf::new(&mut piece);
            ready!(Pin::new(&mut this.inner).poll_read(cx, &mut read))?;
            let ended = read.filled().is_empty();
            if ended && this.held.is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.held.extend_from_slice(read.filled());
            this.settle(ended);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    async fn through(input: &[u8]) -> (Conversation, String) {
        let conversation = Conversation::new("0").unwrap();
        let mut stream = LongUrlReader::new(input, conversation.clone());
        let mut output = Vec::new();
        stream.read_to_end(&mut output).await.unwrap();
        (conversation, String::from_utf8(output).unwrap())
    }

    #[tokio::test]
    async fn only_long_urls_are_shortened() {
        let short = "POST /?query=x HTTP/1.1\r\nHost: a\r\n\r\nGET /?y HTTP/1.1\r\n";
        assert_eq!(through(short.as_bytes()).await.1, short);
        let query = "q".repeat(MAX_LINE_BYTES - 100);
        let long = format!("GET /?{query} HTTP/1.1\r\nHost: a\r\n\r\n");
        let expected = format!("GET / HTTP/1.1\r\nx-long-query-0: {query}\r\nHost: a\r\n\r\n");
        assert!(through(long.as_bytes()).await.1 == expected);
        for odd in
            [format!("GET /{query} HTTP/1.1\r\n\r\n"), query.clone(), "q".repeat(3 << 20), String::new()]
        {
            assert!(through(odd.as_bytes()).await.1 == odd);
        }
    }

    #[tokio::test]
    async fn the_next_request_is_looked_at_once_the_answer_is_over() {
        let long = format!("GET /?{} HTTP/1.1\r\n\r\n", "q".repeat(SHORT_BYTES));
        let (mut client, server) = tokio::io::duplex(1 << 20);
        let conversation = Conversation::new("0").unwrap();
        let mut stream = LongUrlReader::new(server, conversation.clone());
        for answered in [true, false] {
            tokio::io::AsyncWriteExt::write_all(&mut client, long.as_bytes()).await.unwrap();
            let mut seen = vec![0; 64];
            stream.read_exact(&mut seen).await.unwrap();
            assert_eq!(seen.windows(14).any(|w| w == b"x-long-query-0"), answered);
            let mut rest = vec![0; long.len() + if answered { 16 } else { 0 } - 64 - usize::from(answered)];
            stream.read_exact(&mut rest).await.unwrap();
            if answered {
                // No value was handed out: the stream passes bytes through until one is dropped.
                assert!(!conversation.turn.is_at_head());
            }
        }
        let first = conversation.next_request();
        let second = conversation.next_request();
        drop(first);
        assert!(!conversation.turn.is_at_head(), "the second was begun");
        drop(second);
        assert!(conversation.turn.is_at_head());
    }
}
