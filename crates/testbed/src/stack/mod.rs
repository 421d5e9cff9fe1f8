//! Two engines and two daemons on this machine, in one folder.
//!
//! The folder holds everything: configurations, secrets (0600), data, logs, and `stack.json`, which
//! names ports and processes. Ports are chosen once, outside the range the kernel hands to outgoing
//! connections, and kept over restarts, since both daemons have each other's address in their
//! configuration. Readiness is asked for (`/ping`, `/readyz`) until a deadline; a process that ends
//! meanwhile fails the start with the end of its log. Processes are known by id and start time.
//!
//! A [`Stack`] that is dropped kills its processes (so a failed test leaves none); only
//! [`Stack::leave`] lets them outlive us.

mod command;
mod configuration;
mod link;
mod link_record;
mod link_setup;
mod managed_table;
mod record;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
pub use command::{down, status, up};
pub use configuration::{Proxies, StackConfig};
pub use link::Link;
use link_record::LinkRecord;
use link_setup::LinkSetup;
pub use managed_table::ManagedTable;
pub use record::{DaemonInfo, EngineInfo, Info, Record};
use rustix::process::Signal;

use crate::{
    binaries,
    clients::{ClickHouse, Service},
    engine,
    process::{self, Running},
};
pub use crate::{port::free_port, process::ProcessId};

/// User of both engines.
pub const ENGINE_USER: &str = "storage";
/// Longest wait for one process to answer.
const READY: Duration = Duration::from_secs(60);
/// Time a process gets to end by itself: more than the slowest promises, an engine's drain (10 s) and the end
/// after it (20 s).
const GRACE: Duration = Duration::from_secs(40);

/// One of the four processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The hot engine.
    Hot,
    /// The cold engine.
    Cold,
    /// storage-gateway.
    Gateway,
    /// storage-service.
    Service,
}

impl Role {
    /// Stopping goes backwards through them.
    pub const ALL: [Self; 4] = [Self::Hot, Self::Cold, Self::Gateway, Self::Service];

    /// Lower-case name, also of its log and data folder.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hot => "hot",
            Self::Cold => "cold",
            Self::Gateway => "gateway",
            Self::Service => "service",
        }
    }

    const fn binary(self) -> &'static str {
        match self {
            Self::Hot | Self::Cold => engine::PROGRAM,
            Self::Gateway => "storage-gateway",
            Self::Service => "storage-service",
        }
    }
}

/// How a stack is to be.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its folder; made when it is not there.
    pub dir: PathBuf,
    /// The processes are to outlive us: what the terminal sends us does not reach them.
    pub detached: bool,
    /// What the configurations say.
    pub config: StackConfig,
}

impl Options {
    /// A stack in `dir` that dies with us, with [`StackConfig::default`].
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), detached: false, config: StackConfig::default() }
    }
}

/// A running stack.
#[derive(Debug)]
pub struct Stack {
    options: Options,
    record: Record,
    running: BTreeMap<Role, Running>,
    /// After the processes: what they stand in goes when they are gone.
    link: LinkSetup,
}

impl Stack {
    /// Starts all four processes and waits until they are ready.
    pub async fn start(options: Options) -> Result<Self> {
        let mut stack = Self::engines(options).await?;
        stack.daemons().await?;
        Ok(stack)
    }

    /// Starts the two engines only: time to make the hot tables before a daemon looks at them.
    pub async fn engines(options: Options) -> Result<Self> {
        let mut record = Record::prepare(&options.dir)?;
        let link = LinkSetup::prepare(&options, &mut record)?;
        configuration::keys(&options.dir, &record, &options.config)?;
        configuration::write(&options.dir, &record, &options.config)?;
        let mut stack = Self { options, record, running: BTreeMap::new(), link };
        for role in [Role::Hot, Role::Cold] {
            stack.launch(role)?;
        }
        for role in [Role::Hot, Role::Cold] {
            stack.ready(role).await?;
        }
        stack.save()?;
        Ok(stack)
    }

    /// Starts the two daemons as well.
    pub async fn daemons(&mut self) -> Result<()> {
        self.link.start(&self.options, &mut self.record)?;
        // The service listens before it is dialled: a handshake that nobody heard costs three seconds.
        for role in [Role::Service, Role::Gateway] {
            self.launch(role)?;
            self.ready(role).await?;
        }
        self.save()
    }

