//! `storage-service`: the daemon in the cloud. [`Exit`] says what its exit codes mean.

use std::{process::ExitCode, time::Duration};

use clap::Parser;
use daemon::{CommandLine, Exit};
use storage_config::{DEFAULT_CLOUD_PATH, config_path, load_cloud};
use storage_service::start::start;

/// Hybrid Storage's daemon in the cloud: answers queries over both tiers and moves expired rows.
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
    let config = match load_cloud(&config_path(line.config, DEFAULT_CLOUD_PATH)) {
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
