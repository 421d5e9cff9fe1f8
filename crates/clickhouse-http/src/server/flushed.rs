//! Knowing when everything that a server wrote has left it.
//!
//! An HTTP server that finds an error in an answer's body drops the connection, and with it whatever a slow
//! reader has not taken yet. Whoever means to end an answer by an error, behind bytes that say why, waits
//! until these are out: the server flushes its stream only when its own buffer is empty.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;
use tokio::sync::Notify;

/// Tells of a writer's flushes; clones tell of the same ones.
#[derive(Clone, Default)]
pub struct Flushed(Arc<Notify>);

impl Flushed {
    /// Waits for the next flush: a body that awaits this is asked again when what it gave out before is out.
    pub async fn next(&self) {
        self.0.notified().await;
    }
}

/// A writer whose flushes are told.
pub struct FlushedWriter<W> {
    inner: W,
    flushed: Flushed,
}

impl<W> FlushedWriter<W> {
    /// Wraps a connection's writing half.
    pub fn new(inner: W, flushed: Flushed) -> Self {
        Self { inner, flushed }
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for FlushedWriter<W> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
        self.flushed.0.notify_waiters();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::body::Body;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn what_was_said_before_an_error_reaches_a_slow_reader() {
        // Far less than the answer: the server keeps the rest.
        let (mut client, server) = tokio::io::duplex(64);
        let (flushed, reached) = (Flushed::default(), Arc::new(Notify::new()));
        let said: &[u8] = b"\r\nand this is why";
        let at_the_end = Arc::clone(&reached);
        let told = flushed.clone();
        let answer = service_fn(move |_| {
            let (reached, flushed) = (Arc::clone(&at_the_end), told.clone());
            let end = async move {
                reached.notify_one();
                flushed.next().await;
                Err(io::Error::other("cut"))
            };
            let pieces = futures::stream::iter([Ok(vec![b'x'; 100_000]), Ok(said.to_vec())]);
            let body = futures::StreamExt::chain(pieces, futures::stream::once(end));
            async { Ok::<_, Infallible>(hyper::Response::new(Body::from_stream(body))) }
        });
        let (reader, writer) = tokio::io::split(server);
        let stream = TokioIo::new(tokio::io::join(reader, FlushedWriter::new(writer, flushed)));
        let serving = hyper::server::conn::http1::Builder::new().serve_connection(stream, answer);
        let reading = async {
            client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
            reached.notified().await;
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.unwrap();
            answer
        };
        let (served, answer) = tokio::join!(serving, reading);
        assert!(served.is_err() && !answer.ends_with(b"0\r\n\r\n"), "it is cut");
        assert!(answer.len() > 100_000, "{} bytes", answer.len());
        assert!(answer.windows(said.len()).any(|at| at == said), "the reason is not there");
    }
}
