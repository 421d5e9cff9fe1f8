//! Reading secrets: from files that only their owner may read, never shown in a log or an error.
//!
//! A password or token written into the YAML itself would end up in backups, in `git` and in support mails; so
//! the configuration names a file, and the file must be private. Files under `/run/secrets` are exempt from the
//! mode check: Docker mounts them world-readable inside the container, where only the daemon lives.

use std::{
    fs,
    io::{self, Read as _},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use storage_types::Secret;

/// A longer file is no secret but a mistake (a path to a log, a device).
const MAX_SECRET_BYTES: u64 = 64 * 1024;
/// A shorter token can be guessed.
const MIN_TOKEN_CHARS: usize = 16;
/// A longer token does not fit into the headers that servers and proxies take.
const MAX_TOKEN_BYTES: usize = 4096;
/// Where Docker mounts secrets.
const DOCKER_SECRETS: &str = "/run/secrets";

/// Why a file is not used as a secret. The text has neither path nor content: it goes on after "PATH " or "PATH: ",
/// and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The system does not let us read it.
    #[error("cannot be read: {source} ({})", remedy(source.kind()))]
    Unreadable {
        /// The system's reason.
        #[from]
        source: io::Error,
    },
    /// A folder, a device, or a pipe, which would be waited for.
    #[error("is not a file (name a file that holds only the secret)")]
    NotAFile,
    /// More than a secret of this kind has.
    #[error("has {bytes} bytes (a secret has at most {most})")]
    TooLong {
        /// Its length.
        bytes: u64,
        /// The limit.
        most: u64,
    },
    /// Its permission bits let group or others in.
    #[error("is readable by others, mode {mode:04o} (chmod 0600 it)")]
    OthersMayRead {
        /// The permission bits.
        mode: u32,
    },
    /// Not UTF-8.
    #[error("cannot be read: {0} (it must be text)")]
    NotText(#[from] std::str::Utf8Error),
    /// Nothing but white space.
    #[error("is empty (write the secret into it)")]
    Empty,
    /// A token that can be guessed.
    #[error("holds {0} characters (at least {MIN_TOKEN_CHARS} are needed)")]
    TooShort(usize),
    /// More than one line.
    #[error("holds more than one line (write only the secret into it)")]
    ManyLines,
    /// A token that cannot stand in an HTTP header.
    #[error("holds other characters than printable ASCII (a token stands in an HTTP header)")]
    NotAscii,
}

/// What to do about a file that cannot be read.
fn remedy(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::NotFound => "create it, mode 0600",
        io::ErrorKind::PermissionDenied => {
            "it must belong to the user who reads it, mode 0600, in a folder that user may enter"
        }
        _ => "look at the disk it is on",
    }
}

/// The bytes of a file of at most 64 KiB that only its owner may read.
///
/// # Errors
/// Every [`Refusal`] that is about the file and not about its text.
pub fn read_bytes(path: &Path) -> Result<Vec<u8>, Refusal> {
    bytes(path, Path::new(DOCKER_SECRETS))
}

/// [`read_bytes`], with the folder whose files others may read.
fn bytes(path: &Path, exempt: &Path) -> Result<Vec<u8>, Refusal> {
    // Before it is opened: opening a pipe would wait for a writer.
    if !fs::metadata(path)?.is_file() {
        return Err(Refusal::NotAFile);
    }
    let file = fs::File::open(path)?;
    // Of the open file, so that it is the mode of what is read.
    let meta = file.metadata()?;
    let mode = meta.permissions().mode() & 0o777;
    if meta.len() > MAX_SECRET_BYTES {
        return Err(Refusal::TooLong { bytes: meta.len(), most: MAX_SECRET_BYTES });
    }
    if mode & 0o077 != 0 && !path.starts_with(exempt) {
        return Err(Refusal::OthersMayRead { mode });
    }
    let mut bytes = Vec::new();
    file.take(MAX_SECRET_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A secret of one line: the file's text without surrounding white space.
///
/// # Errors
/// When the file is not private, or its text is empty or has control characters.
pub fn read(path: &Path) -> Result<Secret, Refusal> {
    secret(&read_bytes(path)?, 1)
}

/// A bearer token (RFC 6750): a secret of 16 to 4096 printable ASCII characters.
///
/// # Errors
/// As [`read`], and when the text is too short, too long, or cannot stand in a header.
pub fn read_token(path: &Path) -> Result<Secret, Refusal> {
    let token = secret(&read_bytes(path)?, MIN_TOKEN_CHARS)?;
    let length = token.expose().len();
    if length > MAX_TOKEN_BYTES {
        return Err(Refusal::TooLong { bytes: length as u64, most: MAX_TOKEN_BYTES as u64 });
    }
    // Control characters are refused already.
    if !token.expose().is_ascii() {
        return Err(Refusal::NotAscii);
    }
    Ok(token)
}

fn secret(bytes: &[u8], min_chars: usize) -> Result<Secret, Refusal> {
    let text = std::str::from_utf8(bytes)?.trim();
    if text.is_empty() {
        return Err(Refusal::Empty);
    }
    if text.len() < min_chars {
        return Err(Refusal::TooShort(text.len()));
    }
    if text.chars().any(char::is_control) {
        return Err(Refusal::ManyLines);
    }
    Ok(Secret::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_own_remedy() {
        assert!(remedy(io::ErrorKind::NotFound).contains("create it"));
        let denied = remedy(io::ErrorKind::PermissionDenied);
        assert!(denied.contains("belong to the user") && !denied.contains("create"), "{denied}");
    }

    fn put(path: &Path, text: &[u8], mode: u32) {
        let _ = fs::remove_file(path);
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_file_others_can_read_is_refused_except_where_docker_mounts_it() {
        let dir = tempfile::tempdir().unwrap();
        let mounted = dir.path().join("secrets");
        fs::create_dir(&mounted).unwrap();
        for mode in [0o640, 0o604, 0o444] {
            put(&mounted.join("token"), b"0123456789abcdef\n", mode);
            assert!(bytes(&mounted.join("token"), &mounted).is_ok(), "{mode:o}");
            let elsewhere = bytes(&mounted.join("token"), &dir.path().join("other"));
            assert!(matches!(elsewhere, Err(Refusal::OthersMayRead { mode: found }) if found == mode));
        }
    }

    #[test]
    fn a_token_fits_a_header_and_cannot_be_guessed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        put(&path, b" 0123456789abcdef\n", 0o600);
        assert_eq!(read_token(&path).unwrap().expose(), "0123456789abcdef");
        put(&path, b"short\n", 0o600);
        assert!(matches!(read_token(&path), Err(Refusal::TooShort(5))));
        assert_eq!(read(&path).unwrap().expose(), "short", "a password may be short");
        put(&path, &[b'a'; 5000], 0o600);
        assert!(matches!(read_token(&path), Err(Refusal::TooLong { bytes: 5000, most: 4096 })));
        put(&path, &[0xff; 20], 0o600);
        assert!(matches!(read_token(&path), Err(Refusal::NotText(_))));
        put(&path, "0123456789abcdeф".as_bytes(), 0o600);
        assert!(matches!(read_token(&path), Err(Refusal::NotAscii)));
        put(&path, b"0123456789abcdef\n0123456789abcdef\n", 0o600);
        assert!(matches!(read_token(&path), Err(Refusal::ManyLines)));
        put(&path, &[b'a'; 70_000], 0o600);
        assert!(matches!(read_token(&path), Err(Refusal::TooLong { bytes: 70_000, .. })));
        assert!(matches!(read_token(dir.path()), Err(Refusal::NotAFile)));
    }
}
