//! Writing secrets to files: new, private, and on the disk before anybody relies on them.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use super::PrivateKey;

/// A secret that was not written; nothing of it is left behind.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
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
    /// The caller's own output could not be written; a key file made before it is there and whole.
    #[error("the answer cannot be written: {0}")]
    Output(#[from] io::Error),
}

/// Writes `text` to a new file that only its owner may read (mode 0600), and returns once file and
/// folder are on the disk.
pub fn write_secret_file(path: &Path, text: &str) -> Result<(), SecretFileError> {
    let failed = |source| SecretFileError::Io { file: path.to_owned(), source };
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(path).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => SecretFileError::Exists(path.to_owned()),
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

/// `keygen` of both daemons. Without `file`: the private key to `out`, `public key: …` to `notes`.
/// With it: the private key to the new file, the public key to `out`.
pub fn keygen(
    file: Option<&Path>,
    out: &mut impl Write,
    notes: &mut impl Write,
) -> Result<(), SecretFileError> {
    let key = PrivateKey::generate();
    match file {
        None => {
            writeln!(out, "{}", key.expose_base64())?;
            writeln!(notes, "public key: {}", key.public())?;
        }
        Some(file) => {
            write_secret_file(file, &format!("{}\n", key.expose_base64()))?;
            writeln!(out, "{}", key.public())?;
        }
    }
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_file_is_private_new_and_matches_the_printed_key() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        keygen(Some(&file), &mut out, &mut notes).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let written = fs::read_to_string(&file).unwrap();
        let key: PrivateKey = written.parse().unwrap();
        assert_eq!(String::from_utf8(out).unwrap().trim(), key.public().to_string());
        assert!(notes.is_empty());
        let again = keygen(Some(&file), &mut Vec::new(), &mut Vec::new()).unwrap_err();
        assert!(matches!(again, SecretFileError::Exists(_)), "{again}");
        assert_eq!(fs::read_to_string(&file).unwrap(), written, "never overwritten");
        let missing = write_secret_file(&dir.path().join("no/key"), "x").unwrap_err();
        assert!(missing.to_string().contains("does its folder exist"), "{missing}");
    }

    #[test]
    fn without_a_file_the_private_key_is_the_only_output() {
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        keygen(None, &mut out, &mut notes).unwrap();
        let key: PrivateKey = std::str::from_utf8(&out).unwrap().parse().unwrap();
        assert_eq!(String::from_utf8(notes).unwrap(), format!("public key: {}\n", key.public()));
    }
}
