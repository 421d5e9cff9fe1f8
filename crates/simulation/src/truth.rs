//! What is true of every row, told by the user's own statements, and the rules that are held against it.
//!
//! See the crate's table of rules; each `Violation` names the one that was broken.

use std::collections::BTreeMap;

use storage_types::{BatchId, MoveId};

use crate::row::{Row, RowId};

/// A number for everything that happens, in order.
pub type Event = u64;

/// What the user has made of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// It is there.
    Alive,
    /// A mutation has deleted it.
    Deleted,
    /// It left with its part (DROP, DETACH, TRUNCATE, TTL, an exchange), at this event.
    Dropped(Event),
}

/// A change of a row by a user's mutation.
#[derive(Debug, Clone, Copy)]
pub struct Touch {
    /// When the mutation was asked for.
    pub asked: Event,
    /// The version it made; `None`: it deleted the row.
    pub version: Option<u16>,
}

/// What is known of a row.
#[derive(Debug, Clone)]
pub struct Fact {
    /// Its time.
    pub time: i64,
    /// Its time and value in each version.
    pub values: Vec<(i64, u32)>,
    /// An update has given it another time, at this event.
    pub shifted: Option<Event>,
    /// See [`Life`].
    pub life: Life,
    /// When it came, or came back.
    pub born: Event,
    /// It left the head while cold was its visible copy: the archive has to keep it.
    pub archived: bool,
    /// It came under a number that an open move already means, at this event.
    pub shadow: Option<Event>,
    /// It was attached again after it had been read for a move: it may be seen twice.
    pub twice: bool,
    /// An operator, or a race that is allowed, has settled it: it is only never to be seen twice.
    pub forgiven: bool,
    /// What mutations did.
    pub touches: Vec<Touch>,
}

/// A rule that was broken, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation(pub String);

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// All of it.
#[derive(Debug, Default)]
pub struct Truth {
    /// By row id.
    pub facts: Vec<Fact>,
    /// When each mutation of a table was asked for: `(table, number, event)`.
    pub asked: Vec<(u64, u64, Event)>,
    /// Changes of a move's rows that were asked for up to then had to be heeded when it began to delete.
    pub deleting: BTreeMap<MoveId, Event>,
    /// Likewise when it last asked for a deletion: what others asked for later may be before it all the same.
    pub asked_deletion: BTreeMap<MoveId, Event>,
    /// When the catalog was last lost or put back: what was changed before may never be looked at.
    pub forgotten: Event,
    /// An older copy of the catalog was put in its place: it may have gone back on what the archive was to keep.
    pub put_back: bool,
    /// The first rule that was broken.
    pub violation: Option<Violation>,
    /// What was last read for each batch.
    pub encoded: BTreeMap<BatchId, Vec<Row>>,
    /// Rows with numbers of their own were attached.
    pub attached: bool,
    /// The largest batch id that there was.
    pub last_batch: u64,
}

impl Truth {
    /// Notes the first violation.
    pub fn violated(&mut self, what: impl FnOnce() -> String) {
        if self.violation.is_none() {
            self.violation = Some(Violation(what()));
        }
    }

    /// What was changed up to now need not be heeded: who had to is gone, or another table is there.
    pub fn forget_changes(&mut self, now: Event) {
        self.forgotten = now;
        for fact in &mut self.facts {
            fact.touches.clear();
            fact.twice |= fact.shifted.is_some();
        }
    }

    /// The fact of a row.
    pub fn of(&self, id: RowId) -> Option<&Fact> {
        self.facts.get(id as usize)
    }

    /// Likewise, to change it.
    pub fn change(&mut self, id: RowId, change: impl FnOnce(&mut Fact)) {
        if let Some(fact) = self.facts.get_mut(id as usize) {
            change(fact);
        }
    }

    /// A new row.
    pub fn insert(&mut self, time: i64, value: u32, born: Event) -> Row {
        let id = RowId::try_from(self.facts.len()).unwrap_or(RowId::MAX);
        self.facts.push(Fact {
            time,
            values: vec![(time, value)],
            shifted: None,
            life: Life::Alive,
            born,
            archived: false,
            shadow: None,
            twice: false,
            forgiven: false,
            touches: Vec::new(),
        });
        Row { id, version: 0, time, value, block: 0 }
    }

    /// A user's mutation was applied to a row.
    pub fn touched(&mut self, table: u64, number: u64, row: &Row, deleted: bool) {
        let asked = self.asked.iter().find(|(t, n, _)| (*t, *n) == (table, number));
        let asked = asked.map_or(0, |(_, _, event)| *event);
        let heeded = asked > self.forgotten;
        self.change(row.id, |fact| {
            if heeded {
                fact.touches.push(Touch { asked, version: (!deleted).then_some(row.version) });
            }
            if deleted {
                fact.life = Life::Deleted;
            } else {
                fact.values.resize(usize::from(row.version) + 1, (row.time, row.value));
                fact.values[usize::from(row.version)] = (row.time, row.value);
                fact.time = row.time;
            }
        });
    }

    /// Whether the row's content is what it should be.
    pub fn is_intact(&self, row: &Row) -> bool {
        let version = usize::from(row.version);
        self.of(row.id).is_some_and(|f| f.values.get(version) == Some(&(row.time, row.value)))
    }
}

/// Rows of a move that were looked at, and when: what the user did later is allowed to be too late.
#[derive(Debug, Clone, Copy, Default)]
pub struct Looks {
    /// When the step that is under way began.
    pub began: Event,
    /// When it asked what others did.
    pub changes: Option<Event>,
    /// When it looked at the parts.
    pub parts: Option<Event>,
    /// When the fresh proof that it used was computed.
    pub proven: Option<Event>,
}

impl Looks {
    /// Mutations asked for before this must have been heeded.
    pub fn heeds_mutations(&self) -> Event {
        self.changes.unwrap_or(self.began)
    }

    /// Rows that came or went before this must have been seen.
    pub fn heeds_rows(&self) -> Event {
        self.parts.unwrap_or(self.began)
    }
}