    /// Folder of the stack.
    pub fn dir(&self) -> &Path {
        &self.options.dir
    }

    /// Addresses, secrets and process ids.
    pub fn info(&self) -> Info {
        self.record.info(&self.options.dir)
    }

    /// The hot engine.
    pub fn hot(&self) -> Result<ClickHouse> {
        let info = self.info().hot;
        ClickHouse::new(&info.url, &info.user, &info.password)
    }

    /// The cold engine.
    pub fn cold(&self) -> Result<ClickHouse> {
        let info = self.info().cold;
        ClickHouse::new(&info.url, &info.user, &info.password)
    }

    /// The service's API.
    pub fn service(&self) -> Result<Service> {
        let info = self.info().service;
        Service::new(&info.url, &info.token)
    }

    /// The process of a role, while it runs.
    pub fn process(&self, role: Role) -> Option<ProcessId> {
        self.running.get(&role).map(Running::id)
    }

    /// Log of a role.
    pub fn log(&self, role: Role) -> PathBuf {
        log_path(&self.options.dir, role)
    }

    /// The folder in which a file named like a fault point stops the daemon that reaches it.
    pub fn faults(&self) -> PathBuf {
        self.options.dir.join("faults")
    }

    /// `kill -9`.
    pub fn kill(&mut self, role: Role) -> Result<()> {
        let running = self.running.remove(&role).with_context(|| format!("{} does not run", role.name()))?;
        running.kill()?;
        self.save()
    }

    /// SIGSTOP, to the process and what it has started: it does nothing until [`Stack::thaw`], and its connections
    /// stay open.
    pub fn freeze(&self, role: Role) -> Result<()> {
        self.signal(role, Signal::STOP)
    }

    /// SIGCONT.
    pub fn thaw(&self, role: Role) -> Result<()> {
        self.signal(role, Signal::CONT)
    }

    fn signal(&self, role: Role, signal: Signal) -> Result<()> {
        let process = self.process(role).with_context(|| format!("{} does not run", role.name()))?;
        // The parent first: it is to see nothing of its child.
        process.signal(signal)?;
        process.children().into_iter().try_for_each(|child| child.signal(signal))
    }

    /// Ends the stack's own proxies, as if they had died.
    pub fn end_proxies(&mut self) {
        self.link.end_proxies();
    }

    /// SIGTERM, without waiting for what comes of it.
    pub fn ask_to_end(&self, role: Role) -> Result<()> {
        let process = self.process(role).with_context(|| format!("{} does not run", role.name()))?;
        process.signal(Signal::TERM)
    }

    /// SIGTERM, and SIGKILL when that does not help; whether it went by itself.
    pub fn stop_one(&mut self, role: Role) -> Result<bool> {
        let running = self.running.remove(&role).with_context(|| format!("{} does not run", role.name()))?;
        let clean = running.stop(GRACE)?;
        self.save()?;
        Ok(clean)
    }

    /// Starts a process that was killed or stopped, on the same port and data, without waiting.
    pub fn relaunch(&mut self, role: Role) -> Result<()> {
        ensure!(!self.running.contains_key(&role), "{} runs already", role.name());
        self.launch(role)?;
        self.save()
    }

    /// Starts a process that was killed or stopped, and waits until it is ready.
    pub async fn restart(&mut self, role: Role) -> Result<()> {
        self.relaunch(role)?;
        self.ready(role).await
    }

    /// Writes the configurations again, with other settings; daemons read them at their next start.
    pub fn reconfigure(&mut self, change: impl FnOnce(&mut StackConfig)) -> Result<()> {
        change(&mut self.options.config);
        configuration::write(&self.options.dir, &self.record, &self.options.config)
    }

    /// Stops everything, daemons first.
    pub fn stop(mut self) -> Result<()> {
        for role in Role::ALL.into_iter().rev() {
            if let Some(running) = self.running.remove(&role) {
                let log = self.log(role);
                let clean = running.stop(GRACE).with_context(|| format!("stop {}", role.name()))?;
                ensure!(
                    clean,
                    "{} did not end within {} s of SIGTERM; the end of its log:\n{}",
                    role.name(),
                    GRACE.as_secs(),
                    process::tail(&log, 30)
                );
            }
        }
        self.link = LinkSetup::default();
        self.record.link = LinkRecord::default();
        self.save()
    }

