//! Killing a statement whose caller is gone, until it has really ended.
//!
//! `KILL QUERY` finds a statement only once the engine has registered it, so a kill can come too early: it
//! is repeated until the statement's thread says that it is over.

use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::run::Service;

/// How long a kill is repeated before it is given up and logged.
const GIVE_UP: Duration = Duration::from_secs(120);

/// Whether a statement is over; clones share it.
#[derive(Clone, Default)]
pub struct Finished {
    state: Arc<(Mutex<bool>, Condvar)>,
}

impl Finished {
    /// Says that the statement is over when the returned value is dropped, on every path.
    #[must_use]
    pub fn on_drop(&self) -> FinishOnDrop {
        FinishOnDrop(self.clone())
    }

    fn is_set(&self) -> bool {
        *self.state.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits at most `limit`; returns whether the statement is over.
    fn wait(&self, limit: Duration) -> bool {
        let over = self.state.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.state.1.wait_timeout_while(over, limit, |over| !*over);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// See [`Finished::on_drop`].
pub struct FinishOnDrop(Finished);

impl Drop for FinishOnDrop {
    fn drop(&mut self) {
        *self.0.state.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.state.1.notify_all();
    }
}

/// Kills its statement when it is dropped before the statement is over.
pub struct CancelGuard {
    service: Arc<Service>,
    tag: Arc<OnceLock<String>>,
    finished: Finished,
    armed: bool,
}

impl CancelGuard {
    /// Guards the statement that will carry `tag`, and is over when `finished` says so.
    #[must_use]
    pub fn new(service: Arc<Service>, tag: Arc<OnceLock<String>>, finished: Finished) -> Self {
        Self { service, tag, finished, armed: true }
    }
}

impl CancelGuard {
    /// The whole answer is out: there is nothing to kill.
    pub fn release(mut self) {
        self.armed = false;
    }
}

impl Drop for CancelGuard {
    fn drop(&mut self) {
        if !self.armed || self.finished.is_set() {
            return;
        }
        let (service, tag, finished) =
            (Arc::clone(&self.service), Arc::clone(&self.tag), self.finished.clone());
        tokio::task::spawn_blocking(move || kill_until_over(&service, &tag, &finished));
    }
}

fn kill_until_over(service: &Service, tag: &OnceLock<String>, finished: &Finished) {
    let started = Instant::now();
    let mut pause = Duration::from_millis(2);
    while !finished.wait(pause) {
        if started.elapsed() > GIVE_UP {
            tracing::warn!(tag = tag.get(), "a statement whose client is gone does not end");
            return;
        }
        if let Some(tag) = tag.get() {
            service.engine.kill(tag);
        }
        pause = (pause * 2).min(Duration::from_secs(1));
    }
}
