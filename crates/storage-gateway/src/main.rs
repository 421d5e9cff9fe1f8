//! `storage-gateway`: the daemon on the NAS. [`Exit`] says what its exit codes mean.

use std::{process::ExitCode, time::Duration};

use clap::Parser;
use daemon::{CommandLine, Exit};
use storage_config::{DEFAULT_NAS_PATH, config_path, load_nas};
use storage_gateway::start::start;

/// Receives batches of expired rows, proves them, keeps them in its ClickHouse and answers reads.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    line: CommandLine,
}

fn main() -> ExitCode {
    let Arguments { line } = Arguments::parse();
    if let Some(command) = line.command {
        return command.run();
    }
    let config = match load_nas(&config_path(line.config, DEFAULT_NAS_PATH)) {
        Ok(config) => config,
        Err(errors) => {
            eprintln!("{errors}");
            return Exit::Config.into();
        }
    };
    if line.check {
        return Exit::Clean.into();
    }
    daemon::log::start(config.service.log_format);
    let drain = Duration::from_secs(config.service.drain_seconds);
    daemon::run(drain, start(config, line.port_file)).into()
}
