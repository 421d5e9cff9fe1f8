//! Which step comes next, and what becomes of its failure.
//!
//! The mover owns no loop: a driver asks it for the [`Task`]s that are due, runs them, several at a time and
//! in any order, and asks again. A future that is dropped is a crash, and handled as one.

use std::collections::HashMap;

use parking_lot::Mutex;
use storage_types::{BatchId, MigrationId, MoveId, TimeRange};

use crate::{
    book::{Book, Change},
    cut::{self, Bucket},
    failure::{Response, StepError, Trouble, Wait, response},
    record::{Batch, Decision, ManagedTable, Move, Place, RowSet, Waiting},
    sabotage::{Rule, holds},
    state::{BatchState, MoveState},
    world::{Answer, Head as _, Journal as _, World},
};

/// Pauses between attempts at something that may pass, milliseconds.
const FIRST_PAUSE_MS: u64 = 200;
const MAX_PAUSE_MS: u64 = 30_000;
/// What needs an operator is looked at again only so often.
const OPERATOR_PAUSE_MS: u64 = 60_000;
/// Moves are planned by days first.
const DAY: i64 = 86_400;
/// Largest block number there can be.
pub(crate) const ANY_BLOCK: u64 = i64::MAX as u64;

/// How large moves and batches are, and how long both copies are kept.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Most rows of a batch.
    pub batch_rows: u64,
    /// Most rows of a move, unless they all have one second.
    pub move_rows: u64,
    /// Most uncompressed bytes of a move, likewise.
    pub move_bytes: u64,
    /// Seconds between publish and reclaim.
    pub grace_s: u64,
    /// Batches of one move under way at a time.
    pub pipeline: usize,
}

/// Something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Task {
    /// The next step of a move.
    Move(MoveId),
    /// The next step of a batch.
    Batch(MoveId, BatchId),
}

/// How far a task came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Something was done; there may be more.
    Stepped,
    /// It waits.
    Waits,
}

#[derive(Default)]
struct Pause {
    until_ms: u64,
    length_ms: u64,
}

/// What this process knows and the journal does not: nothing of it may outlive the process.
#[derive(Default)]
struct Memory {
    pauses: HashMap<Task, Pause>,
    /// The question for a fresh proof that each move has asked the NAS.
    nonces: HashMap<MoveId, u64>,
    /// The latest mutation of others that each move has looked at the rows after.
    looked_after: HashMap<MoveId, u64>,
    /// How often the NAS has lost each batch's bytes.
    lost: HashMap<BatchId, u32>,
    /// What moves wait for that could not be journalled: mostly, the journal's disk.
    unsaid: HashMap<MoveId, Waiting>,
}

/// The steps over a world. One per process.
pub struct Mover<W> {
    pub(crate) world: W,
    pub(crate) settings: Settings,
    memory: Mutex<Memory>,
    /// Held while a transaction is made from what the journal holds.
    writing: Mutex<()>,
}

impl<W: World> Mover<W> {
    /// Over this world.
    pub fn new(world: W, settings: Settings) -> Self {
        Self { world, settings, memory: Mutex::default(), writing: Mutex::default() }
    }

    /// The world.
    pub fn world(&self) -> &W {
        &self.world
    }

    /// What can be done now, moves in the order of their age. Of each table one move is shipped at a time,
    /// the oldest that is not waiting; what is shipped already goes on beside it.
    pub fn due(&self) -> Vec<Task> {
        let now = self.world.uptime_ms();
        let candidates = self.candidates();
        let memory = self.memory.lock();
        let paused = |task: &Task| memory.pauses.get(task).is_some_and(|pause| pause.until_ms > now);
        let mut shipping: Vec<String> = Vec::new();
        let mut due = Vec::new();
        for (logical, ships, tasks) in candidates {
            let ready: Vec<Task> = tasks.iter().copied().filter(|task| !paused(task)).collect();
            if !ships {
                due.extend(ready);
            } else if !shipping.contains(&logical) && !ready.is_empty() {
                shipping.push(logical);
                due.extend(ready);
            }
        }
        due
    }

