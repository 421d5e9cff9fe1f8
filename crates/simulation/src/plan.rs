//! What kind of world a seed makes: which users there are, how often calls fail, how large batches are.

use moves::Settings;

use crate::random::Random;

/// What becomes of the rows of retired batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// Removed at once.
    Open,
    /// Removed after some days.
    Delayed,
    /// Never.
    AppendOnly,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The mover's.
    pub settings: Settings,
    /// Days with rows.
    pub days: i64,
    /// Rows are at so few different seconds of a day.
    pub seconds: u64,
    /// Events with faults and users.
    pub troubled: u64,
    /// Of a hundred calls, how many fail.
    pub failing: u64,
    /// Of a hundred calls, how many are delayed.
    pub delayed: u64,
    /// The process dies about once in so many events.
    pub crash: u64,
    /// Users act about once in so many events.
    pub users: u64,
    /// Which of the users' statements are made, a bit for each.
    pub statements: u64,
    /// Which outside faults happen, a bit for each.
    pub outside: u64,
    /// See [`Removal`].
    pub removal: Removal,
    /// The table had no block numbers before moves came.
    pub numbers_before: bool,
    /// Partitions that are moved to another table leave empty parts, by which the table counts on.
    pub leaves_empty: bool,
}

impl Plan {
    /// By chance. Many worlds have only a few kinds of trouble, so that each is met alone as well.
    pub fn new(random: &mut Random) -> Self {
        let mut bits = |of: u64| match random.below(10) {
            0..2 => 0,
            2 => random.next(),
            3 => random.next() & random.next(),
            some => (0..some - 2).fold(0, |bits, _| bits | 1 << random.below(of)),
        };
        let (statements, outside) = (bits(16), bits(10));
        let removal = match random.below(3) {
            0 => Removal::Open,
            1 => Removal::Delayed,
            _ => Removal::AppendOnly,
        };
        Self {
            settings: Settings {
                batch_rows: 1 + random.below(12),
                move_rows: 4 + random.below(30),
                move_bytes: 1 << 40,
                grace_s: [0, 5, 60, 600][random.index(4)],
                pipeline: 1 + random.index(3),
            },
            days: 1 + random.below(4).cast_signed(),
            seconds: 1 + random.below(6),
            troubled: 60 + random.below(240),
            failing: [0, 3, 10, 25][random.index(4)],
            delayed: [0, 20, 60][random.index(3)],
            crash: [20, 60, 200, u64::MAX][random.index(4)],
            users: [4, 8, 16][random.index(3)],
            statements,
            outside,
            removal,
            numbers_before: random.percent(50),
            leaves_empty: random.percent(50),
        }
    }

    /// Whether the statement is among this world's.
    pub fn states(&self, bit: u32) -> bool {
        self.statements >> bit & 1 == 1
    }

    /// Whether the outside fault is.
    pub fn suffers(&self, bit: u32) -> bool {
        self.outside >> bit & 1 == 1
    }
}
