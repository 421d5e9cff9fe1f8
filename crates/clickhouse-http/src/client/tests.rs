//! The client against servers that die, stall and lie.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use serde::Deserialize;
use tokio::sync::Notify;
use url::Url;

use super::{
    Client, Error, NodeId, NodeList,
    fake_server::{Fake, Step, answer, chunk, chunked, ok},
};
use crate::exception::tail;

const SHORT: Duration = Duration::from_millis(80);

pub(super) fn client(nodes: &[&Url]) -> Client {
    Client::new(NodeList {
        nodes: nodes.iter().map(|&url| url.clone()).collect(),
        user: "u".into(),
        password: "p".into(),
        database: Some("d".into()),
        connect_timeout: Duration::from_secs(5),
        max_response_bytes: 1000,
    })
    .unwrap()
}

/// An address that refuses connections.
pub(super) async fn refusing() -> Url {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap()
}

pub(super) async fn read_all(client: &Client) -> (Vec<u8>, Option<Error>) {
    let mut stream = client.query("SELECT 1").deadline(Duration::from_secs(20)).stream().await.unwrap();
    let mut data = Vec::new();
    while let Some(item) = stream.next().await {
        match item {
            Ok(bytes) => data.extend_from_slice(&bytes),
            Err(error) => {
                assert!(stream.next().await.is_none(), "after an error comes the end");
                return (data, Some(error));
            }
        }
    }
    (data, None)
}

#[derive(Debug, Deserialize, PartialEq)]
struct Row {
    id: u64,
    name: String,
}

