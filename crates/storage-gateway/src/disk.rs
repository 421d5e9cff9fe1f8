//! The only place that makes files durable and asks how full a disk is.
//!
//! A file is durable once its bytes are synced, it has its final name, and the folder that holds
//! the name is synced too. Until the rename a reader sees either nothing or the old file, so a crash
//! at any point leaves a whole file or none (a temporary name is a leftover, removed by whoever owns
//! the folder).

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

/// Syncs a folder, so that the names in it survive a power cut.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Writes `bytes` as `path`, whole or not at all: temporary name, sync, rename, sync of the folder.
pub fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    place_durably(&temporary, path)
}

/// Gives a synced file its final name and syncs the folder.
pub fn place_durably(temporary: &Path, path: &Path) -> io::Result<()> {
    fs::rename(temporary, path)?;
    path.parent().map_or(Ok(()), sync_folder)
}

/// Creates a folder (and those above it) and syncs the folder that holds it.
pub fn create_folder(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    folder.parent().map_or(Ok(()), sync_folder)
}

/// Removes a folder with everything in it; one that is not there is fine.
pub fn remove_folder(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Takes a folder for this process alone, until it ends however it ends.
///
/// # Errors
/// When another process has it.
pub fn claim_folder(folder: &Path) -> io::Result<File> {
    let lock = File::options().create(true).append(true).open(folder.join("lock"))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(fs::TryLockError::WouldBlock) => {
            Err(io::Error::new(io::ErrorKind::ResourceBusy, "another process works in this folder"))
        }
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}

/// Bytes an unprivileged process may still write on the disk of `path`.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_owner_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let owner = claim_folder(folder.path()).unwrap();
        assert_eq!(claim_folder(folder.path()).unwrap_err().kind(), io::ErrorKind::ResourceBusy);
        drop(owner);
        claim_folder(folder.path()).unwrap();
    }

    #[test]
    fn a_file_is_replaced_whole_and_no_temporary_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("manifest.json");
        write_durably(&path, b"one").unwrap();
        write_durably(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(free_bytes(folder.path()).unwrap() > 0);
    }
}
