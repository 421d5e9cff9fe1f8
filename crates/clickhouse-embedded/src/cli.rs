//! The command line, and the log.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// ClickHouse in one process: libchdb behind ClickHouse's HTTP interface.
///
/// Serves clients of ClickHouse's HTTP interface unchanged. Prints its address as one JSON line once it
/// listens. Touches only its own folder.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Options {
    /// Folder of this engine: `data`, `user_files` and `tmp` are made in it.
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,

    /// Address to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8123")]
    pub listen: SocketAddr,

    /// The engine's library; else $LIBCHDB_PATH, else the cache that `cargo xtask fetch-engine` fills.
    #[arg(long, value_name = "PATH")]
    pub libchdb: Option<PathBuf>,

    /// The one user.
    #[arg(long, default_value = "default")]
    pub user: String,

    /// File with the user's password; without it the password is empty.
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,

    /// Statements that may run at once; more wait, then are refused.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1024))]
    pub max_connections: usize,

    /// Memory of all statements together; half of the machine's when not given.
    #[arg(long, value_name = "BYTES")]
    pub memory_limit: Option<u64>,

    /// How the log on stderr looks.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// File to write the address to (`127.0.0.1:8123`), whole at once, when listening.
    #[arg(long, value_name = "FILE")]
    pub port_file: Option<PathBuf>,
}

/// The two looks of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// For people.
    Text,
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
}

/// Starts the log on stderr; `RUST_LOG` chooses what is logged (default `info`).
pub fn start_logging(format: LogFormat) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Json => log.json().init(),
        LogFormat::Text => log.with_ansi(false).init(),
    }
}
