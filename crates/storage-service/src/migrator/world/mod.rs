//! What the steps of a move touch, as it is: ClickHouse, the spool, the gateway, the catalog, the clock.

mod head;
mod journal;
mod nas;
mod spool;

use std::{
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use fault_points::{Moment, Point, Step};
use link::RateLimiter;
use moves::world::World;
use storage_config::{MigrationConfig, TableConfig};
use tokio::sync::Semaphore;

use super::{GatewayClient, Spool};
use crate::{
    catalog::Catalog,
    hot::Hot,
    link::{AdaptiveConcurrency, BandwidthMonitor},
};

/// Everything a step needs. One per process.
pub(super) struct Real {
    pub(super) catalog: Arc<Catalog>,
    pub(super) hot: Hot,
    pub(super) gateway: GatewayClient,
    pub(super) files: Spool,
    pub(super) config: MigrationConfig,
    pub(super) tables: Vec<TableConfig>,
    pub(super) limiter: RateLimiter,
    /// How the line is.
    pub(super) monitor: BandwidthMonitor,
    /// How many chunks are sent at a time.
    pub(super) parallel: parking_lot::Mutex<AdaptiveConcurrency>,
    /// When the clock of `parallel` and of pauses started.
    pub(super) started: Instant,
    /// One batch is encoded at a time.
    pub(super) encoder: Semaphore,
    /// One batch's chunks are begun at a time (over several connections).
    pub(super) sender: Semaphore,
}

impl World for Real {
    type Head = Self;
    type Spool = Self;
    type Nas = Self;
    type Journal = Catalog;

    fn head(&self) -> &Self {
        self
    }

    fn spool(&self) -> &Self {
        self
    }

    fn nas(&self) -> &Self {
        self
    }

    fn journal(&self) -> &Catalog {
        &self.catalog
    }

    fn now_ms(&self) -> u64 {
        now_ms()
    }

    fn uptime_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn random(&self) -> u64 {
        rand::random()
    }
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Seconds since 1970.
pub(super) fn now() -> i64 {
    i64::try_from(now_ms() / 1000).unwrap_or(i64::MAX)
}

/// A fault point of a step.
pub(super) async fn at(step: Step, moment: Moment) {
    if let Some(point) = Point::of_move(step, moment) {
        fault_points::reach(point).await;
    }
}
