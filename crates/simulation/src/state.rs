//! Everything of a world, behind one lock, and the handle on it that the steps are given.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use moves::{Book, Place, RowSet, Task, record::ManagedTable, world::Witness};
use parking_lot::Mutex;
use storage_types::{BatchId, Column, MoveId, TimeRange};

use crate::{
    catalog::Catalog,
    hot::Table,
    nas::Nas,
    plan::Plan,
    random::Random,
    row::{Row, RowId},
    truth::{Event, Looks, Truth},
};

/// The logical table's name.
pub const LOGICAL: &str = "trades";
/// How much of the log is kept.
const LOG_LINES: usize = 20_000;

/// A query under way: which rows of which copy it reads is fixed.
#[derive(Debug, Clone)]
pub struct Lease {
    /// The version of the book.
    pub version: u64,
    /// The times it asks for.
    pub range: TimeRange,
    /// When it began.
    pub began: Event,
    /// The rows it leaves out, each of one head.
    pub hidden: Vec<(RowSet, Place)>,
    /// The batches it reads.
    pub batches: Vec<BatchId>,
    /// What it has read of the head.
    pub head: Option<Vec<Row>>,
    /// What it has read of cold.
    pub cold: Option<Vec<Row>>,
}

/// A world.
pub struct State {
    /// Chance.
    pub random: Random,
    /// How this world is.
    pub plan: Plan,
    /// How many things have happened.
    pub event: Event,
    /// Milliseconds that no jump of a clock changes.
    pub uptime_ms: u64,
    /// What the wall clock is off.
    pub clock_ms: i64,
    /// The process is dead: nothing it does has an effect any more.
    pub dead: bool,
    /// Calls fail.
    pub faults: bool,
    /// The hot server answers.
    pub hot_up: bool,
    /// The NAS answers.
    pub nas_up: bool,
    /// The hot server.
    pub hot: Table,
    /// The NAS.
    pub nas: Nas,
    /// The journal.
    pub book: Book,
    /// What else the catalog holds.
    pub catalog: Catalog,
    /// How both stood once.
    pub catalog_backup: Option<(Book, Catalog)>,
    /// Another service is to start at the same head and gateway.
    pub second_starts: bool,
    /// What was last deleted from the hot server.
    pub witness: Option<Witness>,
    /// Spooled batches.
    pub spool: BTreeMap<BatchId, Vec<Row>>,
    /// Queries under way.
    pub leases: Vec<Lease>,
    /// What is true.
    pub truth: Truth,
    /// What each move's step under way has looked at.
    pub looks: BTreeMap<MoveId, Looks>,
    /// The task that is being polled.
    pub running: Option<Task>,
    /// The last things that happened, when they are wanted.
    pub log: Option<VecDeque<String>>,
}

impl State {
    /// A world in which nothing has happened.
    pub fn new(seed: u64, logged: bool) -> Self {
        let mut random = Random::new(seed);
        let plan = Plan::new(&mut random);
        Self {
            plan,
            event: 0,
            uptime_ms: 1_000,
            clock_ms: 1_800_000_000_000,
            dead: false,
            faults: true,
            hot_up: true,
            nas_up: true,
            hot: Table { uuid: 1, columns: 2, ..Table::default() },
            nas: Nas::default(),
            book: Book::new(1, 0),
            catalog: Catalog::new(1),
            catalog_backup: None,
            second_starts: false,
            witness: None,
            spool: BTreeMap::new(),
            leases: Vec::new(),
            truth: Truth::default(),
            looks: BTreeMap::new(),
            running: None,
            log: logged.then(VecDeque::new),
            random,
        }
    }

    /// Writes to the log, if there is one.
    pub fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(log) = &mut self.log {
            if log.len() == LOG_LINES {
                log.pop_front();
            }
            log.push_back(format!("{:>5} {}", self.event, line()));
        }
    }

    /// Copies of a row that queries read in cold, as they were sent; or will read, once it is known which these are.
    pub fn cold_copies(&self, row: RowId) -> Vec<Row> {
        let book = self.catalog.trusted.then_some(&self.book);
        self.nas.visible_copies(book, row)
    }

    /// The move whose step is being polled.
    pub fn running_move(&self) -> Option<MoveId> {
        self.running.map(|task| match task {
            Task::Move(id) | Task::Batch(id, _) => id,
        })
    }

    /// What the running step has looked at.
    pub fn look(&mut self, change: impl FnOnce(&mut Looks)) {
        if let Some(Task::Move(id)) = self.running {
            change(self.looks.entry(id).or_default());
        }
    }

    /// Milliseconds since 1970 by the wall clock.
    pub fn now_ms(&self) -> u64 {
        u64::try_from(self.clock_ms).unwrap_or(0).saturating_add(self.uptime_ms)
    }

    /// The table as the head describes it.
    pub fn described(&self) -> ManagedTable {
        let pair = |database: &str| (database.to_owned(), LOGICAL.to_owned());
        let columns = (0..self.hot.columns).map(|n| match n {
            0 => Column { name: "ts".into(), data_type: "DateTime".into() },
            n => Column { name: format!("c{n}"), data_type: "UInt32".into() },
        });
        ManagedTable {
            logical: LOGICAL.into(),
            head: pair("hot"),
            cold: pair("cold"),
            time_column: "ts".into(),
            time_type: "DateTime".into(),
            columns: columns.collect(),
            partition_key: "days".into(),
            sorting_key: if self.plan.states(15) { "c1" } else { "ts" }.into(),
            cold_sorting_key: "ts".into(),
        }
    }
}

/// The handle.
#[derive(Clone)]
pub struct Sim(Arc<Mutex<State>>);

impl Sim {
    /// Over this state.
    pub fn new(state: State) -> Self {
        Self(Arc::new(Mutex::new(state)))
    }

    /// Looks, or acts.
    pub fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.lock())
    }
}
