//! Named points at which a daemon can be held, and the proofs that can be skipped.
//!
//! A file named like the point, in the stack's `faults` folder, holds the first daemon that reaches
//! it; the daemon renames the file to `<point>.reached` and goes on when that file is gone.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};

use crate::wait::within;

/// Steps of a move in storage-service; each has the four phases.
pub const STEPS: [&str; 8] =
    ["snapshot", "encode", "send", "commit", "fence", "publish", "reprove", "reclaim"];

/// Before the journal, after the journal and before the effect, after the effect, after the result
/// is in the journal.
pub const PHASES: [&str; 4] = ["before_journal", "after_journal", "after_effect", "after_result"];

/// Points of storage-gateway.
pub const GATEWAY: [&str; 10] = [
    "gateway.manifest.before_journal",
    "gateway.manifest.after_journal",
    "gateway.chunk.after_write",
    "gateway.commit.before_journal",
    "gateway.commit.after_journal",
    "gateway.load.after_effect",
    "gateway.prove.after_effect",
    "gateway.attach.before_effect",
    "gateway.attach.after_effect",
    "gateway.commit.after_reply_state",
];

/// Every point there is.
pub fn all() -> Vec<String> {
    let service =
        STEPS.iter().flat_map(|step| PHASES.iter().map(move |phase| format!("move.{step}.{phase}")));
    service.chain(GATEWAY.iter().map(|p| (*p).to_owned())).collect()
}

/// The folder of one stack's points.
#[derive(Debug, Clone)]
pub struct Faults {
    dir: PathBuf,
}

impl Faults {
    /// The points of the stack whose folder of points is `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    fn armed(&self, point: &str) -> PathBuf {
        self.dir.join(point)
    }

    fn reached(&self, point: &str) -> PathBuf {
        self.dir.join(format!("{point}.reached"))
    }

    /// The next process to reach the point is held there.
    pub fn arm(&self, point: &str) -> Result<()> {
        fs::write(self.armed(point), b"").with_context(|| format!("arm {point}"))
    }

    /// Nobody is held any more, at this point.
    pub fn disarm(&self, point: &str) -> Result<()> {
        for path in [self.armed(point), self.reached(point)] {
            remove(&path)?;
        }
        Ok(())
    }

    /// Lets the held process go on.
    pub fn release(&self, point: &str) -> Result<()> {
        remove(&self.reached(point))
    }

    /// Waits until a process is held at the point.
    pub async fn held(&self, point: &str, limit: Duration) -> Result<()> {
        let reached = self.reached(point);
        within(limit, &format!("{point} is reached"), async || reached.exists().then_some(())).await
    }

    /// Switches the proof called `name` off, from now on.
    pub fn skip(&self, name: &str) -> Result<()> {
        fs::write(self.dir.join(format!("skip.{name}")), b"").with_context(|| format!("skip {name}"))
    }

    /// The points of `points` somebody is held at now.
    pub fn holding<'a>(&self, points: &'a [String]) -> Vec<&'a str> {
        points.iter().map(String::as_str).filter(|p| self.reached(p).exists()).collect()
    }
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("remove {}", path.display())),
    }
}
