//! The two loops. One keeps house: it describes the tables, finds out whether the catalog can be trusted, plans
//! migrations and ends them. The other runs the steps of moves that are due, several at a time, and nothing
//! else changes a move.
//!
//! A step that fails or waits holds up no other. Neither loop ever ends on an error. Dropping them anywhere is a
//! crash, and handled as one.

use std::{collections::HashMap, time::Duration};

use fault_points::{Moment, Step};
use futures::{
    StreamExt as _,
    future::{AbortHandle, Abortable},
    stream::FuturesUnordered,
};
use moves::{BatchState, ManagedTable, MoveState, Progress, Task};
use storage_types::{MoveId, service_api::MigrationState};
use tokio::time::Instant;

use super::{
    Inner, MigrationError, plan,
    world::{at, now},
};
use crate::{catalog::MigrationRecord, hot::head_of};

/// How often the tables are looked at while nothing happens.
const IDLE: Duration = Duration::from_secs(60);
/// The same while a table is refused or the gateway has not been reached.
const UNSETTLED: Duration = Duration::from_secs(2);
/// How often an engine that is left alone is asked whether it has started anew.
const WATCH: Duration = Duration::from_secs(5);
/// Steps under way at a time, over all tables.
const AT_ONCE: usize = 32;
/// Longest pause between two looks at what is due.
const LOOK: Duration = Duration::from_secs(10);
/// Fewer rows say nothing about how fast a move is.
const ENOUGH_ROWS: u64 = 10_000;

impl Inner {
    pub(super) async fn run(&self) {
        tokio::join!(self.keep_house(), self.run_moves());
    }

    async fn keep_house(&self) {
        loop {
            let settled = self.settle().await;
            let planned = settled && self.plan_migrations().await;
            if let Err(error) = self.end_migrations().await {
                tracing::error!("end a migration: {error}");
            }
            let rests = planned && !self.any_refused() && !self.any_migration_runs();
            if rests {
                self.rest().await;
            } else {
                self.sleep(UNSETTLED).await;
            }
        }
    }

    /// Until there is something to do. An engine that was put back to an older state is noticed soon: its rows are
    /// seen twice until then.
    async fn rest(&self) {
        let until = Instant::now() + IDLE;
        while self.is_trusted() && Instant::now() < until {
            if self.sleep(WATCH).await {
                return;
            }
            self.distrust_a_restarted_engine().await;
        }
    }

    /// Tables described, catalog trusted, gateway claimed. `false`: to be tried again soon.
    async fn settle(&self) -> bool {
        let described = self.refresh_tables().await;
        if !described && self.world().catalog.is_rebuilding() {
            self.world().catalog.set_hot_away();
            return false;
        }
        if described {
            self.distrust_a_restarted_engine().await;
        }
        if !self.is_trusted() {
            if let Err(error) = self.establish_trust().await {
                match error {
                    MigrationError::Catalog(_) => tracing::error!("the catalog cannot be trusted: {error}"),
                    _ => tracing::debug!("the catalog is not trusted yet: {error}"),
                }
                return false;
            }
            self.sweep_spool();
            self.work.notify_one();
        }
        let claimed = self.claim().await;
        if let Err(error) = &claimed {
            tracing::debug!("the gateway is not claimed yet: {error}");
        }
        described && claimed.is_ok()
    }

    fn sweep_spool(&self) {
        let world = self.world();
        if let Err(error) = world.files.sweep(&world.catalog.spooled_batches()) {
            tracing::warn!("sweep the spool: {error}");
        }
    }

    fn any_migration_runs(&self) -> bool {
        self.world().catalog.running_migrations().is_ok_and(|running| !running.is_empty())
    }

    /// Chooses the moves of migrations that have none yet. `false`: not now, or not for all tables.
    async fn plan_migrations(&self) -> bool {
        let running = match self.world().catalog.running_migrations() {
            Ok(running) => running,
            Err(error) => {
                tracing::error!("list the migrations: {error}");
                return false;
            }
        };
        let mut complete = true;
        for migration in running.iter().filter(|migration| !migration.planned) {
            match self.plan_migration(migration).await {
                Ok(whole) => complete &= whole,
                Err(error) => {
                    tracing::error!(migration = %migration.id, "plan: {error}");
                    complete = false;
                }
            }
        }
        complete
    }

