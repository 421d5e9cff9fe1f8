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

use anyhow::ensure;
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

    /// Whether an engine may live in `root`: a folder that is not there yet, or empty, or an engine's already.
    /// What else lies in it would not survive an engine's housekeeping.
    ///
    /// # Errors
    /// What is wrong with it, and what to do.
    pub fn check(root: &Path) -> anyhow::Result<()> {
        let odd = |c: char| c.is_control() || c == '\\';
        ensure!(
            root.to_str().is_some_and(|path| !path.contains(odd)),
            "{root:?}: the engine takes only paths of UTF-8 without control characters and backslashes"
        );
        let Ok(mut entries) = std::fs::read_dir(root) else { return Ok(()) };
        let is_foreign = entries.any(|entry| entry.is_ok_and(|entry| entry.file_name() != "lost+found"));
        ensure!(
            !is_foreign || root.join("lock").is_file(),
            "{}: there are files in it, and they are no engine's: name an empty folder",
            root.display()
        );
        for folder in ["data", "user_files", "run", "log"].map(|name| root.join(name)) {
            ensure!(
                !folder.is_symlink(),
                "{}: a link; mount or bind the folder there instead",
                folder.display()
            );
        }
        Ok(())
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
        folders.keep_system_tables()?;
        Ok((folders, lock))
    }

    /// Makes the database `system` one that is kept. The library's own is in memory: the tables of a
    /// `<query_log>` and its like would be there until the first restart, and never again.
    fn keep_system_tables(&self) -> io::Result<()> {
        let metadata = self.data.join("metadata");
        let file = metadata.join("system.sql");
        if file.exists() {
            return Ok(());
        }
        private().create(metadata)?;
        std::fs::write(
            file,
            "ATTACH DATABASE _ UUID 'd41d8cd9-8f00-4204-a980-0998ecf8427e' ENGINE = Atomic\n",
        )
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
