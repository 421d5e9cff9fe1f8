//! Whose batches a gateway takes.
//!
//! A gateway's batches belong to one catalog. Two services that both believe to own them, or one that
//! runs on yesterday's catalog, would each remove what the other counts on. So the one in force is named,
//! with an epoch that grows at each start, and every call that changes something says who sends it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::CatalogId;

/// The header in which every call that changes something names its [`Sender`], as its text.
pub const SENDER_HEADER: &str = "x-sender";

/// A catalog, as of one start of its service. Its text is `<catalog>/<epoch>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sender {
    /// The catalog.
    pub catalog: CatalogId,
    /// Grows at each start; noted in the catalog before it is used.
    pub epoch: u64,
}

/// The text was not a sender's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a sender: {0:?} (expected <catalog>/<epoch>, both decimal)")]
pub struct InvalidSender(pub String);

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.catalog, self.epoch)
    }
}

impl FromStr for Sender {
    type Err = InvalidSender;

    fn from_str(text: &str) -> Result<Self, InvalidSender> {
        let read = || {
            let (catalog, epoch) = text.split_once('/')?;
            let digits = !epoch.is_empty() && epoch.bytes().all(|b| b.is_ascii_digit());
            Some(Self { catalog: catalog.parse().ok()?, epoch: epoch.parse().ok().filter(|_| digits)? })
        };
        read().ok_or_else(|| InvalidSender(text.chars().take(60).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_is_read_as_it_is_written_and_nothing_else_is_one() {
        let sender = Sender { catalog: CatalogId::from_parts(1_800_000_000_000, 5), epoch: u64::MAX };
        assert_eq!(sender.to_string().parse(), Ok(sender));
        for bad in ["", "/", "1", "1/", "/1", "1/-1", "1/+1", "1/1/1", "1/18446744073709551616", "x/1"] {
            assert!(bad.parse::<Sender>().is_err(), "{bad:?}");
        }
    }
}
