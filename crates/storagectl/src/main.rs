//! `storagectl`: what an operator does by hand, over the daemons' own HTTP APIs.
//!
//! It holds no state and takes no lock: every command is one or a few requests, each with a
//! deadline, and may be repeated. Answers go to standard output, everything else to standard error.

mod args;
mod commands;
mod failure;
mod migrate;
mod pair;
mod report;
mod text;

use std::{
    io::{BufWriter, Write},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use clap::Parser;
use link::{BearerToken, Peer};

use crate::{
    args::{Cli, Command, LinkCommand},
    failure::Failure,
};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(message) = failure.message() {
                eprintln!("storagectl: {message}");
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    // Asks no daemon: needs neither token nor client.
    if let Command::Link(LinkCommand::Pair(args)) = &cli.command {
        return pair::run(args, &mut std::io::stdout().lock());
    }
    let token = match &cli.token_file {
        Some(path) => Some(token(path)?),
        None => None,
    };
    // A person is waiting: no silent repeats.
    let peer = Peer::new(cli.url, token, Duration::from_secs(cli.timeout), 0)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let result = runtime.block_on(commands::run(&peer, cli.command, cli.json, &mut out));
    out.flush()?;
    result
}

/// The token in the file at `path`, by the rules that the daemons read theirs by.
fn token(path: &Path) -> Result<BearerToken, Failure> {
    let secret = secret_file::read_token(path)
        .map_err(|refusal| Failure::Failed(format!("token file {} {refusal}", path.display())))?;
    Ok(BearerToken::new(secret.expose()))
}
