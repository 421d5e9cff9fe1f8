//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use clap::builder::RangedU64ValueParser;

use crate::log::Format;

/// ClickHouse itself, in one confined process: its HTTP and native-TCP servers, its accounts and limits.
///
/// Prints its addresses as one JSON line once it listens. Touches only its own folder. Any ClickHouse
/// client connects to it unchanged, as the account that --user names. ClickHouse's own account `default`
/// is locked: it can do nothing from outside.
#[derive(Debug, Clone, Parser)]
#[command(version)]
pub struct Options {
    /// Folder of this engine: its tables (`data`), `user_files`, and its log are made in it.
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,

    /// Address of the HTTP interface; port 0 takes a free one.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8123")]
    pub listen: SocketAddr,

    /// Address of the native protocol, on the same host; port 0 takes a free one. Not given: not served.
    #[arg(long, value_name = "ADDR:PORT")]
    pub tcp_listen: Option<SocketAddr>,

    /// The engine's library; else $LIBCHDB_PATH, else the cache that `cargo xtask fetch-engine` fills.
    #[arg(long, value_name = "PATH", conflicts_with = "clickhouse")]
    pub libchdb: Option<PathBuf>,

    /// Run this `clickhouse` program (as `clickhouse server`) instead of the library, from the same
    /// configuration. Taken from $PATH by itself where there is no library.
    #[arg(long, value_name = "PROGRAM")]
    pub clickhouse: Option<PathBuf>,

    /// The owner account: it may do everything but shut the engine or its listeners down.
    #[arg(long, default_value = clickhouse_sql::accounts::OWNER, value_name = "NAME")]
    pub user: String,

    /// File with the owner's password. Without it the password is empty, which is accepted on loopback only.
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,

    /// File with the password of the query account, which then exists: it reads every database but
    /// `system`, and the tables of `system` that show nothing of other callers; it writes nothing.
    #[arg(long, value_name = "FILE")]
    pub query_password_file: Option<PathBuf>,

    /// The query account's name.
    #[arg(long, default_value = clickhouse_sql::accounts::QUERY, value_name = "NAME", requires = "query_password_file")]
    pub query_user: String,

    /// storage-service as this engine reaches it (its `service.internal_url`): the one place that the query
    /// account may call by `url()`, for cold rows. Only for the engine in the cloud.
    #[arg(long, value_name = "URL", requires = "query_password_file")]
    pub query_url: Option<String>,

    /// YAML file that names further accounts with their grants, settings and limits.
    #[arg(long, value_name = "FILE")]
    pub accounts: Option<PathBuf>,

    /// A piece of ClickHouse configuration (XML, with --clickhouse also YAML: remote_servers, …) merged
    /// into the engine's; may be given several times. Listeners and accounts are this command line's.
    #[arg(long, value_name = "FILE")]
    pub config: Vec<PathBuf>,

    /// Connections open at once, HTTP and native together.
    #[arg(long, value_name = "N", default_value_t = 256,
          value_parser = RangedU64ValueParser::<usize>::new().range(4..=4096))]
    pub max_connections: usize,

    /// Statements that may run at once; more are refused (code 202).
    #[arg(long, value_name = "N", default_value_t = 100,
          value_parser = RangedU64ValueParser::<usize>::new().range(1..=4096))]
    pub max_queries: usize,

    /// Memory of the engine, bytes, at least 256 MiB; half of the machine's when not given.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(256 << 20..))]
    pub memory_limit: Option<u64>,

    /// How long running statements may go on after SIGTERM, seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 10,
          value_parser = clap::value_parser!(u64).range(0..=3600))]
    pub drain_seconds: u64,

    /// How long the engine may take to load its tables and listen, seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 300,
          value_parser = clap::value_parser!(u64).range(1..=86400))]
    pub start_seconds: u64,

    /// How the log on stderr looks.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub log_format: Format,

    /// File to write the HTTP address to (`127.0.0.1:8123`), whole at once, when listening.
    #[arg(long, value_name = "FILE")]
    pub port_file: Option<PathBuf>,
}

impl Options {
    /// The limit on memory, bytes: what was asked for, or half of what the machine has.
    #[must_use]
    pub fn memory_limit_bytes(&self) -> u64 {
        self.memory_limit.unwrap_or_else(|| {
            let system = rustix::system::sysinfo();
            (system.totalram as u64).saturating_mul(u64::from(system.mem_unit)) / 2
        })
    }

    /// How long running statements may go on after a stop was asked for.
    #[must_use]
    pub fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds)
    }
}
