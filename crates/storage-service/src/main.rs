//! The daemon in the cloud: configuration in, rooms built, loops spawned, signals awaited, drained.
//!
//! Exit codes: 0 after a clean shutdown, 70 when a task died, 75 when the drain ran into its
//! deadline, 78 for a configuration error, 1 for anything else. It starts, and serves health and
//! status, whether or not the hot engine and the NAS are there.

mod start;

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;

/// Hybrid Storage's daemon in the cloud: answers queries over both tiers and moves expired rows.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Configuration file [default: $CONFIG_PATH, else /app/config/cloud_storage.yaml].
    #[arg(long)]
    config: Option<PathBuf>,
    /// Write the address listened on to this file (atomically), once connections are accepted.
    #[arg(long)]
    port_file: Option<PathBuf>,
    /// Without one the daemon runs.
    #[command(subcommand)]
    command: Option<storage_config::Command>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(command) = args.command {
        return command.run();
    }
    let path = storage_config::config_path(args.config, storage_config::DEFAULT_CLOUD_PATH);
    let config = match storage_config::load_cloud(&path) {
        Ok(config) => config,
        Err(errors) => {
            eprintln!("{errors}");
            return ExitCode::from(storage_config::EXIT_CONFIG);
        }
    };
    start::log(config.service.log_format);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!("no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(start::run(config, args.port_file)) {
        Ok(end) => ExitCode::from(end.exit_code()),
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
