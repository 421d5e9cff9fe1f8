//! A stack with two tables of the oracle's: one in coarse partitions (month and venue, so that a
//! window moves), one in daily partitions (whole parts move). Their rows span four days around the
//! edge of retention: two days that move and two that stay.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::{
    clients::{ClickHouse, Service},
    stack::{ManagedTable, Options, Stack, StackConfig},
};
use anyhow::{Result, bail, ensure};
use storage_types::{
    MigrationId, MoveState,
    service_api::{MigrationReport, MigrationRequest, MigrationState},
};

use crate::{
    expected_rows::WrittenRows,
    faults::Faults,
    oracle::{Oracle, Verdict},
};

/// Days rows stay hot.
const RETENTION_DAYS: u64 = 7;
const DAY_MS: u64 = 86_400_000;
/// Hot database of the oracle's tables.
pub const HOT: &str = "oracle_hot";
/// Cold database of the oracle's tables.
pub const COLD: &str = "oracle_cold";
/// The table in coarse partitions.
pub const COARSE: &str = "coarse";
/// The table in daily partitions.
pub const DAILY: &str = "daily";

/// The gateway's own record of batches, beside the cold tables.
const LEDGER: &str = "_storage_batches";
/// Says whose the cold database is.
const OWNER: &str = "_storage_owner";

/// A stack, its tables, and what was written to them.
#[derive(Debug)]
pub struct Fixture {
    /// The processes.
    pub stack: Stack,
    /// The hot engine.
    pub hot: ClickHouse,
    /// The cold engine.
    pub cold: ClickHouse,
    /// The service.
    pub service: Service,
    /// The fault points.
    pub faults: Faults,
    /// What was written to both tables: coarse, daily.
    pub written: Vec<Arc<WrittenRows>>,
    /// Rows before this have expired, ms; a midnight that comes meanwhile changes nothing.
    cut_ms: u64,
    _dir: Option<tempfile::TempDir>,
}

impl Fixture {
    /// A fresh stack with empty tables.
    pub async fn start() -> Result<Self> {
        Self::with(|_| {}).await
    }

    /// The same, with other settings.
    pub async fn with(change: impl FnOnce(&mut StackConfig)) -> Result<Self> {
        Self::with_tables(change, &[]).await
    }

