//! Keeps one engine running until it is told to stop.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep};

use crate::accounts::{self, Account};
use crate::cli::Options;
use crate::configuration::Configuration;
use crate::folders::Folders;
use crate::ports;
use crate::process::Process;
use crate::program::Program;

/// An engine that has run so long is healthy: its next death is counted as the first.
const HEALTHY: Duration = Duration::from_secs(60);
/// So many deaths in a row, none after a healthy run, and the supervisor gives up.
const MAX_DEATHS: u32 = 5;
/// How often it is tried where not even its configuration can be written.
const UNSTARTED_WAIT: Duration = Duration::from_secs(5);
/// The wait before the first restart; it doubles with each death in a row.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// A piece of configuration is not longer than this, bytes.
const MAX_PIECE_BYTES: u64 = 1 << 20;
/// What a piece of configuration must not decide, and the option that does.
const OURS: [(&str, &str); 5] = [
    ("listen_host", "--listen"),
    ("http_port", "--listen"),
    ("tcp_port", "--tcp-listen"),
    ("user_directories", "--accounts"),
    ("users_config", "--accounts"),
];

/// An engine that can be started: everything that the command line names was read and makes sense.
pub struct Engine {
    program: Program,
    configuration: Configuration,
    data: PathBuf,
    port_file: Option<PathBuf>,
    drain: Duration,
    start: Duration,
}

impl Engine {
    /// Reads what `options` name.
    ///
    /// # Errors
    /// What is wrong, with the option's name.
    pub fn configure(options: &Options) -> anyhow::Result<Self> {
        let mut accounts = vec![Account::owner(&options.user, options.password_file.as_deref())?];
        if let Some(file) = &options.query_password_file {
            accounts.push(Account::query(&options.query_user, file, options.query_url.as_deref())?);
        }
        if let Some(file) = &options.accounts {
            accounts.extend(accounts::read(file).context("--accounts")?);
        }
        check(options, &accounts)?;
        Folders::check(&options.data).context("--data")?;
        let program = Program::find(options.clickhouse.as_deref(), options.libchdb.as_deref())?;
        let mut http = options.listen;
        let mut tcp_port = options.tcp_listen.map(|address| address.port());
        if let Program::Server(_) = program {
            // A server does not say which free port it took.
            http.set_port(chosen(http)?);
            tcp_port = tcp_port.map(|port| chosen(SocketAddr::new(http.ip(), port))).transpose()?;
        }
        let configuration = Configuration {
            http,
            tcp_port,
            accounts,
            pieces: options.config.iter().enumerate().map(piece).collect::<anyhow::Result<_>>()?,
            memory_limit_bytes: options.memory_limit_bytes(),
            max_connections: options.max_connections,
            max_queries: options.max_queries,
            drain_seconds: options.drain_seconds,
        };
        Ok(Self {
            program,
            configuration,
            data: options.data.clone(),
            port_file: options.port_file.clone(),
            drain: options.drain(),
            start: Duration::from_secs(options.start_seconds),
        })
    }
}

fn check(options: &Options, accounts: &[Account]) -> anyhow::Result<()> {
    for (index, account) in accounts.iter().enumerate() {
        ensure!(
            !accounts[..index].iter().any(|other| other.name == account.name),
            "two accounts are called {:?}",
            account.name
        );
    }
    ensure!(
        accounts[0].password_sha256.is_some() || options.listen.ip().is_loopback(),
        "--listen {}: other machines reach it, so the owner needs a password (--password-file)",
        options.listen
    );
    if let Some(tcp) = options.tcp_listen {
        ensure!(
            tcp.ip() == options.listen.ip(),
            "--tcp-listen {tcp}: its host must be that of --listen, {}",
            options.listen.ip()
        );
    }
    Ok(())
}

/// `address`'s port, or a free one for 0.
fn chosen(address: SocketAddr) -> anyhow::Result<u16> {
    if address.port() != 0 {
        return Ok(address.port());
    }
    let listener =
        std::net::TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
    Ok(listener.local_addr()?.port())
}

/// A piece of configuration, named so that pieces are merged in the order they were given.
fn piece((index, path): (usize, &PathBuf)) -> anyhow::Result<(String, Vec<u8>)> {
    use std::io::Read as _;
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    ensure!(
        ["xml", "yaml", "yml"].contains(&extension),
        "--config {}: its name must end in .xml, .yaml or .yml",
        path.display()
    );
    let mut content = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_PIECE_BYTES + 1).read_to_end(&mut content))
        .with_context(|| format!("--config {}", path.display()))?;
    ensure!(content.len() as u64 <= MAX_PIECE_BYTES, "--config {}: longer than 1 MiB", path.display());
    let text = String::from_utf8_lossy(&content);
    for (name, option) in OURS {
        let is_there = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word == name);
        ensure!(
            !is_there,
            "--config {}: `{name}` is not for a piece of configuration: use {option}",
            path.display()
        );
    }
    Ok((format!("{index:03}.{extension}"), content))
}

