//! What all rooms of the daemon share: configuration, engine, journal, spool, the open batches, and
//! the limits on what runs at the same time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use clickhouse_http::client::{Client, NodeList};
use daemon::disk;
use storage_config::NasConfig;
use storage_types::gateway_api::GatewayStatus;
use supervisor::Supervisor;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, SemaphorePermit, watch},
    time::Instant,
};

use crate::{
    clock::RunningTime,
    cold::custody::{self, Custody},
    error::GatewayError,
    identity::Identity,
    ingest::{open_batches::OpenBatches, spool::Spool},
    journal::Journal,
    proofs::ProofJobs,
};

/// Chunks received at the same time; a chunk costs a network buffer and an open file.
const MAX_UPLOADS: usize = 16;
/// Proofs read at the same time.
const MAX_PROOFS: usize = 2;
/// Longest wait for one of the slots above, or for a query's.
const SLOT_WAIT: Duration = Duration::from_secs(10);
/// Longest wait for the engine's word in a status.
const STATUS_WAIT: Duration = Duration::from_secs(3);

/// The daemon's shared state.
pub struct Gateway {
    /// What the operator said.
    pub config: NasConfig,
    /// The cold ClickHouse, as its owner.
    pub engine: Client,
    /// The same as the account that runs what callers wrote.
    pub reader: Client,
    /// Who it is, and whose batches it takes.
    pub identity: Identity,
    /// What has been promised.
    pub journal: Journal,
    /// Chunks not yet loaded.
    pub spool: Arc<Spool>,
    /// Batches not yet finished.
    pub open: OpenBatches,
    /// Whether the cold tables are still those that hold the batches.
    pub custody: Custody,
    /// Proofs that are being computed.
    pub proof_jobs: ProofJobs,
    /// How long this gateway has run in its life.
    pub running: RunningTime,
    /// One admission at a time.
    pub admission: tokio::sync::Mutex<()>,
    /// Batches are published, retired, taken back and begun to be removed one call after the other.
    pub retiring: tokio::sync::Mutex<()>,
    /// Rung when there may be something to remove.
    pub tidying: Notify,
    /// Rung when a batch is committed.
    pub work: Notify,
    /// Rung when there is something to tell the service.
    pub news: Notify,
    /// Its tasks.
    pub supervisor: Supervisor,
    uploads: Semaphore,
    proofs: Semaphore,
    queries: Arc<Semaphore>,
    rebuilt: watch::Sender<bool>,
    cloud_away: AtomicBool,
    cloud_untrusted: AtomicBool,
    started: Instant,
    _claim: disk::Claim,
}

impl Gateway {
    /// Opens journal and spool under `data_dir`. Nothing is dialled yet.
    pub async fn open(config: NasConfig) -> anyhow::Result<Arc<Self>> {
        use anyhow::Context;
        let data_dir = &config.service.data_dir;
        disk::create_folder(data_dir).with_context(|| format!("create {}", data_dir.display()))?;
        let claim = disk::claim_folder(data_dir).with_context(|| format!("claim {}", data_dir.display()))?;
        let journal = Journal::open(data_dir).context("open the journal")?;
        let running = RunningTime::from(journal.running_seconds().await.context("read the journal")?);
        let spool = Spool::open(data_dir).context("open the spool")?;
        let storage = &config.storage;
        let password = storage.password.clone().unwrap_or_default();
        let engine = Client::new(NodeList::single(storage.url.clone(), &*storage.user, password))
            .context("prepare the client of the cold ClickHouse")?;
        let reader = match &storage.query_account {
            Some(account) => engine
                .as_account(&account.user, account.password.clone().unwrap_or_default())
                .context("storage.query_user")?,
            None => engine.clone(),
        };
        let queries = usize::try_from(config.limits.max_concurrent_queries).unwrap_or(1).max(1);
        Ok(Arc::new(Self {
            config,
            engine,
            reader,
            identity: Identity::default(),
            journal,
            spool: Arc::new(spool),
            open: OpenBatches::default(),
            custody: Custody::default(),
            proof_jobs: ProofJobs::default(),
            running,
            admission: tokio::sync::Mutex::new(()),
            retiring: tokio::sync::Mutex::new(()),
            tidying: Notify::new(),
            work: Notify::new(),
            news: Notify::new(),
            supervisor: Supervisor::new(),
            uploads: Semaphore::new(MAX_UPLOADS),
            proofs: Semaphore::new(MAX_PROOFS),
            queries: Arc::new(Semaphore::new(queries)),
            rebuilt: watch::Sender::new(false),
            cloud_away: AtomicBool::new(false),
            cloud_untrusted: AtomicBool::new(false),
            started: Instant::now(),
            _claim: claim,
        }))
    }

