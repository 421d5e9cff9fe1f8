//! The link to the NAS as this daemon uses it: how fast it may be used, how fast it is, whether it is good
//! enough for bulk data, and how it stands. The transport itself is in the crates `link` and `tunnel`.

mod bandwidth_monitor;
mod goodput;
mod link_watch;
mod pace;
mod parallel;
mod stability;
mod state;

pub use bandwidth_monitor::{BandwidthMonitor, Connection};
pub use goodput::Goodput;
pub use link_watch::LinkWatch;
pub use pace::Pace;
pub use parallel::Parallel;
pub use state::{LinkState, Signals};
