//! `cargo xtask`: the repository's own commands.

use anyhow::Result;
use clap::{Parser, Subcommand};

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
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::FetchEngine => {
            println!("{}", xtask::engine::fetch()?.display());
            Ok(())
        }
    }
}
