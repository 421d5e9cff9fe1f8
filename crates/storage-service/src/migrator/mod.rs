//! The migrator: moves expired rows to the NAS, exactly once.
//!
//! ```text
//! planned ─▶ snapshotted ─▶ sending ─▶ proven ─▶ fencing ─▶ fenced ─▶ published ─▶ reproven ─▶ reclaimed
//!    1. snapshot   2. encode  3. send  4. prove      5. fence       6. publish    7. reprove    8. reclaim
//! ```
//!
//! 1. **snapshot** ([`snapshot`](self)): hard links to the head's parts in a table of our own; counted, hashed,
//!    cut into batches of bounded size, in one scan.
//! 2. **encode**, 3. **send**, 4. **prove**: each batch streams through the codec into the spool, goes
//!    over in chunks, and is counted and hashed by the NAS's own engine. A few batches are under way at
//!    a time.
//! 5. **fence**: the head's copy is set aside. A whole partition: its parts are dropped by name behind a
//!    gate. A window, or parts that were merged meanwhile: by content, hidden first and then deleted.
//!    Rows that came late stay in the head; copies of shipped rows that came late go into a delta, which
//!    stays visible and is a move of its own in the next migration.
//! 6. **publish**: one transaction in the catalog.
//! 7. **reprove**: after the grace time, count and hash come back from the NAS's live table.
//! 8. **reclaim**: the snapshot is dropped.
//!
//! - **Consistency**: what queries see changes only in the catalog's transactions; see
//!   [`crate::catalog`]. At every moment each row is seen in exactly one place.
//! - **Crash**: intent is journalled before an effect and the result after it; each step begins by
//!   looking at the tables, so any of them can be done again.
//! - **Retries**: an engine or gateway that is away is waited for; an unknown outcome is looked up.
//! - **Cancellation**: the loop is one future; dropping it is a crash like any other.

mod claim;
mod cut;
mod drive;
mod encode;
mod error;
mod fence;
mod gateway;
mod mover;
mod plan;
mod publish;
mod rebuild;
mod reprove;
mod schedule;
mod ship;
mod snapshot;
mod spool;
mod tables;
mod window;

use std::sync::{Arc, atomic::AtomicBool};

use chrono::{DateTime, Utc};
use clickhouse_http::Client;
use link::Peer;
use parking_lot::{Mutex, RwLock};
use storage_config::CloudConfig;
use storage_types::{
    MigrationId, Sender,
    gateway_api::Confirmation,
    service_api::{AdoptReport, DryRun, MigrationReport, MigrationRequest, MigrationState, TableReport},
};
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    catalog::{Catalog, MigrationRecord},
    hot::Hot,
    link::{AdaptiveConcurrency, BandwidthMonitor, BandwidthSchedule},
};
use mover::{Mover, new_migration_id, now};
use schedule::Schedule;
use spool::Spool;

pub use error::{MigrationError, StepError};
pub use gateway::GatewayClient;

/// Most chunks sent at the same time.
const MOST_CONNECTIONS: u32 = 16;
/// Migrations in a list.
const LISTED: u32 = 100;

/// The migrator's handle. Cheap to clone; [`Migrator::run`] is its one loop.
#[derive(Clone)]
pub struct Migrator {
    inner: Arc<Inner>,
}

struct Inner {
    mover: Mover,
    outage_days: u32,
    schedule: Option<Schedule>,
    next_run: Mutex<Option<DateTime<Utc>>>,
    refused: RwLock<tables::Refusals>,
    wake: Notify,
    /// The migration that was cancelled last.
    cancelled: watch::Sender<Option<MigrationId>>,
    /// Who this start of the service is.
    sender: Sender,
    /// The gateway takes this sender's batches.
    claimed: AtomicBool,
    /// The sender because of which it may not, once that was logged.
    refused_by: Mutex<Option<Sender>>,
    /// The spool was swept and left-over moves were taken up, once.
    swept: AtomicBool,
}

impl Migrator {
    /// Prepares the spool and the schedule; touches neither engine.
    pub fn new(
        config: &CloudConfig,
        hot: Client,
        gateway: Peer,
        catalog: Arc<Catalog>,
        pace: &BandwidthSchedule,
        monitor: BandwidthMonitor,
    ) -> anyhow::Result<Self> {
        let spool = Spool::open(
            mover::spool_dir(&config.service.data_dir),
            config.service.spool_max_bytes,
            config.service.min_free_bytes,
        )?;
        let migration = config.migration.clone();
        let schedule =
            migration.schedule.as_deref().map(Schedule::parse).transpose().map_err(anyhow::Error::msg)?;
        let next = schedule.as_ref().and_then(|schedule| schedule.after(plan::utc_now()));
        catalog.forget_tables_except(&config.tables.iter().map(|t| t.logical.clone()).collect::<Vec<_>>())?;
        // Until the loop has found out whether anything was lost, and what each table is.
        let known = catalog.managed_tables()?.len() == config.tables.len();
        catalog.set_rebuilding(!known || catalog.note(drive::MET_GATEWAY)?.is_none());
        let sender = claim::next_sender(&catalog)?;
        let cancelled = catalog.note("cancelled")?.and_then(|id| id.parse().ok());
        let parallel = Mutex::new(AdaptiveConcurrency::new(migration.connections, MOST_CONNECTIONS));
        let inner = Inner {
            outage_days: migration.longest_outage_days,
            schedule,
            next_run: Mutex::new(next),
            refused: RwLock::default(),
            wake: Notify::new(),
            cancelled: watch::channel(cancelled).0,
            sender,
            claimed: AtomicBool::new(false),
            refused_by: Mutex::default(),
            swept: AtomicBool::new(false),
            mover: Mover {
                catalog,
                hot: Hot::new(hot),
                gateway: GatewayClient::new(gateway),
                spool,
                limiter: pace.up().clone(),
                config: migration,
                tables: config.tables.clone(),
                retention_days: config.hot.retention_days,
                monitor,
                parallel,
                started: std::time::Instant::now(),
                encoder: Semaphore::new(1),
                sender: Semaphore::new(1),
                confirmed: Notify::new(),
            },
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The loop. Returns when `stop` is cancelled, never otherwise.
    pub async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.inner.run_loop() => {}
        }
    }

