//! `clickhouse-embedded`: ClickHouse in one process, libchdb behind ClickHouse's HTTP interface.
//!
//! Start: find and load the library, confine the process to its folders, start the engine, listen. Stop
//! (SIGTERM, SIGINT): accept nothing more, let what runs end within a deadline, kill the rest, stop the
//! engine. Exit codes: 0 after a clean stop, 78 for a wrong configuration or a missing library, 1 else.

mod cancel;
mod chdb;
mod cli;
mod engine;
mod failure;
mod http;
mod library;
mod listen;
mod output_pipe;
mod reply;
mod run;
mod statement;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser as _;
use clickhouse_http::server::Gate;

/// The exit code for a wrong configuration (sysexits.h: EX_CONFIG).
const EX_CONFIG: u8 = 78;

fn main() -> ExitCode {
    let options = cli::Options::parse();
    cli::start_logging(options.log_format);
    let (chdb, gate) = match configure(&options) {
        Ok(configured) => configured,
        Err(error) => {
            eprintln!("clickhouse-embedded: {error:#}");
            return ExitCode::from(EX_CONFIG);
        }
    };
    match serve(&options, chdb, gate) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("clickhouse-embedded: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn configure(options: &cli::Options) -> anyhow::Result<(chdb::Chdb, Gate)> {
    let path = library::find(options.libchdb.as_deref())?;
    let chdb = chdb::Chdb::load(&path)
        .with_context(|| format!("cannot load libchdb; `{}` fetches a good one", library::FETCH_COMMAND))?;
    let password = match &options.password_file {
        None => String::new(),
        Some(file) => {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("--password-file {}", file.display()))?;
            text.trim_end_matches(['\r', '\n']).to_owned()
        }
    };
    Ok((chdb, Gate::new(options.user.clone(), password)))
}

fn serve(options: &cli::Options, chdb: chdb::Chdb, gate: Gate) -> anyhow::Result<()> {
    let folders = engine::Folders::create(&options.data)
        .with_context(|| format!("cannot prepare the folder {}", options.data.display()))?;
    std::env::set_current_dir(&folders.user_files).context("cannot enter the folder of user files")?;
    let engine = Arc::new(engine::Engine::start(chdb, folders, options.memory_limit_bytes())?);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(options.max_connections * 3 + 16)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let front = Arc::new(http::Front::new(Arc::clone(&engine), gate, options.max_connections));
    let outcome = runtime.block_on(listen::run(options, http::router(front)));
    // Statements still running were killed; their threads end by themselves or with the process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    if !engine.stop() {
        tracing::warn!("the engine did not stop cleanly");
    }
    outcome
}
