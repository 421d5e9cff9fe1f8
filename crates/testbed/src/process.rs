//! One child process: started with its output in a log file, awaited until it answers, stopped by
//! its process id, never by name.
//!
//! A process id is believed only together with the process's start time, since ids return. A child
//! that is dropped is killed: a failed test, or a start that failed halfway, leaves nothing behind. A
//! child of `stack up` stands in a process group of its own and is left when everything is ready.

use std::{
    fs::{File, OpenOptions},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::lab::cpu;

/// How often a wait looks again.
pub const POLL: Duration = Duration::from_millis(10);

/// A process by id and start time (clock ticks since boot, field 22 of `/proc/PID/stat`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Process id.
    pub pid: u32,
    /// When it started.
    pub started: u64,
}

impl ProcessId {
    /// The process with this id now; `None` when there is none (or only a zombie).
    pub fn of(pid: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The command in brackets may hold anything; the fields start after the last bracket.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?;
        if state == "Z" || state == "X" {
            return None;
        }
        let started = fields.nth(18)?.parse().ok()?;
        Some(Self { pid, started })
    }

    /// Whether this very process still runs.
    pub fn alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Sends a signal to this very process; nothing when it is gone.
    pub fn signal(self, signal: Signal) -> Result<()> {
        if !self.alive() {
            return Ok(());
        }
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else {
            bail!("pid {}", self.pid)
        };
        match kill_process(pid, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("signal process {}", self.pid)),
        }
    }

    /// The processes it has started, and that are there.
    pub fn children(self) -> Vec<Self> {
        let path = format!("/proc/{0}/task/{0}/children", self.pid);
        let children = std::fs::read_to_string(path).unwrap_or_default();
        children.split_whitespace().filter_map(|child| Self::of(child.parse().ok()?)).collect()
    }

    /// Processor seconds that this process and its children have used.
    pub fn cpu_s(self) -> Result<f64> {
        // One that has just ended is counted by nobody.
        let children = self.children().into_iter().filter_map(|child| cpu::seconds(child.pid).ok());
        Ok(cpu::seconds(self.pid)? + children.sum::<f64>())
    }

    /// [`peak_rss_bytes`] of this process.
    pub fn peak_rss_bytes(self) -> Option<u64> {
        peak_rss_bytes(self.pid)
    }
}

/// Largest resident memory that process `pid` has had so far, in bytes (`VmHWM` of proc(5)); `None` when there
/// is no such process.
pub fn peak_rss_bytes(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Stops a process politely, then firmly: SIGTERM, `grace`, SIGKILL. Returns whether it went by itself.
pub fn stop(process: ProcessId, grace: Duration) -> Result<bool> {
    process.signal(Signal::TERM)?;
    if wait_gone(process, grace) {
        return Ok(true);
    }
    process.signal(Signal::KILL)?;
    if !wait_gone(process, Duration::from_secs(10)) {
        bail!("process {} does not die", process.pid);
    }
    Ok(false)
}

fn wait_gone(process: ProcessId, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    while process.alive() {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(POLL);
    }
    true
}

/// A child of ours.
#[derive(Debug)]
pub struct Running {
    child: Child,
    id: ProcessId,
    log: PathBuf,
    left: bool,
}

impl Running {
    /// Starts `command` with stdout and stderr appended to `log`. With `own_group` a signal to our
    /// process group (Ctrl-C) does not reach it.
    pub fn start(mut command: Command, log: &Path, own_group: bool) -> Result<Self> {
        let out: File = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("open the log {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        if own_group {
            command.process_group(0);
        }
        let child = command.spawn().with_context(|| format!("start {}", command.get_program().display()))?;
        let id = ProcessId::of(child.id()).unwrap_or(ProcessId { pid: child.id(), started: 0 });
        Ok(Self { child, id, log: log.to_owned(), left: false })
    }

    /// Which process it is.
    pub fn id(&self) -> ProcessId {
        self.id
    }

    /// An error with the log's last lines when the child has ended.
    pub fn check(&mut self) -> Result<()> {
        let Some(status) = self.child.try_wait().context("look after a child")? else { return Ok(()) };
        let how = match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => "unknown".to_owned(),
        };
        bail!("it ended ({how}); the end of {}:\n{}", self.log.display(), tail(&self.log, 30))
    }

    /// SIGTERM, `grace`, SIGKILL; whether it went by itself.
    pub fn stop(mut self, grace: Duration) -> Result<bool> {
        self.id.signal(Signal::TERM)?;
        let deadline = Instant::now() + grace;
        while Instant::now() < deadline {
            if self.child.try_wait()?.is_some() {
                return Ok(true);
            }
            std::thread::sleep(POLL);
        }
        self.child.kill().context("kill")?;
        self.child.wait().context("reap")?;
        Ok(false)
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill().context("kill -9")?;
        self.child.wait().context("reap")?;
        Ok(())
    }

    /// Lets the child outlive us.
    pub fn leave(mut self) {
        self.left = true;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.left {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The last `lines` of a text file, for error messages.
pub fn tail(path: &Path, lines: usize) -> String {
    let text = std::fs::read(path).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
