//! WireGuard's keys: 32 bytes, base64 in files (wg(8)), never shown by `Debug`.

use std::{fmt, str::FromStr};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use x25519_dalek::{PublicKey as Point, StaticSecret};

/// A text that is no key. The text itself is not repeated: it may be most of a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a WireGuard key (32 bytes as 44 characters of base64, as `keygen` or `wg genkey` print)")]
pub struct NotAKey;

/// 32 bytes in a form that files have and logs do not: base64, and no `Debug` or `Display` of its own.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key32([u8; 32]);

impl Key32 {
    fn base64(&self) -> String {
        BASE64_STANDARD.encode(self.0)
    }
}

impl FromStr for Key32 {
    type Err = NotAKey;
    fn from_str(text: &str) -> Result<Self, NotAKey> {
        let bytes = BASE64_STANDARD.decode(text.trim()).map_err(|_| NotAKey)?;
        bytes.try_into().map(Self).map_err(|_| NotAKey)
    }
}

/// A Curve25519 private key (RFC 7748).
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey(Key32);

/// 32 bytes both ends know besides their keys.
#[derive(Clone, PartialEq, Eq)]
pub struct PresharedKey(Key32);

impl PrivateKey {
    /// A fresh one from the operating system's randomness.
    #[must_use]
    pub fn generate() -> Self {
        Self(Key32(StaticSecret::from(rand::random::<[u8; 32]>()).to_bytes()))
    }

    /// Its public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(Key32(Point::from(&StaticSecret::from(self.0.0)).to_bytes()))
    }
}

impl PresharedKey {
    /// A fresh one from the operating system's randomness.
    #[must_use]
    pub fn generate() -> Self {
        Self(Key32(rand::random()))
    }
}

/// What both kinds of secret key can do.
macro_rules! secret_key {
    ($name:ident) => {
        impl $name {
            /// The raw bytes, for the handshake.
            #[must_use]
            pub fn expose(&self) -> &[u8; 32] {
                &self.0.0
            }

            /// Base64, for a key file and nowhere else.
            #[must_use]
            pub fn expose_base64(&self) -> String {
                self.0.base64()
            }
        }

        impl FromStr for $name {
            type Err = NotAKey;
            fn from_str(text: &str) -> Result<Self, NotAKey> {
                text.parse().map(Self)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(***)"))
            }
        }
    };
}

secret_key!(PrivateKey);
secret_key!(PresharedKey);

/// A Curve25519 public key: a peer's name. Shown as base64.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey(Key32);

impl PublicKey {
    /// The raw bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0.0
    }
}

impl From<[u8; 32]> for PublicKey {
    fn from(bytes: [u8; 32]) -> Self {
        Self(Key32(bytes))
    }
}

impl FromStr for PublicKey {
    type Err = NotAKey;
    fn from_str(text: &str) -> Result<Self, NotAKey> {
        text.parse().map(Self)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.base64())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_rfc_7748_and_do_not_show() {
        // RFC 7748, section 6.1: Alice.
        let secret = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=";
        let key: PrivateKey = secret.parse().unwrap();
        assert_eq!(key.public().to_string(), "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=");
        assert_eq!(format!("{key:?}"), "PrivateKey(***)");
        assert_eq!(format!("{:?}", PresharedKey::generate()), "PresharedKey(***)");
        assert_eq!(PrivateKey::generate().expose_base64().parse::<PrivateKey>().map(|_| ()), Ok(()));
        for bad in ["", "abc", "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LC", &secret[4..]] {
            assert_eq!(bad.parse::<PrivateKey>(), Err(NotAKey), "{bad}");
        }
    }
}
