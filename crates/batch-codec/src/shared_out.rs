//! Work shared out among threads.

use std::thread;

/// `work` on every item, each but the first on a thread of its own; what came of them, in their order.
/// `None`: the work panicked. Where no thread is to be had the work is done here.
pub(crate) fn each<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<Option<R>> {
    let work = &work;
    thread::scope(|scope| {
        let start = |item| thread::Builder::new().spawn_scoped(scope, move || work(item));
        let others: Vec<_> = items.iter().skip(1).map(|item| (item, start(item))).collect();
        let first = items.first().map(|item| Some(work(item)));
        let rest = others.into_iter().map(|(item, started)| match started {
            Ok(other) => other.join().ok(),
            Err(_) => Some(work(item)),
        });
        first.into_iter().chain(rest).collect()
    })
}