#[tokio::test]
async fn a_statement_carries_everything_it_was_given() {
    let server = Fake::start(|_, _| ok("{\"id\":18446744073709551615,\"name\":\"a\"}\n")).await;
    let client = client(&[&server.url]);
    let query = client.query("SELECT '?'").query_id("q1").setting("max_threads", 2);
    let rows: Vec<Row> = query.readonly().rows().await.unwrap();
    assert_eq!(rows, [Row { id: u64::MAX, name: "a".into() }]);
    let seen = &server.seen()[0];
    for (name, value) in [
        ("query_id", "q1"),
        ("max_threads", "2"),
        ("database", "d"),
        ("readonly", "1"),
        ("default_format", "JSONEachRow"),
        ("output_format_json_quote_64bit_integers", "0"),
        ("http_write_exception_in_output_format", "0"),
        ("wait_end_of_query", "1"),
        // One byte more than any answer that is taken: nothing of it waits on a disk, which may be full.
        ("buffer_size", "1001"),
    ] {
        assert_eq!(seen.query.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert_eq!(seen.body, b"SELECT '?'");
    assert_eq!((&*seen.headers["x-clickhouse-user"], &*seen.headers["x-clickhouse-key"]), ("u", "p"));
}

#[tokio::test]
async fn one_row_is_exactly_one() {
    let server = Fake::start(|n, _| ok(&"{\"id\":1,\"name\":\"a\"}\n".repeat(n))).await;
    let client = client(&[&server.url]);
    assert!(matches!(client.query("SELECT").one::<Row>().await, Err(Error::Protocol(_))));
    assert_eq!(client.query("SELECT").one::<Row>().await.unwrap().id, 1);
    assert!(matches!(client.query("SELECT").one::<Row>().await, Err(Error::Protocol(_))));
}

#[tokio::test]
async fn a_refusing_node_is_marked_and_left_whatever_the_statement() {
    let dead = refusing().await;
    let server = Fake::start(|_, _| ok("")).await;
    let client = client(&[&dead, &server.url]);
    client.query("ALTER TABLE t DROP PARTITION 1").execute().await.unwrap();
    assert_eq!(server.seen().len(), 1);
    let nodes = client.nodes();
    assert!(!nodes[0].healthy && nodes[1].healthy);
    assert_eq!(client.current_node(), NodeId(1));
    // Pinned, it fails although another is there.
    let pinned = client.query("SELECT 1").node(NodeId(0)).text().await;
    assert!(matches!(pinned, Err(Error::Unreachable { .. })), "{pinned:?}");
    assert!(matches!(client.query("SELECT 1").node(NodeId(2)).text().await, Err(Error::Protocol(_))));
}

#[tokio::test]
async fn a_probe_finds_a_node_that_came_back() {
    let dead = refusing().await;
    let client = client(&[&dead]);
    assert!(client.ping().await.is_err());
    assert!(!client.nodes()[0].healthy);
    let address = dead.socket_addrs(|| None).unwrap()[0];
    let server = Fake::start_at(address, |_, _| ok("Ok.\n")).await;
    client.probe().await;
    assert!(server.seen().is_empty(), "its pause is not over");
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(2)).await;
    tokio::time::resume();
    client.probe().await;
    assert!(client.nodes()[0].healthy);
    assert_eq!(server.seen()[0].path, "/ping");
}

#[tokio::test]
async fn a_lost_answer_is_asked_again_only_for_reads() {
    let dying = Fake::start(|_, _| vec![Step::Close]).await;
    let server = Fake::start(|_, _| ok("1\n")).await;
    let client = client(&[&dying.url, &server.url]);
    let write = client.query("INSERT INTO t SELECT 1").execute().await.unwrap_err();
    assert!(write.is_unknown_outcome() && !write.is_retryable(), "{write}");
    assert_eq!((dying.seen().len(), server.seen().len()), (1, 0), "sent once, to one node");
    let client = self::client(&[&dying.url, &server.url]);
    assert_eq!(client.query("SELECT 1").text().await.unwrap(), "1\n");
    assert_eq!(dying.seen().len(), 3, "once more over a fresh connection, then the next node");
}

#[tokio::test]
async fn a_proxy_in_the_way_is_not_an_answer() {
    let proxy = Fake::start(|_, _| answer("502 Bad Gateway", "", "<html>")).await;
    let server = Fake::start(|_, _| ok("1\n")).await;
    let both = client(&[&proxy.url, &server.url]);
    assert!(both.query("DROP TABLE t").execute().await.unwrap_err().is_unknown_outcome());
    assert_eq!(client(&[&proxy.url, &server.url]).query("SELECT 1").text().await.unwrap(), "1\n");
}

#[tokio::test]
async fn server_errors_are_told_by_code_and_not_asked_again() {
    let server = Fake::start(|_, _| {
        let text = "Code: 60. DB::Exception: no such table. (UNKNOWN_TABLE) (version 26.7.2.1)";
        answer("404 Not Found", "X-ClickHouse-Exception-Code: 60\r\n", text)
    })
    .await;
    let other = Fake::start(|_, _| ok("")).await;
    let error = client(&[&server.url, &other.url]).query("SELECT 1").text().await.unwrap_err();
    assert_eq!(error.code(), Some(60));
    assert!(!error.is_retryable() && other.seen().is_empty());
    assert!(matches!(error, Error::Server { name, .. } if name == "UNKNOWN_TABLE"));
}

#[tokio::test]
async fn an_insert_streams_to_the_node_that_answers() {
    let dead = refusing().await;
    let server = Fake::start(|_, _| ok("")).await;
    let client = client(&[&dead, &server.url]);
    let body = futures::stream::iter((0..100u8).map(|i| Ok(Bytes::from(vec![i; 1000]))));
    client.query("INSERT INTO t FORMAT Native").insert(body).await.unwrap();
    let seen = &server.seen()[0];
    assert_eq!(seen.query["query"], "INSERT INTO t FORMAT Native");
    assert_eq!(seen.body, (0..100u8).flat_map(|i| [i; 1000]).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_insert_whose_answer_or_body_is_lost_has_an_unknown_outcome() {
    let dying = Fake::start(|_, _| vec![Step::Close]).await;
    let server = Fake::start(|_, _| ok("")).await;
    let client = client(&[&dying.url, &server.url]);
    let body = futures::stream::iter([Ok(Bytes::from_static(b"rows"))]);
    let error = client.query("INSERT INTO t FORMAT Native").insert(body).await.unwrap_err();
    assert!(error.is_unknown_outcome(), "{error}");
    assert_eq!((dying.seen().len(), server.seen().len()), (1, 0));
    let body = futures::stream::iter([Ok(Bytes::from_static(b"rows")), Err(std::io::Error::other("disk"))]);
    let error = client.query("INSERT INTO t FORMAT Native").insert(body).await.unwrap_err();
    assert!(error.is_unknown_outcome(), "{error}");
    assert!(server.seen().is_empty(), "a body that broke never looks whole");
}

#[tokio::test]
async fn an_insert_that_the_server_refuses_has_its_code() {
    let server = Fake::start(|_, _| {
        let text = "Code: 27. DB::Exception: cannot parse. (CANNOT_PARSE_INPUT_ASSERTION_FAILED)";
        answer("400 Bad Request", "X-ClickHouse-Exception-Code: 27\r\n", text)
    })
    .await;
    let client = client(&[&server.url]);
    for rows in [vec![], vec![Bytes::from_static(b"rows")]] {
        let body = futures::stream::iter(rows.into_iter().map(Ok));
        let error = client.query("INSERT INTO t FORMAT Native").insert(body).await.unwrap_err();
        assert_eq!(error.code(), Some(27), "{error}");
    }
    assert_eq!(server.seen().len(), 2, "no rows are a statement too");
    assert_eq!(server.seen()[0].query["wait_end_of_query"], "1");
}

#[tokio::test]
async fn what_is_dropped_ends_its_connection() {
    let (asked, gone) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let script = vec![Step::Tell(Arc::clone(&asked)), Step::Gone(Arc::clone(&gone))];
    let server = Fake::start(move |_, _| script.clone()).await;
    let client = client(&[&server.url]);
    let rows = futures::stream::iter([Ok(Bytes::from_static(b"rows"))]);
    let statements = [
        client.query("OPTIMIZE TABLE t").execute().map(drop).boxed(),
        client.query("SELECT 1").stream().map(drop).boxed(),
        client.query("INSERT INTO t FORMAT Native").insert(rows).map(drop).boxed(),
    ];
    for statement in statements {
        tokio::select! {
            () = statement => panic!("nobody answered"),
            () = asked.notified() => {}
        }
        tokio::time::timeout(Duration::from_secs(60), gone.notified()).await.expect("the server sees it");
    }
}

#[tokio::test]
async fn an_external_table_travels_beside_its_statement() {
    let server = Fake::start(|_, _| ok("2\n")).await;
    let query = client(&[&server.url]).query("SELECT count() FROM ids");
    let query = query.external_table("ids", "id UInt64", "TSV", "1\n2\n");
    assert!(matches!(query.clone().text().await, Err(Error::Protocol(_))), "never without its table");
    assert_eq!(query.stream().await.unwrap().next().await.unwrap().unwrap(), "2\n");
    let seen = &server.seen()[0];
    assert_eq!((&*seen.query["ids_structure"], &*seen.query["ids_format"]), ("id UInt64", "TSV"));
    assert_eq!(seen.query["query"], "SELECT count() FROM ids");
    assert!(seen.headers["content-type"].starts_with("multipart/form-data"));
    let body = String::from_utf8(seen.body.clone()).unwrap();
    assert!(body.contains("name=\"ids\"") && body.contains("\r\n\r\n1\n2\n\r\n"), "{body}");
}

#[tokio::test]
async fn a_whole_answer_ends_and_a_cut_one_fails() {
    let whole = Fake::start(|_, _| vec![chunked(""), chunk(b"ab"), chunk(b"cd"), chunk(b"")]).await;
    assert!(matches!(read_all(&client(&[&whole.url])).await, (data, None) if data == b"abcd"));
    let cut = Fake::start(|_, _| vec![chunked(""), chunk(b"ab"), Step::Close]).await;
    let short = Fake::start(|_, _| {
        vec![Step::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab".to_vec()), Step::Close]
    })
    .await;
    for server in [&cut, &short] {
        let (data, error) = read_all(&client(&[&server.url])).await;
        assert_eq!(data, b"ab");
        assert!(matches!(error, Some(Error::Unreachable { .. })), "{error:?}");
    }
    let lost = client(&[&cut.url]).query("ALTER TABLE t").execute().await.unwrap_err();
    assert!(lost.is_unknown_outcome(), "{lost}");
    let unframed =
        Fake::start(|_, _| vec![Step::Bytes(b"HTTP/1.1 200 OK\r\n\r\nab".to_vec()), Step::Close]).await;
    let refused = client(&[&unframed.url]).query("SELECT 1").stream().await;
    assert!(matches!(refused, Err(Error::Protocol(_))), "its end cannot be told from a cut");
}

#[tokio::test]
async fn an_exception_behind_the_data_is_an_error_however_it_ends() {
    const TEXT: &str = "Code: 395. DB::Exception: boom. (FUNCTION_THROW_IF_VALUE_IS_NON_ZERO)";
    const TAG: &str = "X-ClickHouse-Exception-Tag: qwertyuiopasdfgh\r\n";
    let tagged = tail("qwertyuiopasdfgh", TEXT);
    let clean = tagged.clone();
    let clean = Fake::start(move |_, _| vec![chunked(TAG), chunk(b"ab"), chunk(&clean), chunk(b"")]).await;
    let broken = Fake::start(move |_, _| vec![chunked(TAG), chunk(b"ab"), chunk(&tagged), Step::Close]).await;
    let untagged = Fake::start(|_, _| {
        vec![chunked(""), chunk(b"ab"), chunk(format!("__exception__\r\n{TEXT}").as_bytes()), Step::Close]
    })
    .await;
    for (server, tagged) in [(&clean, true), (&broken, true), (&untagged, false)] {
        let (data, error) = read_all(&client(&[&server.url])).await;
        assert!(!tagged || data == b"ab");
        let error = error.expect("an error item");
        assert_eq!(error.code(), Some(395), "{error}");
        assert_eq!(client(&[&server.url]).query("SELECT 1").text().await.unwrap_err().code(), Some(395));
    }
}

#[tokio::test]
async fn every_wait_ends() {
    let silent = Fake::start(|_, _| vec![Step::Hang]).await;
    let stalled = Fake::start(|_, _| vec![chunked(""), chunk(b"ab"), Step::Hang]).await;
    let dripping = Fake::start(|_, _| vec![answer("500 x", "", "a").remove(0), Step::Hang]).await;
    for server in [&silent, &stalled] {
        let read = client(&[&server.url]).query("SELECT 1").deadline(SHORT).text().await;
        assert!(matches!(read, Err(Error::Deadline { .. })), "{read:?}");
        let write = client(&[&server.url]).query("OPTIMIZE TABLE t").deadline(SHORT).execute().await;
        assert!(write.unwrap_err().is_unknown_outcome());
    }
    // Long enough for what does come.
    let deadline = Duration::from_secs(2);
    let mut stream = client(&[&stalled.url]).query("SELECT 1").deadline(deadline).stream().await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap(), "ab");
    assert!(matches!(stream.next().await, Some(Err(Error::Deadline { .. }))));
    let _ = client(&[&dripping.url]).query("SELECT 1").deadline(SHORT).text().await.unwrap_err();
    let body = futures::stream::pending();
    let stuck =
        client(&[&silent.url]).query("INSERT INTO t FORMAT Native").deadline(SHORT).insert(body).await;
    assert!(stuck.unwrap_err().is_unknown_outcome(), "a body that never comes does not hold us");
}

#[tokio::test]
async fn a_slow_reader_is_not_a_slow_server() {
    let go = Arc::new(Notify::new());
    let gate = Arc::clone(&go);
    let server = Fake::start(move |_, _| {
        vec![chunked(""), chunk(b"ab"), Step::Wait(Arc::clone(&gate)), chunk(b"cd"), chunk(b"")]
    })
    .await;
    let query = client(&[&server.url]).query("SELECT 1").deadline(Duration::from_secs(20));
    let mut stream = query.stream().await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap(), "ab");
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(60)).await;
    tokio::time::resume();
    assert!(stream.next().now_or_never().is_none(), "the wait begins only now");
    go.notify_one();
    assert_eq!(stream.next().await.unwrap().unwrap(), "cd");
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn collected_answers_are_capped_and_streams_are_not() {
    let server = Fake::start(|_, _| ok(&"x".repeat(1001))).await;
    let client = client(&[&server.url]);
    let error = client.query("SELECT 1").text().await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { limit_bytes: 1000 }));
    assert_eq!(read_all(&client).await.0.len(), 1001);
}

#[test]
fn addresses_that_cannot_be_are_refused_at_once() {
    for bad in ["ftp://x/", "http://x/?a=b"] {
        let list = NodeList::single(Url::parse(bad).unwrap(), "", "");
        assert!(Client::new(list).is_err(), "{bad}");
    }
    let https = NodeList::single(Url::parse("https://x/").unwrap(), "", "");
    assert!(Client::new(https).is_ok());
}
