//! `cargo xtask bench NAME`: figures, each measured in this run, by real processes on loopback.
//!
//! The binaries are those of every other command here: our own code lightly optimised, what it stands
//! on fully.

mod codec;
mod engine;
mod line;
mod link;
mod migrate;
mod query;
mod simulate;

use std::{collections::BTreeMap, process::ExitCode};

use anyhow::Result;
use clap::Parser;
use testbed::progress::log;

/// What the benchmark is asked for.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "bench",
    bin_name = "cargo xtask bench",
    about = "Measure; prints a table, or with --json one object"
)]
pub struct Arguments {
    /// Which one.
    #[arg(value_enum)]
    pub name: Name,
    /// Print `{"bench": NAME, "figures": {KEY: number, …}}` alone on stdout.
    #[arg(long)]
    pub json: bool,
    /// migrate, line: trades for the rate. query: trades in the hot table.
    #[arg(long)]
    pub rows: Option<u64>,
    /// migrate: rows of the partition moved for the memory figures (0 leaves them out).
    #[arg(long, default_value_t = 20_000_000)]
    pub memory_rows: u64,
    /// migrate: `batch_rows` of the service, instead of its default.
    #[arg(long)]
    pub batch_rows: Option<u64>,
    /// query: how often each side is asked.
    #[arg(long, default_value_t = 400)]
    pub asks: u32,
    /// codec, line: folder of real market data; by default `shared/data` beside the repository.
    #[arg(long, value_name = "DIR")]
    pub data: Option<std::path::PathBuf>,
    /// link: shorter runs. codec: without the other compressors, which take a quarter of an hour.
    #[arg(long)]
    pub quick: bool,
    /// link: these parts only (all of them when absent).
    #[arg(long, value_enum)]
    pub part: Vec<link::Part>,
}

/// The benchmarks.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum Name {
    /// A move through the daemons against a plain INSERT … SELECT; memory of the daemons.
    Migrate,
    /// A hot-only query through the service against the same asked of the engine.
    Query,
    /// Rows per second over a line of 100 Mbit/s, against zstd 19 and LZ4 without the daemons.
    Line,
    /// What a WireGuard link between two namespaces of this machine carries; needs root.
    Link,
    /// Bytes and speed of the batch codec on real market data, beside other compressors.
    Codec,
    /// Model worlds a minute in which the steps of a move run, on two threads.
    Simulate,
    /// The embedded engine against its first version, built beside it: delay, throughput, memory, lines.
    Engine,
}

/// Figures by key, with what they are.
#[derive(Debug, Default)]
struct Figures {
    values: BTreeMap<String, f64>,
    lines: Vec<(String, String)>,
}

impl Figures {
    /// A figure of the JSON; also a line of the table.
    fn add(&mut self, key: &str, value: f64, what: &str) {
        self.values.insert(key.to_owned(), value);
        self.lines.push((key.to_owned(), format!("{value:>14.3}  {what}")));
    }
}

/// Runs one and prints its figures.
fn run(arguments: &Arguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (name, figures) = match arguments.name {
        Name::Migrate => ("migrate", runtime.block_on(migrate::run(arguments))?),
        Name::Link => ("link", link::run(arguments)?),
        Name::Codec => ("codec", runtime.block_on(codec::run(arguments))?),
        Name::Engine => ("engine", runtime.block_on(engine::run())?),
        Name::Line => ("line", runtime.block_on(line::run(arguments))?),
        Name::Simulate => ("simulate", simulate::run(arguments)?),
        Name::Query => ("query", runtime.block_on(query::run(arguments))?),
    };
    if arguments.json {
        println!("{}", serde_json::json!({ "bench": name, "figures": figures.values }));
    } else {
        for (key, line) in figures.lines {
            log(format!("{key:<26} {line}"));
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
