//! What one client of the other daemon knows of the link from its own calls: when the daemon last answered,
//! when a byte of a transfer last moved, and how many queries wait for their first byte, for which bulk data
//! pause.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{sync::watch, time::Instant};

/// Longest pause of bulk data for each slice, so that a slow query never stops a move.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

#[derive(Debug, Default)]
struct Seen {
    answered: Option<Instant>,
    transfers: usize,
    moved: Option<Instant>,
}

/// The calls of one client. Clones share the same record.
#[derive(Debug, Clone)]
pub(crate) struct Activity {
    seen: Arc<Mutex<Seen>>,
    queries: Arc<watch::Sender<usize>>,
}

impl Activity {
    pub(crate) fn new() -> Self {
        Self { seen: Arc::default(), queries: Arc::new(watch::Sender::new(0)) }
    }

    /// The other daemon answered, with success or with an error.
    pub(crate) fn answered(&self) {
        self.seen.lock().answered = Some(Instant::now());
    }

    /// Time since the last answer; `None`: there was none.
    pub(crate) fn answered_ago(&self) -> Option<Duration> {
        self.seen.lock().answered.map(|at| at.elapsed())
    }

    /// Time since a byte last moved; `None` while no transfer is under way.
    pub(crate) fn silence(&self) -> Option<Duration> {
        let seen = self.seen.lock();
        seen.moved.filter(|_| seen.transfers > 0).map(|at| at.elapsed())
    }

    /// Counts a transfer until the guard is dropped.
    pub(crate) fn transfer(&self) -> Transfer {
        let mut seen = self.seen.lock();
        seen.transfers += 1;
        seen.moved = Some(Instant::now());
        Transfer(self.clone())
    }

    /// A byte of a transfer left.
    pub(crate) fn moved(&self) {
        self.seen.lock().moved = Some(Instant::now());
    }

    /// Counts a query that waits for its first byte, until the guard is dropped.
    pub(crate) fn query(&self) -> Query {
        self.queries.send_modify(|waiting| *waiting += 1);
        Query(self.clone())
    }

    /// Returns when no query waits for its first byte, at the latest after [`LONGEST_PAUSE`].
    pub(crate) async fn wait_for_queries(&self) {
        let mut queries = self.queries.subscribe();
        // The sender lives in `self`: only the time can run out.
        let _ = tokio::time::timeout(LONGEST_PAUSE, queries.wait_for(|waiting| *waiting == 0)).await;
    }
}

/// See [`Activity::transfer`].
pub(crate) struct Transfer(Activity);

impl Drop for Transfer {
    fn drop(&mut self) {
        self.0.seen.lock().transfers -= 1;
    }
}

/// See [`Activity::query`].
pub(crate) struct Query(Activity);

impl Drop for Query {
    fn drop(&mut self) {
        self.0.queries.send_modify(|waiting| *waiting -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn bulk_data_wait_for_a_query_but_not_for_ever() {
        let activity = Activity::new();
        let started = Instant::now();
        activity.wait_for_queries().await;
        assert_eq!(started.elapsed(), Duration::ZERO);
        let query = activity.query();
        activity.wait_for_queries().await;
        assert_eq!(started.elapsed(), LONGEST_PAUSE);
        let (gate, ()) = tokio::join!(
            async {
                activity.wait_for_queries().await;
                started.elapsed() - LONGEST_PAUSE
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
        let activity = Activity::new();
        assert_eq!((activity.silence(), activity.answered_ago()), (None, None));
        let transfer = activity.transfer();
        tokio::time::sleep(Duration::from_secs(31)).await;
        assert_eq!(activity.silence(), Some(Duration::from_secs(31)));
        activity.moved();
        assert_eq!(activity.silence(), Some(Duration::ZERO));
        drop(transfer);
        assert_eq!(activity.silence(), None);
    }
}
