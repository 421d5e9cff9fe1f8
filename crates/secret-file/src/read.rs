//! Secrets come from files only, and never appear in a log.
//!
//! A password or token written into the YAML itself would end up in backups, in `git` and in
//! support mails; so the configuration names a file, and the file must be private. Files under
//! `/run/secrets` are exempt from the mode check: Docker mounts them world-readable inside the
//! container, where only the daemon lives.

use std::{
    fs,
    io::{self, Read as _},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use storage_types::Secret;

/// A longer file is no secret but a mistake (a path to a log, a device).
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// The bytes of a file that only its owner may read, at most 64 KiB. The error has no path and no
/// content: it goes on after "PATH " or "PATH: ".
pub fn private_bytes(path: &Path) -> Result<Vec<u8>, String> {
    let unreadable = |e: io::Error| format!("cannot be read: {e} ({})", remedy(e.kind()));
    // Before it is opened: opening a pipe would wait for a writer.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err("is not a file (name a file that holds only the secret)".into());
    }
    let file = fs::File::open(path).map_err(unreadable)?;
    let meta = file.metadata().map_err(unreadable)?;
    let mode = meta.permissions().mode() & 0o777;
    if meta.len() > MAX_SECRET_BYTES {
        return Err(format!("has {} bytes (a secret has at most {MAX_SECRET_BYTES})", meta.len()));
    }
    if mode & 0o077 != 0 && !path.starts_with("/run/secrets") {
        return Err(format!("is readable by others, mode {mode:04o} (chmod 0600 it)"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_SECRET_BYTES).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

/// What to do about a file that cannot be read.
fn remedy(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::NotFound => "create it, mode 0600",
        io::ErrorKind::PermissionDenied => {
            "it must belong to the user the daemon runs as, mode 0600, in a folder that user may enter"
        }
        _ => "look at the disk it is on",
    }
}

/// Reads a secret: the file's text without surrounding white space. The error says what to do and
/// never shows the content.
pub fn read(path: &Path, min_len: usize) -> Result<Secret, String> {
    text(path, min_len).map_err(|message| format!("{} {message}", path.display()))
}

fn text(path: &Path, min_len: usize) -> Result<Secret, String> {
    let bytes = private_bytes(path)?;
    let text = std::str::from_utf8(&bytes).map_err(|e| format!("cannot be read: {e} (it must be text)"))?;
    let text = text.trim();
    if text.is_empty() {
        return Err("is empty (write the secret into it)".into());
    }
    if text.len() < min_len {
        return Err(format!("holds {} characters (at least {min_len} are needed)", text.len()));
    }
    if text.chars().any(char::is_control) {
        return Err("holds more than one line (write only the secret into it)".into());
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
}
