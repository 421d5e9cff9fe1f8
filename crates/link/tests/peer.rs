//! `Peer` against a real HTTP server on loopback.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic here is a failed test")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    http::{HeaderMap, StatusCode},
    routing::{get, post, put},
};
use daemon::bearer::require_bearer;
use futures::StreamExt as _;
use link::{BearerToken, Peer, PeerError, RateLimiter};
use supervisor::Supervisor;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const TOKEN: &str = "a token of sixteen or more";

async fn serve(routes: Router) -> (url::Url, Supervisor) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let supervisor = Supervisor::new();
    supervisor.spawn("server", async move { axum::serve(listener, routes).await.unwrap() });
    (url, supervisor)
}

fn peer(url: &url::Url, token: &str, retries: u32) -> Peer {
    Peer::new(url.clone(), Some(BearerToken::new(token)), Duration::from_secs(5), retries).unwrap()
}

#[tokio::test]
async fn the_token_opens_the_door_and_nothing_else_does() {
    let routes =
        Router::new().route("/x", get(|| async { "7" })).route_layer(require_bearer(BearerToken::new(TOKEN)));
    let (url, _server) = serve(routes).await;
    assert_eq!(peer(&url, TOKEN, 0).get::<u32>("/x").await.unwrap(), 7);
    let refused = peer(&url, "another token, as long as it", 3).get::<u32>("/x").await.unwrap_err();
    assert_eq!((refused.status(), refused.code()), (Some(401), Some("unauthorized")));
}

