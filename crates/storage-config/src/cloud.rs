//! The validated configuration of `storage-service`.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use url::Url;
use wireguard::LinkConfig;

use crate::{Account, Deployment, Effort, LogFormat, Secret, Timetable};

/// Everything `storage-service` is told.
#[derive(Debug, Clone)]
pub struct CloudConfig {
    /// The daemon itself.
    pub service: ServiceConfig,
    /// The hot ClickHouse.
    pub hot: HotConfig,
    /// The way to the gateway on the NAS.
    pub cold: ColdProxyConfig,
    /// The tunnel to the NAS.
    pub link: LinkConfig,
    /// How rows are moved.
    pub migration: MigrationConfig,
    /// Managed tables; may be empty (then nothing is moved and nothing is split).
    pub tables: Vec<TableConfig>,
    /// Things an operator should read once, at start: to be logged as warnings.
    pub notes: Vec<String>,
}

/// `service`.
#[derive(Debug, Clone)]
pub struct ServiceConfig {
    /// Name in logs and status.
    pub name: String,
    /// Always [`Deployment::Cloud`] here.
    pub deployment: Deployment,
    /// Address of the API. Never other than loopback when there is no token.
    pub listen: SocketAddr,
    /// Folder of `catalog.sqlite` and `spool/`.
    pub data_dir: PathBuf,
    /// How the hot ClickHouse reaches this service (`url()` of a hybrid query); `None`: cold rows go
    /// to it as external tables.
    pub internal_url: Option<Url>,
    /// File of `token`.
    pub token_file: Option<PathBuf>,
    /// What callers and the gateway must present; `None` only on loopback.
    pub token: Option<Secret>,
    /// Largest request body, bytes.
    pub max_body_bytes: u64,
    /// Nothing is spooled when less than this would stay free, bytes.
    pub min_free_bytes: u64,
    /// Most bytes of encoded batches waiting to be sent.
    pub spool_max_bytes: u64,
    /// Seconds a shutdown waits for running requests.
    pub drain_seconds: u64,
    /// Shape of log lines.
    pub log_format: LogFormat,
}

/// `hot_storage.type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HotKind {
    /// Several nodes, any of which answers.
    ClickhouseCluster,
    /// One server.
    ClickhouseSingle,
    /// `clickhouse-embedded` (it has no server of its own to configure, only an address).
    Embedded,
}

/// `hot_storage`.
#[derive(Debug, Clone)]
pub struct HotConfig {
    /// What is there.
    pub kind: HotKind,
    /// Base URLs of the HTTP interfaces, at least one.
    pub nodes: Vec<Url>,
    /// Port of the HTTP interface where a node was given as `host` or `host:9000`.
    pub http_port: u16,
    /// ClickHouse user.
    pub user: String,
    /// Its password, from `password_file`.
    pub password: Option<Secret>,
    /// The account for everything that a caller wrote; `None`: the owner's, `user`.
    pub query_account: Option<Account>,
    /// The account for our own splices of callers' texts, which fetch cold rows by `url()`; `None`: the query
    /// account's. Never without `query_account`.
    pub splice_account: Option<Account>,
    /// Database of unqualified names.
    pub database: String,
    /// Days rows stay hot.
    pub retention_days: u32,
}

/// `connection.method` of either file: how the other daemon is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkMethod {
    /// At an address inside a VPN, ours (`link`) or the operating system's.
    Vpn,
    /// Through a reverse proxy.
    ReverseProxy,
}

/// `cold_storage_proxy`: the gateway, and the way to it.
#[derive(Debug, Clone)]
pub struct ColdProxyConfig {
    /// How the gateway is reached.
    pub method: LinkMethod,
    /// Base URL of storage-gateway.
    pub gateway_url: Url,
    /// PEM file of the only authorities the gateway's certificate may come from; `None`: the system's.
    pub ca_file: Option<PathBuf>,
    /// File of `token`.
    pub token_file: Option<PathBuf>,
    /// What the gateway asks us for.
    pub token: Option<Secret>,
    /// Longest wait for the first byte of an answer.
    pub timeout: Duration,
    /// Repeats of a call that may be repeated.
    pub retry_attempts: u32,
    /// What happens while the NAS is away.
    pub fallback: FallbackConfig,
}

/// `cold_storage_proxy.fallback`.
#[derive(Debug, Clone)]
pub struct FallbackConfig {
    /// May cold answers come from elsewhere.
    pub enabled: bool,
    /// How long cached cold answers are kept.
    pub cache_duration: Duration,
    /// Name of a second copy of cold data.
    pub backup_storage: Option<String>,
}

/// `migration`.
#[derive(Debug, Clone)]
pub struct MigrationConfig {
    /// Cron expression, UTC, five fields; `None`: only by the API.
    pub schedule: Option<String>,
    /// Bytes per second over the link, by local time.
    pub bandwidth_limit: Timetable,
    /// How hard batches are compressed.
    pub effort: Effort,
    /// Threads that compress one batch (`compression_threads`).
    pub encode_threads: usize,
    /// Largest chunk, bytes (`chunk_size`).
    pub chunk_bytes: u64,
    /// Always true: `false` is refused.
    pub verification_enabled: bool,
    /// Most rows of one batch.
    pub batch_rows: u64,
    /// Time between publish and the deletion of the hot rows.
    pub grace: Duration,
    /// Chunks sent at the same time at first; how many is then found by measurement.
    pub connections: u32,
    /// The longest absence of the NAS that must not cost rows, for the TTL guard.
    pub longest_outage_days: u32,
}

/// One of `tables`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableConfig {
    /// Name callers use.
    pub logical: String,
    /// Database of the head, unquoted.
    pub hot_database: String,
    /// The head: the user's own table.
    pub hot_table: String,
    /// Database on the NAS, unquoted.
    pub cold_database: String,
    /// Table on the NAS.
    pub cold_table: String,
    /// Column that decides a row's age.
    pub time_column: String,
    /// ORDER BY of a cold table that is yet to be created; `None`: the head's.
    pub cold_order_by: Option<String>,
    /// The operator knows that the head's TTL may delete rows before they are archived.
    pub ttl_acknowledged: bool,
}
