//! What runs between the two daemons, knowing nothing of batches: the way itself ([`tunnel`]), who may
//! speak ([`BearerToken`]), speaking ([`Peer`]), how fast ([`RateLimiter`]), how fast the line
//! turned out to be ([`Goodput`]), and how it stands ([`LinkState`]). [`Supervisor`] keeps the
//! long-lived tasks of both daemons.

mod bandwidth_monitor;
mod goodput;
mod idle;
mod parallel;
mod peer;
mod peer_error;
mod pulse;
mod rate_limiter;
mod stability;
mod state;
mod supervisor;
mod token;
mod trust;
pub mod tunnel;
mod yielding;

pub use bandwidth_monitor::{BandwidthMonitor, Connection};
pub use goodput::Goodput;
pub use parallel::Parallel;
pub use peer::{ByteStream, Peer};
pub use peer_error::PeerError;
pub use rate_limiter::RateLimiter;
pub use state::{LinkState, Signals};
pub use supervisor::Supervisor;
pub use token::{BearerToken, TokenError};
pub use yielding::Yielding;
