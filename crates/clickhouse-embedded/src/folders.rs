//! The engine's folders, and the two locks that keep one engine to a folder.
//!
//! The supervisor holds `lock` as long as it lives; a second supervisor over the same folder is refused at
//! once. The engine holds `engine.lock`: after a `kill -9` of the supervisor the kernel needs a moment to
//! end the engine too, and the next engine waits for that moment instead of failing.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

/// How long an engine waits for its predecessor over the same folder to be gone.
const PREDECESSOR: Duration = Duration::from_secs(20);

/// The folders that the engine may write.
#[derive(Debug, Clone)]
pub struct Folders {
    /// The folder that `--data` names, as an absolute path.
    pub root: PathBuf,
    /// Tables.
    pub data: PathBuf,
    /// What `file()` reads and writes by relative names.
    pub user_files: PathBuf,
    /// The configuration while the engine reads it, and what it says about its ports.
    pub run: PathBuf,
    /// The engine's own log.
    pub log: PathBuf,
}

impl Folders {
    /// The folders under `root`, which is absolute.
    #[must_use]
    pub fn under(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            data: root.join("data"),
            user_files: root.join("user_files"),
            run: root.join("run"),
            log: root.join("log"),
        }
    }

    /// Makes the folders under `root`, open to this account only, and claims them for this supervisor.
    ///
    /// # Errors
    /// `ResourceBusy` when another supervisor works there; else what the file system says.
    pub fn claim(root: &Path) -> io::Result<(Self, File)> {
        private().create(root)?;
        let folders = Self::under(&root.canonicalize()?);
        let lock = File::create(folders.root.join("lock"))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            io::Error::new(io::ErrorKind::ResourceBusy, "another clickhouse-embedded works in this folder")
        })?;
        for folder in [&folders.data, &folders.user_files, &folders.run, &folders.log] {
            private().create(folder)?;
        }
        Ok((folders, lock))
    }

    /// Waits until no other engine works in these folders, and claims them for this process. For the engine.
    ///
    /// # Errors
    /// `TimedOut` when the predecessor stays; else what the file system says.
    pub fn claim_for_engine(&self) -> io::Result<File> {
        let lock = File::create(self.root.join("engine.lock"))?;
        let since = Instant::now();
        while flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            if since.elapsed() > PREDECESSOR {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the engine that worked in this folder before does not end",
                ));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(lock)
    }
}

fn private() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder
}
