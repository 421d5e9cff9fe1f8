//! `storage-gateway`: the daemon on the NAS.
//!
//! Exit codes: 0 after a clean shutdown, 1 when it could not start or a task died, 3 when running
//! work was cut off at the end of the drain time, 78 when the configuration is wrong.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use storage_config::{DEFAULT_NAS_PATH, EXIT_CONFIG, LogFormat, config_path, load_nas};
use storage_gateway::serve::{self, Exit};

/// Receives batches of expired rows, proves them, keeps them in its ClickHouse and answers reads.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Configuration file; without it CONFIG_PATH from the environment holds.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Only check the configuration.
    #[arg(long)]
    check: bool,
    /// Without one the daemon runs.
    #[command(subcommand)]
    command: Option<storage_config::Command>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(command) = arguments.command {
        return command.run();
    }
    let config = match load_nas(&config_path(arguments.config, DEFAULT_NAS_PATH)) {
        Ok(config) => config,
        Err(errors) => {
            eprintln!("{errors}");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    if arguments.check {
        return ExitCode::SUCCESS;
    }
    log_as(config.service.log_format);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "no runtime");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(serve::run(config)) {
        Ok(Exit::Clean) => ExitCode::SUCCESS,
        Ok(Exit::Undrained) => {
            tracing::warn!("some work did not end in time; it is begun again after the next start");
            // Blocking threads that are still busy must not hold the process.
            runtime.shutdown_background();
            ExitCode::from(3)
        }
        Ok(Exit::Died(task)) => {
            tracing::error!(task, "a task died");
            runtime.shutdown_background();
            ExitCode::FAILURE
        }
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn log_as(format: LogFormat) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,boringtun=off"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Json => log.json().init(),
        LogFormat::Text => log.init(),
    }
}
