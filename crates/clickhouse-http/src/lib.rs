//! ClickHouse's HTTP interface, both sides of it.
//!
//! [`client`] asks a server or a cluster: queries, inserts that stream, answers that stream, with
//! fail-over and typed errors. Everything in the project that talks to an engine goes through it,
//! so a ClickHouse server and the embedded engine are interchangeable.
//!
//! [`server`] is the other side's half: parameters, credentials, bodies and statuses of requests;
//! [`frames`] the compressed frames of both.
//!
//! [`exception`] is the one place that knows how ClickHouse writes an error, before and after the
//! body has begun; [`quote`] the one place that puts names and texts into SQL.

pub mod client;
pub mod exception;
pub mod frames;
pub mod quote;
pub mod server;

pub use client::{Client, Error, NodeHealth, NodeId, NodeList, Query, ResponseStream, Summary};
pub use exception::Exception;
pub use quote::{quote_ident, quote_string};
pub use storage_types::Secret;
