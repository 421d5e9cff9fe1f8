//! Reading a request's body to its end when its handler does not: a refusal must reach its caller, and the
//! connection stay usable.
//!
//! A server that answers and drops the rest of a body has to close the connection, and a connection closed
//! on unread bytes is reset. Whoever still sends gets `EPIPE` instead of the answer, and whoever has read
//! the answer and sends the next request over the same connection gets it there. So the rest is read and
//! thrown away, as ClickHouse's own handler does, but within bounds: beyond them the connection is closed.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Request;
use http::header::EXPECT;
use http_body::{Body, Frame, SizeHint};
use tokio::runtime::Handle;

/// Of a dropped body this much is read on.
const DRAIN_BYTES: u64 = 16 << 20;
/// And no longer than this.
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// `request` with a body that is read to its end after it was dropped: at most 16 MiB in 5 s, in a task of
/// its own. A caller that waits for `100 Continue` before it sends is not made to send what nobody wants.
pub fn drained<B>(request: Request<B>) -> Request<Drained<B>>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
{
    let sent = !request.headers().contains_key(EXPECT);
    request.map(|body| Drained { body: Some(body), sent })
}

/// See [`drained`].
pub struct Drained<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
{
    /// Until its end was read.
    body: Option<B>,
    /// Whether the caller sends it without being asked to.
    sent: bool,
}

impl<B> Body for Drained<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.sent = true;
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(context));
        if !matches!(frame, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl<B> Drop for Drained<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
{
    fn drop(&mut self) {
        let Some(body) = self.body.take().filter(|body| self.sent && !body.is_end_stream()) else { return };
        // Without a runtime nothing reads, and nothing serves the connection either.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async {
                let _ = tokio::time::timeout(DRAIN_TIME, drain(body)).await;
            });
        }
    }
}

async fn drain<B: Body + Unpin>(mut body: B) {
    use bytes::Buf as _;
    let mut bytes = 0;
    while let Some(Ok(frame)) = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await
    {
        bytes += frame.into_data().map_or(0, |data| data.remaining() as u64);
        // Whoever waits for more than the last byte of a body whose answer is out waits for the next request.
        if bytes > DRAIN_BYTES || body.is_end_stream() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::extract::Request;
    use axum::http::StatusCode;
    use axum::routing::post;
    use axum::{Router, body, middleware};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// A connection to a server that refuses `POST /` unread, and answers `GET /`.
    #[allow(clippy::disallowed_methods, reason = "a server of this test, gone with its runtime")]
    async fn connection() -> TcpStream {
        let refuse = post(async |_: Request| StatusCode::FORBIDDEN).get(async || "next");
        let layer = middleware::map_request(async |request: Request| drained(request).map(body::Body::new));
        let routes = Router::new().route("/", refuse.layer(layer));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async { axum::serve(listener, routes).await });
        TcpStream::connect(address).await.unwrap()
    }

    /// Reads until what came ends with `end`, or the connection does.
    async fn until(connection: &mut TcpStream, end: &str) -> String {
        let mut text = String::new();
        let mut piece = [0; 1024];
        while !text.ends_with(end) {
            match connection.read(&mut piece).await {
                Ok(0) | Err(_) => break,
                Ok(count) => text.push_str(std::str::from_utf8(&piece[..count]).unwrap()),
            }
        }
        text
    }

    #[tokio::test]
    async fn a_refused_request_leaves_its_connection_usable() {
        let mut connection = connection().await;
        for _ in 0..3 {
            connection
                .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4000000\r\n\r\n")
                .await
                .unwrap();
            connection.write_all(&[b'x'; 1_000_000]).await.unwrap();
            let answer = until(&mut connection, "\r\n\r\n").await;
            assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
            connection.write_all(&vec![b'x'; 3_000_000]).await.unwrap();
            connection.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
            let answer = until(&mut connection, "next").await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        }
    }

    #[tokio::test]
    async fn a_body_without_an_end_is_cut_off() {
        let mut connection = connection().await;
        connection
            .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000000\r\n\r\n")
            .await
            .unwrap();
        let piece = vec![b'x'; 1 << 20];
        let mut sent = 0;
        while connection.write_all(&piece).await.is_ok() {
            sent += 1;
            assert!(sent < 200, "{sent} MiB were taken");
        }
    }

    #[tokio::test]
    async fn nobody_is_asked_for_a_body_that_is_not_wanted() {
        let mut connection = connection().await;
        let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n";
        connection.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 403 ") && !answer.contains("100"), "{answer}");
    }
}
