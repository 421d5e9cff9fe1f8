//! When the next scheduled migration starts: `croner` reads the expression, our own loop runs it, in
//! UTC, so no change of clocks moves or doubles a run. Runs missed while the service was down are not
//! made up for: the next one takes everything that has expired.

use chrono::{DateTime, Utc};
use croner::Cron;

/// A validated schedule.
#[derive(Debug, Clone)]
pub(super) struct Schedule(Cron);

impl Schedule {
    /// From five cron fields.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        text.parse::<Cron>().map(Self).map_err(|error| format!("migration.schedule {text:?}: {error}"))
    }

    /// The first moment after `now`.
    pub(super) fn after(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.0.find_next_occurrence(&now, false).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_in_the_morning_utc_every_day_of_the_year() {
        let schedule = Schedule::parse("0 2 * * *").unwrap();
        // The night on which clocks change in much of Europe.
        let mut now: DateTime<Utc> = "2026-03-28T12:00:00Z".parse().unwrap();
        for expected in ["2026-03-29T02:00:00Z", "2026-03-30T02:00:00Z"] {
            now = schedule.after(now).unwrap();
            assert_eq!(now, expected.parse::<DateTime<Utc>>().unwrap());
        }
        assert!(Schedule::parse("every night").is_err());
    }
}
