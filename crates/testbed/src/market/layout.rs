//! The four layouts of the eight tables, one for each file of `deploy/sql`.

/// Hot database.
pub const HOT: &str = "marketprism_hot";
/// Cold database.
pub const COLD: &str = "marketprism_cold";

/// How the tables are partitioned and sorted, on which side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Hot, as they run at the first user: partitions of month and exchange, rows deleted after three days.
    Hot,
    /// Hot, for a new deployment: partitions of a day, no TTL.
    HotFresh,
    /// Cold, as they run at the first user.
    Cold,
    /// Cold, for a new deployment: one symbol's rows lie together.
    ColdFresh,
}

impl Layout {
    /// All four.
    pub const ALL: [Self; 4] = [Self::Hot, Self::HotFresh, Self::Cold, Self::ColdFresh];

    /// The file's name in `deploy/sql`.
    pub const fn file(self) -> &'static str {
        match self {
            Self::Hot => "marketprism_hot.sql",
            Self::HotFresh => "marketprism_hot_fresh.sql",
            Self::Cold => "marketprism_cold.sql",
            Self::ColdFresh => "marketprism_cold_fresh.sql",
        }
    }

    pub(super) const fn is_hot(self) -> bool {
        matches!(self, Self::Hot | Self::HotFresh)
    }

    /// Database of the tables.
    pub const fn database(self) -> &'static str {
        if self.is_hot() { HOT } else { COLD }
    }

    pub(super) const fn partition_by(self) -> &'static str {
        match self {
            Self::Hot | Self::Cold => "(toYYYYMM(timestamp), exchange)",
            Self::HotFresh => "toYYYYMMDD(timestamp)",
            Self::ColdFresh => "toYYYYMM(timestamp)",
        }
    }

    /// TTL and settings.
    pub(super) const fn rest(self) -> &'static str {
        match self {
            Self::Hot => {
                "TTL toDateTime(timestamp) + INTERVAL 3 DAY DELETE\nSETTINGS index_granularity = 8192"
            }
            Self::HotFresh => "SETTINGS index_granularity = 8192",
            Self::Cold | Self::ColdFresh => {
                "SETTINGS index_granularity = 8192, fsync_after_insert = 1, fsync_part_directory = 1"
            }
        }
    }

    /// What the file says of itself.
    pub(super) const fn head(self) -> &'static str {
        match self {
            Self::Hot => HOT_HEAD,
            Self::HotFresh => HOT_FRESH_HEAD,
            Self::Cold => COLD_HEAD,
            Self::ColdFresh => COLD_FRESH_HEAD,
        }
    }
}

const HOT_HEAD: &str = "\
-- MarketPrism's eight hot tables as they run today: partitions of a month and an exchange, rows\n\
-- deleted after three days.\n\
--\n\
-- That TTL deletes rows whether they were archived or not. storage-service refuses to move such a\n\
-- table until the TTL is taken over (`storagectl table adopt NAME`): from then on rows leave the hot\n\
-- table only after two proofs that the NAS has them. A new deployment takes marketprism_hot_fresh.sql.\n";

const HOT_FRESH_HEAD: &str = "\
-- The layout to take when nothing is there yet: partitions of a day and no TTL. Whole days leave\n\
-- the hot table at once (part by part, no mutation), and nothing deletes what was not archived.\n";

const COLD_HEAD: &str = "\
-- MarketPrism's eight cold tables as they run today: the hot tables' columns, no TTL.\n\
--\n\
-- Nobody needs to run this: storage-gateway creates a cold table when the first batch for it comes,\n\
-- and adds `_batch UInt64 MATERIALIZED 0` to one that exists. Rows that were in a cold table before\n\
-- that have `_batch` = 0 and are not read through storage-service (docs/operations.md).\n";

const COLD_FRESH_HEAD: &str = "\
-- Cold tables for the layout of marketprism_hot_fresh.sql: partitions of a month, sorted by\n\
-- (exchange, market_type, symbol, timestamp), which takes less disk and makes symbol queries fast.\n\
-- `_batch` is the batch a row came with; `SELECT *` does not show it.\n";
