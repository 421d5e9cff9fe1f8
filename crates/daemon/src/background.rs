//! Work that everything else goes before.

use std::{io, thread};

use tokio::sync::oneshot;
use tracing::Span;

/// How nice it is: of a processor that others want too it gets about a tenth.
const NICENESS: i32 = 10;

/// Runs `work` on a thread of its own that is nicer than the rest of this process ([setpriority(2)]: on Linux that is
/// of a thread, and so of those that it starts), in the span of the caller. The answer is an error when it panicked.
///
/// # Errors
/// There are too many threads.
///
/// [setpriority(2)]: https://man7.org/linux/man-pages/man2/setpriority.2.html
pub fn spawn_background<F, T>(name: &str, work: F) -> io::Result<oneshot::Receiver<T>>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let span = Span::current();
    let (sender, receiver) = oneshot::channel();
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        // Where that is not allowed the work is done all the same.
        let _ = rustix::process::nice(NICENESS);
        let _ = sender.send(span.in_scope(work));
    })?;
    Ok(receiver)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_work_is_nice_and_a_panic_is_an_error() {
        let nice = || rustix::process::getpriority_process(None).unwrap_or(-100);
        let before = nice();
        let inner = spawn_background("test", move || (nice(), thread::spawn(nice).join())).unwrap();
        let (own, child) = inner.await.unwrap();
        assert_eq!((own, child.unwrap(), nice()), (before + NICENESS, before + NICENESS, before));
        let panicked = spawn_background("test", || panic!("on purpose")).unwrap();
        assert!(panicked.await.is_err());
    }
}
