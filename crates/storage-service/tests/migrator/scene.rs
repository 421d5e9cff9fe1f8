//! A stack with a table in daily and one in monthly partitions, both with rows of known content.

use std::time::Duration;

use fault_points::Point;
use storage_types::{
    MigrationId,
    service_api::{MigrationReport, MigrationRequest, MigrationState, MoveReport},
};
use testbed::{
    clients::{ClickHouse, Service},
    stack::{Link, ManagedTable, Options, Role, Stack, StackConfig},
    wait::eventually,
};

/// Longest wait for anything.
pub const LIMIT: Duration = Duration::from_secs(60);

/// First second of the rows: 2026-01-10, a day well past any retention.
pub const START: i64 = 1_768_003_200;
/// Seconds.
pub const DAY: i64 = 86_400;

/// Columns of both tables.
const COLUMNS: &str = "id UInt64, ts DateTime64(3, 'UTC'), venue LowCardinality(String), price Decimal64(8), \
    note Nullable(String)";

/// A running stack.
pub struct Scene {
    pub stack: Stack,
    pub hot: ClickHouse,
    pub cold: ClickHouse,
    pub service: Service,
    pub dir: tempfile::TempDir,
}

impl Scene {
    /// Both tables, empty; small batches, so that a move has several.
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut StackConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut options = Options::new(dir.path());
        options.config.tables =
            ["daily", "monthly"].iter().map(|name| ManagedTable::named(name, "hot", "cold", "ts")).collect();
        options.config.compression_level = "fast".into();
        options.config.batch_rows = 2_000;
        options.config.timeout_s = 5;
        // Every point is a kill, and a tunnel takes seconds to find a service again: the end-to-end
        // tests have it.
        options.config.link = Link::Direct;
        change(&mut options.config);
        let stack = Stack::start(options).await.unwrap();
        let (hot, cold, service) = (stack.hot().unwrap(), stack.cold().unwrap(), stack.service().unwrap());
        let scene = Self { stack, hot, cold, service, dir };
        scene.sql("CREATE DATABASE hot").await;
        scene.create("daily", "toYYYYMMDD(ts)", "").await;
        scene.create("monthly", "(toYYYYMM(ts), venue)", "").await;
        scene
            .until("the tables are managed", async |s| {
                s.service.catalog().await.unwrap().tables.iter().all(|t| t.refused.is_none())
            })
            .await;
        scene
    }

    pub async fn create(&self, name: &str, partition_by: &str, rest: &str) {
        self.sql(&format!(
            "CREATE TABLE hot.{name} ({COLUMNS}) ENGINE = MergeTree PARTITION BY {partition_by} ORDER BY (venue, ts) {rest}"
        ))
        .await;
    }

    pub async fn sql(&self, sql: &str) -> String {
        self.hot.query(sql).await.unwrap().trim().to_owned()
    }

    /// `rows` rows with ids from `first`, spread evenly over `days` days from day `from`.
    pub async fn fill(&self, table: &str, first: u64, rows: u64, from: i64, days: i64) {
        let step_ms = days * DAY * 1000 / rows as i64;
        self.sql(&format!(
            "INSERT INTO hot.{table} SELECT {first} + number, \
             fromUnixTimestamp64Milli(({START} + {from} * {DAY}) * 1000 + toInt64(number) * {step_ms}, 'UTC'), \
             substring('AB', number % 2 + 1, 1), number / 4, if(number % 3 = 0, NULL, 'x') FROM numbers({rows})"
        ))
        .await;
    }

    /// Rows through the service: count, distinct ids, and a checksum of the contents.
    pub async fn seen(&self, table: &str) -> String {
        self.ask(&format!(
            "SELECT count(), uniqExact(id), toString(sum(reinterpretAsUInt128(sipHash128(tuple(id, ts, venue, price, note))))) \
             FROM {table}"
        ))
        .await
    }

    pub async fn ask(&self, sql: &str) -> String {
        let request = serde_json::json!({"sql": format!("{sql} FORMAT CSV")});
        self.service
            .ask(&request)
            .await
            .map_or_else(|error| panic!("{sql}: {error:#}"), |answer| answer.text().trim().to_owned())
    }

    pub fn before(day: i64) -> Option<String> {
        Some(chrono::DateTime::from_timestamp(START + day * DAY, 0).unwrap().to_rfc3339())
    }

    pub fn request(table: &str, before_day: i64) -> MigrationRequest {
        MigrationRequest { tables: vec![table.into()], before: Self::before(before_day), dry_run: false }
    }

    /// Moves what is older than the given day, to the end.
    pub async fn migrate(&self, table: &str, before_day: i64) -> MigrationReport {
        let report = self.migrate_somehow(table, before_day).await;
        assert_eq!(report.state, MigrationState::Done, "{report:#?}\n{}", self.log());
        report
    }

    pub async fn migrate_somehow(&self, table: &str, before_day: i64) -> MigrationReport {
        let id = self.service.migrate(&Self::request(table, before_day)).await.unwrap();
        self.finished(id).await
    }

    pub async fn finished(&self, id: MigrationId) -> MigrationReport {
        match self.service.finished(id, LIMIT, |_| ()).await {
            Ok(report) => report,
            Err(error) => panic!("{error:#}\n{}", self.log()),
        }
    }

    /// The last lines of the service's log.
    pub fn log(&self) -> String {
        let text = std::fs::read_to_string(self.stack.log(Role::Service)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// Stops a daemon at a named point.
    pub fn arm(&self, point: Point) {
        std::fs::write(self.stack.faults().join(point.name()), b"").unwrap();
    }

    pub async fn reached(&self, point: Point) {
        let path = self.stack.faults().join(format!("{point}.reached"));
        self.until(point.name(), async |_| path.exists()).await;
    }

    /// Starts a migration of what is older than the given day, which is held at the point.
    pub async fn hold(&self, table: &str, before_day: i64, point: Point) -> MigrationId {
        self.arm(point);
        let id = self.service.migrate(&Self::request(table, before_day)).await.unwrap();
        self.reached(point).await;
        id
    }

    pub fn release(&self, point: Point) {
        std::fs::remove_file(self.stack.faults().join(format!("{point}.reached"))).unwrap();
    }

    /// Polls `what` until it holds.
    pub async fn until(&self, what: &str, holds: impl AsyncFn(&Self) -> bool) {
        let held = eventually(what, async || holds(self).await.then_some(())).await;
        held.unwrap_or_else(|error| panic!("{error}\n{}", self.log()));
    }
}

/// Rows of these moves.
pub fn rows(moves: &[MoveReport]) -> u64 {
    moves.iter().filter_map(|m| m.proof).map(|proof| proof.rows).sum()
}
