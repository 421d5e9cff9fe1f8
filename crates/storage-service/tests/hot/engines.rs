//! The engines that each promise is tried on.

use std::net::TcpListener;

use clickhouse_http::client::{Client, NodeList};
use clickhouse_sql::TableName;
use moves::ManagedTable;
use storage_config::TableConfig;
use storage_service::hot::Hot;
use storage_types::TimeRange;
use testbed::{clients::ClickHouse, engine};
use url::Url;

#[path = "../clickhouse_25_8/server.rs"]
mod server;

/// An engine with the databases `hot` and `other`; ends when dropped.
pub struct Engine {
    /// Asks it as the migrator does.
    pub hot: Hot,
    admin: ClickHouse,
    url: Url,
    _dir: tempfile::TempDir,
    program: Program,
}

#[allow(clippy::large_enum_variant, reason = "two of them at a time")]
enum Program {
    Embedded(engine::Engine),
    Server(server::Server),
}

impl Engine {
    /// ClickHouse 26.7.
    pub async fn embedded() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let engine = engine::Engine::start(dir.path()).await.unwrap();
        let node = format!("http://{}", engine.address()).parse().unwrap();
        let client = Client::new(NodeList::single(node, engine::OWNER, "")).unwrap();
        let admin = engine.client().clone();
        Self::with_databases(Hot::new(client), admin, dir, Program::Embedded(engine)).await
    }

    /// ClickHouse 25.8; `None` where it cannot be fetched.
    async fn server() -> Option<Self> {
        let package = server::package().inspect_err(|why| println!("SKIPPED: 25.8: {why}")).ok()?;
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = format!("http://127.0.0.1:{port}");
        let server = server::Server::start(package, dir.path().join("engine"), &url).await;
        let (client, admin) = (server.as_account("admin", "admin"), server.admin.clone());
        Some(Self::with_databases(Hot::new(client), admin, dir, Program::Server(server)).await)
    }

    /// One of each version.
    pub async fn both() -> Vec<Self> {
        let mut engines = vec![Self::embedded().await];
        engines.extend(Self::server().await);
        engines
    }

    async fn with_databases(hot: Hot, admin: ClickHouse, dir: tempfile::TempDir, program: Program) -> Self {
        let url = admin.url.parse().unwrap();
        let engine = Self { hot, admin, url, _dir: dir, program };
        engine.sql("CREATE DATABASE hot").await;
        engine.sql("CREATE DATABASE other").await;
        engine
    }

    /// The answer to any statement.
    pub async fn sql(&self, sql: &str) -> String {
        self.admin.query(sql).await.unwrap().trim().to_owned()
    }

    /// The answer to any statement, with settings.
    pub async fn sql_with(&self, sql: &str, settings: &[(&str, &str)]) -> String {
        self.admin.query_with(sql, settings).await.unwrap().trim().to_owned()
    }

    /// Whether it refuses a statement, and by these words.
    pub async fn refuses(&self, sql: &str, words: &str) -> bool {
        self.admin.query(sql).await.is_err_and(|error| format!("{error:#}").contains(words))
    }

    /// A plain table `hot.NAME` of `id`, `ts` and `v` by months, which keeps block numbers.
    pub async fn create(&self, name: &str, settings: &str) -> ManagedTable {
        self.sql(&format!(
            "CREATE TABLE hot.{name} (id UInt64, ts DateTime64(3, 'UTC'), v UInt64) ENGINE = MergeTree \
             PARTITION BY toYYYYMM(ts) ORDER BY id SETTINGS enable_block_number_column = 1{settings}"
        ))
        .await;
        self.managed(name).await
    }

    /// Ten rows with ids from `first`, one a second from 2026-01-10.
    pub async fn insert(&self, name: &str, first: u64) {
        self.sql(&format!(
            "INSERT INTO hot.{name} SELECT {first} + number AS id, toDateTime64({START} + number, 3, 'UTC'), id FROM numbers(10)"
        ))
        .await;
    }

    /// How many rows of `hot.NAME` have which block number, in order.
    pub async fn numbers(&self, name: &str) -> Vec<(u64, u64)> {
        let sql = format!(
            "SELECT _block_number, count() FROM hot.{name} GROUP BY 1 ORDER BY 1 SETTINGS optimize_use_projections = 0"
        );
        let rows = self.sql(&sql).await;
        let row = |line: &str| {
            let (number, count) = line.split_once('\t').unwrap();
            (number.parse().unwrap(), count.parse().unwrap())
        };
        rows.lines().map(row).collect()
    }

    /// `hot.NAME`, managed by its time column `ts`.
    pub async fn managed(&self, name: &str) -> ManagedTable {
        self.hot.describe(&config(name)).await.unwrap().unwrap().table
    }

    /// Why `hot.NAME` cannot be managed.
    pub async fn refusal(&self, name: &str) -> Option<String> {
        self.hot.describe(&config(name)).await.unwrap().err()
    }

    /// Where it listens.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// `kill -9` of an embedded one.
    pub fn kill(&mut self) {
        match &mut self.program {
            Program::Embedded(engine) => engine.kill().unwrap(),
            Program::Server(_) => panic!("not of a server"),
        }
    }

    /// Ends it and starts it again.
    pub async fn restart(&mut self) {
        match &mut self.program {
            Program::Embedded(engine) => engine.restart().await.unwrap(),
            Program::Server(server) => server.restart().await,
        }
    }
}

/// A managed table's head.
pub fn head(table: &ManagedTable) -> TableName {
    TableName::new(&table.head.0, &table.head.1)
}

/// First second of [`Engine::insert`]'s rows: 2026-01-10.
pub const START: i64 = 1_768_003_200;
/// The window around them.
pub const WINDOW: TimeRange = TimeRange::new(START, START + 10);

fn config(name: &str) -> TableConfig {
    TableConfig {
        logical: name.to_owned(),
        hot_database: "hot".into(),
        hot_table: name.to_owned(),
        cold_database: "cold".into(),
        cold_table: name.to_owned(),
        time_column: "ts".into(),
        cold_order_by: None,
        ttl_acknowledged: false,
    }
}