    /// A place among the chunks being received.
    pub async fn upload_slot(&self) -> Result<SemaphorePermit<'_>, GatewayError> {
        slot(self.uploads.acquire(), "too many chunks at the same time", MAX_UPLOADS as u64).await
    }

    /// A place among the proofs being read.
    pub async fn proof_slot(&self) -> Result<SemaphorePermit<'_>, GatewayError> {
        slot(self.proofs.acquire(), "too many proofs at the same time", MAX_PROOFS as u64).await
    }

    /// The same for a job, which has time.
    pub async fn proof_turn(&self) -> Result<SemaphorePermit<'_>, GatewayError> {
        self.proofs.acquire().await.map_err(|_| GatewayError::ShuttingDown)
    }

    /// A place among the cold queries.
    pub async fn query_slot(&self) -> Result<OwnedSemaphorePermit, GatewayError> {
        let limit = u64::from(self.config.limits.max_concurrent_queries);
        slot(Arc::clone(&self.queries).acquire_owned(), "too many cold queries at the same time", limit).await
    }

    /// The journal holds everything that the tables and the spool know.
    pub fn set_rebuilt(&self) {
        self.rebuilt.send_replace(true);
    }

    /// Whether it does.
    pub fn is_rebuilt(&self) -> bool {
        *self.rebuilt.borrow()
    }

    /// Waits until it does.
    pub async fn wait_until_rebuilt(&self) {
        let mut rebuilt = self.rebuilt.subscribe();
        // The sender lives in `self`.
        let _ = rebuilt.wait_for(|rebuilt| *rebuilt).await;
    }

    /// Notes whether the cloud answered; answers whether that changed.
    pub fn set_cloud_away(&self, away: bool) -> bool {
        self.cloud_away.swap(away, Ordering::Relaxed) != away
    }

    /// Notes whether who answers in the cloud's place is not it; answers whether that changed.
    pub fn set_cloud_untrusted(&self, untrusted: bool) -> bool {
        self.cloud_untrusted.swap(untrusted, Ordering::Relaxed) != untrusted
    }

    /// Whether new batches are welcome while the cloud does not answer.
    pub fn accepts_data(&self) -> bool {
        self.config.connection.offline_mode.queue_incoming_data || !self.cloud_away.load(Ordering::Relaxed)
    }

    /// Seconds since the daemon started.
    pub fn uptime_s(&self) -> u64 {
        self.started.elapsed().as_secs()
    }

    /// `version()` of the engine, or `None` when it does not answer soon.
    pub async fn engine_version(&self) -> Option<String> {
        let asked = self.engine.query("SELECT version()").deadline(STATUS_WAIT).text().await;
        asked.ok().map(|text| text.trim().to_owned())
    }

    /// The state of the gateway now.
    pub async fn status(&self) -> Result<GatewayStatus, GatewayError> {
        let totals = self.journal.totals().await?;
        Ok(GatewayStatus {
            name: self.config.service.name.clone(),
            id: self.identity.id(),
            sender: self.identity.sender(),
            version: env!("CARGO_PKG_VERSION").into(),
            engine_version: self.engine_version().await,
            disk_free_bytes: disk::free_bytes(self.spool.root())
                .map_err(GatewayError::disk("ask for free space"))?,
            min_free_bytes: self.config.limits.min_free_bytes,
            batches_pending: totals.pending,
            batches_held: totals.held,
            tables: if self.is_rebuilt() { custody::listed(self).await } else { Vec::new() },
        })
    }
}

async fn slot<P>(
    acquire: impl Future<Output = Result<P, tokio::sync::AcquireError>>,
    what: &'static str,
    limit: u64,
) -> Result<P, GatewayError> {
    match tokio::time::timeout(SLOT_WAIT, acquire).await {
        Ok(Ok(permit)) => Ok(permit),
        Ok(Err(_)) => Err(GatewayError::ShuttingDown),
        Err(_) => Err(GatewayError::Busy { what, limit }),
    }
}
