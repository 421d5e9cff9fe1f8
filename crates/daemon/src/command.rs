//! What both daemons' command lines can do besides running the daemon.

use std::{path::PathBuf, process::ExitCode};

/// A subcommand of a daemon.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make a key for the tunnel: the private key to standard output, the public key to standard error.
    Keygen {
        /// Write the private key to this new file (mode 0600) and the public key to standard output.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

impl Command {
    /// Does it, with its answer on the process's standard output and its complaints on standard error.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let Self::Keygen { out } = self;
        match wireguard::keygen(out.as_deref(), &mut std::io::stdout(), &mut std::io::stderr()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("keygen: {error}");
                ExitCode::FAILURE
            }
        }
    }
}