#[tokio::test]
async fn a_header_that_is_set_is_sent_by_every_clone_until_it_is_taken_back() {
    let echo = async |headers: HeaderMap| {
        Json(headers.get("x-sender").map(|value| value.to_str().unwrap().to_owned()))
    };
    let (url, _server) = serve(Router::new().route("/x", get(echo))).await;
    let peer = peer(&url, TOKEN, 0);
    let clone = peer.clone();
    for header in [None, Some("7/1"), Some("7/2"), None] {
        peer.set_header(header.map(|value| ("x-sender", value.to_owned())));
        assert_eq!(clone.get::<Option<String>>("/x").await.unwrap().as_deref(), header);
    }
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    drop(listener);
    let error = peer(&url, TOKEN, 1).get::<u32>("/x").await.unwrap_err();
    assert!(matches!(error, PeerError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn a_refusal_is_not_asked_again() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let refuse = move || {
        counted.fetch_add(1, Ordering::SeqCst);
        async { (StatusCode::CONFLICT, r#"{"code":"differs","message":"another manifest"}"#) }
    };
    let (url, _server) = serve(Router::new().route("/x", post(refuse))).await;
    let error = peer(&url, TOKEN, 3).post_no_content("/x", &1).await.unwrap_err();
    assert_eq!((error.status(), error.code()), (Some(409), Some("differs")));
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_stream_that_breaks_off_ends_in_an_error() {
    let read = Arc::new(tokio::sync::Notify::new());
    let was_read = Arc::clone(&read);
    let broken = move || {
        let was_read = Arc::clone(&was_read);
        let broken_off = async move {
            was_read.notified().await;
            Err(std::io::Error::other("gone"))
        };
        let first = futures::stream::iter([Ok(Bytes::from_static(b"rows"))]);
        std::future::ready(Body::from_stream(first.chain(futures::stream::once(broken_off))))
    };
    let (url, _server) = serve(Router::new().route("/x", post(broken))).await;
    let mut stream = peer(&url, TOKEN, 0).post_stream("/x", &1).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap(), "rows");
    read.notify_one();
    let mut ended_in_error = false;
    while let Some(item) = stream.next().await {
        ended_in_error = item.is_err();
    }
    assert!(ended_in_error, "a short answer passed for a whole one");
}

/// The other daemon was started anew: what is left of a connection to the old one is noticed by asking.
#[tokio::test]
async fn a_stream_is_asked_for_again_when_an_old_connection_breaks() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let peer = peer(&url, TOKEN, 0);
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nrows";
    let serving = async {
        let mut piece = vec![0; 4096];
        let (mut old, _) = listener.accept().await.unwrap();
        assert!(old.read(&mut piece).await.unwrap() > 0);
        old.write_all(answer).await.unwrap();
        // The second question breaks it off.
        assert!(old.read(&mut piece).await.unwrap() > 0);
        drop(old);
        let (mut fresh, _) = listener.accept().await.unwrap();
        assert!(fresh.read(&mut piece).await.unwrap() > 0);
        fresh.write_all(answer).await.unwrap();
        assert!(fresh.read(&mut piece).await.unwrap() > 0);
        drop(fresh);
        let (mut broken, _) = listener.accept().await.unwrap();
        assert!(broken.read(&mut piece).await.unwrap() > 0);
    };
    let asking = async {
        for _ in 0..2 {
            let stream = peer.post_stream("/x", &1).await.unwrap();
            let pieces: Vec<_> = stream.collect().await;
            assert!(pieces.iter().all(Result::is_ok), "{pieces:?}");
        }
        let error = peer.post_stream("/x", &1).await.map(drop).unwrap_err();
        assert!(matches!(error, PeerError::Unknown { .. }), "once more, not for ever: {error}");
    };
    tokio::join!(serving, asking);
}

#[tokio::test]
async fn put_sends_every_byte_in_slices() {
    let echo_length = |body: Bytes| async move {
        assert!(body.iter().enumerate().all(|(n, byte)| *byte == (n % 251) as u8));
        if body.len() == 300_000 { StatusCode::NO_CONTENT } else { StatusCode::BAD_REQUEST }
    };
    let (url, _server) = serve(Router::new().route("/x", put(echo_length))).await;
    let bytes: Bytes = (0..300_000_usize).map(|n| (n % 251) as u8).collect();
    let peer = peer(&url, TOKEN, 0);
    let limiter = RateLimiter::new(None);
    assert_eq!(peer.put("/x", &[], bytes.clone(), &limiter).await.unwrap(), 204);
    let reader = std::io::Cursor::new(bytes.clone());
    assert_eq!(peer.put_from("/x", &[], 300_000, reader, &limiter).await.unwrap(), 204);
    // A spool that is shorter than it was said to be must not pass for a whole chunk.
    let short = std::io::Cursor::new(bytes.slice(..200_000));
    let error = peer.put_from("/x", &[], 300_000, short, &limiter).await.unwrap_err();
    assert!(matches!(error, PeerError::Unknown { .. }), "{error}");
}

/// Answers the n-th connection (from 0) with these bytes and closes it; an empty answer is a lost one.
async fn raw(answers: &'static [&'static str]) -> (url::Url, Supervisor, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let (supervisor, calls) = (Supervisor::new(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&calls);
    supervisor.spawn("server", async move {
        for answer in answers {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(socket.read_u8().await.unwrap());
            }
            counted.fetch_add(1, Ordering::SeqCst);
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (url, supervisor, calls)
}

#[tokio::test]
async fn a_lost_answer_is_asked_again_and_told_when_it_stays_lost() {
    let (url, _server, calls) = raw(&["", "", "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n7"]).await;
    assert_eq!(peer(&url, TOKEN, 2).get::<u32>("/x").await.unwrap(), 7);
    assert_eq!(calls.load(Ordering::SeqCst), 3);
    let (url, _server, calls) = raw(&["", "", ""]).await;
    let error = peer(&url, TOKEN, 1).get::<u32>("/x").await.unwrap_err();
    assert!(matches!(error, PeerError::Unknown { .. }), "{error}");
    assert_eq!(calls.load(Ordering::SeqCst), 2, "one attempt and one more");
}

#[tokio::test]
async fn a_body_without_an_end_is_refused_and_a_short_one_is_an_error() {
    let (url, _server, _) =
        raw(&["HTTP/1.1 200 OK\r\n\r\nrows", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nrows"]).await;
    let peer = peer(&url, TOKEN, 0);
    let unframed = peer.post_stream("/x", &1).await.map(drop).unwrap_err();
    assert!(matches!(unframed, PeerError::Protocol { .. }), "{unframed}");
    let items: Vec<_> = peer.post_stream("/x", &1).await.unwrap().collect().await;
    assert!(matches!(items.last(), Some(Err(PeerError::Unknown { .. }))), "{items:?}");
}

#[tokio::test]
async fn a_peer_that_says_nothing_is_given_up() {
    let silent = || std::future::pending::<StatusCode>();
    let (url, _server) = serve(Router::new().route("/x", get(silent))).await;
    let token = Some(BearerToken::new(TOKEN));
    let peer = Peer::new(url, token, Duration::from_millis(50), 1).unwrap();
    let error = peer.get::<u32>("/x").await.unwrap_err();
    assert!(matches!(error, PeerError::Unknown { .. }), "{error}");
}
