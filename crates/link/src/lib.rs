//! Transport between the daemons; knows nothing about batches: who may speak ([`BearerToken`]), the
//! HTTP client ([`Peer`]) and rate limits ([`RateLimiter`]).

mod activity;
mod idle;
mod peer;
mod peer_error;
mod rate_limiter;
mod token;
mod trust;

pub use peer::{ByteStream, Peer};
pub use peer_error::PeerError;
pub use rate_limiter::RateLimiter;
pub use token::BearerToken;
