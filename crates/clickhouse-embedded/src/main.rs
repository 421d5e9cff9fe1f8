//! `clickhouse-embedded`: ClickHouse in one process, libchdb behind ClickHouse's HTTP interface.
//!
//! Start: find and load the library, confine the process to its folders, start the engine, listen. Stop
//! (SIGTERM, SIGINT): accept nothing more, let what runs end within a deadline, kill the rest, stop the
//! engine. Exit codes: 0 after a clean stop, 78 for a wrong configuration or a missing library, 1 else.

mod cancel;
mod chdb;
mod cli;
mod confine;
mod engine;
mod external;
mod failure;
mod http;
mod library;
mod listen;
mod output_pipe;
mod registry;
mod reply;
mod run;
mod sessions;
mod spill;
mod statement;

use std::path::PathBuf;
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
    let configured = match configure(&options) {
        Ok(configured) => configured,
        Err(error) => {
            eprintln!("clickhouse-embedded: {error:#}");
            return ExitCode::from(EX_CONFIG);
        }
    };
    // Not on the main thread: the library asks for its thread's stack, which for the main one is read from
    // /proc/self/maps, and that is outside the walls.
    let service =
        std::thread::Builder::new().name("service".into()).spawn(move || serve(&options, configured));
    let error = match service.map(std::thread::JoinHandle::join) {
        Ok(Ok(Ok(()))) => return ExitCode::SUCCESS,
        Ok(Ok(Err(error))) => error,
        Ok(Err(_)) => anyhow::anyhow!("the service's thread failed"),
        Err(error) => error.into(),
    };
    eprintln!("clickhouse-embedded: {error:#}");
    ExitCode::FAILURE
}

/// What is read before the process confines itself.
struct Configured {
    chdb: chdb::Chdb,
    library: PathBuf,
    gate: Gate,
}

fn configure(options: &cli::Options) -> anyhow::Result<Configured> {
    let library = library::find(options.libchdb.as_deref())?;
    let chdb = chdb::Chdb::load(&library)
        .with_context(|| format!("cannot load libchdb; `{}` fetches a good one", library::FETCH_COMMAND))?;
    let password = match &options.password_file {
        None => String::new(),
        Some(file) => {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("--password-file {}", file.display()))?;
            text.trim_end_matches(['\r', '\n']).to_owned()
        }
    };
    Ok(Configured { chdb, library, gate: Gate::new(options.user.clone(), password) })
}

fn serve(options: &cli::Options, configured: Configured) -> anyhow::Result<()> {
    let folders = engine::Folders::create(&options.data)
        .with_context(|| format!("cannot prepare the folder {}", options.data.display()))?;
    std::env::set_current_dir(&folders.user_files).context("cannot enter the folder of user files")?;
    // The port file is the supervisor's: its writer starts before the walls go up, and ends with its task.
    let herald = listen::Herald::start(options.port_file.clone())?;
    let confinement = confine::enter(&folders, &configured.library).context("cannot confine the process")?;
    let engine = engine::Engine::start(configured.chdb, folders, options.memory_limit_bytes())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(options.max_connections * 3 + 16)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let service = Arc::new(run::Service {
        engine,
        sessions: Arc::new(sessions::Sessions::default()),
        registry: Arc::new(registry::Registry::default()),
    });
    let front = http::Front::new(Arc::clone(&service), confinement, configured.gate, options.max_connections);
    let outcome =
        runtime.block_on(listen::run(options.listen, herald, http::router(Arc::new(front)), &service));
    // Statements still running were killed; their threads end by themselves or with the process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    service.sessions.close();
    if !service.engine.stop() {
        tracing::warn!("the engine did not stop cleanly");
    }
    outcome
}
