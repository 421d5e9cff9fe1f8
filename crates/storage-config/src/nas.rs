//! The validated configuration of `storage-gateway`.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use url::Url;
use wireguard::LinkConfig;

use crate::{Account, Deployment, LinkMethod, LogFormat, Secret};

/// Everything `storage-gateway` is told.
#[derive(Debug, Clone)]
pub struct NasConfig {
    /// The daemon itself.
    pub service: NasServiceConfig,
    /// The cold ClickHouse.
    pub storage: ColdStorageConfig,
    /// The way to storage-service in the cloud.
    pub connection: ConnectionConfig,
    /// The tunnel to the cloud.
    pub link: LinkConfig,
    /// What one caller may cost.
    pub limits: LimitsConfig,
    /// Things an operator should read once, at start: to be logged as warnings.
    pub notes: Vec<String>,
}

/// `service`.
#[derive(Debug, Clone)]
pub struct NasServiceConfig {
    /// Name in logs and status.
    pub name: String,
    /// Always [`Deployment::Nas`] here.
    pub deployment: Deployment,
    /// Address of the API. Never other than loopback when there is no token.
    pub listen: SocketAddr,
    /// Folder of `gateway.sqlite` and `spool/`; one gateway's alone.
    pub data_dir: PathBuf,
    /// File of `token`.
    pub token_file: Option<PathBuf>,
    /// What storage-service must present; `None` only on loopback.
    pub token: Option<Secret>,
    /// Largest body of a request that is not a chunk, bytes.
    pub max_body_bytes: u64,
    /// Seconds a shutdown waits for running requests.
    pub drain_seconds: u64,
    /// Shape of log lines.
    pub log_format: LogFormat,
}

/// `storage.type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColdKind {
    /// One ClickHouse server.
    ClickhouseSingle,
    /// `clickhouse-embedded`.
    Embedded,
}

/// `storage.compression`: the codec of columns of cold tables that the gateway creates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// `LZ4`.
    Lz4,
    /// `ZSTD(1)`.
    Zstd,
    /// `ZSTD(12)`.
    ZstdUltra,
}

/// `storage.archive`: when the rows of batches that the service retired leave the cold tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Archive {
    /// `append_only`: never.
    AppendOnly,
    /// `delayed <days>d`: when the gateway has run for so many days since.
    Delayed {
        /// 1 to 3650.
        days: u32,
    },
    /// `open`: at once.
    Open,
}

/// `storage`.
#[derive(Debug, Clone)]
pub struct ColdStorageConfig {
    /// What is there.
    pub kind: ColdKind,
    /// Base URL of its HTTP interface.
    pub url: Url,
    /// Port of the HTTP interface where `url` is only a host.
    pub http_port: u16,
    /// ClickHouse user.
    pub user: String,
    /// Its password, from `password_file`.
    pub password: Option<Secret>,
    /// The account for everything that a caller wrote; `None`: the owner's, `user`.
    pub query_account: Option<Account>,
    /// Where the cold ClickHouse keeps its data.
    pub data_path: PathBuf,
    /// Column codec of new cold tables.
    pub compression: Compression,
    /// Threads that decompress one batch (`decompression_threads`).
    pub decode_threads: usize,
    /// Databases batches may be written to; empty: any but ClickHouse's own.
    pub databases: Vec<String>,
    /// When retired batches' rows go.
    pub archive: Archive,
}

/// `connection`.
#[derive(Debug, Clone)]
pub struct ConnectionConfig {
    /// How the service is reached.
    pub method: LinkMethod,
    /// Base URL of storage-service (`cloud_endpoint`, or `proxy_url` with a reverse proxy).
    pub cloud_url: Url,
    /// PEM file of the only authorities the service's certificate may come from; `None`: the system's.
    pub ca_file: Option<PathBuf>,
    /// File of `token`.
    pub token_file: Option<PathBuf>,
    /// What storage-service asks us for.
    pub token: Option<Secret>,
    /// Time between heartbeats.
    pub heartbeat_interval: Duration,
    /// Longest wait for an answer of the service.
    pub timeout: Duration,
    /// What happens while the cloud is away.
    pub offline_mode: OfflineMode,
}

/// `connection.offline_mode`.
#[derive(Debug, Clone)]
pub struct OfflineMode {
    /// Keep confirmations until the cloud is back.
    pub enabled: bool,
    /// Confirmations older than this are dropped (the service asks for the state itself).
    pub max_offline_duration: Duration,
    /// Go on accepting batches while the cloud does not answer heartbeats.
    pub queue_incoming_data: bool,
}

/// `limits`.
#[derive(Debug, Clone)]
pub struct LimitsConfig {
    /// Nothing is accepted when less than this would stay free, bytes.
    pub min_free_bytes: u64,
    /// Largest decoded batch, bytes.
    pub max_batch_raw_bytes: u64,
    /// Largest chunk, bytes.
    pub max_chunk_bytes: u64,
    /// Most bytes of received chunks that are not yet loaded.
    pub max_spool_bytes: u64,
    /// Longest cold query, seconds.
    pub max_query_seconds: u64,
    /// Most memory of one cold query, bytes.
    pub max_query_memory_bytes: u64,
    /// Cold queries at the same time.
    pub max_concurrent_queries: u32,
}
