//! `keygen` of both daemons: one key, without the tunnel that will use it.

use std::{
    io::{self, Write},
    path::Path,
};

use secret_file::WriteError;

use super::PrivateKey;

/// A key that was made and did not reach the caller.
#[derive(Debug, thiserror::Error)]
pub enum KeygenError {
    /// The private key was not written; nothing of it is left behind.
    #[error(transparent)]
    File(#[from] WriteError),
    /// The caller's own output could not be written; a key file made before it is there and whole.
    #[error("the answer cannot be written: {0}")]
    Output(#[from] io::Error),
}

/// Makes a key. Without `file`: the private key to `out`, `public key: …` to `notes`. With it: the private
/// key to the new file (mode 0600), the public key to `out`.
pub fn keygen(file: Option<&Path>, out: &mut impl Write, notes: &mut impl Write) -> Result<(), KeygenError> {
    let key = PrivateKey::generate();
    match file {
        None => {
            writeln!(out, "{}", key.expose_base64())?;
            writeln!(notes, "public key: {}", key.public())?;
        }
        Some(file) => {
            secret_file::write(file, &format!("{}\n", key.expose_base64()))?;
            writeln!(out, "{}", key.public())?;
        }
    }
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

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
        assert!(matches!(again, KeygenError::File(WriteError::Exists(_))), "{again}");
        assert_eq!(fs::read_to_string(&file).unwrap(), written, "never overwritten");
    }

    #[test]
    fn without_a_file_the_private_key_is_the_only_output() {
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        keygen(None, &mut out, &mut notes).unwrap();
        let key: PrivateKey = std::str::from_utf8(&out).unwrap().parse().unwrap();
        assert_eq!(String::from_utf8(notes).unwrap(), format!("public key: {}\n", key.public()));
    }
}
