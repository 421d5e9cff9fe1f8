//! A query's output as a stream: a named pipe that the engine writes by `INTO OUTFILE`.
//!
//! libchdb's own streaming call gives each chunk as a document of its own, which is wrong for JSON,
//! Parquet or Arrow, and gives nothing at all for no rows. `INTO OUTFILE` into a named pipe gives one right
//! document in every format, with the pipe's capacity as backpressure (measured).
//!
//! Nothing here can hang: the reading end is opened first and without blocking; then a writing end of our
//! own (the keeper) is opened, so that a read waits instead of seeing an early end. When the statement is
//! over the keeper is dropped, and the reader sees the end once the engine's writing end is closed too. If
//! the reader goes away, the engine's next write fails (EPIPE) and the statement ends.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, fcntl_getfl, fcntl_setfl, mknodat, open};

/// Bytes that the engine may be ahead of the reader.
const CAPACITY_BYTES: usize = 1 << 20;

/// The file of a pipe and its keeper; removes the file on drop.
pub struct OutputPipe {
    path: PathBuf,
    _keeper: File,
}

impl OutputPipe {
    /// Makes a pipe in `folder` and opens both ends of ours.
    ///
    /// # Errors
    /// What the file system says (no space, no permission).
    pub fn create(folder: &Path) -> io::Result<(Self, File)> {
        let path = folder.join(format!("out-{}", uuid::Uuid::new_v4().simple()));
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
        let ends = Self::open_ends(&path);
        if ends.is_err() {
            let _ = std::fs::remove_file(&path);
        }
        let (reader, keeper) = ends?;
        Ok((Self { path, _keeper: keeper }, reader))
    }

    fn open_ends(path: &Path) -> io::Result<(File, File)> {
        let reader = open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?;
        let keeper = open(path, OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?;
        fcntl_setfl(&reader, fcntl_getfl(&reader)? - OFlags::NONBLOCK)?;
        // A smaller pipe (the user's limit is used up) is slower, not wrong.
        let _ = rustix::pipe::fcntl_setpipe_size(&reader, CAPACITY_BYTES);
        Ok((File::from(reader), File::from(keeper)))
    }

    /// The file's name, for `INTO OUTFILE`.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for OutputPipe {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
