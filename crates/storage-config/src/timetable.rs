//! How fast the link may be used, and when: the syntax of
//! [rclone's `--bwlimit`](https://rclone.org/docs/#bwlimit-bwtimetable), besides our own `10MB/s`.
//!
//! A rate is `off`, `10MB/s` (units as in the rest of the file), or rclone's: a bare number is KiB/s, and
//! `B`, `K`, `M`, `G`, `T` are binary multiples. `UP:DOWN` are two rates, and one alone holds for both.
//! A timetable is entries `[Day-]hh:mm,RATE` with spaces between; an entry without a day is for each day.
//! Before the week's first entry its last one holds. Unlike in rclone, `0` is refused: `off` is clearer.
//!
//! Everything here is pure. Times are local ones, as in rclone; the caller knows the clock.

use std::time::Duration;

use crate::{node::Node, units};

const MINUTES_OF_DAY: u32 = 1440;
const MINUTES_OF_WEEK: u32 = 7 * MINUTES_OF_DAY;
const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
/// Far more than anybody writes by hand.
const MAX_ENTRIES: usize = 256;

/// Bytes per second in each direction; `None`: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// From the cloud to the NAS.
    pub up: Option<u64>,
    /// From the NAS to the cloud.
    pub down: Option<u64>,
}

/// Limits over a week.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timetable {
    /// By minute of the week from Monday 00:00, ascending; never empty.
    entries: Vec<(u32, Limits)>,
}

impl Default for Timetable {
    fn default() -> Self {
        Self::always(Limits::default())
    }
}

impl Timetable {
    /// The same at every time.
    #[must_use]
    pub fn always(limits: Limits) -> Self {
        Self { entries: vec![(0, limits)] }
    }

    /// A rate, `UP:DOWN`, or entries. The error is one line for the operator.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if !text.contains(',') {
            return limits(text).map(Self::always);
        }
        let mut entries: Vec<(u32, Limits)> = Vec::new();
        for (n, entry) in text.split_ascii_whitespace().enumerate() {
            if n == MAX_ENTRIES {
                return Err(format!("has more than {MAX_ENTRIES} entries"));
            }
            let (at, rate) = entry.split_once(',').ok_or_else(|| {
                format!("{entry:?} is not an entry (write \"08:00,10M\" or \"Mon-08:00,10M\")")
            })?;
            let limits = limits(rate)?;
            for minute in minutes(at)? {
                if entries.iter().any(|entry| entry.0 == minute) {
                    return Err(format!("{entry:?} is for a time that has an entry already"));
                }
                entries.push((minute, limits));
            }
        }
        entries.sort_unstable_by_key(|entry| entry.0);
        Ok(Self { entries })
    }

    /// One rate or `UP:DOWN`, without times.
    pub fn parse_rate(text: &str) -> Result<Limits, String> {
        limits(text.trim())
    }

    /// What holds on `weekday` (0: Monday … 6: Sunday) in `minute_of_day` (0..1440). Larger ones wrap.
    #[must_use]
    pub fn limit_at(&self, weekday: u32, minute_of_day: u32) -> Limits {
        let now = (weekday % 7) * MINUTES_OF_DAY + minute_of_day % MINUTES_OF_DAY;
        let before = self.entries.iter().rev().find(|entry| entry.0 <= now);
        before.or(self.entries.last()).map(|entry| entry.1).unwrap_or_default()
    }

    /// From `second_of_day` (0..86400) of `weekday` to the next entry, at most a week.
    #[must_use]
    pub fn next_change(&self, weekday: u32, second_of_day: u32) -> Duration {
        let now = (weekday % 7) * MINUTES_OF_DAY * 60 + second_of_day % (MINUTES_OF_DAY * 60);
        let later = self.entries.iter().map(|entry| entry.0 * 60).find(|at| *at > now);
        let first = self.entries.first().map_or(0, |entry| entry.0 * 60);
        let at = later.unwrap_or(first + MINUTES_OF_WEEK * 60);
        Duration::from_secs(u64::from(at - now))
    }
}

/// `migration.bandwidth_limit`.
pub(crate) fn read(node: &Node) -> Result<Timetable, String> {
    match node {
        Node::Text(text) => Timetable::parse(text),
        Node::Int(kib) => Timetable::parse(&kib.to_string()),
        // YAML 1.1 readers take an unquoted off for false.
        Node::Bool(false) => Ok(Timetable::default()),
        other => Err(format!("{} is not a rate (write \"10MB/s\", or \"off\")", other.kind())),
    }
}

fn limits(text: &str) -> Result<Limits, String> {
    match text.split_once(':') {
        Some((up, down)) => Ok(Limits { up: rate(up)?, down: rate(down)? }),
        None => rate(text).map(|both| Limits { up: both, down: both }),
    }
}

/// Bytes per second of one direction; `None` for `off`.
fn rate(text: &str) -> Result<Option<u64>, String> {
    if text.eq_ignore_ascii_case("off") {
        return Ok(None);
    }
    match units::per_second(text).or_else(|| binary(text)) {
        Some(0) => Err(format!("{text:?} would never send anything (write \"off\" for no limit)")),
        Some(rate) => Ok(Some(rate)),
        None => Err(format!("{text:?} is not a rate (write \"10MB/s\", \"512k\", or \"off\")")),
    }
}

