//! `clickhouse-embedded`: ClickHouse itself, without installing one.
//!
//! This process is a supervisor. It writes the engine's configuration and accounts, starts the engine as
//! one confined child, says where it listens, restarts it when it dies, and ends it in order on SIGTERM,
//! SIGINT, SIGHUP or SIGQUIT: nothing new is accepted, running statements get the drain time, then the engine closes its
//! tables. The child is libchdb running ClickHouse's own HTTP and native-TCP servers, or the `clickhouse
//! server` of an installation, from the same configuration. Every protocol, account and limit is
//! ClickHouse's own; nothing here reads a statement.
//!
//! Whatever ends the supervisor ends the engine with it (the kernel kills the child), and what ClickHouse
//! acknowledged survives that.
//!
//! Exit codes (sysexits.h): 0 after a clean stop, 78 for a configuration, processor or library that cannot
//! work, 1 for anything else.

mod accounts;
mod chdb;
mod child;
mod cli;
mod configuration;
mod confine;
mod console;
mod disk_errors;
mod folders;
mod library;
mod log;
mod ports;
mod process;
mod processor;
mod program;
mod supervisor;
mod xml;

use std::process::ExitCode;

use clap::Parser as _;

/// The exit code for a wrong configuration (sysexits.h: EX_CONFIG).
const EX_CONFIG: u8 = 78;

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|first| first == child::MARK) {
        return child::main(child::Options::parse_from(std::env::args_os().skip(1)));
    }
    let options = cli::Options::parse();
    log::start(options.log_format);
    let engine = match supervisor::Engine::configure(&options) {
        Ok(engine) => engine,
        Err(error) => return ended(&error, EX_CONFIG),
    };
    match supervisor::run(engine) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let unusable = matches!(error.downcast_ref(), Some(process::StartError::Unusable(_)));
            ended(&error, if unusable { EX_CONFIG } else { 1 })
        }
    }
}

fn ended(error: &anyhow::Error, code: u8) -> ExitCode {
    eprintln!("clickhouse-embedded: {error:#}");
    ExitCode::from(code)
}
