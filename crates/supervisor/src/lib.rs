//! Long-lived tasks, by name: spawned in one place, watched, and drained at shutdown.
//!
//! A task that ends (or panics) before shutdown was asked for is reported by [`Supervisor::died`]:
//! the daemon then ends too, rather than living on without a limb.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument as _;

/// The tasks of one daemon. Clones are the same supervisor.
#[derive(Clone, Debug)]
pub struct Supervisor {
    stop: CancellationToken,
    tasks: TaskTracker,
    dead: Arc<watch::Sender<Option<&'static str>>>,
}

impl Default for Supervisor {
    fn default() -> Self {
        Self::new()
    }
}

impl Supervisor {
    /// No task yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            dead: Arc::new(watch::Sender::new(None)),
        }
    }

    /// Cancelled at shutdown; every task listens to it.
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Runs `task` until it ends; it should end only after [`Supervisor::token`] is cancelled.
    pub fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let inner = self.tasks.spawn(task);
        let (stop, dead) = (self.stop.clone(), Arc::clone(&self.dead));
        self.tasks.spawn(async move {
            let ended = inner.await;
            if let Err(error) = &ended {
                tracing::error!(task = name, "panicked: {error}");
            }
            if ended.is_err() || !stop.is_cancelled() {
                dead.send_if_modified(|first| first.is_none() && first.replace(name).is_none());
            }
        });
    }

    /// Runs a task that may end by itself (one batch, one request), in the caller's span; counted when draining.
    pub fn spawn_brief<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let inner = self.tasks.spawn(task.in_current_span());
        let watch = async move {
            if let Err(error) = inner.await {
                tracing::error!("a brief task panicked: {error}");
            }
        };
        self.tasks.spawn(watch.in_current_span());
    }

    /// The first task that died, if one has.
    #[must_use]
    pub fn dead(&self) -> Option<&'static str> {
        *self.dead.borrow()
    }

    /// Resolves with the name of the first task that dies.
    pub async fn died(&self) -> &'static str {
        let mut dead = self.dead.subscribe();
        match dead.wait_for(Option::is_some).await.map(|name| *name) {
            Ok(Some(name)) => name,
            // The sender lives as long as `self`.
            _ => std::future::pending().await,
        }
    }

    /// Asks every task to end.
    pub fn shutdown(&self) {
        self.stop.cancel();
        self.tasks.close();
    }

    /// Waits until every task has ended; `false` when `deadline` passed first.
    pub async fn wait(&self, deadline: Duration) -> bool {
        tokio::time::timeout(deadline, self.tasks.wait()).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_dies_is_named_and_one_that_was_asked_is_not() {
        let supervisor = Supervisor::new();
        let stop = supervisor.token();
        supervisor.spawn("steady", async move { stop.cancelled().await });
        assert_eq!(supervisor.dead(), None);
        supervisor.spawn("fragile", async {});
        assert_eq!(supervisor.died().await, "fragile");
        supervisor.shutdown();
        assert!(supervisor.wait(Duration::from_secs(5)).await);
        assert_eq!(supervisor.dead(), Some("fragile"));
    }

    #[tokio::test]
    async fn draining_ends_at_the_deadline() {
        let supervisor = Supervisor::new();
        supervisor.spawn("deaf", std::future::pending());
        supervisor.shutdown();
        assert!(!supervisor.wait(Duration::from_millis(1)).await);
    }
}