    async fn plan_migration(&self, migration: &MigrationRecord) -> Result<bool, MigrationError> {
        let catalog = &self.world().catalog;
        if let Some(why) = plan::clocks_differ(now(), self.world().hot.clock().await?) {
            catalog.migration_error(migration.id, &why)?;
            catalog.migration_planned(migration.id)?;
            return Ok(true);
        }
        let mut complete = true;
        for table in self.allowed(&migration.tables) {
            match self.plan_table(migration, &table).await {
                Ok(()) => {}
                Err(MigrationError::Hot(text)) => {
                    tracing::warn!(migration = %migration.id, "plan: {text}; later again");
                    complete = false;
                }
                Err(error) => {
                    catalog.migration_error(migration.id, &format!("{}: {error}", table.logical))?;
                }
            }
        }
        if complete {
            catalog.migration_planned(migration.id)?;
        }
        self.work.notify_one();
        Ok(complete)
    }

    async fn plan_table(
        &self,
        migration: &MigrationRecord,
        table: &ManagedTable,
    ) -> Result<(), MigrationError> {
        let windows = self.mover.windows(table, migration.before).await?;
        let moves: Vec<_> = windows
            .into_iter()
            .map(|window| self.mover.planned(migration.id, table, window).into())
            .collect();
        if !moves.is_empty() {
            tracing::info!(migration = %migration.id, table = table.logical, moves = moves.len(), "planned");
            self.world().catalog.commit(moves)?;
        }
        Ok(())
    }

    /// Ends migrations none of whose moves is open.
    async fn end_migrations(&self) -> Result<(), MigrationError> {
        let catalog = &self.world().catalog;
        for migration in catalog.running_migrations()? {
            let open = catalog.read(|book| book.open_moves().any(|m| m.migration == migration.id));
            if open || !migration.planned {
                continue;
            }
            let state = match (catalog.is_cancelled(migration.id)?, migration.errors.is_empty()) {
                (true, _) => MigrationState::Cancelled,
                (false, false) => MigrationState::Failed,
                (false, true) => MigrationState::Done,
            };
            self.leave_tables(&migration.tables).await;
            catalog.finish_migration(migration.id, state, now())?;
            tracing::info!(migration = %migration.id, ?state, "migration ended");
        }
        Ok(())
    }

    /// Tables without a move need no numbers that go on. No move can be opened meanwhile: this loop chooses them.
    async fn leave_tables(&self, names: &[String]) {
        let world = self.world();
        for table in world.catalog.managed_tables().iter().filter(|table| names.contains(&table.logical)) {
            let moves = world.catalog.read(|book| book.open_moves().any(|m| m.table.head == table.head));
            if moves {
                continue;
            }
            if let Err(error) = world.hot.clear_empty_parts(&head_of(table)).await {
                tracing::warn!(table = table.logical, "{error}; after the next migration");
            }
        }
    }

    /// Runs what is due, as long as the catalog is trusted.
    async fn run_moves(&self) {
        let mut under_way = FuturesUnordered::new();
        let mut handles: HashMap<Task, AbortHandle> = HashMap::new();
        let mut begun: HashMap<MoveId, Instant> = HashMap::new();
        loop {
            self.stop_cancelled(&mut handles);
            if self.is_trusted() {
                for task in self.mover.due() {
                    if handles.len() >= AT_ONCE || handles.contains_key(&task) {
                        continue;
                    }
                    let (Task::Move(id) | Task::Batch(id, _)) = task;
                    begun.entry(id).or_insert_with(Instant::now);
                    let (handle, registration) = AbortHandle::new_pair();
                    handles.insert(task, handle);
                    under_way.push(async move {
                        (task, Abortable::new(self.run_task(task), registration).await.is_ok())
                    });
                }
            }
            tokio::select! {
                Some((task, _)) = under_way.next(), if !under_way.is_empty() => {
                    handles.remove(&task);
                    self.note_rate(task, &mut begun);
                    self.note_end(task);
                }
                () = self.work.notified() => {}
                () = tokio::time::sleep(self.until_due(&handles)) => {}
            }
        }
    }

