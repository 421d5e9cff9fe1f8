//! `cargo xtask`: the repository's own commands.
//!
//! This program is small, so that it is compiled in seconds and says at once what it does. It fetches the
//! engine, builds everything else with cargo's progress in sight, runs the checks, and hands the rest of
//! its command line to the programs built: `testbed` (demo, stack, lab) and `bench`.

mod cargo;
mod check;
mod engine;
mod forward;
mod fuzz;
mod progress;

use std::{ffi::OsString, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Hybrid Storage's own commands")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Watch market data move from hot to cold while the same questions get the same answers.
    #[command(disable_help_flag = true)]
    Demo(Rest),
    /// Everything, from formatting to end to end; --quick: what needs no engine.
    Test(check::Arguments),
    /// Measure; prints a table, or with --json one object.
    #[command(disable_help_flag = true)]
    Bench(Rest),
    /// Run the steps of a move in model worlds with random faults; --sabotage all leaves out one rule after the other.
    #[command(disable_help_flag = true)]
    Simulate(Rest),
    /// Two engines and two daemons on this machine, in the background.
    #[command(disable_help_flag = true)]
    Stack(Rest),
    /// Build the daemons and the programs that tests and demo start.
    Build,
    /// Fetch libchdb (about 180 MB, once) into the cache and check its SHA-256.
    FetchEngine,
    /// Print deploy/sql's files, or with --write put them there.
    #[command(disable_help_flag = true)]
    DeploySql(Rest),
    /// Print the generator's distributions, fitted to real files, as the source of `fitted.rs`.
    #[command(disable_help_flag = true)]
    Fit(Rest),
    /// A bad line for UDP, until standard input ends.
    #[command(hide = true, disable_help_flag = true)]
    Impair(Rest),
    /// One end of a tunnel: a sink, a source or a pinger.
    #[command(hide = true, disable_help_flag = true)]
    LinkEnd(Rest),
}

/// What the program behind a command reads itself, `--help` included.
#[derive(clap::Args)]
struct Rest {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

impl Rest {
    fn begins_with(&self, word: &str) -> bool {
        self.arguments.first().is_some_and(|first| first == word)
    }
}

fn main() -> ExitCode {
    match dispatch() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch() -> Result<()> {
    match Arguments::parse().command {
        Command::Test(arguments) => check::all(&arguments),
        Command::Build => cargo::build(),
        Command::FetchEngine => {
            println!("{}", engine::fetch()?.display());
            Ok(())
        }
        Command::Demo(rest) => {
            engine::ensure_installed()?;
            forward::to("testbed", &["demo"], &rest.arguments)
        }
        Command::Stack(rest) => {
            if rest.begins_with("up") {
                engine::ensure_installed()?;
            }
            forward::to("testbed", &["stack"], &rest.arguments)
        }
        Command::Bench(rest) => {
            // The link's benchmark starts the ends of a tunnel only, the simulation's nothing.
            if !rest.begins_with("link") && !rest.begins_with("simulate") {
                engine::ensure_installed()?;
            }
            forward::to("bench", &[], &rest.arguments)
        }
        Command::Simulate(rest) => forward::to("simulation", &[], &rest.arguments),
        Command::DeploySql(rest) => forward::to("testbed", &["deploy-sql"], &rest.arguments),
        Command::Fit(rest) => forward::to("testbed", &["fit"], &rest.arguments),
        Command::Impair(rest) => forward::to("testbed", &["impair"], &rest.arguments),
        Command::LinkEnd(rest) => forward::to("testbed", &["link-end"], &rest.arguments),
    }
}