    /// Leaves everything running and forgets it; `stack down` stops it.
    pub fn leave(mut self) -> Info {
        let info = self.info();
        for (_, running) in std::mem::take(&mut self.running) {
            running.leave();
        }
        std::mem::take(&mut self.link).leave();
        info
    }

    fn save(&mut self) -> Result<()> {
        self.record.processes = self.running.iter().map(|(role, running)| (*role, running.id())).collect();
        self.record.write(&self.options.dir)
    }

    fn launch(&mut self, role: Role) -> Result<()> {
        let program = binaries::path(role.binary())?;
        let mut command = match self.options.config.started_by.split_first() {
            Some((starter, arguments)) => {
                let mut command = Command::new(starter);
                command.args(arguments).arg(program);
                command
            }
            None => self.link.command(role, &program),
        };
        let dir = &self.options.dir;
        match role {
            Role::Hot | Role::Cold => {
                engine::arguments(&mut command, &dir.join(role.name()), self.record.address(role))?;
                command
                    .args(["--user", ENGINE_USER])
                    .arg("--password-file")
                    .arg(record::secret_path(dir, &format!("{}_password", role.name())))
                    .arg("--query-password-file")
                    .arg(record::secret_path(dir, &format!("{}_query_password", role.name())));
                if role == Role::Hot && self.options.config.splice_account {
                    command.arg("--accounts").arg(configuration::hot_accounts_path(dir));
                } else if role == Role::Hot {
                    command.arg("--query-url").arg(self.record.url(Role::Service));
                }
                command.args(["--log-format", "json"]);
                if let Some(seconds) = self.options.config.drain_s {
                    command.args(["--drain-seconds", &seconds.to_string()]);
                }
            }
            Role::Gateway => {
                command.arg("--config").arg(configuration::nas_path(dir));
            }
            Role::Service => {
                command.arg("--config").arg(configuration::cloud_path(dir));
            }
        }
        // What the caller's shell says must not lead a test daemon astray.
        command
            .env_remove("CONFIG_PATH")
            .env_remove("DEPLOYMENT_TYPE")
            .env("STORAGE_FAULT_DIR", self.faults())
            // As in deploy/.
            .env("MALLOC_ARENA_MAX", "2");
        let running = Running::start(command, &log_path(dir, role), self.options.detached)?;
        self.record.processes.insert(role, running.id());
        self.running.insert(role, running);
        Ok(())
    }

    /// Waits until a process answers that it is ready.
    pub async fn ready(&mut self, role: Role) -> Result<()> {
        self.wait(role, if matches!(role, Role::Hot | Role::Cold) { "/ping" } else { "/readyz" }).await
    }

    /// Waits until a daemon answers at all, ready or not.
    pub async fn answers(&mut self, role: Role) -> Result<()> {
        self.wait(role, if matches!(role, Role::Hot | Role::Cold) { "/ping" } else { "/healthz" }).await
    }

    async fn wait(&mut self, role: Role, path: &str) -> Result<()> {
        let url = format!("{}{path}", self.record.url(role));
        let http = crate::clients::http()?;
        let deadline = Instant::now() + READY;
        let mut last = "no answer".to_owned();
        loop {
            let running =
                self.running.get_mut(&role).with_context(|| format!("{} was not started", role.name()))?;
            running.check().with_context(|| format!("start {}", role.name()))?;
            match http.get(&url).timeout(Duration::from_secs(2)).send().await {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(answer) => {
                    last = format!("{} {}", answer.status(), answer.text().await.unwrap_or_default())
                }
                Err(_) => {}
            }
            ensure!(
                Instant::now() < deadline,
                "{} is not ready after {} s (last: {last}); the end of its log:\n{}",
                role.name(),
                READY.as_secs(),
                process::tail(&self.log(role), 30)
            );
            tokio::time::sleep(process::POLL).await;
        }
    }
}

pub(crate) fn log_path(dir: &Path, role: Role) -> PathBuf {
    dir.join("logs").join(format!("{}.log", role.name()))
}