    fn until_due(&self, handles: &HashMap<Task, AbortHandle>) -> Duration {
        let now = moves::world::World::uptime_ms(self.world());
        let next = self.mover.next_due_ms(|task| !handles.contains_key(task));
        next.map_or(LOOK, |at| Duration::from_millis(at.saturating_sub(now).max(1)).min(LOOK))
    }

    async fn run_task(&self, task: Task) -> Progress {
        let step = self.step_of(task);
        if let Some(step) = step {
            at(step, Moment::Before).await;
        }
        let progress = self.mover.run(task).await;
        if let (Some(step), Progress::Stepped) = (step, progress) {
            at(step, Moment::AfterJournal).await;
        }
        progress
    }

    /// The step that a task is about to take, for tests that hold it there.
    fn step_of(&self, task: Task) -> Option<Step> {
        self.world().catalog.read(|book| {
            let (Task::Move(id) | Task::Batch(id, _)) = task;
            let record = book.get(id)?;
            Some(match (task, record.state) {
                (Task::Batch(_, batch), _) => match book.batch(batch)?.state {
                    BatchState::Planned => Step::Encode,
                    BatchState::Encoded => Step::Send,
                    _ => Step::Prove,
                },
                (_, MoveState::Planned) if !record.opened => Step::Open,
                (_, MoveState::Planned) => Step::Publish,
                (_, MoveState::Published) if !record.told => Step::Tell,
                (_, MoveState::Published) => Step::Delete,
                (_, MoveState::Reclaiming) => Step::Finish,
                (_, MoveState::Withdrawing) => Step::Retire,
                _ => return None,
            })
        })
    }

    /// A cancelled move is not shipped any further.
    fn stop_cancelled(&self, handles: &mut HashMap<Task, AbortHandle>) {
        let ships = |id: MoveId| {
            let look = |book: &moves::Book| {
                book.get(id).is_some_and(|record| record.state == MoveState::Planned && !record.cancelled)
            };
            self.world().catalog.read(look)
        };
        for (task, handle) in handles.iter() {
            if let Task::Batch(id, _) = task
                && !ships(*id)
            {
                handle.abort();
            }
        }
    }

    /// The last move of a migration is over: it can end.
    fn note_end(&self, task: Task) {
        if let Task::Move(id) = task
            && self.world().catalog.read(|book| book.get(id).is_none())
        {
            self.wake.notify_one();
        }
    }

    /// Rows a second of a whole move, for the estimate of the next dry run.
    fn note_rate(&self, task: Task, begun: &mut HashMap<MoveId, Instant>) {
        let (Task::Move(id) | Task::Batch(id, _)) = task;
        let catalog = &self.world().catalog;
        let published = catalog.read(|book| {
            let record = book.get(id)?;
            (record.state == MoveState::Published).then_some(record.sent?.rows)
        });
        let Some(rows) = published else { return };
        let Some(begun) = begun.remove(&id) else { return };
        if rows >= ENOUGH_ROWS {
            let rate = rows as f64 / begun.elapsed().as_secs_f64().max(0.001);
            let _ = catalog.set_note("rows_per_second", &format!("{rate:.0}"));
        }
    }

    /// Until woken (`true`), scheduled, or `longest` has passed.
    async fn sleep(&self, longest: Duration) -> bool {
        let next = self.next_run.lock().to_owned();
        let due = next.map(|at| (at - plan::utc_now()).to_std().unwrap_or_default());
        let pause = due.map_or(longest, |due| due.min(longest));
        let woken = tokio::select! {
            () = self.wake.notified() => true,
            () = tokio::time::sleep(pause) => false,
        };
        self.run_if_due();
        woken
    }
}
