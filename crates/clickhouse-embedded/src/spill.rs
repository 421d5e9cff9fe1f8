//! An answer kept on disk until its statement is over.
//!
//! The file has no name once it is open, so that nothing is left behind whatever happens. It stops growing
//! before the disk is full.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use crate::failure::{Failure, code};

/// What must stay free on the disk, bytes.
const RESERVE_BYTES: u64 = 512 << 20;
/// The free room is asked for again after this many bytes.
const CHECK_BYTES: u64 = 32 << 20;

/// The kept bytes: written, then read once from the start.
pub struct Spill {
    folder: PathBuf,
    file: Option<File>,
    unchecked_bytes: u64,
    reading: bool,
}

impl Spill {
    /// Keeps nothing yet; the file is made with the first write.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), file: None, unchecked_bytes: CHECK_BYTES, reading: false }
    }

    /// Appends `data`.
    ///
    /// # Errors
    /// 243 when the disk's reserve would be touched, or the disk refuses.
    pub fn write(&mut self, data: &[u8]) -> Result<(), Failure> {
        self.unchecked_bytes += data.len() as u64;
        if self.unchecked_bytes > CHECK_BYTES {
            self.unchecked_bytes = 0;
            let disk = rustix::fs::statvfs(&self.folder).map_err(|error| no_room(&error.into()))?;
            if disk.f_bavail.saturating_mul(disk.f_frsize) < RESERVE_BYTES + CHECK_BYTES {
                return Err(no_room(&io::Error::from(io::ErrorKind::StorageFull)));
            }
        }
        if self.file.is_none() {
            self.file = Some(self.open().map_err(|error| no_room(&error))?);
        }
        match &mut self.file {
            Some(file) => file.write_all(data).map_err(|error| no_room(&error)),
            None => Ok(()),
        }
    }

    fn open(&self) -> io::Result<File> {
        let path = self.folder.join(format!("answer-{}", uuid::Uuid::new_v4().simple()));
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        std::fs::remove_file(&path)?;
        Ok(file)
    }
}

impl Read for Spill {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(file) = &mut self.file else { return Ok(0) };
        if !self.reading {
            file.seek(SeekFrom::Start(0))?;
            self.reading = true;
        }
        file.read(buffer)
    }
}

fn no_room(error: &io::Error) -> Failure {
    Failure::new(code::NOT_ENOUGH_SPACE, format!("the answer cannot be kept until its end: {error}"))
}
