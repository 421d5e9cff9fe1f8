//! The engine's process, before it is the engine: what it gives up and waits for first.
//!
//! In this order: it leaves the supervisor's session, asks the kernel to be killed with the supervisor,
//! waits until no other engine works in the folder, enters the folder of user files, confines itself, and
//! then loads the library, or becomes the `clickhouse server`. Its environment is empty (the supervisor
//! started it so) but for `TZ` and `TMPDIR`.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::Context as _;
use clap::Parser;
use rustix::process::Signal;

use crate::EX_CONFIG;
use crate::chdb::Chdb;
use crate::configuration::Configuration;
use crate::folders::Folders;
use crate::library::FETCH_COMMAND;
use crate::program::Program;
use crate::{confine, disk_errors, ports};

/// The first argument of the engine's process; the supervisor starts itself with it.
pub const MARK: &str = "engine-process";

/// Interactive, or ClickHouse's local mode ends the process at the first half-sent request; silent, since nobody
/// reads its prompt.
const QUIET_PROMPT: &str = "--log-level=error --multiquery --interactive --disable_suggestion --progress=off \
                            --progress-table=off --highlight=0 --query";

/// What the supervisor tells the engine's process.
#[derive(Debug, Parser)]
pub struct Options {
    /// The engine's folder, absolute.
    #[arg(long)]
    root: PathBuf,
    /// The supervisor's process id.
    #[arg(long)]
    supervisor: i32,
    /// libchdb's file.
    #[arg(long, required_unless_present = "server")]
    library: Option<PathBuf>,
    /// The `clickhouse` program.
    #[arg(long)]
    server: Option<PathBuf>,
    /// Serve the native protocol too.
    #[arg(long)]
    tcp: bool,
}

/// The command that starts the engine's process over `folders`.
#[must_use]
pub fn command(folders: &Folders, program: &Program, tcp: bool) -> Command {
    // Not the file's name: it may have been replaced by an upgrade since.
    let mut command = Command::new("/proc/self/exe");
    command.arg(MARK).arg("--root").arg(&folders.root);
    command.arg("--supervisor").arg(std::process::id().to_string());
    match program {
        Program::Library(file) => command.arg("--library").arg(file),
        Program::Server(file) => command.arg("--server").arg(file),
    };
    if tcp {
        command.arg("--tcp");
    }
    command.env_clear();
    // What it makes for a moment, e.g. a schema for FORMAT Protobuf.
    command.env("TMPDIR", folders.data.join("tmp"));
    if let Some(zone) = std::env::var_os("TZ") {
        command.env("TZ", zone);
    }
    command
}

/// Runs the engine; its exit code where it returns at all.
pub fn main(options: Options) -> ExitCode {
    let engine = match options.server.clone() {
        Some(server) => become_server(&options, server),
        None => run_library(&options),
    };
    match engine {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(if error.is::<libloading::Error>() { EX_CONFIG } else { 1 })
        }
    }
}

fn prepare(options: &Options, program: &Program) -> anyhow::Result<Folders> {
    // A signal of the terminal is the supervisor's to act on.
    let _ = rustix::process::setsid();
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).context("prctl")?;
    let supervisor = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
    anyhow::ensure!(supervisor == Some(options.supervisor), "the supervisor is gone");
    let folders = Folders::under(&options.root);
    let lock = folders.claim_for_engine()?;
    rustix::io::fcntl_setfd(&lock, rustix::io::FdFlags::empty()).context("keep the engine's lock")?;
    // Held until the process ends, across becoming another program.
    std::mem::forget(lock);
    std::env::set_current_dir(&folders.user_files).context("enter the folder of user files")?;
    confine::enter(&folders, program).context("cannot confine the engine")?;
    Ok(folders)
}

fn become_server(options: &Options, server: PathBuf) -> anyhow::Result<()> {
    let program = Program::Server(server.clone());
    let folders = prepare(options, &program)?;
    let mut argument = std::ffi::OsString::from("--config-file=");
    argument.push(Configuration::path(&folders));
    let error = Command::new(&server).arg("server").arg(argument).exec();
    Err(error).with_context(|| format!("cannot run {}", server.display()))
}

fn run_library(options: &Options) -> anyhow::Result<()> {
    let library = options.library.clone().unwrap_or_default();
    let program = Program::Library(library.clone());
    let folders = prepare(options, &program)?;
    disk_errors::watch(&folders);
    let mut config = b"--config-file=".to_vec();
    config.extend_from_slice(Configuration::path(&folders).as_os_str().as_bytes());
    let mut arguments: Vec<Vec<u8>> = vec![b"clickhouse".to_vec(), config];
    // It gives its history's file a mode of its own, so that is none that others use, as /dev/null.
    let mut history = b"--history_file=".to_vec();
    history.extend_from_slice(folders.run.join("history").as_os_str().as_bytes());
    arguments.push(history);
    arguments.extend(QUIET_PROMPT.split(' ').map(Into::into));
    arguments.push(ports::start_statements(options.tcp).into_bytes());
    let arguments: Vec<CString> = arguments.into_iter().map(CString::new).collect::<Result<_, _>>()?;
    // Not on the main thread: the library asks for its thread's stack, which for the main one is read from
    // /proc/self/maps, and that is outside the walls.
    let engine = std::thread::Builder::new().name("engine".into()).spawn(move || {
        let chdb = Chdb::load(&library)?;
        Ok::<_, libloading::Error>(chdb.run(arguments))
    })?;
    match engine.join() {
        Ok(Ok(ended)) => ended.map_err(anyhow::Error::msg),
        Ok(Err(error)) => Err(anyhow::Error::from(error)
            .context(format!("cannot load libchdb; `{FETCH_COMMAND}` fetches a good one"))),
        Err(_) => anyhow::bail!("the engine's thread failed"),
    }
}
