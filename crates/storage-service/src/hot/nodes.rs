//! Several addresses of the hot engine: all of one server, or none is used but the first.
//!
//! A managed table is a plain MergeTree: another server has other rows, whatever the table's name. So a
//! statement may go to another address only when that is known to be the same server. Until then all go to
//! the first of the list, and fail when it does not answer.

use std::{collections::BTreeMap, sync::Arc};

use clickhouse_http::client::{Client, NodeId};
use parking_lot::Mutex;

use super::Hot;

/// What the nodes have answered so far, by [`Hot::server_id`].
#[derive(Debug, Clone, Default)]
pub(super) struct KnownNodes(Arc<Mutex<BTreeMap<NodeId, String>>>);

/// Only the first is asked until the others are known.
pub(super) fn admit_first(client: &Client) {
    if client.nodes().len() > 1 {
        client.admit(&[NodeId(0)]);
    }
}

impl Hot {
    /// Asks every node which server it is, and lets statements (also those of other accounts, see
    /// [`Client::as_account`]) go to those that are the first one's. `Some`: why tables cannot be managed, since
    /// a node is another server, or has never answered and may be one. Nothing is asked where there is one node.
    pub async fn nodes_differ(&self) -> Option<String> {
        let nodes = self.client.nodes();
        if nodes.len() < 2 {
            return None;
        }
        let mut answering = Vec::new();
        for node in &nodes {
            match self.server_id_at(Some(node.id)).await {
                Ok(server) => {
                    self.nodes.0.lock().insert(node.id, server);
                    answering.push(node.id);
                }
                Err(error) => tracing::debug!(node = %node.url, "which server it is: {error}"),
            }
        }
        let known = self.nodes.0.lock().clone();
        let first = known.get(&NodeId(0));
        let alike: Vec<NodeId> =
            answering.into_iter().filter(|node| first.is_some() && known.get(node) == first).collect();
        if !alike.is_empty() {
            self.client.admit(&alike);
        }
        let unlike = nodes.iter().find(|node| known.get(&node.id).is_some_and(|id| Some(id) != first));
        let silent = nodes.iter().find(|node| !known.contains_key(&node.id));
        let first = nodes.first().map(|node| node.url.as_str()).unwrap_or_default();
        match (unlike, silent) {
            (_, Some(node)) => Some(format!(
                "the hot node {} has not answered yet, and may be another server than {first}, with other rows",
                node.url
            )),
            (Some(node), None) => Some(format!(
                "the hot nodes {first} and {} are two servers, with other rows each; list one server's addresses only",
                node.url
            )),
            (None, None) => None,
        }
    }
}
