//! Encoded batches on their way, one file each, in `spool/`.
//!
//! A file gets its name only when it is whole and on the disk (write, fsync, rename, fsync of the
//! folder), so a file that is there is right as far as this machine can tell; the receiver judges the
//! bytes again. A file without a batch that needs it is swept away at start. Writing stops with an
//! error before the disk's reserve or the spool's own limit is touched.

use std::{
    fs::{self, File},
    io::{self, SeekFrom, Write},
    path::PathBuf,
};

use daemon::disk;
use storage_types::BatchId;
use tokio::io::AsyncSeekExt as _;

/// The room is measured again each time so much has been written.
const CHECK_BYTES: u64 = 8 << 20;

/// The folder and its limits. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Spool {
    dir: PathBuf,
    max_bytes: u64,
    min_free_bytes: u64,
}

/// A file being written; removed again unless [`Draft::keep`] is called.
pub struct Draft {
    file: File,
    path: PathBuf,
    spool: Spool,
    unchecked: u64,
    kept: bool,
}

impl Spool {
    /// Makes the folder if absent. Drafts may fill it up to `max_bytes`, and leave `min_free_bytes` of the disk.
    pub fn open(dir: PathBuf, max_bytes: u64, min_free_bytes: u64) -> io::Result<Self> {
        disk::create_folder(&dir)?;
        Ok(Self { dir, max_bytes, min_free_bytes })
    }

    fn path(&self, batch: BatchId) -> PathBuf {
        self.dir.join(format!("{batch}.batch"))
    }

    /// Starts the file of a batch.
    pub fn draft(&self, batch: BatchId) -> io::Result<Draft> {
        self.check_room()?;
        let path = self.dir.join(format!("{batch}.draft"));
        let file = File::create(&path)?;
        Ok(Draft { file, path, spool: self.clone(), unchecked: 0, kept: false })
    }

    /// Length of a batch's file; `None` when there is none.
    pub fn len(&self, batch: BatchId) -> Option<u64> {
        fs::metadata(self.path(batch)).ok().map(|meta| meta.len())
    }

    /// A batch's file, from `offset` on.
    pub async fn reader(&self, batch: BatchId, offset: u64) -> io::Result<tokio::fs::File> {
        let mut file = tokio::fs::File::open(self.path(batch)).await?;
        file.seek(SeekFrom::Start(offset)).await?;
        Ok(file)
    }

    /// Removes a batch's file, if it is there.
    pub fn remove(&self, batch: BatchId) {
        match fs::remove_file(self.path(batch)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(batch_id = %batch, "remove a spooled batch: {error}");
            }
            _ => {}
        }
    }

    /// Removes every file that is not the file of one of `needed`.
    pub fn sweep(&self, needed: &[BatchId]) -> io::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if !needed.iter().any(|batch| self.path(*batch) == path) {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// Fails when the reserve of the disk, or the spool's limit, is reached.
    fn check_room(&self) -> io::Result<()> {
        let free = disk::free_bytes(&self.dir)?;
        if free < self.min_free_bytes.saturating_add(CHECK_BYTES) {
            let text = format!("{free} bytes are free for the spool, {} must stay free", self.min_free_bytes);
            return Err(io::Error::new(io::ErrorKind::StorageFull, text));
        }
        let mut used = 0_u64;
        for entry in fs::read_dir(&self.dir)? {
            used = used.saturating_add(entry?.metadata().map_or(0, |meta| meta.len()));
        }
        if used.saturating_add(CHECK_BYTES) > self.max_bytes {
            let text = format!("the spool holds {used} bytes of at most {}", self.max_bytes);
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, text));
        }
        Ok(())
    }
}

impl Draft {
    /// Makes it the file of its batch, durably.
    pub fn keep(mut self, batch: BatchId) -> io::Result<()> {
        self.file.sync_all()?;
        disk::place_durably(&self.path, &self.spool.path(batch))?;
        self.kept = true;
        Ok(())
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.unchecked >= CHECK_BYTES {
            self.spool.check_room()?;
            self.unchecked = 0;
        }
        let written = self.file.write(bytes)?;
        self.unchecked += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.kept {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn only_whole_files_appear_and_only_needed_ones_stay() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(dir.path().join("spool"), 1 << 30, 0).unwrap();
        let [a, b] = [1, 2].map(|id| BatchId::from_u64(id).unwrap());
        let mut draft = spool.draft(a).unwrap();
        draft.write_all(b"half").unwrap();
        drop(draft);
        assert_eq!(spool.len(a), None);
        for batch in [a, b] {
            let mut draft = spool.draft(batch).unwrap();
            draft.write_all(b"whole").unwrap();
            draft.keep(batch).unwrap();
        }
        let mut rest = String::new();
        spool.reader(a, 1).await.unwrap().read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "hole");
        spool.sweep(&[b]).unwrap();
        assert_eq!((spool.len(a), spool.len(b)), (None, Some(5)));
    }

    #[test]
    fn the_reserve_and_the_limit_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let batch = BatchId::from_u64(1).unwrap();
        let full = Spool::open(dir.path().into(), 1 << 40, u64::MAX).unwrap();
        assert_eq!(full.draft(batch).err().unwrap().kind(), io::ErrorKind::StorageFull);
        let small = Spool::open(dir.path().into(), 1, 0).unwrap();
        assert_eq!(small.draft(batch).err().unwrap().kind(), io::ErrorKind::QuotaExceeded);
    }
}
