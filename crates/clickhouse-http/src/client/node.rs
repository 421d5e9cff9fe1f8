//! The list of nodes and what is known of each.

use std::{fmt, time::Duration};

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;
use url::Url;

use crate::Secret;

/// First pause before a dead node is asked again; doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// Where a ClickHouse is and how to be let in.
#[derive(Debug, Clone)]
pub struct NodeList {
    /// Base URLs, `http://host:8123/`; several are the nodes of one cluster.
    pub nodes: Vec<Url>,
    /// User; empty sends none.
    pub user: String,
    /// Password; empty sends none.
    pub password: Secret,
    /// Default database of every statement.
    pub database: Option<String>,
    /// Longest wait for a connection, and for `/ping`.
    pub connect_timeout: Duration,
    /// Cap on collected answers ([`super::Query::rows`], [`super::Query::text`]), bytes.
    pub max_response_bytes: u64,
}

impl NodeList {
    /// One node with defaults: connect within 5 s, collected answers up to 64 MiB.
    pub fn single(node: Url, user: impl Into<String>, password: impl Into<Secret>) -> Self {
        Self {
            nodes: vec![node],
            user: user.into(),
            password: password.into(),
            database: None,
            connect_timeout: Duration::from_secs(5),
            max_response_bytes: 64 << 20,
        }
    }
}

/// A node's place in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub usize);

/// What is known of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeHealth {
    /// Its place in the list.
    pub id: NodeId,
    /// Its base URL.
    pub url: Url,
    /// It answered last time, or was never asked.
    pub healthy: bool,
    /// Attempts that failed since it last answered.
    pub failures: u32,
    /// Why the last attempt failed; `None` while healthy.
    pub last_error: Option<String>,
}

struct Node {
    url: Url,
    failures: u32,
    /// It kept a statement waiting too long: busy or gone, the next probe will tell.
    suspect: bool,
    probe_at: Instant,
    last_error: Option<String>,
}

struct State {
    nodes: Vec<Node>,
    current: usize,
    /// Empty: all.
    admitted: Vec<usize>,
}

/// The marks; a plain mutex, never held across a wait.
pub(super) struct Nodes(Mutex<State>);

impl fmt::Debug for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.health()).finish()
    }
}

