//! How hard an encoder tries.

use std::str::FromStr;

use crate::codec::Tuning;

/// How hard to squeeze. Changes trials and levels, never the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Effort {
    /// Least CPU.
    Fast,
    /// As small as the line's speed allows.
    #[default]
    Auto,
    /// Fewest bytes on the line.
    Ultra,
}

/// The word is not an effort.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an effort (expected fast, auto or ultra)")]
pub struct UnknownEffort(pub String);

impl FromStr for Effort {
    type Err = UnknownEffort;

    fn from_str(word: &str) -> Result<Self, UnknownEffort> {
        match word {
            "fast" => Ok(Self::Fast),
            "auto" => Ok(Self::Auto),
            "ultra" => Ok(Self::Ultra),
            other => Err(UnknownEffort(other.chars().take(40).collect())),
        }
    }
}

/// Row groups of fewer raw bytes are cheap enough to try everything on them.
const SMALL_GROUP_BYTES: u64 = 1 << 20;

impl Effort {
    /// Levels for a row group of so many raw bytes.
    pub(crate) fn tuning(self, raw_bytes: u64) -> Tuning {
        let small_bytes = match self {
            Self::Fast => 0,
            _ if raw_bytes <= SMALL_GROUP_BYTES => 64 << 10,
            Self::Auto => 1 << 10,
            Self::Ultra => 4 << 10,
        };
        let (pco_level, zstd_level, sample) = match self {
            Self::Fast => (4, 1, 1024),
            Self::Auto => (8, 3, 2048),
            Self::Ultra => (12, 19, 4096),
        };
        Tuning { pco_level, zstd_level, small_bytes, sample }
    }

    /// Level of zstd for a stream of bytes that are not read as Native.
    pub(crate) fn opaque_level(self) -> i32 {
        match self {
            Self::Fast => 1,
            Self::Auto => 3,
            Self::Ultra => 19,
        }
    }
}
