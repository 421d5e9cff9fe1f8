//! ClickHouse's HTTP interface, as a client speaks it.
//!
//! [`client`] asks a server or a cluster: queries, inserts that stream, answers that stream, with
//! fail-over and typed errors. Everything in the project that talks to an engine goes through it,
//! so a ClickHouse server and the embedded engine are interchangeable.
//!
//! [`exception`] is the one place that knows how ClickHouse writes an error, before and after the
//! body has begun. What stands in a statement is none of this crate's business: see `clickhouse-sql`.
//! [`query_account`] finds out what an account that runs callers' texts can do.

pub mod client;
pub mod exception;
pub mod query_account;

pub use client::{Client, Error, NodeHealth, NodeId, NodeList, Query, ResponseStream, Summary};
pub use exception::Exception;
pub use storage_types::Secret;
