//! One run of the engine: started, ready, ended in order or by force.

use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Child;
use tokio::time::{Instant, sleep, timeout};

use crate::EX_CONFIG;
use crate::child;
use crate::console::Console;
use crate::folders::Folders;
use crate::ports::{self, Ports};
use crate::program::Program;

/// How often the engine is looked at while it starts and stops.
const LOOK: Duration = Duration::from_millis(10);
/// How long the engine may take to end once nothing runs; the library itself takes 5 s while a connection
/// is open.
const END: Duration = Duration::from_secs(20);
/// How long the engine may take to close its listeners.
const STOP_LISTENING: Duration = Duration::from_secs(1);
/// An engine that has not ended so long after it was told to is told again.
const TYPE_AGAIN: Duration = Duration::from_secs(1);
/// What ends the engine at its prompt, typed.
const END_OF_INPUT: &str = "\u{4}";
/// The answer to [`RUNNING`], in the run folder.
const RUNNING_FILE: &str = "running.json";
/// How many statements run, this one included.
const RUNNING: &str = "SELECT count() AS running FROM system.processes \
                       INTO OUTFILE '../run/running.json' TRUNCATE FORMAT JSONEachRow;\r";

/// Why an engine did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The library is none, or not for this machine.
    #[error("{0}")]
    Unusable(String),
    /// It ended, or refused its configuration or its addresses.
    #[error("the engine did not start ({status}):\n{words}")]
    Failed {
        /// How it ended.
        status: String,
        /// What it said last.
        words: String,
    },
    /// It took longer than it may.
    #[error("the engine was not ready within {seconds} s; it said last:\n{words}")]
    TimedOut {
        /// What it was given.
        seconds: u64,
        /// What it said last.
        words: String,
    },
}

/// A running engine.
pub struct Process {
    child: Child,
    console: Console,
    folders: Folders,
    is_server: bool,
}

impl Process {
    /// Starts `program` over `folders`, whose configuration is written. Call from the thread that lives as
    /// long as the supervisor: the kernel ends the engine with that thread.
    ///
    /// # Errors
    /// The process cannot be started.
    pub fn start(folders: &Folders, program: &Program, tcp: bool) -> anyhow::Result<Self> {
        let mut command = child::command(folders, program, tcp);
        let console =
            Console::attach(&mut command).context("cannot open a pseudo-terminal for the engine")?;
        let child = tokio::process::Command::from(command)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start the engine's process")?;
        let is_server = matches!(program, Program::Server(_));
        Ok(Self { child, console, folders: folders.clone(), is_server })
    }

    /// Waits until the engine listens. `asked` are the addresses of its configuration.
    ///
    /// # Errors
    /// [`StartError`]; the engine has ended then.
    pub async fn ready(
        &mut self,
        asked: SocketAddr,
        tcp: Option<u16>,
        within: Duration,
    ) -> Result<Ports, StartError> {
        let deadline = Instant::now() + within;
        loop {
            tokio::select! {
                () = self.console.read_on() => {}
                status = self.child.wait() => return Err(self.did_not_start(status.ok()).await),
                () = sleep(LOOK) => {
                    if let Some(ports) = self.listening(asked, tcp).await {
                        return Ok(ports);
                    }
                }
            }
            // The library's engine stays at its prompt when it cannot listen.
            let refused = !self.is_server && self.console.said().contains("DB::Exception");
            if refused || Instant::now() > deadline {
                let words = self.reason().await;
                self.kill().await;
                return Err(match refused {
                    true => StartError::Failed { status: "it refused".into(), words },
                    false => StartError::TimedOut { seconds: within.as_secs(), words },
                });
            }
        }
    }

    async fn listening(&self, asked: SocketAddr, tcp: Option<u16>) -> Option<Ports> {
        if !self.is_server {
            return ports::read(&self.folders.run);
        }
        let ping = async {
            let mut stream = TcpStream::connect(asked).await?;
            stream.write_all(b"GET /ping HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\r\n").await?;
            let mut answer = Vec::new();
            stream.take(4096).read_to_end(&mut answer).await?;
            std::io::Result::Ok(answer.starts_with(b"HTTP/1.1 200"))
        };
        let is_up = matches!(timeout(Duration::from_secs(2), ping).await, Ok(Ok(true)));
        is_up.then_some(Ports { http: asked.port(), tcp })
    }

