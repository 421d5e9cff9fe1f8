//! Secrets come from files only, and never appear in a log.
//!
//! A password or token written into the YAML itself would end up in backups, in `git` and in
//! support mails; so the configuration names a file, and the file must be private. Files under
//! `/run/secrets` are exempt from the mode check: Docker mounts them world-readable inside the
//! container, where only the daemon lives.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use storage_types::Secret;

/// A longer file is no secret but a mistake (a path to a log, a device).
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// Reads a secret: the file's text without surrounding white space. The error says what to do and
/// never shows the content.
pub(crate) fn read(path: &Path, min_len: usize) -> Result<Secret, String> {
    let shown = path.display();
    let text = read_text(path, MAX_SECRET_BYTES)?;
    let text = text.trim();
    if text.is_empty() {
        return Err(format!("{shown} is empty (write the secret into it)"));
    }
    if text.len() < min_len {
        return Err(format!("{shown} holds {} characters (at least {min_len} are needed)", text.len()));
    }
    if text.chars().any(char::is_control) {
        return Err(format!("{shown} holds more than one line (write only the secret into it)"));
    }
    Ok(Secret::new(text))
}

/// Reads a file that holds secrets and that nobody else may read.
pub(crate) fn read_text(path: &Path, max_bytes: u64) -> Result<String, String> {
    let shown = path.display();
    let meta =
        fs::metadata(path).map_err(|e| format!("{shown} cannot be read: {e} (create it, mode 0600)"))?;
    if !meta.is_file() {
        return Err(format!("{shown} is not a file (name a file that holds only the secret)"));
    }
    if meta.len() > max_bytes {
        return Err(format!("{shown} has {} bytes (a secret has at most {max_bytes})", meta.len()));
    }
    let mode = meta.permissions().mode() & 0o777;
    if mode & 0o077 != 0 && !path.starts_with("/run/secrets") {
        return Err(format!("{shown} is readable by others, mode {mode:04o} (chmod 0600 it)"));
    }
    fs::read_to_string(path).map_err(|e| format!("{shown} cannot be read: {e} (it must be text)"))
}
