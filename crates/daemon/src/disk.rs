//! The only place that makes files durable, asks how full a disk is, and takes a folder for one process.
//!
//! A file is durable once its bytes are synced, it has its final name, and the folder that holds
//! the name is synced too ([LWN, "Ensuring data reaches disk"](https://lwn.net/Articles/457667/)). Until
//! the rename a reader sees either nothing or the old file, so a crash at any point leaves a whole file
//! or none (a temporary name is a leftover, removed by whoever owns the folder).

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
};

/// Syncs the folder that holds `path`, so that its name survives a power cut.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    File::open(parent(path))?.sync_all()
}

/// Writes `bytes` as `path`, whole or not at all: temporary name, sync, rename, sync of the folder.
///
/// # Errors
/// `AlreadyExists` where a device, a pipe, a link or a folder has that name; else what the system says.
pub fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if path.symlink_metadata().is_ok_and(|found| !found.is_file()) {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is something else than a file"));
    }
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
    sync_folder_of(path)
}

/// Creates a folder and those above it that are missing, and syncs every folder that got a new name.
/// The one that holds `folder` is synced even when nothing was missing: a crash may have come between
/// making it and syncing it.
pub fn create_folder(folder: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = folder.ancestors().take_while(|path| !is_there(path)).collect();
    fs::create_dir_all(folder)?;
    for made in missing.iter().skip(1) {
        sync_folder_of(made)?;
    }
    sync_folder_of(folder)
}

fn is_there(path: &Path) -> bool {
    path.as_os_str().is_empty() || path.exists()
}

/// The folder that holds `path`; the current one for a bare name.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

/// Removes a folder with everything in it; one that is not there is fine.
pub fn remove_folder(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A folder that is this process's alone as long as this lives.
#[derive(Debug)]
pub struct Claim {
    _lock: File,
}

/// Takes a folder for this process alone, until it ends however it ends: a lock on the file `lock` in it.
///
/// # Errors
/// [`io::ErrorKind::ResourceBusy`] when another process has it.
pub fn claim_folder(folder: &Path) -> io::Result<Claim> {
    let lock = File::options().create(true).append(true).open(folder.join("lock"))?;
    match lock.try_lock() {
        Ok(()) => Ok(Claim { _lock: lock }),
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

    #[test]
    fn folders_are_made_down_to_the_last_and_again_without_harm() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("data/spool/1");
        for _ in 0..2 {
            create_folder(&deep).unwrap();
            assert!(deep.is_dir());
        }
    }

    #[test]
    fn a_bare_name_is_held_by_the_current_folder() {
        assert_eq!(parent(Path::new("data")), Path::new("."));
        assert_eq!(parent(Path::new("/data")), Path::new("/"));
        assert_eq!(parent(Path::new("/")), Path::new("/"));
        create_folder(Path::new(".")).unwrap();
    }
}
