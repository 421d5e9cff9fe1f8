//! `cargo xtask`: the repository's own commands.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};
use xtask::stack;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Hybrid Storage's own commands")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Fetch libchdb (about 180 MB, once) into the cache and check its SHA-256.
    FetchEngine,
    /// Print the generator's distributions, fitted to real files, as the source of `fitted.rs`.
    Fit {
        /// Folder with trades.tsv.gz and orderbooks.tsv.gz.
        #[arg(long)]
        data: PathBuf,
    },
    /// Watch market data move from hot to cold while the same questions get the same answers.
    Demo(xtask::demo::Arguments),
    /// Everything, from formatting to end to end.
    Test(xtask::check::Arguments),
    /// Measure; prints a table, or with --json one object.
    Bench(xtask::bench::Arguments),
    /// A bad line for UDP, until standard input ends.
    #[command(hide = true)]
    Impair(xtask::lab::impair::Arguments),
    /// One end of a tunnel: a sink, a source or a pinger.
    #[command(hide = true)]
    LinkEnd(xtask::lab::end::Arguments),
    /// Two engines and two daemons on this machine, in the background.
    #[command(subcommand)]
    Stack(StackCommand),
}

#[derive(Subcommand)]
enum StackCommand {
    /// Fetch the engine, build, start, and make the eight hot tables.
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
        Command::FetchEngine => {
            println!("{}", xtask::engine::fetch()?.display());
            Ok(())
        }
        Command::Fit { data } => {
            print!("{}", xtask::market::fit::fit(&data)?);
            Ok(())
        }
        Command::Demo(arguments) => xtask::demo::run(&arguments),
        Command::Test(arguments) => xtask::check::run(&arguments),
        Command::Bench(arguments) => xtask::bench::run(&arguments),
        Command::Impair(arguments) => xtask::lab::impair::run(&arguments),
        Command::LinkEnd(arguments) => xtask::lab::end::run(&arguments),
        Command::Stack(command) => run_stack(command),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

fn run_stack(command: StackCommand) -> Result<()> {
    let (info, json) = match command {
        StackCommand::Up(a) => (runtime()?.block_on(stack::up(&a.stack.dir, a.link))?, a.stack.json),
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
