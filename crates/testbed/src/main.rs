//! `testbed`: the demo, a stack in the background, and the lab's programs. `cargo xtask` builds it and
//! hands its own command line on.

mod demo;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Result;
use clap::{Parser, Subcommand};
use testbed::{lab, market, stack};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "Engines, daemons and market data on this machine"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Watch market data move from hot to cold while the same questions get the same answers.
    Demo(demo::Arguments),
    /// Two engines and two daemons on this machine, in the background.
    #[command(subcommand)]
    Stack(StackCommand),
    /// Print the files of deploy/sql.
    DeploySql {
        /// Write them into this repository's deploy/sql instead.
        #[arg(long)]
        write: bool,
    },
    /// Print the generator's distributions, fitted to real files, as the source of `fitted.rs`.
    Fit {
        /// Folder with trades.tsv.gz and orderbooks.tsv.gz.
        #[arg(long)]
        data: PathBuf,
    },
    /// A bad line for UDP, until standard input ends.
    #[command(hide = true)]
    Impair(lab::impair::Arguments),
    /// One end of a tunnel: a sink, a source or a pinger.
    #[command(hide = true)]
    LinkEnd(lab::tunnel_endpoint::Arguments),
}

#[derive(Subcommand)]
enum StackCommand {
    /// Start it, and make the eight hot tables.
    Up(UpArguments),
    /// Where it listens and which processes run.
    Status(StackArguments),
    /// Stop it; its data stay.
    Down(StackArguments),
}

#[derive(clap::Args)]
struct StackArguments {
    /// Folder of the stack.
    #[arg(long)]
    dir: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct UpArguments {
    #[command(flatten)]
    stack: StackArguments,
    /// The way between the daemons.
    #[arg(long, value_enum, default_value = "userspace")]
    link: stack::Link,
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
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Stack(command) => run_stack(command),
        Command::Fit { data } => {
            print!("{}", market::fit::fit(&data)?);
            Ok(())
        }
        Command::DeploySql { write } => deploy_sql(write),
        Command::Impair(arguments) => lab::impair::run(&arguments),
        Command::LinkEnd(arguments) => lab::tunnel_endpoint::run(&arguments),
    }
}

fn deploy_sql(write: bool) -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/sql");
    for (file, text) in market::deploy_files() {
        if write {
            std::fs::write(folder.join(file), text)?;
        } else {
            println!("-- {file}\n\n{text}");
        }
    }
    Ok(())
}

fn run_stack(command: StackCommand) -> Result<()> {
    let (info, json) = match command {
        StackCommand::Up(a) => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            (runtime.block_on(stack::up(&a.stack.dir, a.link))?, a.stack.json)
        }
        StackCommand::Status(a) => (stack::status(&a.dir)?, a.json),
        StackCommand::Down(a) => (stack::down(&a.dir)?, a.json),
    };
    if json {
        println!("{}", serde_json::to_string(&info)?);
        return Ok(());
    }
    let state = |pid: u32| if pid == 0 { "down".to_owned() } else { format!("pid {pid}") };
    for (name, url, pid) in [
        ("service", &info.service.url, info.service.pid),
        ("gateway", &info.gateway.url, info.gateway.pid),
        ("hot", &info.hot.url, info.hot.pid),
        ("cold", &info.cold.url, info.cold.pid),
    ] {
        println!("{name:<8} {url:<24} {}", state(pid));
    }
    println!("folder   {} (tokens and passwords in secrets/, logs in logs/)", info.dir.display());
    Ok(())
}