    /// When the next of the tasks that are not under way is due, on the clock of `uptime_ms`; `None` when there
    /// is none.
    pub fn next_due_ms(&self, idle: impl Fn(&Task) -> bool) -> Option<u64> {
        let tasks: Vec<Task> = self.candidates().into_iter().flat_map(|(_, _, tasks)| tasks).collect();
        let memory = self.memory.lock();
        tasks
            .iter()
            .filter(|task| idle(task))
            .map(|task| memory.pauses.get(task).map_or(0, |pause| pause.until_ms))
            .min()
    }

    /// `(logical table, whether it is a move that ships, its tasks)` for every open move.
    fn candidates(&self) -> Vec<(String, bool, Vec<Task>)> {
        self.world.journal().read(|book| {
            let all = book.open_moves();
            all.map(|m| {
                let ships = m.state == MoveState::Planned && !m.cancelled;
                (m.table.logical.clone(), ships, tasks_of(book, m, self.settings.pipeline))
            })
            .collect()
        })
    }

    /// Everything is due: something has changed outside.
    pub fn wake(&self) {
        self.memory.lock().pauses.clear();
    }

    /// A batch is due: the NAS has told of it.
    pub fn wake_batch(&self, id: BatchId) {
        self.memory.lock().pauses.retain(|task, _| !matches!(task, Task::Batch(_, batch) if *batch == id));
    }

    /// Wants a move given up. It is, unless its rows are only in cold by now.
    ///
    /// # Errors
    /// The journal.
    pub fn cancel(&self, id: MoveId) -> Answer<()> {
        self.change(id, |record| record.cancelled = true)
    }

    /// Takes an operator's decision on a move that waits for one.
    ///
    /// # Errors
    /// The journal, or that the move cannot be decided so.
    pub fn decide(&self, id: MoveId, decision: Decision) -> Answer<()> {
        let refused = self.record(id).and_then(|record| match record.state {
            _ if !record.waiting.is_some_and(|waiting| waiting.operator) => {
                Some("the move does not wait for a decision")
            }
            MoveState::Reclaiming if decision == Decision::KeepHot => {
                Some("rows of the move are deleted from the head already: only keep-cold is left")
            }
            _ => None,
        });
        match refused {
            Some(why) => Err(Trouble::Refused(why.into())),
            None => self.change(id, |record| record.decision = Some(decision)),
        }
    }

    fn change(&self, id: MoveId, change: impl FnOnce(&mut Move)) -> Answer<()> {
        let written = self.transact(|book| {
            let Some(record) = book.get(id) else { return Ok(Vec::new()) };
            let mut record = Move::clone(record);
            change(&mut record);
            Ok(vec![record.into()])
        });
        self.memory.lock().pauses.remove(&Task::Move(id));
        match written {
            Err(StepError::Trouble(trouble)) => Err(trouble),
            _ => Ok(()),
        }
    }

    /// One transaction that builds on what the journal holds now, whoever wrote it.
    fn transact(
        &self,
        build: impl FnOnce(&Book) -> Result<Vec<Change>, StepError>,
    ) -> Result<u64, StepError> {
        let _one = self.writing.lock();
        let journal = self.world.journal();
        let changes = journal.read(build)?;
        Ok(journal.commit(changes)?)
    }

    /// Changes a move, and others with it, unless it left its state while the step was under way.
    pub(crate) fn advance(
        &self,
        record: &Move,
        others: impl IntoIterator<Item = Change>,
        change: impl FnOnce(&mut Move),
    ) -> Result<u64, StepError> {
        self.transact(|book| {
            let now = book.get(record.id).filter(|now| now.state == record.state);
            let Some(now) = now.filter(|now| now.opened == record.opened) else { return Err(Wait::pause(0)) };
            let mut now = Move::clone(if holds(Rule::OthersWrite) { now } else { record });
            change(&mut now);
            Ok(std::iter::once(now.into()).chain(others).collect())
        })
    }

    /// Likewise a batch.
    pub(crate) fn advance_batch(
        &self,
        batch: &Batch,
        others: impl IntoIterator<Item = Change>,
        change: impl FnOnce(&mut Batch),
    ) -> Result<u64, StepError> {
        self.transact(|book| {
            let now = book.batch(batch.id).filter(|now| now.state == batch.state);
            let Some(now) = now else { return Err(Wait::pause(0)) };
            let mut now = Batch::clone(now);
            change(&mut now);
            Ok(std::iter::once(now.into()).chain(others).collect())
        })
    }

