//! Ids that never return.
//!
//! All are the same 63-bit shape: 43 bits of milliseconds since 2020-01-01 UTC, then 20
//! random bits. They sort by age, survive the loss of either journal (no counter to restore), and
//! fit ClickHouse's `UInt64` and SQLite's signed integer. In JSON and paths they are decimal text,
//! since JavaScript loses integers above 2^53.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// 2020-01-01T00:00:00Z in milliseconds since the Unix epoch.
const EPOCH_MS: u64 = 1_577_836_800_000;
const RANDOM_BITS: u32 = 20;

/// The text was not an id: ids are 1 to 19 decimal digits, nothing else (so never a path).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an id: {0:?} (expected 1 to 19 decimal digits)")]
pub struct InvalidId(pub String);

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            /// A fresh id from the wall clock (`unix_ms`, milliseconds since 1970) and randomness.
            pub const fn from_parts(unix_ms: u64, random: u32) -> Self {
                let ms = unix_ms.saturating_sub(EPOCH_MS) & ((1 << 43) - 1);
                Self((ms << RANDOM_BITS) | (random & ((1 << RANDOM_BITS) - 1)) as u64)
            }

            /// The id as it stands in a `UInt64` column.
            pub fn get(self) -> u64 {
                self.0
            }

            /// The id as it stands in SQLite (always positive).
            pub fn to_sql(self) -> i64 {
                i64::try_from(self.0).unwrap_or(i64::MAX)
            }

            /// From an integer read back from storage; `None` when it is out of range.
            pub fn from_u64(value: u64) -> Option<Self> {
                (value <= i64::MAX as u64).then_some(Self(value))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let invalid = || InvalidId(text.chars().take(40).collect());
                if text.is_empty() || text.len() > 19 || !text.bytes().all(|b| b.is_ascii_digit()) {
                    return Err(invalid());
                }
                text.parse::<u64>().ok().and_then(Self::from_u64).ok_or_else(invalid)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = String::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(
    /// One batch: an immutable set of rows. The value of the cold tables' `_batch` column; 0 is
    /// never an id (it is that column's default).
    BatchId
);
id!(
    /// One move: the rows of one partition (or of one window in it) on their way to cold.
    MoveId
);
id!(
    /// One migration: all the moves one trigger asked for.
    MigrationId
);
id!(
    /// One gateway, with its cold tables: made once, kept in its journal and beside the tables.
    GatewayId
);
id!(
    /// One catalog: made once, with the file. A catalog that was lost comes back with another id, one
    /// that was restored from a backup with its own.
    CatalogId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_round_trip_and_refuse_everything_else() {
        let id = BatchId::from_parts(1_800_000_000_000, 0xfffff);
        assert_eq!(id.to_string().parse::<BatchId>(), Ok(id));
        assert_eq!(serde_json::from_str::<BatchId>(&format!("\"{id}\"")).unwrap(), id);
        for bad in ["", "../x", "-1", "+1", " 1", "1e3", "99999999999999999999", "9223372036854775808"] {
            assert!(bad.parse::<BatchId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn later_ids_are_larger() {
        assert!(MoveId::from_parts(1_800_000_000_001, 0) > MoveId::from_parts(1_800_000_000_000, 0xfffff));
    }
}
