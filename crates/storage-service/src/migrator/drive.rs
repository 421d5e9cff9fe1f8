//! The one loop: it selects what to do next and does it. Nothing else changes a move.
//!
//! ```text
//! run_loop: describe the tables ─▶ (catalog lost? rebuild) ─▶ (moves left over? a recovery migration)
//!           ─▶ run the migration in force ─▶ sleep until woken, scheduled, or a while has passed
//! ```
//!
//! A migration runs its moves one after the other, each as far as it goes: to its end, to a wait
//! (the grace time), or to an error. What may pass is tried again with a growing pause; what will not
//! aborts a move before its fence and, after it, leaves it for a person and the next migration. The
//! loop itself never ends on an error. Dropping it anywhere is a crash, and handled as one.

use fault_points::{Moment, Step};
use std::time::Duration;

use storage_types::{
    BatchState, MigrationId, MoveState, gateway_api::BatchFacts, service_api::MigrationState,
};
use tokio::time::Instant;

use super::{
    Inner, MigrationError, StepError,
    mover::{StepOutcome, new_migration_id, now},
    plan,
    rebuild::{Rebuild, rebuild},
};
use crate::catalog::{ManagedTable, MigrationRecord, MoveRecord};

/// Pauses between attempts at something that may pass.
const FIRST_BACKOFF: Duration = Duration::from_millis(200);
const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// How often the tables are looked at while nothing happens.
const IDLE: Duration = Duration::from_secs(60);
/// The same while a table is refused or the gateway has not been reached.
const UNSETTLED: Duration = Duration::from_secs(2);
/// Remembered once the catalog has been checked against its gateway.
pub(super) const MET_GATEWAY: &str = "met_gateway";

/// How far a move went.
enum MoveOutcome {
    /// To its end, or given up.
    Over,
    /// To a pause of this length.
    Waiting(Duration),
    /// To an error that may pass.
    Blocked,
    /// To an error that will not pass, after the fence.
    Stuck,
}

impl Inner {
    pub(super) async fn run_loop(&self) {
        loop {
            let settled = self.settle().await;
            if settled && let Err(error) = self.run_migration().await {
                tracing::error!("migration: {error}");
            }
            self.sleep(if settled && !self.any_refused() { IDLE } else { UNSETTLED }).await;
        }
    }

    /// Tables described, catalog whole, left-over moves taken up. `false`: to be tried again soon.
    async fn settle(&self) -> bool {
        let described = self.refresh_tables().await;
        if !described && self.mover.catalog.is_rebuilding() {
            return false;
        }
        let whole = match self.ensure_whole().await {
            Ok(()) => self.may_move().await,
            Err(error) => {
                tracing::debug!("the catalog is not settled yet: {error}");
                false
            }
        };
        if whole && let Err(error) = self.take_up_leftovers() {
            tracing::error!("take up unfinished moves: {error}");
            return false;
        }
        described && whole
    }

    /// A catalog that has never met its gateway may be one that was lost.
    async fn ensure_whole(&self) -> Result<(), StepError> {
        let mover = &self.mover;
        if mover.catalog.note(MET_GATEWAY)?.is_some() {
            mover.catalog.set_rebuilding(false);
            return Ok(());
        }
        // Where no move was ever made nothing can have been lost: queries need not wait for the NAS.
        if mover.catalog.is_rebuilding() && !mover.hot.has_internal_database().await? {
            mover.catalog.set_rebuilding(false);
        }
        if !mover.catalog.has_moves()? {
            self.note_rebuilding_from(mover.gateway.gateway_status().await?.sender)?;
        }
        self.rebuild().await?;
        mover.catalog.set_note(MET_GATEWAY, "1")?;
        // Before queries and callers come in: what was found again is taken up at once then.
        self.may_move().await;
        mover.catalog.set_rebuilding(false);
        Ok(())
    }

