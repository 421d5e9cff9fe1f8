//! A daemon's life: it starts, waits for a signal or the death of a task, drains, and leaves.
//!
//! The order of the end: every task is told, what runs may go on until the drain time is over, then the
//! tunnel goes, by which its last answers left. Whatever was cut off is begun again after the next
//! start; a signal that comes while the daemon still starts is a crash of a daemon that has begun
//! nothing. A task that dies ends the process, rather than leaving it without a limb.

use std::time::Duration;

use anyhow::Context as _;
use supervisor::Supervisor;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::Exit;

/// Longest wait for the tunnel's tasks, once nothing uses it any more.
const TUNNEL_END: Duration = Duration::from_secs(2);
/// Longest wait for blocking threads, when all tasks have ended or were given up.
const THREADS_END: Duration = Duration::from_secs(1);

/// What a started daemon consists of.
pub struct Tasks {
    /// Its work, drained first.
    pub work: Supervisor,
    /// The tunnel, which outlives the work so that what that is answering can leave.
    pub tunnel: Supervisor,
}

/// Runs a daemon from `start` to its end and says in the log how it ended. `drain`: longest wait for
/// what is running then.
pub fn run(drain: Duration, start: impl Future<Output = anyhow::Result<Tasks>>) -> Exit {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!("no runtime: {error}");
            return Exit::Failed;
        }
    };
    let ended = runtime.block_on(live(drain, start));
    // Threads that are still busy must not hold the process.
    runtime.shutdown_timeout(THREADS_END);
    ended.unwrap_or_else(|error| {
        tracing::error!("{error:#}");
        Exit::of(&error)
    })
}

async fn live(drain: Duration, start: impl Future<Output = anyhow::Result<Tasks>>) -> anyhow::Result<Exit> {
    let mut signals = Signals::listen().context("listen to signals")?;
    let tasks = tokio::select! {
        started = start => started?,
        name = signals.received() => {
            tracing::info!(signal = name, "asked to end while starting");
            return Ok(Exit::Clean);
        }
    };
    let exit = tokio::select! {
        name = signals.received() => {
            tracing::info!(signal = name, drain_s = drain.as_secs(), "shutting down");
            None
        }
        task = tasks.work.died() => Some(task),
        task = tasks.tunnel.died() => Some(task),
    };
    if let Some(task) = exit {
        tracing::error!(task, "a task has died: the process ends, to be started afresh");
    }
    let drained = tasks.end(drain).await;
    Ok(match (exit, drained) {
        (Some(_), _) => Exit::TaskDied,
        (None, true) => Exit::Clean,
        (None, false) => {
            tracing::warn!(
                "not drained within {} s: the rest is begun again at the next start",
                drain.as_secs()
            );
            Exit::Undrained
        }
    })
}

impl Tasks {
    /// Ends both; whether the work did within `drain`.
    async fn end(&self, drain: Duration) -> bool {
        self.work.shutdown();
        let drained = self.work.wait(drain).await;
        self.tunnel.shutdown();
        self.tunnel.wait(TUNNEL_END).await;
        drained
    }
}

/// Every way of asking a daemon to end.
struct Signals([(Signal, &'static str); 4]);

impl Signals {
    /// From here on none of them kills the process.
    fn listen() -> std::io::Result<Self> {
        Ok(Self([
            (signal(SignalKind::terminate())?, "SIGTERM"),
            (signal(SignalKind::interrupt())?, "SIGINT"),
            (signal(SignalKind::hangup())?, "SIGHUP"),
            (signal(SignalKind::quit())?, "SIGQUIT"),
        ]))
    }

    async fn received(&mut self) -> &'static str {
        let [terminate, interrupt, hangup, quit] = &mut self.0;
        tokio::select! {
            _ = terminate.0.recv() => terminate.1,
            _ = interrupt.0.recv() => interrupt.1,
            _ = hangup.0.recv() => hangup.1,
            _ = quit.0.recv() => quit.1,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use rustix::process::{Signal, getpid, kill_process};
    use tokio_util::sync::CancellationToken;

    use super::*;

    /// Runs a daemon whose only task is `task`.
    fn ends<F>(drain: Duration, task: impl FnOnce(CancellationToken) -> F) -> Exit
    where
        F: Future<Output = ()> + Send + 'static,
    {
        run(drain, async {
            let tasks = Tasks { work: Supervisor::new(), tunnel: Supervisor::new() };
            tasks.work.spawn("task", task(tasks.work.token()));
            Ok(tasks)
        })
    }

    fn terminate() {
        kill_process(getpid(), Signal::TERM).unwrap();
    }

    /// One test, since a signal is the whole process's.
    #[test]
    fn a_daemon_ends_as_its_exit_code_says() {
        let long = Duration::from_secs(60);
        let steady = async |stop: CancellationToken| {
            terminate();
            stop.cancelled().await;
        };
        assert_eq!(ends(long, steady), Exit::Clean);
        let deaf = async |_| {
            terminate();
            pending().await
        };
        assert_eq!(ends(Duration::from_millis(10), deaf), Exit::Undrained);
        assert_eq!(ends(long, async |_| {}), Exit::TaskDied);
        assert_eq!(run(long, async { anyhow::bail!("no address") }), Exit::Failed);
        let starting = async {
            terminate();
            pending().await
        };
        assert_eq!(run(long, starting), Exit::Clean);
    }
}