    /// The same, with further hot tables made before the daemons look.
    pub async fn with_tables(change: impl FnOnce(&mut StackConfig), tables: &[String]) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("hybrid-storage-test-").tempdir()?;
        let made = Self::make(dir.path(), change, tables).await?;
        Ok(Self { _dir: Some(dir), ..made })
    }

    /// The same in a folder of the caller's, who may have prepared it: with disks where the stack's folders are to be.
    pub async fn at(dir: &Path, change: impl FnOnce(&mut StackConfig)) -> Result<Self> {
        Self::make(dir, change, &[]).await
    }

    async fn make(dir: &Path, change: impl FnOnce(&mut StackConfig), tables: &[String]) -> Result<Self> {
        let mut options = Options::new(dir);
        options.config.tables =
            [COARSE, DAILY].iter().map(|name| ManagedTable::named(name, HOT, COLD, "ts")).collect();
        options.config.compression_level = "fast".to_owned();
        change(&mut options.config);
        let mut stack = Stack::engines(options).await?;
        let (hot, cold, service) = (stack.hot()?, stack.cold()?, stack.service()?);
        let faults = Faults::new(stack.faults());
        hot.query(format!("CREATE DATABASE {HOT}")).await?;
        for (name, partition, order) in
            [(COARSE, "(toYYYYMM(ts), venue)", "(venue, ts, id)"), (DAILY, "toYYYYMMDD(ts)", "(ts, id)")]
        {
            hot.query(format!(
                "CREATE TABLE {HOT}.{name} (id UInt64, ts DateTime64(3, 'UTC'), venue LowCardinality(String), payload UInt64) \
                 ENGINE = MergeTree PARTITION BY {partition} ORDER BY {order}"
            ))
            .await?;
        }
        for sql in tables {
            hot.query(sql.clone()).await?;
        }
        stack.daemons().await?;
        let now = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
        let start = now / DAY_MS * DAY_MS - (RETENTION_DAYS + 2) * DAY_MS;
        let cut_ms = start + 2 * DAY_MS;
        let written = [COARSE, DAILY]
            .iter()
            .map(|name| Arc::new(WrittenRows::new(&format!("{HOT}.{name}"), start, 4 * DAY_MS)))
            .collect();
        Ok(Self { stack, hot, cold, service, faults, written, cut_ms, _dir: None })
    }

    /// An oracle over both tables.
    pub fn oracle(&self) -> Oracle {
        Oracle::new(self.hot.clone(), self.service.clone(), self.written.clone())
    }

    /// An oracle over one table.
    pub fn oracle_of(&self, name: &str) -> Oracle {
        let wanted = format!("{HOT}.{name}");
        let written = self.written.iter().filter(|t| t.table == wanted).cloned().collect();
        Oracle::new(self.hot.clone(), self.service.clone(), written)
    }

    /// Rows move while late ones come and questions are asked, and questions are answered afterwards.
    ///
    /// # Errors
    /// When nothing moved, or it takes longer than `limit`.
    pub async fn moves_and_answers(&self, limit: Duration) -> Result<Verdict> {
        let mut oracle = self.oracle();
        oracle.preload(60_000).await?;
        oracle.start(1);
        let moved = self.migrate(limit).await?;
        ensure!(moved.rows_published > 0, "nothing moved: {moved:#?}");
        oracle.answered_more(8, limit).await?;
        oracle.finish().await
    }

    /// Migrates until a migration is done, however often one fails or the service is away.
    pub async fn migrate(&self, limit: Duration) -> Result<MigrationReport> {
        self.migrate_table(None, limit).await
    }

    /// The same for one table.
    pub async fn migrate_table(&self, table: Option<&str>, limit: Duration) -> Result<MigrationReport> {
        let request =
            MigrationRequest { tables: table.map(str::to_owned).into_iter().collect(), ..Default::default() };
        let deadline = tokio::time::Instant::now() + limit;
        let mut last = String::new();
        while tokio::time::Instant::now() < deadline {
            match self.once(&request, deadline).await {
                Ok(report) if report.state == MigrationState::Done => return Ok(report),
                Ok(report) => last = format!("{:?}: {}", report.state, report.errors.join("; ")),
                Err(error) => last = format!("{error:#}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!("no migration got done within {} s; the last one: {last}", limit.as_secs())
    }

    async fn once(
        &self,
        request: &MigrationRequest,
        deadline: tokio::time::Instant,
    ) -> Result<MigrationReport> {
        self.idle(deadline).await?;
        let id = self.service.migrate(request).await?;
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        self.service.finished(id, left, |_| {}).await
    }

    /// Waits until the moves of a migration have come to an end, whoever carries them on; a migration
    /// that failed is followed by another.
    pub async fn settled(&self, id: MigrationId, limit: Duration) -> Result<()> {
        let deadline = tokio::time::Instant::now() + limit;
        self.idle(deadline).await?;
        let moves = self.service.migration(id).await?.moves;
        let ended = |state: MoveState| state.is_over();
        if moves.iter().all(|m| m.state == MoveState::Reclaimed) {
            return Ok(());
        }
        self.migrate(deadline.saturating_duration_since(tokio::time::Instant::now())).await?;
        let moves = self.service.migration(id).await?.moves;
        ensure!(moves.iter().all(|m| ended(m.state)), "moves were left behind: {moves:#?}");
        Ok(())
    }

    /// Waits until no migration runs.
    pub async fn idle(&self, deadline: tokio::time::Instant) -> Result<()> {
        loop {
            let running =
                self.service.migrations().await?.into_iter().find(|m| m.state == MigrationState::Running);
            let Some(running) = running else { return Ok(()) };
            ensure!(
                tokio::time::Instant::now() < deadline,
                "migration {} does not end: {running:#?}",
                running.id
            );
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    /// Fails when the hot engine holds more than it should after a migration without late rows:
    /// expired rows in the heads.
    pub async fn reclaimed(&self) -> Result<()> {
        let cut = self.cut_ms / 1000;
        for written in &self.written {
            let sql =
                format!("SELECT count() FROM {} WHERE ts < toDateTime64({cut}, 3, 'UTC')", written.table);
            let left = self.hot.number(&sql).await?;
            ensure!(left == 0, "{left} expired rows are still in {}", written.table);
        }
        let staging =
            self.cold.query(format!("SELECT name FROM system.tables WHERE database = '{COLD}'")).await?;
        ensure!(
            staging.lines().all(|name| [COARSE, DAILY, LEDGER, OWNER].contains(&name)),
            "left beside the cold tables: {staging}"
        );
        Ok(())
    }
}
