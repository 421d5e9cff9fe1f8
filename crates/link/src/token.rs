//! Bearer tokens: presented in a header, compared in constant time.

use std::fmt;

use subtle::ConstantTimeEq as _;

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
}
