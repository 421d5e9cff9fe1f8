//! ClickHouse's HTTP interface, as a client speaks it.
//!
//! [`client`] asks a server or a cluster: queries, inserts that stream, answers that stream, with
//! fail-over and typed errors. Everything in the project that talks to an engine goes through it,
//! so a ClickHouse server and the embedded engine are interchangeable.
//!
//! The wire is the official `clickhouse` crate's: statements, collected answers and inserts are its
//! `fetch_bytes` and `insert_formatted_with`. Ours is a layer around it, with what it does not give. The tests
//! of `client/crate_limits.rs` show the crate's side of it, and fail when the crate learns it.
//!
//! | ours | because the crate |
//! |---|---|
//! | which node, marks, fail-over, [`Error::Unknown`] (`send`) | knows one address, and no statement that must not be sent twice |
//! | the connections (`transport`) | collects an error's text without a bound, takes an answer without a length for whole, and waits for an insert's answer in a task that outlives a dropped caller |
//! | the deadline and the cap of an answer (`official`) | has neither for reads |
//! | streamed answers (`stream`, `response`) | finds an exception behind the rows only when all of it is in one chunk, takes rows that read like one for one, and hands out no headers |
//! | external tables (`stream`) | does not send them |
//! | rows by JSONEachRow and serde (`query`) | reads RowBinary into the exact types of the columns; ours hold between versions of the engine, and of a table |
//! | [`Exception`] | gives an error as text; callers decide by its code |
//!
//! [`exception`] is the one place that knows how ClickHouse writes an error, before and after the
//! body has begun. What stands in a statement is none of this crate's business: see `clickhouse-sql`.
//! [`query_account`] finds out what an account that runs callers' texts can do.

pub mod client;
pub mod exception;
pub mod query_account;

pub use client::{Client, Error, NOT_ENOUGH_SPACE, NodeHealth, NodeId, NodeList, Query, ResponseStream};
pub use exception::Exception;
pub use storage_types::Secret;