    /// Starts a migration; it runs in the loop. `trigger`: who asked.
    pub async fn start(
        &self,
        request: MigrationRequest,
        trigger: &str,
    ) -> Result<MigrationId, MigrationError> {
        let (names, before) = self.inner.judge(&request).await?;
        let id = self.inner.begin(names, before, trigger)?;
        self.inner.wake.notify_one();
        Ok(id)
    }

    /// What a migration would do now.
    pub async fn dry_run(&self, request: MigrationRequest) -> Result<DryRun, MigrationError> {
        let (names, before) = self.inner.judge(&request).await?;
        let tables = self.inner.allowed(&names)?;
        self.inner.mover.dry_run(&tables, before).await
    }

    /// One migration and its moves.
    pub fn report(&self, id: MigrationId) -> Option<MigrationReport> {
        let catalog = &self.inner.mover.catalog;
        let report = catalog.migration(id).and_then(|found| found.map(|m| catalog.report(m)).transpose());
        report.unwrap_or_else(|error| {
            tracing::error!(migration = %id, "report: {error}");
            None
        })
    }

    /// The latest migrations, newest first.
    pub fn reports(&self) -> Vec<MigrationReport> {
        let catalog = &self.inner.mover.catalog;
        let found =
            catalog.migrations(LISTED).and_then(|all| all.into_iter().map(|m| catalog.report(m)).collect());
        found.unwrap_or_else(|error| {
            tracing::error!("list the migrations: {error}");
            Vec::new()
        })
    }

    /// Moves that are not fenced yet are aborted, the others finished. Fine when it has ended already.
    pub async fn cancel(&self, id: MigrationId) -> Result<(), MigrationError> {
        let catalog = &self.inner.mover.catalog;
        let migration = catalog.migration(id)?.ok_or(MigrationError::NotFound(id))?;
        if migration.state == MigrationState::Running {
            catalog.set_note("cancelled", &id.to_string())?;
            self.inner.cancelled.send_replace(Some(id));
            self.inner.wake.notify_one();
        }
        Ok(())
    }

    /// The gateway tells how a batch ended; whoever waits for one asks again.
    pub fn confirm(&self, confirmation: Confirmation) {
        tracing::debug!(batch_id = %confirmation.status.batch, state = %confirmation.status.state, "confirmed");
        self.inner.mover.confirmed.notify_waiters();
    }

    /// When the schedule starts the next one, Unix seconds.
    pub fn next_scheduled(&self) -> Option<i64> {
        self.inner.next_run.lock().map(|at| at.timestamp())
    }

    /// Takes over a table's TTL: from now on rows leave the head only by being moved.
    pub async fn adopt_ttl(&self, logical: &str) -> Result<AdoptReport, MigrationError> {
        self.inner.adopt_ttl(logical).await
    }

    /// Every managed table with what is visible of it.
    pub fn tables(&self) -> Vec<TableReport> {
        self.inner.table_reports()
    }
}

impl Inner {
    fn begin(&self, tables: Vec<String>, before: i64, trigger: &str) -> Result<MigrationId, MigrationError> {
        let id = new_migration_id();
        self.mover.catalog.start_migration(&MigrationRecord {
            id,
            trigger: trigger.to_owned(),
            state: MigrationState::Running,
            tables,
            before,
            planned: false,
            started_at: now(),
            finished_at: None,
            wire_bytes: 0,
            errors: Vec::new(),
        })?;
        tracing::info!(migration = %id, trigger, before, "migration begins");
        Ok(id)
    }

    fn is_cancelled(&self, id: MigrationId) -> bool {
        *self.cancelled.borrow() == Some(id)
    }

    /// Resolves once the migration is cancelled.
    async fn cancelled(&self, id: MigrationId) {
        let mut cancelled = self.cancelled.subscribe();
        if cancelled.wait_for(|last| *last == Some(id)).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Starts the scheduled migration when its time has come.
    fn run_if_due(&self) {
        let Some(schedule) = &self.schedule else { return };
        let now = plan::utc_now();
        {
            let mut next = self.next_run.lock();
            match *next {
                Some(at) if at <= now => *next = schedule.after(now),
                _ => return,
            }
        }
        let names = self.mover.tables.iter().map(|table| table.logical.clone()).collect();
        let before = plan::default_before(now.timestamp(), self.mover.retention_days);
        match self.begin(names, before, "schedule") {
            // The loop is awake and looks for it next, unless it is in the middle of one.
            Ok(_) => self.wake.notify_one(),
            Err(error) => tracing::warn!("scheduled migration: {error}"),
        }
    }
}
