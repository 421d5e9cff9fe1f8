//! The seconds that this gateway has run in its life.
//!
//! What must not happen too early is measured by them, never by the wall clock: a clock that jumps (a dead
//! battery, a first answer of an NTP server) shortens nothing. A gateway that is off does not wait; what
//! it counted since it was last noted is lost with a crash, which makes a wait longer.

use tokio::time::Instant;

/// Counts on from what was noted.
#[derive(Debug)]
pub struct RunningTime {
    noted: i64,
    since: Instant,
}

impl RunningTime {
    /// Goes on from `noted` seconds.
    pub fn from(noted: i64) -> Self {
        Self { noted, since: Instant::now() }
    }

    /// Seconds so far.
    pub fn seconds(&self) -> i64 {
        let run = i64::try_from(self.since.elapsed().as_secs()).unwrap_or(i64::MAX);
        self.noted.saturating_add(run)
    }
}
