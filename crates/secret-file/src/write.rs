//! Writing secrets to files: new, private, and on the disk before anybody relies on them.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// A secret that was not written; nothing of it is left behind.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Never overwritten: it may be the only copy of a key in use.
    #[error("{} exists and is not overwritten (name another file, or remove it yourself)", .0.display())]
    Exists(PathBuf),
    /// The file system refused.
    #[error("{} cannot be written: {source} (does its folder exist, and is it yours?)", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Writes `text` to a new file that only its owner may read (mode 0600), and returns once file and
/// folder are on the disk.
pub fn write(path: &Path, text: &str) -> Result<(), WriteError> {
    let failed = |source| WriteError::Io { file: path.to_owned(), source };
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(path).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => WriteError::Exists(path.to_owned()),
        _ => failed(source),
    })?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).and_then(|()| {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    });
    written.map_err(|source| {
        // The failure is reported; a half-written file that stays is only clutter.
        let _ = fs::remove_file(path);
        failed(source)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_is_written_once_and_privately() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        write(&file, "first").unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(write(&file, "second"), Err(WriteError::Exists(_))));
        assert_eq!(fs::read_to_string(&file).unwrap(), "first", "never overwritten");
        let missing = write(&dir.path().join("no/key"), "x").unwrap_err();
        assert!(missing.to_string().contains("does its folder exist"), "{missing}");
    }
}
