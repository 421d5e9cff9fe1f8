//! Which node next, and what a failure means.
//!
//! The rule that everything here serves: once a statement that is not idempotent may have reached a
//! server, it is never sent again, and anything but a clear answer is [`Error::Unknown`]. The crate knows
//! one address and no such rule, so this stays ours, around whatever sends.

use std::{ops::ControlFlow, time::Duration, vec};

use hyper_util::client::legacy;
use url::Url;

use super::{Error, NodeId, Query, error::chain};
use crate::Exception;

/// Why one attempt gave no answer.
pub(super) enum Failure {
    /// Refused, unresolved, no TLS: the statement has not left, the next node may have it.
    NotSent(String),
    /// It has left, and the answer was lost, or something between us and ClickHouse answered in its place.
    Lost(String),
    /// ClickHouse said no.
    Refused(Exception),
    /// The time is over.
    Late,
    /// No other node would make it better.
    Final(Error),
}

/// The attempts of one statement: one node after the other, until one answers or it must not be sent again.
pub(super) struct Attempts<'a> {
    query: &'a Query,
    /// It may run twice.
    again: bool,
    order: vec::IntoIter<NodeId>,
    current: Option<NodeId>,
    /// The current node lost a connection, and is asked once more.
    once_more: bool,
    last: Error,
}

impl<'a> Attempts<'a> {
    pub(super) fn new(query: &'a Query, again: bool) -> Result<Self, Error> {
        let nodes = &query.client.inner.nodes;
        let order = match query.node {
            Some(node) if !nodes.contains(node) => {
                return Err(Error::Protocol(format!("node {} is not in the list", node.0)));
            }
            Some(node) => vec![node],
            None => nodes.order(),
        };
        let last = Error::Protocol("the node list is empty".into());
        Ok(Self { query, again, order: order.into_iter(), current: None, once_more: false, last })
    }

    /// The node to ask now; [`Self::outcome`] must be told what came of it.
    pub(super) fn next(&mut self) -> Option<Url> {
        if !self.once_more {
            self.current = self.order.next();
        }
        self.current.map(|node| self.query.client.inner.nodes.url(node))
    }

    /// Every node was asked in vain.
    pub(super) fn exhausted(self) -> Error {
        self.last
    }

    /// What an attempt means for the statement: done, or on to the next.
    pub(super) fn outcome<T>(&mut self, outcome: Result<T, Failure>) -> ControlFlow<Result<T, Error>> {
        let nodes = &self.query.client.inner.nodes;
        let Some(node) = self.current else { return ControlFlow::Continue(()) };
        let url = nodes.url(node).to_string();
        let lost = matches!(outcome, Err(Failure::Lost(_)));
        let reason = match outcome {
            Ok(answer) => {
                if self.query.node.is_none() {
                    nodes.mark_answered(node);
                } else {
                    nodes.mark_alive(node);
                }
                return ControlFlow::Break(Ok(answer));
            }
            Err(Failure::Refused(exception)) => {
                nodes.mark_alive(node);
                return ControlFlow::Break(Err(exception.into()));
            }
            Err(Failure::Late) => {
                nodes.mark_suspect(node);
                return ControlFlow::Break(Err(late(self.again, url, self.query.deadline)));
            }
            Err(Failure::Final(error)) => return ControlFlow::Break(Err(error)),
            Err(Failure::NotSent(reason) | Failure::Lost(reason)) => reason,
        };
        // A lost connection is not yet a lost node.
        self.once_more = lost && self.again && !self.once_more;
        if self.once_more {
            return ControlFlow::Continue(());
        }
        nodes.mark_dead(node, &reason);
        if lost && !self.again {
            return ControlFlow::Break(Err(Error::Unknown { node: url, reason }));
        }
        self.last = Error::Unreachable { node: url, reason };
        ControlFlow::Continue(())
    }
}

/// The deadline has passed without an answer, or without the rest of it.
pub(super) fn late(again: bool, node: String, waited: Duration) -> Error {
    let waited_ms = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
    if again {
        Error::Deadline { node, waited_ms }
    } else {
        Error::Unknown { node, reason: format!("nothing came for {waited_ms} ms") }
    }
}

/// What an error of the connection says.
pub(super) fn unsent_or_lost(error: &legacy::Error) -> Failure {
    let reason = chain(error);
    if error.is_connect() { Failure::NotSent(reason) } else { Failure::Lost(reason) }
}

/// The first line of what answered in ClickHouse's place.
pub(super) fn first_line(text: &str) -> String {
    text.trim().lines().next().unwrap_or_default().chars().take(200).collect()
}
