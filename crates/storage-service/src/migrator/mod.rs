//! The migrator: moves expired rows to the NAS, exactly once. What a move is, its states and its steps are in
//! the crate [`moves`]; here is what they touch, and what decides that rows are to move.
//!
//! - [`world`](self): the traits of [`moves::world`] over ClickHouse, the spool, the gateway and the catalog.
//! - `drive`: the loops that plan migrations and run the steps that are due.
//! - `trust`: whether this catalog knows what was deleted from the head, and what it learns from the NAS if not.
//! - `claim`: that this service is the one that the gateway obeys.
//!
//! A migration is a label on moves: any number may run, and a move that is blocked holds up no other.

mod claim;
mod drive;
mod error;
mod gateway;
mod plan;
mod schedule;
mod spool;
mod tables;
mod trust;
mod world;

use std::sync::{Arc, atomic::AtomicBool};

use chrono::{DateTime, Utc};
use clickhouse_http::Client;
use link::Peer;
use moves::{Mover, Settings, Trouble, record::Decision};
use parking_lot::{Mutex, RwLock};
use storage_config::CloudConfig;
use storage_types::{
    MigrationId, MoveId, Sender,
    gateway_api::Confirmation,
    service_api::{
        AdoptReport, DryRun, KeptCopy, MigrationReport, MigrationRequest, MigrationState, TableReport,
    },
};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::{
    catalog::{Catalog, CatalogError, MigrationRecord, wait_report},
    hot::Hot,
    link::{AdaptiveConcurrency, BandwidthMonitor, BandwidthSchedule},
};
use schedule::Schedule;
use spool::Spool;
use world::Real;

pub use error::MigrationError;
pub use gateway::GatewayClient;

/// Most chunks sent at the same time.
const MOST_CONNECTIONS: u32 = 16;
/// Most rows and uncompressed bytes of a move.
const MOVE_ROWS: u64 = 20_000_000;
const MOVE_BYTES: u64 = 20 << 30;
/// Batches of one move under way at a time.
const PIPELINE: usize = 4;
/// Migrations in a list.
const LISTED: u32 = 100;

/// The migrator's handle. Cheap to clone; [`Migrator::run`] runs its loops.
#[derive(Clone)]
pub struct Migrator {
    inner: Arc<Inner>,
}

