//! The link to the NAS as this daemon uses it. The transport itself is in the crates `link` and `tunnel`.
//!
//! - [`BandwidthSchedule`]: how fast it may be used, by the timetable or by an operator's limit.
//! - [`BandwidthMonitor`]: how fast it is ([`Goodput`]) and whether it is good enough for bulk data
//!   ([`LinkQuality`]).
//! - [`AdaptiveConcurrency`]: how many connections a bulk transfer uses.
//! - [`LinkMonitor`]: whether the gateway answers ([`LinkState`]); the status page's view of all of this.
//!
//! Nothing here is persistent: after a restart the link is measured again. Waiting for a usable link
//! ([`BandwidthMonitor::stable`]) can be dropped at any moment.

mod adaptive_concurrency;
mod bandwidth_monitor;
mod bandwidth_schedule;
mod goodput;
mod link_monitor;
mod link_quality;
mod state;

pub use adaptive_concurrency::AdaptiveConcurrency;
pub use bandwidth_monitor::BandwidthMonitor;
pub use bandwidth_schedule::BandwidthSchedule;
pub use goodput::Goodput;
pub use link_monitor::LinkMonitor;
pub use link_quality::LinkQuality;
pub use state::{LinkState, Signals};
