//! Speaking to the other daemon: JSON both ways, chunks out, streams in.
//!
//! Every wait has a deadline: a call that is collected in all, a transfer between two bytes. Calls that may
//! be repeated (all of both APIs are idempotent by design: an id names the effect) are retried with backoff
//! and jitter while the other side is away, at most `retry_attempts` times; what the last attempt met is the
//! error. A stream is never retried once it has begun: part of it may have been used.

use std::{pin::Pin, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _};
use parking_lot::RwLock;
use reqwest::{
    Method, RequestBuilder, Response, StatusCode,
    header::{CONTENT_LENGTH, TRANSFER_ENCODING},
};
use serde::{Serialize, de::DeserializeOwned};
use storage_types::gateway_api::ErrorBody;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use url::Url;

use crate::{
    BearerToken, PeerError, RateLimiter,
    activity::Activity,
    idle::{Idle, bounded},
    trust,
};

/// An answer that is collected may have this many bytes.
const MAX_JSON_BYTES: usize = 64 << 20;
/// First pause between attempts; doubled each time.
const BACKOFF: Duration = Duration::from_millis(200);
const MAX_BACKOFF: Duration = Duration::from_secs(10);
/// Most time before the first byte of a stream, and between two of its chunks.
const STREAM_SILENCE: Duration = Duration::from_secs(900);
/// Most time in which no byte of an upload leaves.
const PUT_SILENCE: Duration = Duration::from_secs(60);

/// Bytes as they come.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, PeerError>> + Send>>;

/// The other daemon. Clones share connections.
#[derive(Clone, Debug)]
pub struct Peer {
    client: reqwest::Client,
    base: Url,
    token: Option<BearerToken>,
    timeout: Duration,
    attempts: u32,
    activity: Activity,
    /// Sent with every request, beside the token.
    extra: Arc<RwLock<Option<(&'static str, String)>>>,
}

impl Peer {
    /// At `base`, presenting `token`. `timeout` is for connecting and for the answer to one attempt;
    /// `retry_attempts` are further attempts after the first.
    pub fn new(
        base: Url,
        token: Option<BearerToken>,
        timeout: Duration,
        retry_attempts: u32,
    ) -> Result<Self, PeerError> {
        Self::with_authorities(base, token, timeout, retry_attempts, None)
    }

    /// [`Peer::new`] for an `https` address that only the certificates in `authorities` (PEM,
    /// RFC 7468) may vouch for; `None`: the system's.
    pub fn with_authorities(
        base: Url,
        token: Option<BearerToken>,
        timeout: Duration,
        retry_attempts: u32,
        authorities: Option<&[u8]>,
    ) -> Result<Self, PeerError> {
        // Fails only when a provider is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut client = reqwest::Client::builder()
            .connect_timeout(timeout.min(Duration::from_secs(10)))
            .pool_idle_timeout(Duration::from_secs(60))
            .tcp_nodelay(true)
            .tcp_keepalive(Duration::from_secs(15))
            .http1_only()
            .retry(reqwest::retry::never())
            // The token goes to the peer and to nobody in between.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none());
        if base.scheme() != "https" {
            // A bare container has no certificates, and none are needed.
            client = client.tls_certs_only(std::iter::empty());
        } else if let Some(pem) = authorities {
            let pinned = reqwest::Certificate::from_pem_bundle(pem)
                .map_err(|error| PeerError::Protocol { url: base.to_string(), reason: chain(&error) })?;
            client = client.tls_certs_only(pinned);
        }
        let client = client
            .build()
            .map_err(|error| PeerError::Protocol { url: base.to_string(), reason: chain(&error) })?;
        let (attempts, activity, extra) = (retry_attempts + 1, Activity::new(), Arc::default());
        Ok(Self { client, base, token, timeout, attempts, activity, extra })
    }

    /// From now on every request of this peer, and of its clones, carries this header; `None`: no more.
    pub fn set_header(&self, header: Option<(&'static str, String)>) {
        *self.extra.write() = header;
    }

    /// Time since the other daemon last answered anything; `None`: it never did.
    #[must_use]
    pub fn answered_ago(&self) -> Option<Duration> {
        self.activity.answered_ago()
    }

    /// Time since a byte last left; `None` while no upload is under way.
    #[must_use]
    pub fn silence(&self) -> Option<Duration> {
        self.activity.silence()
    }

    /// Base URL of the other daemon.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.base
    }

    /// `GET path` → JSON.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, PeerError> {
        let (_, bytes) = self.repeated(path, || self.request(Method::GET, path)).await?;
        self.parse(path, &bytes)
    }

    /// `POST path` with a JSON body → status and JSON.
    pub async fn post<B: Serialize + ?Sized, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<(u16, T), PeerError> {
        let (status, bytes) =
            self.repeated(path, || Ok(self.request(Method::POST, path)?.json(body))).await?;
        Ok((status, self.parse(path, &bytes)?))
    }