/// Runs `engine` until SIGTERM, SIGINT, SIGHUP or SIGQUIT.
///
/// # Errors
/// The engine does not start, or dies again and again.
pub fn run(engine: Engine) -> anyhow::Result<()> {
    let (folders, _lock) = Folders::claim(&engine.data)
        .with_context(|| format!("cannot prepare the folder {}", engine.data.display()))?;
    // One thread, the main one: the engine ends with the thread that started it.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let outcome = runtime.block_on(Supervisor { engine, folders: folders.clone() }.supervise());
    Configuration::remove(&folders)?;
    outcome
}

struct Supervisor {
    engine: Engine,
    folders: Folders,
}

impl Supervisor {
    async fn supervise(mut self) -> anyhow::Result<()> {
        let mut stop = Stop::new()?;
        let mut announced = false;
        let mut deaths = 0;
        loop {
            let mut process = match self.start() {
                // A disk that is full has no room for the configuration either.
                Err(error) if announced => {
                    tracing::error!("the engine cannot be started again yet: {error:#}");
                    tokio::select! {
                        () = sleep(UNSTARTED_WAIT) => continue,
                        () = stop.asked() => return Ok(()),
                    }
                }
                process => process?,
            };
            let started = Instant::now();
            let configuration = &self.engine.configuration;
            let ready = process.ready(configuration.http, configuration.tcp_port, self.engine.start);
            let ready = tokio::select! { ready = ready => Some(ready), () = stop.asked() => None };
            let ended = match ready {
                None => return self.stop(process).await,
                // The first start has nobody waiting for it to come back.
                Some(Err(error)) if !announced => return Err(error.into()),
                Some(Err(error)) => error.to_string(),
                Some(Ok(ports)) => {
                    Configuration::remove(&self.folders)?;
                    self.keep_ports(ports);
                    if !announced {
                        let configuration = &self.engine.configuration;
                        ports::announce(configuration.http, configuration.tcp_port, self.port_file())?;
                        announced = true;
                    } else {
                        tracing::info!(
                            ready_ms = started.elapsed().as_millis() as u64,
                            "the engine is up again"
                        );
                    }
                    tokio::select! {
                        (status, words) = process.ended() => format!("{status}: {words}"),
                        () = stop.asked() => return self.stop(process).await,
                    }
                }
            };
            deaths = if started.elapsed() > HEALTHY { 1 } else { deaths + 1 };
            tracing::error!(deaths, "the engine has ended by itself and is started again: {ended}");
            ensure!(deaths < MAX_DEATHS, "the engine ended by itself {deaths} times in a row, last: {ended}");
            tokio::select! {
                () = sleep(FIRST_WAIT * 2u32.pow(deaths - 1)) => {}
                () = stop.asked() => return Ok(()),
            }
        }
    }

    fn start(&self) -> anyhow::Result<Process> {
        self.engine.configuration.write(&self.folders, &self.engine.program)?;
        Process::start(&self.folders, &self.engine.program, self.engine.configuration.tcp_port.is_some())
    }

    fn port_file(&self) -> Option<&Path> {
        self.engine.port_file.as_deref()
    }

    /// A restarted engine listens where its clients knew it.
    fn keep_ports(&mut self, ports: ports::Ports) {
        self.engine.configuration.http.set_port(ports.http);
        self.engine.configuration.tcp_port = ports.tcp;
    }

    async fn stop(&self, process: Process) -> anyhow::Result<()> {
        tracing::info!("stopping");
        ensure!(
            process.stop(self.engine.drain).await,
            "the engine did not end in order; what it acknowledged is kept"
        );
        tracing::info!("stopped");
        Ok(())
    }
}

/// Any signal by which a person or a service manager ends a program.
struct Stop([Signal; 4]);

impl Stop {
    fn new() -> std::io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self([terminate, interrupt, signal(SignalKind::hangup())?, signal(SignalKind::quit())?]))
    }

    async fn asked(&mut self) {
        let [terminate, interrupt, hangup, quit] = &mut self.0;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
            _ = quit.recv() => {}
        }
    }
}
