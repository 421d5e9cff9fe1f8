//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use storage_types::{BatchId, MigrationId, MoveId};
use url::Url;
use wireguard::{CLOUD_ADDRESS, Cidr, DEFAULT_PORT, NAS_ADDRESS, NotAnEndpoint, PeerEndpoint};

/// Operator's command line for storage-service and storage-gateway.
///
/// Exit codes: 0 done; 1 refused or failed; 2 wrong arguments; 69 the daemon cannot be reached.
#[derive(Debug, Parser)]
#[command(name = "storagectl", version, propagate_version = true)]
pub struct Cli {
    /// Where the daemon is.
    #[arg(long, global = true, env = "STORAGE_URL", default_value = "http://127.0.0.1:8002")]
    pub url: Url,
    /// File with the daemon's bearer token (mode 0600).
    #[arg(long, global = true, env = "STORAGE_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// Seconds to wait for an answer.
    #[arg(long, global = true, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub timeout: u64,
    /// Print the daemon's own JSON.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The service: nodes, gateway, catalog version, next migration.
    Status,
    /// Managed tables and what of them is cold.
    Tables,
    /// One managed table.
    #[command(subcommand)]
    Table(TableCommand),
    /// Move expired rows to the NAS.
    Migrate(MigrateArgs),
    /// Every migration, newest first.
    Migrations,
    /// One migration with its moves.
    Migration {
        /// Its id.
        id: MigrationId,
    },
    /// Cancel a migration: moves whose rows are all in the hot table are given up, the others are finished.
    Cancel {
        /// Its id.
        id: MigrationId,
    },
    /// Decide about a move that waits for you (see `migration ID`).
    #[command(subcommand)]
    Move(MoveCommand),
    /// Ask both tiers: one SELECT.
    Query(QueryArgs),
    /// What is visible where.
    Catalog,
    /// The link between the daemons.
    #[command(subcommand)]
    Link(LinkCommand),
    /// Whether the daemon at --url is alive (either daemon, no token).
    Health,
    /// The gateway itself; --url is then the gateway's, e.g. http://127.0.0.1:9000.
    #[command(subcommand)]
    Gateway(GatewayCommand),
}

/// A move that cannot decide for itself which copy of its rows is right.
#[derive(Debug, Subcommand)]
pub enum MoveCommand {
    /// The hot table's rows are right: the batches become invisible, and stay on the NAS.
    KeepHot {
        /// The move's id.
        id: MoveId,
    },
    /// The NAS's rows are right, whatever the hot table has: its rows of the move are deleted.
    KeepCold {
        /// The move's id.
        id: MoveId,
    },
}

/// One managed table.
#[derive(Debug, Subcommand)]
pub enum TableCommand {
    /// Take over the hot table's TTL, so that rows leave it only once they are proven cold.
    Adopt {
        /// Logical name.
        name: String,
    },
}

/// The link between the daemons.
#[derive(Debug, Subcommand)]
pub enum LinkCommand {
    /// Make both ends of a new tunnel: two wg-quick files with fresh keys that fit each other.
    /// Asks no daemon.
    Pair(PairArgs),
    /// How fast it may be used, until taken back or until the service restarts.
    Limit {
        /// A rate (5M, 10MB/s, UP:DOWN), "off", or "timetable": what the configuration says.
        rate: String,
    },
}

/// The gateway itself.
#[derive(Debug, Subcommand)]
pub enum GatewayCommand {
    /// Its engine, disk and batches.
    Status,
    /// Go on with a cold table as it is now, though it is another one or has lost rows; or, without TABLE,
    /// with a database that says it is another gateway's.
    Accept {
        /// Cold database.
        database: String,
        /// Cold table in it.
        table: Option<String>,
    },
    /// The batches it holds, oldest first, a thousand at a time.
    Batches {
        /// Only those after this one: where the page before ended.
        #[arg(long, value_name = "ID")]
        after: Option<BatchId>,
    },
}

/// `link pair`.
#[derive(Debug, Args)]
pub struct PairArgs {
    /// The cloud as the NAS reaches it over UDP: a name or address; port 51820 unless given.
    #[arg(long, value_name = "HOST[:PORT]", value_parser = endpoint)]
    pub endpoint: PeerEndpoint,
    /// Folder for cloud-wg0.conf and nas-wg0.conf (mode 0600, never overwritten); made when it is missing.
    #[arg(long)]
    pub dir: PathBuf,
    /// The cloud's address inside the tunnel.
    #[arg(long, value_name = "ADDRESS/PREFIX", default_value = CLOUD_ADDRESS)]
    pub cloud_address: Cidr,
    /// The NAS's address inside the tunnel.
    #[arg(long, value_name = "ADDRESS/PREFIX", default_value = NAS_ADDRESS)]
    pub nas_address: Cidr,
}

fn endpoint(text: &str) -> Result<PeerEndpoint, NotAnEndpoint> {
    PeerEndpoint::with_default_port(text, DEFAULT_PORT)
}

/// `migrate`.
#[derive(Debug, Args)]
pub struct MigrateArgs {
    /// Only this logical table (may be repeated); all managed ones by default.
    #[arg(long = "table", value_name = "NAME")]
    pub tables: Vec<String>,
    /// Move rows older than this: RFC 3339, "YYYY-MM-DD" or "YYYY-MM-DD hh:mm:ss", UTC; by default retention_days ago.
    #[arg(long)]
    pub before: Option<String>,
    /// Only say what would be moved.
    #[arg(long, conflicts_with = "wait")]
    pub dry_run: bool,
    /// Stay until it is done, showing progress; leaving early does not stop it.
    #[arg(long)]
    pub wait: bool,
    /// Most seconds --wait stays.
    #[arg(long, default_value_t = 86_400, requires = "wait")]
    pub wait_seconds: u64,
}

/// `query`.
#[derive(Debug, Args)]
pub struct QueryArgs {
    /// One SELECT; logical tables by their configured names.
    pub sql: String,
    /// json, ndjson, csv, arrow or parquet.
    #[arg(long, default_value = "csv")]
    pub format: String,
    /// Say on standard error how it was answered (route, plan, bytes over the link).
    #[arg(long)]
    pub stats: bool,
}
