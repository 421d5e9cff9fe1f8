//! Waits that are bounded by silence, not by length: a transfer may take as long as it moves.

use std::{pin::pin, sync::Arc, time::Duration};

use futures::{Stream, StreamExt as _};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until, timeout};

/// The end of patience, pushed away by each piece that moves.
#[derive(Clone)]
pub(crate) struct Idle {
    limit: Duration,
    until: Arc<Mutex<Instant>>,
}

impl Idle {
    /// Patience begins now.
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, until: Arc::new(Mutex::new(Instant::now() + limit)) }
    }

    /// Something moved.
    pub(crate) fn touch(&self) {
        *self.until.lock() = Instant::now() + self.limit;
    }

    /// `None` when nothing moved for the limit before `future` was ready.
    pub(crate) async fn wait<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        loop {
            let until = *self.until.lock();
            tokio::select! {
                biased;
                done = &mut future => return Some(done),
                () = sleep_until(until) => if *self.until.lock() <= until { return None },
            }
        }
    }
}

/// `stream`, which ends in `late()` when the next item takes longer than `limit`. Only the time in
/// which the reader waits counts: a slow reader is not a silent peer.
pub(crate) fn bounded<S, T, E>(
    stream: S,
    limit: Duration,
    late: impl Fn() -> E + Send + 'static,
) -> impl Stream<Item = Result<T, E>> + Send
where
    S: Stream<Item = Result<T, E>> + Send + Unpin + 'static,
    T: Send,
    E: Send,
{
    futures::stream::unfold((Some(stream), late), move |(stream, late)| async move {
        let mut stream = stream?;
        match timeout(limit, stream.next()).await {
            Ok(Some(Ok(item))) => Some((Ok(item), (Some(stream), late))),
            // After an error comes the end.
            Ok(Some(Err(error))) => Some((Err(error), (None, late))),
            Ok(None) => None,
            Err(_) => Some((Err(late()), (None, late))),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_moves_may_take_long_and_what_stands_still_may_not() {
        let idle = Idle::new(Duration::from_secs(1));
        let moving = async {
            for _ in 0..100 {
                tokio::time::sleep(Duration::from_millis(900)).await;
                idle.touch();
            }
        };
        assert_eq!(idle.wait(moving).await, Some(()));
        assert_eq!(idle.wait(std::future::pending::<()>()).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_is_not_a_silent_peer() {
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        sender.send(Ok(1)).await.unwrap();
        let source = futures::stream::unfold(receiver, |mut r| async move { Some((r.recv().await?, r)) });
        let mut stream = pin!(bounded(Box::pin(source), Duration::from_secs(1), || "late"));
        assert_eq!(stream.next().await, Some(Ok(1)));
        tokio::time::sleep(Duration::from_secs(60)).await;
        let (next, ()) = tokio::join!(stream.next(), async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            sender.send(Ok(2)).await.unwrap();
        });
        assert_eq!(next, Some(Ok(2)));
        assert_eq!(stream.next().await, Some(Err("late")));
        assert_eq!(stream.next().await, None);
    }
}