impl Nodes {
    pub(super) fn new(urls: Vec<Url>) -> Self {
        let node = |mut url: Url| {
            // `join` replaces what follows the last slash: a base path must end in one.
            if !url.path().ends_with('/') {
                url.set_path(&format!("{}/", url.path()));
            }
            Node { url, failures: 0, suspect: false, probe_at: Instant::now(), last_error: None }
        };
        Self(Mutex::new(State {
            nodes: urls.into_iter().map(node).collect(),
            current: 0,
            admitted: Vec::new(),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing inside can panic half-way through a change.
        self.0.lock()
    }

    pub(super) fn health(&self) -> Vec<NodeHealth> {
        let health = |(id, node): (usize, &Node)| NodeHealth {
            id: NodeId(id),
            url: node.url.clone(),
            healthy: node.failures == 0,
            failures: node.failures,
            last_error: node.last_error.clone(),
        };
        self.lock().nodes.iter().enumerate().map(health).collect()
    }

    /// The nodes in the order to try them: the current one and the other healthy ones, then the
    /// marked ones, least recently failed first.
    pub(super) fn order(&self) -> Vec<NodeId> {
        let state = self.lock();
        let count = state.nodes.len();
        let around = (0..count).map(|i| (state.current + i) % count);
        let admitted = |i: &usize| state.admitted.is_empty() || state.admitted.contains(i);
        let mut order: Vec<usize> = around.filter(admitted).collect();
        order.sort_by_key(|&i| {
            let node = &state.nodes[i];
            (node.failures > 0).then_some(node.probe_at)
        });
        order.into_iter().map(NodeId).collect()
    }

    /// From now on [`Self::order`] has these only; all when there are none.
    pub(super) fn admit(&self, nodes: &[NodeId]) {
        self.lock().admitted = nodes.iter().map(|node| node.0).collect();
    }

    pub(super) fn contains(&self, id: NodeId) -> bool {
        id.0 < self.lock().nodes.len()
    }

    /// Base URL; the first node's for an id that is not in the list.
    pub(super) fn url(&self, id: NodeId) -> Url {
        let state = self.lock();
        state.nodes[if id.0 < state.nodes.len() { id.0 } else { 0 }].url.clone()
    }

    /// It answered; from now on it is the one to ask.
    pub(super) fn mark_answered(&self, id: NodeId) {
        self.mark_alive(id);
        self.lock().current = id.0;
    }

    /// It is reachable.
    pub(super) fn mark_alive(&self, id: NodeId) {
        if let Some(node) = self.lock().nodes.get_mut(id.0) {
            node.failures = 0;
            node.suspect = false;
            node.last_error = None;
        }
    }

    /// It did not answer in time, which a healthy node may do: asked at the next probe.
    pub(super) fn mark_suspect(&self, id: NodeId) {
        if let Some(node) = self.lock().nodes.get_mut(id.0) {
            node.suspect = true;
        }
    }

    /// It could not be reached, or lost a connection.
    pub(super) fn mark_dead(&self, id: NodeId, reason: &str) {
        let mut state = self.lock();
        let Some(node) = state.nodes.get_mut(id.0) else { return };
        if node.failures == 0 {
            tracing::warn!(node = %node.url, reason, "ClickHouse node does not answer");
        }
        node.failures = node.failures.saturating_add(1);
        node.suspect = false;
        let pause = FIRST_PAUSE.saturating_mul(1 << (node.failures - 1).min(5)).min(MAX_PAUSE);
        node.probe_at = Instant::now() + pause;
        node.last_error = Some(reason.to_owned());
    }

    /// Marked nodes whose pause is over, and suspects.
    pub(super) fn due_for_probe(&self, now: Instant) -> Vec<NodeId> {
        let state = self.lock();
        let due = |(_, node): &(usize, &Node)| node.suspect || (node.failures > 0 && node.probe_at <= now);
        state.nodes.iter().enumerate().filter(due).map(|(id, _)| NodeId(id)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(count: usize) -> Nodes {
        Nodes::new((0..count).map(|i| Url::parse(&format!("http://n{i}:1/")).unwrap()).collect())
    }

    fn order(nodes: &Nodes) -> Vec<usize> {
        nodes.order().into_iter().map(|n| n.0).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn dead_nodes_go_last_and_are_probed_with_growing_pauses() {
        let nodes = nodes(3);
        assert_eq!(order(&nodes), [0, 1, 2]);
        nodes.mark_dead(NodeId(0), "refused");
        assert_eq!(order(&nodes), [1, 2, 0]);
        assert!(nodes.due_for_probe(Instant::now()).is_empty());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(nodes.due_for_probe(Instant::now()), [NodeId(0)]);
        nodes.mark_dead(NodeId(0), "refused");
        tokio::time::advance(Duration::from_millis(1900)).await;
        assert!(nodes.due_for_probe(Instant::now()).is_empty(), "the second pause is 2 s");
        for _ in 0..100 {
            nodes.mark_dead(NodeId(0), "refused");
        }
        tokio::time::advance(MAX_PAUSE).await;
        assert_eq!(nodes.due_for_probe(Instant::now()), [NodeId(0)], "a pause has a ceiling");
        nodes.mark_alive(NodeId(0));
        assert_eq!(order(&nodes), [0, 1, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_suspect_is_asked_at_once_and_stays_in_use() {
        let nodes = nodes(2);
        nodes.mark_suspect(NodeId(0));
        assert_eq!(order(&nodes), [0, 1]);
        assert_eq!(nodes.due_for_probe(Instant::now()), [NodeId(0)]);
        nodes.mark_alive(NodeId(0));
        assert!(nodes.due_for_probe(Instant::now()).is_empty());
    }

    #[test]
    fn only_admitted_nodes_are_tried_even_when_all_of_them_are_dead() {
        let nodes = nodes(3);
        nodes.admit(&[NodeId(2), NodeId(0)]);
        nodes.mark_answered(NodeId(1));
        assert_eq!(order(&nodes), [2, 0]);
        nodes.mark_dead(NodeId(2), "refused");
        nodes.mark_dead(NodeId(0), "refused");
        assert_eq!(order(&nodes).len(), 2);
        nodes.admit(&[]);
        assert_eq!(order(&nodes)[0], 1);
    }

    #[test]
    fn the_node_that_answered_stays_current() {
        let nodes = nodes(3);
        nodes.mark_answered(NodeId(1));
        assert_eq!(order(&nodes), [1, 2, 0]);
    }
}
