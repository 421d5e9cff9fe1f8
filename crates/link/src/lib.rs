//! Transport between the daemons; knows nothing about batches: who may speak ([`BearerToken`]), the
//! HTTP client ([`Peer`]) and rate limits ([`RateLimiter`]). [`Supervisor`] keeps the long-lived tasks of both
//! daemons.

mod activity;
mod idle;
mod peer;
mod peer_error;
mod rate_limiter;
mod supervisor;
mod token;
mod trust;

pub use peer::{ByteStream, Peer};
pub use peer_error::PeerError;
pub use rate_limiter::RateLimiter;
pub use supervisor::Supervisor;
pub use token::BearerToken;