    /// The gateway is claimed, or does not answer: `false` when it is not to be claimed.
    async fn may_move(&self) -> bool {
        match self.claim().await {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!("the gateway is not claimed: {error}");
                !matches!(error, StepError::Failed(_))
            }
        }
    }

    /// Fills the catalog with what the gateway and the internal tables hold.
    pub(super) async fn rebuild(&self) -> Result<(), StepError> {
        let mover = &self.mover;
        let with = Rebuild {
            catalog: &mover.catalog,
            hot: &mover.hot,
            gateway: &mover.gateway,
            tables: &mover.tables,
            migration: new_migration_id(),
            now: now(),
        };
        let visible = rebuild(&with).await?;
        if visible > 0 {
            tracing::warn!(batches = visible, "the catalog was empty and has been rebuilt from the gateway");
        }
        Ok(())
    }

    fn take_up_leftovers(&self) -> Result<(), MigrationError> {
        let catalog = &self.mover.catalog;
        let swept = !self.swept.swap(true, std::sync::atomic::Ordering::AcqRel);
        if swept && let Err(error) = self.mover.spool.sweep(&catalog.spooled_batches()?) {
            tracing::warn!("sweep the spool: {error}");
        }
        let left = catalog.unfinished_moves()?;
        // Only at start: a move that a migration of this process left stuck waits for the next one.
        if !swept || left.is_empty() || catalog.running_migration()?.is_some() {
            return Ok(());
        }
        let mut names: Vec<String> = left.iter().map(|m| m.table.logical.clone()).collect();
        names.dedup();
        let id = self.begin(names, 0, "recovery")?;
        catalog.migration_planned(id)?;
        Ok(())
    }

    /// Runs the migration in force, if there is one, to its end.
    async fn run_migration(&self) -> Result<(), MigrationError> {
        let Some(migration) = self.mover.catalog.running_migration()? else { return Ok(()) };
        self.tidy().await;
        if !self.plan_migration(&migration).await? {
            return Ok(());
        }
        let mut backoff = FIRST_BACKOFF;
        loop {
            let (mut pause, mut blocked, mut waiting) = (Duration::MAX, false, false);
            if !self.may_move().await {
                self.sleep(MAX_BACKOFF).await;
                continue;
            }
            for record in self.unfinished(migration.id)? {
                match self.advance(&record).await? {
                    MoveOutcome::Over => backoff = FIRST_BACKOFF,
                    MoveOutcome::Waiting(left) => {
                        waiting = true;
                        pause = pause.min(left);
                    }
                    MoveOutcome::Blocked => blocked = true,
                    MoveOutcome::Stuck => {}
                }
            }
            if !blocked && !waiting {
                break;
            }
            if blocked {
                pause = pause.min(backoff);
                backoff = (backoff * 2).min(MAX_BACKOFF);
            }
            self.sleep(pause).await;
        }
        self.finish(migration.id)
    }

    fn unfinished(&self, id: MigrationId) -> Result<Vec<MoveRecord>, MigrationError> {
        let all = self.mover.catalog.moves_of(id)?;
        Ok(all
            .into_iter()
            .filter(|m| !matches!(m.state, MoveState::Reclaimed | MoveState::Aborted))
            .collect())
    }

    fn finish(&self, id: MigrationId) -> Result<(), MigrationError> {
        let catalog = &self.mover.catalog;
        let failed = catalog.migration(id)?.is_some_and(|m| !m.errors.is_empty());
        let state = match (self.is_cancelled(id), failed) {
            (true, _) => MigrationState::Cancelled,
            (false, true) => MigrationState::Failed,
            (false, false) => MigrationState::Done,
        };
        catalog.finish_migration(id, state, now())?;
        tracing::info!(migration = %id, ?state, "migration ended");
        Ok(())
    }

    /// Chooses the moves, once. `false`: not now.
    async fn plan_migration(&self, migration: &MigrationRecord) -> Result<bool, MigrationError> {
        if migration.planned {
            return Ok(true);
        }
        let catalog = &self.mover.catalog;
        for left in catalog.unfinished_moves()? {
            if left.migration != migration.id {
                catalog.adopt_move(left.id, migration.id)?;
            }
        }
        for table in self.allowed(&migration.tables)? {
            match self.plan_table(migration, &table).await {
                Ok(()) => {}
                Err(MigrationError::Hot(error)) if error.is_passing() => {
                    tracing::warn!(migration = %migration.id, "plan: {error}; later again");
                    self.sleep(UNSETTLED).await;
                    self.wake.notify_one();
                    return Ok(false);
                }
                Err(error) => {
                    catalog.migration_error(migration.id, &format!("{}: {error}", table.logical))?
                }
            }
        }
        catalog.migration_planned(migration.id)?;
        Ok(true)
    }

    async fn plan_table(
        &self,
        migration: &MigrationRecord,
        table: &ManagedTable,
    ) -> Result<(), MigrationError> {
        for candidate in self.mover.candidates(table, migration.before).await? {
            let record = self.mover.planned(migration.id, table, candidate);
            super::mover::at(Step::Snapshot, Moment::BeforeJournal).await;
            self.mover.catalog.plan_move(&record)?;
        }
        Ok(())
    }

    /// Takes a move as far as it goes.
    #[tracing::instrument(level = "error", name = "move", skip_all, fields(move_id = %record.id))]
    async fn advance(&self, record: &MoveRecord) -> Result<MoveOutcome, MigrationError> {
        let (mover, id) = (&self.mover, record.id);
        let begun = Instant::now();
        let from_start = record.state == MoveState::Planned;
        loop {
            let Some(record) = mover.catalog.move_record(id)? else { return Ok(MoveOutcome::Over) };
            let abortable = record.state.next().contains(&MoveState::Aborted);
            let stepped = tokio::select! {
                stepped = mover.step(&record) => stepped,
                () = self.cancelled(record.migration), if abortable => {
                    self.give_up(&record, "cancelled").await?;
                    return Ok(MoveOutcome::Over);
                }
            };
            match stepped {
                Ok(StepOutcome::Stepped) => {
                    if record.error.is_some() {
                        mover.catalog.set_move_error(id, None)?;
                    }
                    if record.state == MoveState::Fenced && from_start {
                        self.note_rate(&record, begun)?;
                    }
                }
                Ok(StepOutcome::Wait(left)) => return Ok(MoveOutcome::Waiting(left)),
                Ok(StepOutcome::Over) => return Ok(MoveOutcome::Over),
                Err(error) => return self.stopped(&record, error, abortable).await,
            }
        }
    }

    async fn stopped(
        &self,
        record: &MoveRecord,
        error: StepError,
        abortable: bool,
    ) -> Result<MoveOutcome, MigrationError> {
        let catalog = &self.mover.catalog;
        let text = error.to_string();
        let line = format!("{} {}: {text}", record.table.logical, record.partition_id);
        match error {
            StepError::Retry(_) => {
                self.doubt_claim();
                if record.error.as_deref() != Some(text.as_str()) {
                    tracing::warn!(state = %record.state, "{line}; tried again");
                    catalog.set_move_error(record.id, Some(&text))?;
                }
                Ok(MoveOutcome::Blocked)
            }
            StepError::Nothing => {
                self.give_up(record, &text).await?;
                Ok(MoveOutcome::Over)
            }
            StepError::Failed(_) => {
                catalog.migration_error(record.migration, &line)?;
                if abortable {
                    self.give_up(record, &text).await?;
                    return Ok(MoveOutcome::Over);
                }
                tracing::error!(state = %record.state, "{line}; nothing is dropped");
                catalog.set_move_error(record.id, Some(&text))?;
                Ok(MoveOutcome::Stuck)
            }
        }
    }

    async fn give_up(&self, record: &MoveRecord, reason: &str) -> Result<(), MigrationError> {
        match self.mover.abort(record, reason).await {
            Ok(()) => Ok(()),
            Err(error) => {
                tracing::error!("abort: {error}");
                Ok(())
            }
        }
    }

    /// Rows a second of a whole move, for the estimate of the next dry run.
    fn note_rate(&self, record: &MoveRecord, begun: Instant) -> Result<(), MigrationError> {
        const ENOUGH_ROWS: u64 = 10_000;
        let rows = record.proof.map_or(0, |proof| proof.rows);
        if rows >= ENOUGH_ROWS {
            let rate = rows as f64 / begun.elapsed().as_secs_f64().max(0.001);
            self.mover.catalog.set_note("rows_per_second", &format!("{rate:.0}"))?;
        }
        Ok(())
    }

    /// What given-up moves may have left: on the gateway, and among the internal tables.
    async fn tidy(&self) {
        if let Err(error) = self.try_tidy().await {
            tracing::debug!("tidy up: {error}");
        }
    }

    async fn try_tidy(&self) -> Result<(), StepError> {
        let mover = &self.mover;
        let aborted = mover.catalog.aborted_batches()?;
        let mut after = None;
        while !aborted.is_empty() {
            let page = mover.gateway.batches(after).await?;
            for BatchFacts { state, manifest } in page.batches {
                if state != BatchState::Retired && aborted.contains(&manifest.batch) {
                    mover.gateway.delete(manifest.batch).await?;
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        for table in mover.hot.internal_tables().await? {
            let Some(id) = table.name.strip_prefix("_snap_").and_then(|id| id.parse().ok()) else { continue };
            let ended = mover
                .catalog
                .move_record(id)?
                .is_some_and(|m| matches!(m.state, MoveState::Reclaimed | MoveState::Aborted));
            if ended {
                mover.hot.drop_internal(&crate::catalog::internal_table("_snap", id)).await?;
            }
        }
        Ok(())
    }

    /// Until woken, scheduled, or `longest` has passed.
    async fn sleep(&self, longest: Duration) {
        let next = self.next_run.lock().to_owned();
        let due = next.map(|at| (at - plan::utc_now()).to_std().unwrap_or_default());
        let pause = due.map_or(longest, |due| due.min(longest));
        tokio::select! {
            () = self.wake.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
        self.run_if_due();
    }
}
