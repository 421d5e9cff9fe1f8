//! Several addresses: one server's are used, two servers' are not.

use std::time::Duration;

use clickhouse_http::client::{Client, NodeList};
use storage_service::hot::Hot;
use testbed::engine::OWNER;
use url::Url;

use crate::engines::Engine;

fn client(nodes: &[&Url]) -> Client {
    let nodes = nodes.iter().map(|&node| node.clone()).collect();
    let first = Url::parse("http://127.0.0.1:9/").unwrap();
    let list =
        NodeList { nodes, connect_timeout: Duration::from_secs(2), ..NodeList::single(first, OWNER, "") };
    Client::new(list).unwrap()
}

fn localhost(url: &Url) -> Url {
    let mut url = url.clone();
    url.set_host(Some("localhost")).unwrap();
    url
}

#[tokio::test]
async fn two_servers_are_refused_and_only_the_first_is_asked_whatever_becomes_of_it() {
    let (mut first, second) = (Engine::embedded().await, Engine::embedded().await);
    let client = client(&[first.url(), second.url()]);
    let caller = client.as_account(OWNER, "").unwrap();
    let hot = Hot::new(client.clone());
    let id = first.hot.server_id().await.unwrap();
    let reason = hot.nodes_differ().await.unwrap();
    assert!(reason.contains("two servers") && reason.contains(second.url().as_str()), "{reason}");
    assert_eq!(hot.server_id().await.unwrap(), id);
    first.kill();
    for _ in 0..3 {
        assert!(hot.server_id().await.unwrap_err().is_passing(), "the other one was asked");
        assert!(caller.query("SELECT 1").text().await.is_err(), "the other one was asked");
        assert!(hot.nodes_differ().await.is_some());
    }
    first.restart().await;
    client.ping().await.unwrap();
    assert_eq!(hot.server_id().await.unwrap(), id);
    assert!(hot.nodes_differ().await.is_some());
}

#[tokio::test]
async fn two_addresses_of_one_server_are_used_once_both_have_answered() {
    let (engine, silent) = (Engine::embedded().await, Url::parse("http://127.0.0.1:9/").unwrap());
    let other = localhost(engine.url());
    let hot = Hot::new(client(&[engine.url(), &silent]));
    let reason = hot.nodes_differ().await.unwrap();
    assert!(reason.contains("has not answered yet") && reason.contains(silent.as_str()), "{reason}");

    let both = client(&[engine.url(), &other]);
    let hot = Hot::new(both.clone());
    assert_eq!(hot.nodes_differ().await, None);
    // The first node is lost to us alone: the same rows are asked of the other.
    let unreachable = client(&[&silent, engine.url(), &other]);
    unreachable.admit(&[]);
    assert_eq!(unreachable.query("SELECT 1").text().await.unwrap().trim(), "1");
}

#[tokio::test]
async fn one_node_is_not_asked_who_it_is() {
    let silent = Url::parse("http://127.0.0.1:9/").unwrap();
    assert_eq!(Hot::new(client(&[&silent])).nodes_differ().await, None);
}
