//! Bearer tokens: read from files that only their owner may read, compared in constant time.

use std::{
    fmt,
    fs::File,
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use subtle::ConstantTimeEq as _;

/// Shorter tokens can be guessed.
const MIN_LENGTH: usize = 16;
/// Longer files are not tokens.
const MAX_LENGTH: u64 = 4096;

/// Why a token file was refused.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It cannot be read.
    #[error("read token file {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Others may read it.
    #[error("token file {path} has mode {mode:o}: others can read it (chmod 600 {path})")]
    TooReadable {
        /// The file.
        path: String,
        /// Its permission bits.
        mode: u32,
    },
    /// It cannot stand in a header.
    #[error("token file {path}: over {MAX_LENGTH} bytes, or other than visible ASCII characters")]
    NotAToken {
        /// The file.
        path: String,
    },
    /// It is too short to be a secret.
    #[error("token file {path}: fewer than {MIN_LENGTH} characters")]
    TooShort {
        /// The file.
        path: String,
    },
}

/// A shared secret of the two daemons (RFC 6750). `Debug` does not show it.
#[derive(Clone)]
pub struct BearerToken {
    text: String,
    hash: [u8; 32],
}

impl BearerToken {
    /// Wraps `text`, without surrounding white space.
    pub fn new(text: &str) -> Self {
        let text = text.trim().to_owned();
        let hash = *blake3::hash(text.as_bytes()).as_bytes();
        Self { text, hash }
    }

    /// Reads it from `path`; files that group or others can read are refused. The mode is asked of the
    /// open file, so that it is the mode of what is read.
    pub fn from_file(path: &Path) -> Result<Self, TokenError> {
        let shown = path.display().to_string();
        let read = |source: io::Error| TokenError::Read { path: shown.clone(), source };
        let file = File::open(path).map_err(read)?;
        let mode = file.metadata().map_err(read)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(TokenError::TooReadable { path: shown, mode });
        }
        let mut bytes = Vec::new();
        file.take(MAX_LENGTH + 1).read_to_end(&mut bytes).map_err(read)?;
        let text = bytes.trim_ascii();
        if bytes.len() as u64 > MAX_LENGTH || !text.iter().all(u8::is_ascii_graphic) {
            return Err(TokenError::NotAToken { path: shown });
        }
        if text.len() < MIN_LENGTH {
            return Err(TokenError::TooShort { path: shown });
        }
        Ok(Self::new(&String::from_utf8_lossy(text)))
    }

    /// Whether an `Authorization` header presents this token. Both sides are hashed before they are
    /// compared, so neither content nor length shows in the time it takes.
    #[must_use]
    pub fn matches(&self, authorization: Option<&str>) -> bool {
        let presented = authorization
            .and_then(|header| header.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map_or("", |(_, token)| token.trim());
        let hash = *blake3::hash(presented.as_bytes()).as_bytes();
        bool::from(self.hash.ct_eq(&hash)) && !presented.is_empty()
    }

    /// The value of an `Authorization` header.
    pub(crate) fn header(&self) -> String {
        format!("Bearer {}", self.text)
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerToken(***)")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_the_whole_token_under_the_right_scheme_matches() {
        let token = BearerToken::new("0123456789abcdef\n");
        assert!(token.matches(Some("Bearer 0123456789abcdef")));
        assert!(token.matches(Some("bearer  0123456789abcdef ")));
        for wrong in
            ["Bearer 0123456789abcde", "Bearer 0123456789abcdef0", "Basic 0123456789abcdef", "Bearer ", ""]
        {
            assert!(!token.matches(Some(wrong)), "{wrong}");
        }
        assert!(!token.matches(None));
        assert!(!BearerToken::new("").matches(Some("Bearer ")));
        assert_eq!(format!("{token:?}"), "BearerToken(***)");
    }

    #[test]
    fn a_file_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        fs::write(&path, "0123456789abcdef\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(BearerToken::from_file(&path), Err(TokenError::TooReadable { mode: 0o640, .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(BearerToken::from_file(&path).unwrap().matches(Some("Bearer 0123456789abcdef")));
        fs::write(&path, "short\n").unwrap();
        assert!(matches!(BearerToken::from_file(&path), Err(TokenError::TooShort { .. })));
        for other in [b"0123456789 abcdefgh\n".to_vec(), vec![b'a'; 5000], vec![0xff; 20]] {
            fs::write(&path, other).unwrap();
            assert!(matches!(BearerToken::from_file(&path), Err(TokenError::NotAToken { .. })));
        }
    }
}