    /// `POST path` with a JSON body → the status; the answer's body is thrown away.
    pub async fn post_no_content<B: Serialize + ?Sized>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<u16, PeerError> {
        let sent = self.repeated(path, || Ok(self.request(Method::POST, path)?.json(body))).await?;
        Ok(sent.0)
    }

    /// `PUT path` with a JSON body → the status.
    pub async fn put_json<B: Serialize + ?Sized>(&self, path: &str, body: &B) -> Result<u16, PeerError> {
        Ok(self.repeated(path, || Ok(self.request(Method::PUT, path)?.json(body))).await?.0)
    }

    /// `DELETE path` → the status.
    pub async fn delete(&self, path: &str) -> Result<u16, PeerError> {
        Ok(self.repeated(path, || self.request(Method::DELETE, path)).await?.0)
    }

    /// `PUT path` with `bytes`, in slices that `limiter` lets through. One attempt; as long as bytes
    /// leave it may go on, then the peer has `timeout` to answer.
    pub async fn put(
        &self,
        path: &str,
        headers: &[(&'static str, String)],
        bytes: Bytes,
        limiter: &RateLimiter,
    ) -> Result<u16, PeerError> {
        let length = bytes.len() as u64;
        self.put_from(path, headers, length, std::io::Cursor::new(bytes), limiter).await
    }

    /// [`Peer::put`] from a reader of exactly `length` bytes, of which only a slice is in memory.
    pub async fn put_from(
        &self,
        path: &str,
        headers: &[(&'static str, String)],
        length: u64,
        reader: impl AsyncRead + Send + Unpin + 'static,
        limiter: &RateLimiter,
    ) -> Result<u16, PeerError> {
        let mut request = self.request(Method::PUT, path)?.header("content-length", length);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let idle = Idle::new(PUT_SILENCE.max(self.timeout));
        let _transfer = self.activity.transfer();
        let bytes = paced(reader, length, limiter.clone(), idle.clone(), self.activity.clone());
        let body = reqwest::Body::wrap_stream(bytes);
        let sent = idle.wait(self.send(path, request.body(body))).await;
        let (status, _) = sent.ok_or_else(|| self.unknown(path, "nothing moved for too long"))??;
        Ok(status)
    }

    /// `POST path` with a JSON body → the answer's bytes as they come, once its status is known to be
    /// 200. Ends in an error when the other side broke off. Dropping it hangs up. For what only reads: a
    /// connection that breaks at once may be one to a daemon that is no more (it was started anew), so it is
    /// asked for once more.
    pub async fn post_stream<B: Serialize + ?Sized>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<ByteStream, PeerError> {
        // Bulk data pause until the answer begins.
        let waiting = self.activity.query();
        let ask = async || {
            let answer = self.request(Method::POST, path)?.json(body).send();
            let answer = tokio::time::timeout(STREAM_SILENCE, answer).await;
            answer.map_err(|_| self.unknown(path, "no answer in time"))
        };
        let begun = tokio::time::Instant::now();
        let answer = match ask().await? {
            Err(error) if broke_off(&error) && begun.elapsed() < self.timeout => ask().await?,
            answer => answer,
        };
        drop(waiting);
        let response = self.accept(path, answer.map_err(|error| self.failure(path, &error))?).await?;
        let url = self.at(path)?.to_string();
        // Without either, an answer that was cut looks whole.
        let framed =
            [CONTENT_LENGTH, TRANSFER_ENCODING].iter().any(|name| response.headers().contains_key(name));
        if !framed && response.status() != StatusCode::NO_CONTENT {
            return Err(PeerError::Protocol {
                url,
                reason: "the answer has neither length nor chunks".into(),
            });
        }
        let silent = url.clone();
        let stream = response.bytes_stream().map(move |chunk| {
            chunk.map_err(|error| PeerError::Unknown { url: url.clone(), reason: chain(&error) })
        });
        let late = move || PeerError::Unknown { url: silent.clone(), reason: "silent for too long".into() };
        Ok(Box::pin(bounded(Box::pin(stream), STREAM_SILENCE, late)))
    }

    /// Whether `GET /healthz` answers 200 within the timeout. One attempt.
    pub async fn alive(&self) -> bool {
        self.health().await.is_ok()
    }

    /// [`Peer::alive`] with the reason why not.
    pub async fn health(&self) -> Result<(), PeerError> {
        const PATH: &str = "/healthz";
        let request = self.request(Method::GET, PATH)?;
        let answer = tokio::time::timeout(self.timeout, request.send()).await;
        let answer = answer.map_err(|_| self.unknown(PATH, "no answer in time"))?;
        let response = answer.map_err(|error| self.failure(PATH, &error))?;
        if !response.status().is_success() {
            let reason = format!("{} (is this the other daemon?)", response.status());
            return Err(PeerError::Protocol { url: self.at(PATH)?.to_string(), reason });
        }
        self.activity.answered();
        Ok(())
    }

    fn at(&self, path: &str) -> Result<Url, PeerError> {
        let joined = format!("{}{path}", self.base.as_str().trim_end_matches('/'));
        Url::parse(&joined).map_err(|error| PeerError::Protocol { url: joined, reason: error.to_string() })
    }

    fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, PeerError> {
        let mut request = self.client.request(method, self.at(path)?);
        if let Some(token) = &self.token {
            request = request.header("authorization", token.header());
        }
        if let Some((name, value)) = &*self.extra.read() {
            request = request.header(*name, value);
        }
        Ok(request)
    }

    async fn repeated(
        &self,
        path: &str,
        build: impl Fn() -> Result<RequestBuilder, PeerError>,
    ) -> Result<(u16, Bytes), PeerError> {
        let mut pause = BACKOFF;
        let mut attempt = 1;
        loop {
            let sent = tokio::time::timeout(self.timeout, self.send(path, build()?)).await;
            let error = match sent {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => error,
                Err(_) => self.unknown(path, "no answer in time"),
            };
            // An answer, even a refusal, is the other side's word: only silence is asked again.
            if attempt >= self.attempts || error.status().is_some() || !error.is_retryable() {
                return Err(error);
            }
            tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
            pause = (pause * 2).min(MAX_BACKOFF);
            attempt += 1;
        }
    }

    async fn send(&self, path: &str, request: RequestBuilder) -> Result<(u16, Bytes), PeerError> {
        let response = request.send().await.map_err(|error| self.failure(path, &error))?;
        let response = self.accept(path, response).await?;
        let status = response.status().as_u16();
        Ok((status, self.collect(path, response).await?))
    }

    /// Passes 2xx, turns everything else into an error with the peer's own reason.
    async fn accept(&self, path: &str, response: Response) -> Result<Response, PeerError> {
        self.activity.answered();
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let url = self.at(path)?.to_string();
        let bytes = tokio::time::timeout(self.timeout, self.collect(path, response)).await;
        let bytes = bytes.ok().and_then(Result::ok).unwrap_or_default();
        let body = serde_json::from_slice::<ErrorBody>(&bytes).unwrap_or_else(|_| ErrorBody {
            code: "no_reason".into(),
            message: String::from_utf8_lossy(&bytes[..bytes.len().min(300)]).into_owned(),
        });
        Err(PeerError::Status { url, status: status.as_u16(), body })
    }

    async fn collect(&self, path: &str, response: Response) -> Result<Bytes, PeerError> {
        let mut stream = response.bytes_stream();
        let mut all = Vec::new();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| self.failure(path, &error))?;
            if all.len() + chunk.len() > MAX_JSON_BYTES {
                let url = self.at(path)?.to_string();
                return Err(PeerError::Protocol {
                    url,
                    reason: format!("answer over {MAX_JSON_BYTES} bytes"),
                });
            }
            all.extend_from_slice(&chunk);
        }
        Ok(all.into())
    }

    fn parse<T: DeserializeOwned>(&self, path: &str, bytes: &[u8]) -> Result<T, PeerError> {
        serde_json::from_slice(bytes).map_err(|error| PeerError::Protocol {
            url: format!("{}{path}", self.base),
            reason: format!("unexpected answer: {error}"),
        })
    }

    fn failure(&self, path: &str, error: &reqwest::Error) -> PeerError {
        let url = format!("{}{path}", self.base.as_str().trim_end_matches('/'));
        if let Some(reason) = trust::refused(error) {
            PeerError::Untrusted { url, reason }
        } else if error.is_connect() || error.is_builder() {
            PeerError::Unreachable { url, reason: chain(error) }
        } else {
            PeerError::Unknown { url, reason: chain(error) }
        }
    }

    fn unknown(&self, path: &str, reason: &str) -> PeerError {
        PeerError::Unknown {
            url: format!("{}{path}", self.base.as_str().trim_end_matches('/')),
            reason: reason.into(),
        }
    }
}

/// Whether a connection that stood broke before an answer began.
fn broke_off(error: &reqwest::Error) -> bool {
    error.is_request() && !error.is_connect() && !error.is_timeout()
}

/// `length` bytes of `reader` in the limiter's slices; each one that leaves is recorded as activity.
fn paced(
    reader: impl AsyncRead + Send + Unpin + 'static,
    length: u64,
    limiter: RateLimiter,
    idle: Idle,
    activity: Activity,
) -> impl Stream<Item = std::io::Result<Bytes>> + Send {
    futures::stream::unfold((reader, length), move |(mut reader, left)| {
        let (limiter, idle, activity) = (limiter.clone(), idle.clone(), activity.clone());
        async move {
            if left == 0 {
                return None;
            }
            let slice = usize::try_from(left).unwrap_or(usize::MAX).min(limiter.slice_bytes());
            let mut bytes = BytesMut::zeroed(slice);
            if let Err(error) = reader.read_exact(&mut bytes).await {
                return Some((Err(error), (reader, 0)));
            }
            activity.wait_for_queries().await;
            limiter.acquire(slice).await;
            idle.touch();
            activity.moved();
            Some((Ok(bytes.freeze()), (reader, left - slice as u64)))
        }
    })
}

/// An error with its causes, without the URL (which the caller adds).
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