    /// Runs one task, and journals what it waits for.
    pub async fn run(&self, task: Task) -> Progress {
        let (Task::Move(id) | Task::Batch(id, _)) = task;
        let Some(record) = self.record(id) else { return Progress::Waits };
        let result = match task {
            Task::Move(_) => self.step(&record).await,
            Task::Batch(_, batch) => self.step_batch(&record, batch).await,
        };
        let result = match result {
            Err(StepError::Trouble(trouble)) => self.respond(task, &record, trouble).await,
            other => other,
        };
        match result {
            Ok(()) => {
                self.memory.lock().pauses.remove(&task);
                self.note_waiting(id, None);
                Progress::Stepped
            }
            Err(StepError::Wait(wait)) => {
                self.pause(task, &wait);
                if !wait.what.is_empty() {
                    self.note_waiting(id, Some(&wait));
                }
                Progress::Waits
            }
            Err(StepError::Trouble(trouble)) => {
                let wait = Wait { what: trouble.to_string(), ..Wait::default() };
                self.pause(task, &wait);
                self.note_waiting(id, Some(&wait));
                Progress::Waits
            }
        }
    }

    async fn step(&self, record: &Move) -> Result<(), StepError> {
        match record.state {
            MoveState::Planned if record.cancelled => self.cancel_planned(record).await,
            MoveState::Planned if !record.opened => self.open(record).await,
            MoveState::Planned => self.publish(record).await,
            MoveState::Published => self.keep_or_reclaim(record).await,
            MoveState::Reclaiming => self.finish_deletion(record).await,
            MoveState::Withdrawing => self.retire(record).await,
            MoveState::Reclaimed | MoveState::Withdrawn => Ok(()),
        }
    }

    async fn respond(&self, task: Task, record: &Move, trouble: Trouble) -> Result<(), StepError> {
        let what = trouble.to_string();
        match (response(record.state, &trouble), task) {
            (Response::Wait(help), _) => Err(Wait::passing(what, help)),
            (Response::Refuse(help), _) => Err(StepError::Wait(Wait {
                what,
                help: help.to_owned(),
                unsafe_to_read: true,
                ..Wait::default()
            })),
            (Response::Replace, Task::Batch(_, batch)) => self.replace(record, batch, &trouble),
            (Response::Compare, _) => self.compare_heads(record, &what).await,
            (Response::Damaged, _) => self.cold_is_damaged(record, &what).await,
            (Response::Adapt, _) => self.adapt(record, &what).await,
            (Response::Replace, Task::Move(_)) => Err(Wait::passing(what, "")),
        }
    }

    pub(crate) fn pause(&self, task: Task, wait: &Wait) {
        let now = self.world.uptime_ms();
        let mut memory = self.memory.lock();
        let pause = memory.pauses.entry(task).or_default();
        let length = match (wait.pause_ms, wait.operator) {
            (0, true) => OPERATOR_PAUSE_MS,
            (0, false) => (pause.length_ms * 2).clamp(FIRST_PAUSE_MS, MAX_PAUSE_MS),
            (planned, _) => planned,
        };
        *pause = Pause { until_ms: now.saturating_add(length), length_ms: length };
    }

    /// What a move waits for that the journal could not be told.
    pub fn unsaid(&self, id: MoveId) -> Option<Waiting> {
        self.memory.lock().unsaid.get(&id).cloned()
    }

