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
pub use fault_points::{Daemon, Point, Skip};

use crate::wait::within;

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

    fn armed(&self, point: Point) -> PathBuf {
        self.dir.join(point.name())
    }

    fn reached(&self, point: Point) -> PathBuf {
        self.dir.join(format!("{point}.reached"))
    }

    /// The next process to reach the point is held there.
    pub fn arm(&self, point: Point) -> Result<()> {
        fs::write(self.armed(point), b"").with_context(|| format!("arm {point}"))
    }

    /// Nobody is held any more, at this point.
    pub fn disarm(&self, point: Point) -> Result<()> {
        for path in [self.armed(point), self.reached(point)] {
            remove(&path)?;
        }
        Ok(())
    }

    /// Lets the held process go on.
    pub fn release(&self, point: Point) -> Result<()> {
        remove(&self.reached(point))
    }

    /// Waits until a process is held at the point.
    pub async fn held(&self, point: Point, limit: Duration) -> Result<()> {
        let reached = self.reached(point);
        within(limit, &format!("{point} is reached"), async || reached.exists().then_some(())).await
    }

    /// Switches the proof off, from now on.
    pub fn skip(&self, proof: Skip) -> Result<()> {
        fs::write(self.dir.join(proof.file()), b"").with_context(|| format!("skip {}", proof.name()))
    }

    /// The points of `points` somebody is held at now.
    pub fn holding(&self, points: &[Point]) -> Vec<Point> {
        points.iter().copied().filter(|point| self.reached(*point).exists()).collect()
    }
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("remove {}", path.display())),
    }
}