    /// What a person has to know of what an engine said that does not start: its exceptions, where it has any.
    async fn reason(&mut self) -> String {
        let words = self.console.last_words().await;
        let exceptions: Vec<&str> = words
            .lines()
            .filter(|line| line.contains("Exception: "))
            .filter_map(|line| line.split(", Stack trace").next())
            .collect();
        if exceptions.is_empty() { words } else { exceptions.join("\n") }
    }

    async fn did_not_start(&mut self, status: Option<ExitStatus>) -> StartError {
        let words = self.reason().await;
        if status.and_then(|status| status.code()) == Some(i32::from(EX_CONFIG)) {
            return StartError::Unusable(words);
        }
        StartError::Failed { status: status.map_or_else(|| "unknown".into(), told), words }
    }

    /// Waits until the engine has ended by itself; how, and its last words.
    pub async fn ended(&mut self) -> (String, String) {
        loop {
            tokio::select! {
                () = self.console.read_on() => {}
                status = self.child.wait() => {
                    let words = self.console.last_words().await;
                    return (status.map_or_else(|error| error.to_string(), told), words);
                }
            }
        }
    }

    /// Ends the engine in order: nothing new is accepted, what runs gets `drain`, then the engine closes its
    /// tables. What is left after that is killed. Returns whether the engine ended by itself.
    pub async fn stop(mut self, drain: Duration) -> bool {
        let asked = if self.is_server { self.terminate() } else { self.drain(drain).await };
        if let Err(error) = asked {
            tracing::warn!(%error, "the engine cannot be asked to end");
        }
        let deadline = Instant::now() + if self.is_server { drain + END } else { END };
        loop {
            let ended = timeout(TYPE_AGAIN, self.ended()).await;
            match ended {
                Ok((status, words)) if status != "exit status: 0" => {
                    tracing::warn!(%status, %words, "the engine did not end cleanly");
                    return false;
                }
                Ok(_) => return true,
                Err(_) if Instant::now() >= deadline => {
                    tracing::warn!("the engine does not end, and is killed");
                    self.kill().await;
                    return false;
                }
                Err(_) if self.is_server => {}
                // A key typed while the prompt was not there may be lost.
                Err(_) => drop(self.console.type_in(END_OF_INPUT)),
            }
        }
    }

    fn terminate(&self) -> anyhow::Result<()> {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())).context("it has ended")?;
        Ok(rustix::process::kill_process(pid, Signal::TERM)?)
    }

    async fn drain(&mut self, drain: Duration) -> anyhow::Result<()> {
        // Without any time, too: a key typed before the statement is through would be lost.
        let deadline = Instant::now() + drain.max(STOP_LISTENING);
        self.console.type_in("SYSTEM STOP LISTEN QUERIES DEFAULT;\r")?;
        loop {
            let running = self.running(deadline).await?;
            // The statement that counts is one of them.
            if running.is_some_and(|running| running <= 1) {
                break;
            }
            if Instant::now() >= deadline {
                tracing::warn!("statements still running are cut");
                break;
            }
            self.for_a_moment(Duration::from_millis(50)).await;
        }
        self.console.type_in(END_OF_INPUT)?;
        Ok(())
    }

    /// How many statements run; `None` when the engine has not said so by `deadline`.
    async fn running(&mut self, deadline: Instant) -> anyhow::Result<Option<u64>> {
        #[derive(serde::Deserialize)]
        struct Answer {
            running: u64,
        }
        let file = self.folders.run.join(RUNNING_FILE);
        if file.exists() {
            std::fs::remove_file(&file)?;
        }
        self.console.type_in(RUNNING)?;
        loop {
            self.for_a_moment(LOOK).await;
            let answer =
                std::fs::read(&file).ok().and_then(|text| serde_json::from_slice::<Answer>(&text).ok());
            if answer.is_some() || Instant::now() >= deadline {
                return Ok(answer.map(|answer| answer.running));
            }
        }
    }

    async fn for_a_moment(&mut self, moment: Duration) {
        let until = Instant::now() + moment;
        while tokio::time::timeout_at(until, self.console.read_on()).await.is_ok() {}
    }

    async fn kill(&mut self) {
        let _ = self.child.kill().await;
    }
}

/// An exit status in words; a signal by its name.
fn told(status: ExitStatus) -> String {
    match status.signal().and_then(Signal::from_named_raw) {
        Some(signal) => format!("{status}, {signal:?}"),
        None => status.to_string(),
    }
}
