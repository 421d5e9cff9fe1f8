//! What the `clickhouse` crate does not give, each beside what is built on it or in its place. A test that
//! fails after an update of the crate says that its reason is gone, and that the code it stands for may go.

use std::time::Duration;

use bytes::Bytes;
use clickhouse::{Compression, error::Error as CrateError};

use super::{
    Error,
    fake_server::{Fake, Step, answer, chunk, chunked, ok},
    tests::{client, read_all, refusing},
};
use crate::exception::tail;

/// The crate by itself, as its users have it.
fn bare(server: &Fake) -> clickhouse::Client {
    clickhouse::Client::default().with_url(server.url.as_str()).with_compression(Compression::None)
}

async fn read_bare(server: &Fake) -> Result<Bytes, CrateError> {
    bare(server).query_raw("SELECT 1").fetch_bytes("Native").unwrap().collect().await
}

/// Why streams are ours.
#[tokio::test]
async fn a_tail_cut_in_two_is_handed_on_as_rows() {
    const HEAD: &str = "X-ClickHouse-Exception-Tag: qwertyuiopasdfgh\r\n";
    let tail = tail("qwertyuiopasdfgh", "Code: 395. DB::Exception: boom. (SOME_NAME)");
    let whole = tail.clone();
    let whole = Fake::start(move |_, _| vec![chunked(HEAD), chunk(b"ab"), chunk(&whole), chunk(b"")]).await;
    assert!(matches!(read_bare(&whole).await, Err(CrateError::BadResponse(_))));
    let parts = tail.clone();
    let cut = Fake::start(move |_, _| {
        let (first, last) = parts.split_at(parts.len() - 5);
        vec![chunked(HEAD), chunk(b"ab"), chunk(first), chunk(last), chunk(b"")]
    })
    .await;
    assert_eq!(read_bare(&cut).await.unwrap(), [b"ab", &tail[..]].concat());
    let (data, error) = read_all(&client(&[&cut.url])).await;
    assert_eq!((data, error.unwrap().code()), (b"ab".to_vec(), Some(395)));
}

/// Why streams are ours.
#[tokio::test]
async fn rows_that_read_like_an_error_are_taken_for_one() {
    const ROW: &str =
        "Code: 60. DB::Exception: as logged. (UNKNOWN_TABLE) (version 26.7.2.1 (official build))\n";
    let server = Fake::start(|_, _| ok(ROW)).await;
    assert!(matches!(read_bare(&server).await, Err(CrateError::BadResponse(_))));
    assert!(matches!(read_all(&client(&[&server.url])).await, (data, None) if data == ROW.as_bytes()));
}

/// Why its connections are ours.
#[tokio::test]
async fn an_error_text_has_no_bound() {
    let long = "x".repeat(3 << 20);
    let text = long.clone();
    let server = Fake::start(move |_, _| answer("500 Oops", "", &text)).await;
    assert!(matches!(read_bare(&server).await, Err(CrateError::BadResponse(text)) if text == long));
    // More than a client of ours reads, and then no end.
    let endless = Fake::start(move |_, _| {
        let head = "HTTP/1.1 500 Oops\r\nx-clickhouse-exception-code: 60\r\ncontent-length: 9000000\r\n\r\n";
        vec![Step::Bytes(head.as_bytes().to_vec()), Step::Bytes(long.clone().into_bytes()), Step::Hang]
    })
    .await;
    let asked = client(&[&endless.url]).query("SELECT 1").deadline(Duration::from_secs(60)).text().await;
    assert_eq!(asked.unwrap_err().code(), Some(60), "the code stands in the head");
}

/// Why its connections are ours.
#[tokio::test]
async fn an_answer_without_a_length_looks_whole_when_it_is_cut() {
    let server =
        Fake::start(|_, _| vec![Step::Bytes(b"HTTP/1.1 200 OK\r\n\r\nab".to_vec()), Step::Close]).await;
    assert_eq!(read_bare(&server).await.unwrap(), "ab");
    let client = client(&[&server.url]);
    let read = client.query("SELECT 1").text().await;
    assert!(matches!(read, Err(Error::Unreachable { .. })), "{read:?}");
    assert!(client.query("ALTER TABLE t").execute().await.unwrap_err().is_unknown_outcome());
}

/// Why an insert starts with an empty piece.
#[tokio::test]
async fn an_insert_into_a_refused_connection_takes_rows_along() {
    let nobody = clickhouse::Client::default().with_url(refusing().await);
    let mut insert = nobody.insert_formatted_with("INSERT INTO t FORMAT Native");
    insert.send(Bytes::from_static(b"rows")).await.unwrap();
    assert!(insert.end().await.is_err());
}
