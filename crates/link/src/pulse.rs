//! What one client of the other daemon knows of the line from its own calls: when it last answered,
//! whether a transfer stands still, and whether a query is waiting for its first byte, behind which
//! bulk data stands back.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

/// Bulk data stand back at most this long for each slice, so that a slow query never stops a move.
const STAND_BACK: Duration = Duration::from_millis(250);

#[derive(Debug, Default)]
struct Seen {
    answered: Option<Instant>,
    transfers: usize,
    moved: Option<Instant>,
}

/// Clones are the same pulse.
#[derive(Debug, Clone)]
pub(crate) struct Pulse {
    seen: Arc<Mutex<Seen>>,
    queries: Arc<watch::Sender<usize>>,
}

impl Pulse {
    pub(crate) fn new() -> Self {
        Self { seen: Arc::default(), queries: Arc::new(watch::Sender::new(0)) }
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The other daemon said something, whatever.
    pub(crate) fn answered(&self) {
        self.lock().answered = Some(Instant::now());
    }

    /// Since then; `None`: never.
    pub(crate) fn answered_ago(&self) -> Option<Duration> {
        self.lock().answered.map(|at| at.elapsed())
    }

    /// Since a byte last moved, while a transfer is under way.
    pub(crate) fn silence(&self) -> Option<Duration> {
        let seen = self.lock();
        seen.moved.filter(|_| seen.transfers > 0).map(|at| at.elapsed())
    }

    /// A transfer, until it is dropped.
    pub(crate) fn transfer(&self) -> Transfer {
        let mut seen = self.lock();
        seen.transfers += 1;
        seen.moved = Some(Instant::now());
        Transfer(self.clone())
    }

    /// A byte of a transfer left.
    pub(crate) fn moved(&self) {
        self.lock().moved = Some(Instant::now());
    }

    /// A query that waits for its first byte, until it is dropped.
    pub(crate) fn query(&self) -> Query {
        self.queries.send_modify(|waiting| *waiting += 1);
        Query(self.clone())
    }

    /// Returns when no query waits for its first byte, or when bulk data have stood back long enough.
    pub(crate) async fn stand_back(&self) {
        let mut queries = self.queries.subscribe();
        // The sender lives in `self`: only the time can run out.
        let _ = tokio::time::timeout(STAND_BACK, queries.wait_for(|waiting| *waiting == 0)).await;
    }
}

/// See [`Pulse::transfer`].
pub(crate) struct Transfer(Pulse);

impl Drop for Transfer {
    fn drop(&mut self) {
        self.0.lock().transfers -= 1;
    }
}

/// See [`Pulse::query`].
pub(crate) struct Query(Pulse);

impl Drop for Query {
    fn drop(&mut self) {
        self.0.queries.send_modify(|waiting| *waiting -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn bulk_data_stand_back_for_a_query_but_not_for_ever() {
        let pulse = Pulse::new();
        let started = Instant::now();
        pulse.stand_back().await;
        assert_eq!(started.elapsed(), Duration::ZERO);
        let query = pulse.query();
        pulse.stand_back().await;
        assert_eq!(started.elapsed(), STAND_BACK);
        let (gate, ()) = tokio::join!(
            async {
                pulse.stand_back().await;
                started.elapsed() - STAND_BACK
            },
            async {
                tokio::time::sleep(Duration::from_millis(20)).await;
                drop(query);
            }
        );
        assert_eq!(gate, Duration::from_millis(20));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_of_transfers_only() {
        let pulse = Pulse::new();
        assert_eq!((pulse.silence(), pulse.answered_ago()), (None, None));
        let transfer = pulse.transfer();
        tokio::time::sleep(Duration::from_secs(31)).await;
        assert_eq!(pulse.silence(), Some(Duration::from_secs(31)));
        pulse.moved();
        assert_eq!(pulse.silence(), Some(Duration::ZERO));
        drop(transfer);
        assert_eq!(pulse.silence(), None);
    }
}
