//! The command line, the same for both daemons.

use std::path::PathBuf;

use clap::Args;

use crate::Command;

/// What may stand behind a daemon's name.
#[derive(Debug, Args)]
pub struct CommandLine {
    /// Configuration file [default: $CONFIG_PATH, else the image's own file].
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Only check the configuration: all its errors and 78, or nothing and 0.
    #[arg(long)]
    pub check: bool,
    /// Write the address listened on to this file (whole or not at all), once connections are accepted.
    #[arg(long, value_name = "FILE")]
    pub port_file: Option<PathBuf>,
    /// Without one the daemon runs.
    #[command(subcommand)]
    pub command: Option<Command>,
}