struct Inner {
    mover: Mover<Real>,
    retention_days: u32,
    outage_days: u32,
    schedule: Option<Schedule>,
    next_run: Mutex<Option<DateTime<Utc>>>,
    refused: RwLock<tables::Refusals>,
    /// Keeping house has something to do.
    wake: Notify,
    /// A step may be due.
    work: Notify,
    /// The catalog knows what was deleted from the head.
    trusted: AtomicBool,
    /// When the hot engine started, Unix seconds, once it was asked.
    hot_started: Mutex<Option<i64>>,
    /// Who this start of the service is.
    sender: Mutex<Sender>,
    /// The gateway takes this sender's batches.
    claimed: AtomicBool,
    /// The sender because of which it may not, once that was logged.
    refused_by: Mutex<Option<Sender>>,
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
            config.service.data_dir.join("spool"),
            config.service.spool_max_bytes,
            config.service.min_free_bytes,
        )?;
        let migration = config.migration.clone();
        let schedule =
            migration.schedule.as_deref().map(Schedule::parse).transpose().map_err(anyhow::Error::msg)?;
        let next = schedule.as_ref().and_then(|schedule| schedule.after(plan::utc_now()));
        catalog.forget_tables_except(&config.tables.iter().map(|t| t.logical.clone()).collect::<Vec<_>>())?;
        // Until it is known what each table is, and whether anything was lost.
        catalog.set_rebuilding(true);
        let sender = claim::next_sender(&catalog)?;
        let parallel = Mutex::new(AdaptiveConcurrency::new(migration.connections, MOST_CONNECTIONS));
        let settings = Settings {
            batch_rows: migration.batch_rows,
            move_rows: MOVE_ROWS,
            move_bytes: MOVE_BYTES,
            grace_s: migration.grace.as_secs(),
            pipeline: PIPELINE,
        };
        let world = Real {
            catalog,
            hot: Hot::new(hot),
            gateway: GatewayClient::new(gateway),
            files: spool,
            limiter: pace.up().clone(),
            config: migration.clone(),
            tables: config.tables.clone(),
            monitor,
            parallel,
            started: std::time::Instant::now(),
            encoder: Semaphore::new(1),
            sender: Semaphore::new(1),
        };
        let inner = Inner {
            retention_days: config.hot.retention_days,
            outage_days: migration.longest_outage_days,
            schedule,
            next_run: Mutex::new(next),
            refused: RwLock::default(),
            wake: Notify::new(),
            work: Notify::new(),
            trusted: AtomicBool::new(false),
            hot_started: Mutex::default(),
            sender: Mutex::new(sender),
            claimed: AtomicBool::new(false),
            refused_by: Mutex::default(),
            mover: Mover::new(world, settings),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The loop. Returns when `stop` is cancelled, never otherwise.
    pub async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.inner.run() => {}
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
        self.inner.dry_run_of(&self.inner.allowed(&names), before).await
    }

    /// One migration and its moves.
    pub fn report(&self, id: MigrationId) -> Option<MigrationReport> {
        let catalog = &self.inner.world().catalog;
        let report = catalog.migration(id).and_then(|found| found.map(|m| self.inner.report(m)).transpose());
        report.unwrap_or_else(|error| {
            tracing::error!(migration = %id, "report: {error}");
            None
        })
    }

    /// The latest migrations, newest first.
    pub fn reports(&self) -> Vec<MigrationReport> {
        let catalog = &self.inner.world().catalog;
        let found = catalog
            .migrations(LISTED)
            .and_then(|all| all.into_iter().map(|m| self.inner.report(m)).collect());
        found.unwrap_or_else(|error| {
            tracing::error!("list the migrations: {error}");
            Vec::new()
        })
    }

    /// Moves whose rows are all in the head are given up, the others finished. Fine when it has ended already.
    pub async fn cancel(&self, id: MigrationId) -> Result<(), MigrationError> {
        let inner = &self.inner;
        let catalog = &inner.world().catalog;
        let migration = catalog.migration(id)?.ok_or(MigrationError::NotFound(id))?;
        if migration.state == MigrationState::Running {
            catalog.cancel_migration(id)?;
            let open: Vec<MoveId> =
                catalog.read(|book| book.open_moves().filter(|m| m.migration == id).map(|m| m.id).collect());
            for record in open {
                inner.mover.cancel(record)?;
            }
            inner.work.notify_one();
            inner.wake.notify_one();
        }
        Ok(())
    }

    /// What an operator decides about a move that waits for it.
    pub fn decide(&self, id: MoveId, keep: KeptCopy) -> Result<(), MigrationError> {
        if self.inner.world().catalog.read(|book| book.get(id).is_none()) {
            return Err(MigrationError::NoSuchMove(id));
        }
        let decision = match keep {
            KeptCopy::Hot => Decision::KeepHot,
            KeptCopy::Cold => Decision::KeepCold,
        };
        self.inner.mover.decide(id, decision).map_err(|trouble| match trouble {
            Trouble::Refused(why) => MigrationError::CannotDecide(id, why),
            other => other.into(),
        })?;
        self.inner.work.notify_one();
        Ok(())
    }

    /// The gateway tells how a batch ended; whoever waits for one asks again.
    pub fn confirm(&self, confirmation: Confirmation) {
        tracing::debug!(batch_id = %confirmation.status.batch, state = %confirmation.status.state, "confirmed");
        self.inner.mover.wake_batch(confirmation.status.batch);
        self.inner.work.notify_one();
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
    fn world(&self) -> &Real {
        self.mover.world()
    }

    /// The catalog's report, with what the catalog could not be told.
    fn report(&self, migration: MigrationRecord) -> Result<MigrationReport, CatalogError> {
        let mut report = self.world().catalog.report(migration)?;
        for record in &mut report.moves {
            let unsaid = self.mover.unsaid(record.id).map(|waiting| wait_report(&waiting));
            record.waits_for = unsaid.or(record.waits_for.take());
        }
        Ok(report)
    }

    fn begin(&self, tables: Vec<String>, before: i64, trigger: &str) -> Result<MigrationId, MigrationError> {
        let migration = MigrationRecord::new(tables, before, trigger);
        self.world().catalog.start_migration(&migration)?;
        tracing::info!(migration = %migration.id, trigger, before, "migration begins");
        Ok(migration.id)
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
        let names = self.world().tables.iter().map(|table| table.logical.clone()).collect();
        let before = plan::default_before(now.timestamp(), self.retention_days);
        match self.begin(names, before, "schedule") {
            Ok(_) => self.wake.notify_one(),
            Err(error) => tracing::warn!("scheduled migration: {error}"),
        }
    }
}
