//! What the migrator asks of the hot engine, on real ones: ClickHouse 26.7 embedded, and a 25.8 server where
//! its package can be fetched.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod changes;
mod columns;
mod deletion;
mod engines;
mod identity;
mod nodes;
mod row_numbers;
mod row_set;
mod time_columns;
mod watermark;
mod witness;