/// rclone's: digits, perhaps with a fraction, and a letter.
fn binary(text: &str) -> Option<u64> {
    let (digits, shift) = match text.char_indices().last()? {
        (_, last) if last.is_ascii_digit() => (text, 10),
        (at, unit) => {
            let shift = match unit.to_ascii_lowercase() {
                'b' => 0,
                'k' => 10,
                'm' => 20,
                'g' => 30,
                't' => 40,
                _ => return None,
            };
            (text.get(..at)?, shift)
        }
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !plain(whole) || !plain(fraction) || fraction.len() > 6 {
        return None;
    }
    let unit = 1_u64 << shift;
    let part = match fraction {
        "" => 0,
        digits => digits.parse::<u64>().ok()? * unit / 10_u64.pow(u32::try_from(digits.len()).ok()?),
    };
    whole.parse::<u64>().ok()?.checked_mul(unit)?.checked_add(part)
}

/// Minutes of the week of `hh:mm` (seven of them) or `Day-hh:mm`.
fn minutes(text: &str) -> Result<Vec<u32>, String> {
    let wrong = || format!("{text:?} is not a time (write \"08:00\" or \"Mon-08:00\")");
    let (days, time) = match text.split_once('-') {
        Some((day, time)) => {
            let name = day.to_ascii_lowercase();
            let known =
                DAYS.iter().position(|full| name == *full || (name.len() == 3 && full.starts_with(&name)));
            let known = known.ok_or_else(|| format!("{day:?} is not a weekday (write Mon … Sun)"))?;
            (known..known + 1, time)
        }
        None => (0..7, text),
    };
    let two = |part: &str, below: u32| {
        let digits = (1..=2).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        part.parse::<u32>().ok().filter(|n| digits && *n < below)
    };
    let (hour, minute) = time.split_once(':').ok_or_else(wrong)?;
    let minute = two(hour, 24).ok_or_else(wrong)? * 60 + two(minute, 60).ok_or_else(wrong)?;
    Ok(days.map(|day| day as u32 * MINUTES_OF_DAY + minute).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn up(text: &str, weekday: u32, minute: u32) -> Option<u64> {
        Timetable::parse(text).unwrap().limit_at(weekday, minute).up
    }

    #[test]
    fn rates_of_both_spellings() {
        for (text, bytes) in [
            ("10MB/s", Some(10_000_000)),
            ("10M", Some(10 << 20)),
            ("512k", Some(512 << 10)),
            ("512", Some(512 << 10)),
            ("1.5M", Some(3 << 19)),
            ("100B", Some(100)),
            ("off", None),
        ] {
            assert_eq!(up(text, 0, 0), bytes, "{text}");
        }
        let both = Timetable::parse("10M:100k").unwrap().limit_at(3, 700);
        assert_eq!(both, Limits { up: Some(10 << 20), down: Some(100 << 10) });
        let down = Timetable::parse("off:1M").unwrap().limit_at(0, 0);
        assert_eq!(down, Limits { up: None, down: Some(1 << 20) });
    }

    #[test]
    fn a_day_and_a_week_wrap_around() {
        let daily = "08:00,512k 12:00,10M 18:00,30M 23:00,off";
        assert_eq!(up(daily, 0, 0), None, "Sunday's 23:00 holds");
        assert_eq!(up(daily, 2, 480), Some(512 << 10));
        assert_eq!(up(daily, 6, 1439), None);
        let weekly = "Mon-00:00,512 Fri-23:59,10M Sat-10:00,1M Sun-20:00,off";
        assert_eq!(up(weekly, 4, 1438), Some(512 << 10));
        assert_eq!(up(weekly, 4, 1439), Some(10 << 20));
        assert_eq!(up("Tue-10:00,1M", 0, 0), Some(1 << 20));
        let table = Timetable::parse("Tue-10:00,1M Wed-10:00,2M").unwrap();
        assert_eq!(table.limit_at(0, 0).up, Some(2 << 20), "before the first entry the last one holds");
        assert_eq!(table.next_change(1, 36_000), Duration::from_secs(86_400));
        assert_eq!(table.next_change(2, 36_000), Duration::from_secs(6 * 86_400), "over the week's end");
    }

    #[test]
    fn wrong_ones_say_why_in_a_line() {
        for bad in [
            "",
            "10MB",
            "0",
            "0M",
            "-1",
            "fast",
            "10M:",
            ":",
            "25:00,1M",
            "08:60,1M",
            "Foo-08:00,1M",
            "08:00,1M 08:00,2M",
            "08:00,1M 10M",
            "08:00,",
            "99999999999T",
            "1.M.2",
            "é",
        ] {
            let error = Timetable::parse(bad).unwrap_err();
            assert!(!error.is_empty() && !error.contains('\n'), "{bad}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_judged(text in "\\PC*", like in "[A-Za-z0-9:,. -]{0,40}") {
            let _ = Timetable::parse(&text);
            let _ = Timetable::parse(&like);
        }

        #[test]
        fn every_minute_has_the_last_entry_before_it(
            entries in proptest::collection::btree_map(0..MINUTES_OF_WEEK, 1_u64..1000, 1..12),
        ) {
            let text: Vec<String> = entries.iter().map(|(at, rate)| {
                let (day, minute) = (at / MINUTES_OF_DAY, at % MINUTES_OF_DAY);
                format!("{}-{:02}:{:02},{rate}B", DAYS[day as usize], minute / 60, minute % 60)
            }).collect();
            let table = Timetable::parse(&text.join(" ")).unwrap();
            let mut held = *entries.values().last().unwrap();
            for minute in 0..MINUTES_OF_WEEK {
                held = entries.get(&minute).copied().unwrap_or(held);
                let (day, minute) = (minute / MINUTES_OF_DAY, minute % MINUTES_OF_DAY);
                prop_assert_eq!(table.limit_at(day, minute).up, Some(held));
            }
        }
    }
}
