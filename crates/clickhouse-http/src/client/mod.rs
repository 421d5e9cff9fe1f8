//! A client of ClickHouse's HTTP interface, for one server or a list of them.
//!
//! **Which node.** All statements go to one healthy node until it fails ("sticky"), so that a caller
//! reads what it wrote even where replication lags; then to the next. A statement may be pinned with
//! [`Query::node`], for work that lives on one node (snapshot tables, part names). A node that cannot
//! be reached is marked and left alone for a growing time; [`Client::probe`] asks it again. When every
//! node is marked, they are tried all the same: marks order the attempts, they never refuse one. Where nodes
//! may have other rows, [`Client::admit`] says which of them unpinned statements may go to at all.
//!
//! **Retries.** A node that refuses the connection has seen nothing: the statement goes to the next
//! one, whatever it is. After that moment the rules part. A read ([`Query::readonly`], or a text that can
//! only read) is asked once more, and then of the next node. Anything else ends as [`Error::Unknown`]: it may have happened, and the caller must
//! look at the tables; it is never sent twice.
//!
//! **Answers.** Collected answers are capped, and begin when the server knows their outcome; streams have no
//! total time, but each wait for a byte is bounded. An answer that the server broke off, or that was cut,
//! ends with an `Err`: a short answer never looks like a whole one. That takes three things: the status or
//! the tagged tail, a length (or chunked framing) that every answer must have, and
//! `http_write_exception_in_output_format=0`.
//!
//! **Cancellation.** Dropping a future or a stream closes its connection. ClickHouse then cancels what ran
//! behind it when that was a [`Query::readonly`] statement, or when it next writes to the connection. A write
//! that was dropped has an unknown outcome.

mod error;
mod node;
mod official;
mod query;
mod response;
mod send;
mod stream;
mod transport;

#[cfg(test)]
mod crate_limits;
#[cfg(test)]
mod fake_server;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use http::{HeaderMap, Request};
use hyper_util::client::legacy;

pub use error::{Error, NOT_ENOUGH_SPACE};
pub use node::{NodeHealth, NodeId, NodeList};
pub use query::Query;
pub use response::ResponseStream;

use crate::Secret;
use node::Nodes;
use stream::Pieces;
use transport::Connector;

/// A handle on the nodes; cheap to clone, all clones share the marks.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// For what the `clickhouse` crate sends.
    connector: Connector,
    /// For what we send.
    http: legacy::Client<Connector, Pieces>,
    credentials: HeaderMap,
    /// As it was given, for further accounts.
    list: NodeList,
    nodes: Arc<Nodes>,
}

impl Client {
    /// Checks the list and prepares the connections; nothing is dialled yet.
    pub fn new(list: NodeList) -> Result<Self, Error> {
        let nodes = Arc::new(Nodes::new(list.nodes.clone()));
        Self::over(list, nodes)
    }

    /// A client of the same nodes, with their marks shared, as another account.
    ///
    /// # Errors
    /// The account's name or password cannot stand in a header.
    pub fn as_account(&self, user: impl Into<String>, password: impl Into<Secret>) -> Result<Self, Error> {
        let list = NodeList { user: user.into(), password: password.into(), ..self.inner.list.clone() };
        Self::over(list, Arc::clone(&self.inner.nodes))
    }

    fn over(list: NodeList, nodes: Arc<Nodes>) -> Result<Self, Error> {
        let connector = Connector::new(&list)?;
        let http = connector.clone().client();
        let credentials = transport::credentials(&list)?;
        Ok(Self { inner: Arc::new(Inner { connector, http, credentials, list, nodes }) })
    }

    /// A statement to be sent.
    pub fn query(&self, sql: impl Into<String>) -> Query {
        Query::new(self.clone(), sql.into())
    }

    /// Every node with its mark, in the order of the list.
    pub fn nodes(&self) -> Vec<NodeHealth> {
        self.inner.nodes.health()
    }

    /// The node that the next statement goes to.
    pub fn current_node(&self) -> NodeId {
        self.inner.nodes.order().first().copied().unwrap_or(NodeId(0))
    }

    /// From now on statements go to these nodes only, those of all clones and accounts too, except where
    /// [`Query::node`] names another; to any node again when the list is empty.
    pub fn admit(&self, nodes: &[NodeId]) {
        self.inner.nodes.admit(nodes);
    }

    /// `Ok` when some node answers `/ping`; marks what it learns.
    pub async fn ping(&self) -> Result<(), Error> {
        let mut last = None;
        for node in self.inner.nodes.order() {
            match self.ping_node(node).await {
                Ok(()) => return Ok(()),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| Error::Protocol("the node list is empty".into())))
    }

    /// Asks every marked node whose time has come, and every suspect, once; the daemon's supervisor calls it every few
    /// seconds. Bounded by the connect timeout for each node.
    pub async fn probe(&self) {
        for node in self.inner.nodes.due_for_probe(tokio::time::Instant::now()) {
            if self.ping_node(node).await.is_ok() {
                tracing::info!(node = %self.inner.nodes.url(node), "ClickHouse node is back");
            }
        }
    }

    async fn ping_node(&self, node: NodeId) -> Result<(), Error> {
        let url = self.inner.nodes.url(node);
        let ping = Request::get(format!("{url}ping")).body(stream::pieces(Vec::new()));
        let mut ping = ping.map_err(|e| Error::Protocol(format!("{url}: {e}")))?;
        ping.headers_mut().extend(self.inner.credentials.clone());
        let asked = self.inner.http.request(ping);
        let reason = match tokio::time::timeout(self.inner.list.connect_timeout, asked).await {
            Ok(Ok(answer)) if answer.status().is_success() => {
                self.inner.nodes.mark_alive(node);
                return Ok(());
            }
            Ok(Ok(answer)) => format!("/ping answered {}", answer.status()),
            Ok(Err(error)) => error::chain(&error),
            Err(_) => "/ping did not answer in time".to_owned(),
        };
        self.inner.nodes.mark_dead(node, &reason);
        Err(Error::Unreachable { node: url.to_string(), reason })
    }
}