    /// Journals what a move waits for, when that is news. That it cannot be journalled is no reason to stop: it is
    /// kept in memory then.
    fn note_waiting(&self, id: MoveId, wait: Option<&Wait>) {
        let now = self.now();
        let waiting = |wait: &Wait, since| Waiting {
            what: wait.what.clone(),
            since,
            help: wait.help.clone(),
            operator: wait.operator,
            unsafe_to_read: wait.unsafe_to_read,
        };
        let written = self.transact(|book| {
            let told = |w: &Waiting| (w.what.clone(), w.help.clone(), w.unsafe_to_read);
            let Some(record) = book.get(id) else { return Err(Wait::pause(0)) };
            let known = record.waiting.as_ref().map(told);
            if known == wait.map(|w| (w.what.clone(), w.help.clone(), w.unsafe_to_read)) {
                return Err(Wait::pause(0));
            }
            let since = record.waiting.as_ref().map_or(now, |w| w.since);
            let waiting = wait.map(|wait| waiting(wait, since));
            Ok(vec![Move { waiting, ..Move::clone(record) }.into()])
        });
        let unsaid = &mut self.memory.lock().unsaid;
        let Err(StepError::Trouble(error)) = written else {
            unsaid.remove(&id);
            if let (Ok(_), Some(wait)) = (written, wait) {
                tracing::warn!(move_id = %id, help = wait.help, "the move waits: {}", wait.what);
            }
            return;
        };
        // That it waits no more will be journalled with its next step.
        let Some(wait) = wait else { return };
        let known = unsaid.get(&id);
        if known.is_none_or(|known| known.what != wait.what) {
            let help = &wait.help;
            tracing::error!(move_id = %id, %error, help, "the move waits, which cannot be journalled: {}", wait.what);
        }
        let since = known.map_or(now, |known| known.since);
        unsaid.insert(id, waiting(wait, since));
    }

    pub(crate) fn record(&self, id: MoveId) -> Option<Move> {
        self.world.journal().read(|book| book.get(id).map(|record| Move::clone(record)))
    }

    pub(crate) fn batches(&self, id: MoveId) -> Vec<Batch> {
        self.world.journal().read(|book| book.batches_of(id).map(|b| Batch::clone(b)).collect())
    }

    /// Unix seconds.
    pub(crate) fn now(&self) -> i64 {
        i64::try_from(self.world.now_ms() / 1000).unwrap_or(i64::MAX)
    }

    /// Ids for `count` new batches.
    pub(crate) fn batch_ids(&self, count: usize) -> Answer<Vec<BatchId>> {
        let (now, random) = (self.world.now_ms(), self.world.random());
        self.world.journal().read(|book| {
            let ids = (0_u64..).take(count).map(|n| book.fresh_batch_id(now, random, n));
            ids.collect::<Option<Vec<_>>>().ok_or_else(|| Trouble::Local("no batch ids are left".into()))
        })
    }

    /// The NAS has lost a batch's bytes once more: how long to wait before they are sent again, milliseconds.
    pub(crate) fn pause_of_lost(&self, id: BatchId) -> u64 {
        let mut memory = self.memory.lock();
        let times = memory.lost.entry(id).or_default();
        *times += 1;
        FIRST_PAUSE_MS.saturating_mul(1 << (*times).min(10)).min(MAX_PAUSE_MS)
    }

    pub(crate) fn forget_lost(&self, id: BatchId) {
        self.memory.lock().lost.remove(&id);
    }

    pub(crate) fn nonce(&self, id: MoveId) -> u64 {
        let fresh = self.world.random() >> 1;
        *self.memory.lock().nonces.entry(id).or_insert(fresh)
    }

    pub(crate) fn forget_nonce(&self, id: MoveId) {
        self.memory.lock().nonces.remove(&id);
    }

    /// Whether the rows were looked at since this mutation of somebody else's.
    pub(crate) fn has_looked_after(&self, id: MoveId, latest: u64) -> bool {
        self.memory.lock().looked_after.get(&id).is_some_and(|seen| *seen >= latest)
    }

    pub(crate) fn forget_look(&self, id: MoveId) {
        self.memory.lock().looked_after.remove(&id);
    }

    pub(crate) fn note_looked_after(&self, id: MoveId, latest: u64) {
        self.memory.lock().looked_after.insert(id, latest);
    }

    /// The head must still be what the move was opened on.
    pub(crate) async fn same_head(&self, record: &Move) -> Answer<()> {
        let look = self.world.head().look(&record.table).await?;
        if !holds(Rule::SameHead) {
            return Ok(());
        }
        if !look.is_head_of(record) {
            let (database, table) = &record.table.head;
            let what = if look.place == record.place {
                "has lost all its parts, and counts from a lower number"
            } else {
                "is not the table that the move was opened on"
            };
            return Err(Trouble::HeadReplaced(format!("{database}.{table} {what}")));
        }
        let (then, now) = (&record.table, &look.table);
        let settled = then.columns == now.columns || record.grown_to == now.columns;
        if !settled || then.time_type != now.time_type {
            let text = format!("the columns of {} have changed since the move was opened", then.logical);
            return Err(Trouble::Schema(text));
        }
        Ok(())
    }

