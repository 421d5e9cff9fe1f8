//! The limits of the link now: the configuration's timetable in local time, or an operator's limits set through the
//! API until they are taken back. One loop applies them to the limiters at each change.
//!
//! An operator's limits do not survive a restart: then the configuration holds again.

use std::sync::Arc;

use chrono::{Datelike as _, Local, Timelike as _};
use link::RateLimiter;
use storage_config::{Limits, Timetable};
use tokio::{
    sync::watch,
    time::{Duration, sleep},
};
use tokio_util::sync::CancellationToken;

/// Longest sleep: a clock that was set, or summer time that began, is noticed after this.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// The limits of both directions. Clones are the same schedule.
#[derive(Clone, Debug)]
pub struct BandwidthSchedule {
    timetable: Arc<Timetable>,
    operator: Arc<watch::Sender<Option<Limits>>>,
    up: RateLimiter,
    down: RateLimiter,
}

impl BandwidthSchedule {
    /// With the limits that `timetable` has now.
    #[must_use]
    pub fn new(timetable: Timetable) -> Self {
        let schedule = Self {
            timetable: Arc::new(timetable),
            operator: Arc::new(watch::Sender::new(None)),
            up: RateLimiter::new(None),
            down: RateLimiter::new(None),
        };
        schedule.apply();
        schedule
    }

    /// The limiter from the cloud to the NAS.
    #[must_use]
    pub fn up(&self) -> &RateLimiter {
        &self.up
    }

    /// The limiter from the NAS to the cloud.
    #[must_use]
    pub fn down(&self) -> &RateLimiter {
        &self.down
    }

    /// Sets an operator's limits at once; `None`: back to the timetable.
    pub fn set(&self, limits: Option<Limits>) {
        self.operator.send_replace(limits);
        self.apply();
    }

    /// Applies each change. Returns when `stop` is cancelled, never otherwise.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            let next = self.apply();
            if stop.run_until_cancelled(sleep(next.min(LOOK_AGAIN))).await.is_none() {
                return;
            }
        }
    }

    /// Applies what holds now to the limiters → how long until the timetable's next change.
    fn apply(&self) -> Duration {
        let now = Local::now();
        let (day, second) = (now.weekday().num_days_from_monday(), now.num_seconds_from_midnight());
        let operator = *self.operator.borrow();
        let limits = operator.unwrap_or_else(|| self.timetable.limit_at(day, second / 60));
        for (limiter, limit, direction) in [(&self.up, limits.up, "up"), (&self.down, limits.down, "down")] {
            if limiter.limit() != limit {
                tracing::info!(direction, bytes_per_second = limit, "the link's limit has changed");
                limiter.set(limit);
            }
        }
        self.timetable.next_change(day, second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_overrides_the_timetable_until_they_take_it_back() {
        let schedule = BandwidthSchedule::new(Timetable::parse("1M:2M").unwrap());
        assert_eq!((schedule.up().limit(), schedule.down().limit()), (Some(1 << 20), Some(2 << 20)));
        schedule.set(Some(Limits::default()));
        assert_eq!((schedule.up().limit(), schedule.down().limit()), (None, None));
        schedule.set(None);
        assert_eq!(schedule.up().limit(), Some(1 << 20));
    }
}
