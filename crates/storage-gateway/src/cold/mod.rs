//! The cold ClickHouse: its tables, what is known of the rows in them, and reads of them.
//!
//! Everything here speaks to ClickHouse's HTTP interface alone, so a server and the embedded engine
//! are interchangeable. Each statement has a deadline. A statement whose answer was lost may or may
//! not have happened: callers look at the tables again instead of assuming either.

pub mod custody;
pub mod guard;
pub mod ledger;
pub mod owner;
pub mod proof;
pub mod query;
pub mod tables;

use std::time::Duration;

pub use clickhouse_sql::TableName;

/// Longest wait for a statement that changes tables but moves no data.
pub const DDL_DEADLINE: Duration = Duration::from_secs(120);
/// Longest wait for a look at the engine's own tables.
pub const LOOK_DEADLINE: Duration = Duration::from_secs(30);
/// Longest wait for a count and hash of a batch.
pub const PROOF_DEADLINE: Duration = Duration::from_secs(1_800);
