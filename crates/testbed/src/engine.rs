//! One engine: `clickhouse-embedded` in a folder of its own, on a port that it keeps when it is killed and
//! started again. [`crate::stack`] starts its two with the same command line.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{
    binaries,
    clients::ClickHouse,
    port::free_port,
    process::{Running, tail},
    wait::eventually,
};

/// Name of the program.
pub(crate) const PROGRAM: &str = "clickhouse-embedded";

/// Adds what every engine is told: where its data are (made when it is not there) and where it listens.
///
/// # Errors
/// When the folder cannot be made.
pub(crate) fn arguments(command: &mut Command, data: &Path, listen: SocketAddr) -> Result<()> {
    fs::create_dir_all(data).with_context(|| format!("make {}", data.display()))?;
    command.arg("--data").arg(data).args(["--listen", &listen.to_string()]);
    Ok(())
}

/// The owner account that an engine has when nobody names one; without a password.
pub const OWNER: &str = "owner";

/// An engine whose [`OWNER`] has no password; killed when dropped.
#[derive(Debug)]
pub struct Engine {
    dir: PathBuf,
    address: SocketAddr,
    running: Option<Running>,
    client: ClickHouse,
}

impl Engine {
    /// Starts one in `dir` (data in `data`, log in `log`) and waits until it answers.
    ///
    /// # Errors
    /// When the program was not built, ends, or does not answer in time.
    pub async fn start(dir: impl Into<PathBuf>) -> Result<Self> {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port(&[])?));
        let client = ClickHouse::new(&format!("http://{address}"), OWNER, "")?;
        let mut engine = Self { dir: dir.into(), address, running: None, client };
        engine.restart().await?;
        Ok(engine)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its HTTP interface.
    pub fn client(&self) -> &ClickHouse {
        &self.client
    }

    /// `kill -9`; nothing when it does not run.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(&mut self) -> Result<()> {
        self.running.take().map_or(Ok(()), Running::kill)
    }

    /// Starts it (again) on the same port and data, and waits until it answers.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn restart(&mut self) -> Result<()> {
        self.kill()?;
        let log = self.dir.join("log");
        let mut command = Command::new(binaries::path(PROGRAM)?);
        arguments(&mut command, &self.dir.join("data"), self.address)?;
        let mut running = Running::start(command, &log, false)?;
        let answered = eventually("the engine answers", async || match running.check() {
            Err(ended) => Some(Err(ended)),
            Ok(()) => self.client.ping().await.then_some(Ok(())),
        });
        answered.await.and_then(|ended| ended).with_context(|| tail(&log, 20))?;
        self.running = Some(running);
        Ok(())
    }
}
