//! The serving half of ClickHouse's HTTP interface: what a request's parameters, headers and body mean,
//! and how an answer and an error look on the wire.
//!
//! Knows nothing of who executes a query. The rules are those of ClickHouse's `HTTPHandler`, so that
//! unchanged clients (clickhouse-connect, the Rust and Go crates, JDBC, Grafana, curl) are served.

pub mod body;
pub mod credentials;
pub mod drain;
pub mod flushed;
pub mod long_url;
pub mod parameters;
pub mod status;

pub use credentials::{Credentials, Gate};
pub use drain::drained;
pub use parameters::RequestParameters;
pub use status::http_status;