    /// Counted buckets of the rows, each within `most` rows unless it is a single second.
    pub(crate) async fn buckets(
        &self,
        table: &ManagedTable,
        rows: RowSet,
        width: i64,
        most: impl Fn(u64) -> u64,
    ) -> Answer<Vec<Bucket>> {
        let head = self.world.head();
        let mut pending = head.histogram(table, rows, width).await?;
        let most = most(pending.iter().map(|(_, rows)| rows).sum());
        pending.reverse();
        let mut pending: Vec<(Bucket, i64)> = pending.into_iter().map(|bucket| (bucket, width)).collect();
        let mut buckets = Vec::with_capacity(pending.len());
        while let Some((bucket, width)) = pending.pop() {
            match cut::finer(bucket.0, width).filter(|_| bucket.1 > most) {
                Some(width) => {
                    let finer = head.histogram(table, RowSet { window: bucket.0, ..rows }, width).await?;
                    pending.extend(finer.into_iter().rev().map(|bucket| (bucket, width)));
                }
                None => buckets.push(bucket),
            }
        }
        Ok(buckets)
    }

    /// The windows of a table to move: rows before `before` that no open move means, cut to bounded size.
    ///
    /// # Errors
    /// The hot engine's.
    pub async fn windows(&self, table: &ManagedTable, before: i64) -> Answer<Vec<Bucket>> {
        let busy: Vec<TimeRange> = self.world.journal().read(|book| {
            let of_table = book.open_moves().filter(|m| m.table.logical == table.logical);
            of_table.map(|m| m.rows.window).collect()
        });
        let row_bytes = self.world.head().row_bytes(table).await?.max(1);
        let most = self.settings.move_rows.min(self.settings.move_bytes / row_bytes).max(1);
        let rows = RowSet { window: TimeRange::new(i64::MIN, before), watermark: ANY_BLOCK };
        let buckets = self.buckets(table, rows, DAY, |_| most).await?;
        let free: Vec<Bucket> =
            buckets.into_iter().filter(|(range, _)| !busy.iter().any(|busy| busy.overlaps(*range))).collect();
        // Windows do not reach over days without rows: a query of those days would ask the NAS for nothing.
        let neighbours = free.chunk_by(|a, b| b.0.lo.saturating_sub(a.0.hi) < DAY);
        Ok(neighbours.flat_map(|run| cut::join(run, most)).collect())
    }

    /// A move of a window, to be journalled.
    pub fn planned(&self, migration: MigrationId, table: &ManagedTable, window: Bucket) -> Move {
        let id = MoveId::from_parts(self.world.now_ms(), (self.world.random() & 0xf_ffff) as u32);
        Move {
            id,
            migration,
            table: std::sync::Arc::new(table.clone()),
            place: Place::default(),
            rows: RowSet { window: window.0, watermark: 0 },
            state: MoveState::Planned,
            planned_rows: window.1,
            parts: Vec::new(),
            left: false,
            grown_to: Vec::new(),
            opened: false,
            changed_in: 0,
            deleted_in: 0,
            published_at: 0,
            reclaimed_at: 0,
            sent: None,
            told: false,
            cancelled: false,
            decision: None,
            waiting: None,
            reason: None,
        }
    }
}

fn tasks_of(book: &Book, record: &Move, pipeline: usize) -> Vec<Task> {
    let decided = record.cancelled || record.decision.is_some();
    if record.state != MoveState::Planned || !record.opened || decided {
        return vec![Task::Move(record.id)];
    }
    let open = book
        .batches_of(record.id)
        .filter(|batch| matches!(batch.state, BatchState::Planned | BatchState::Encoded | BatchState::Sent));
    let batches: Vec<Task> = open.take(pipeline).map(|batch| Task::Batch(record.id, batch.id)).collect();
    if batches.is_empty() { vec![Task::Move(record.id)] } else { batches }
}
