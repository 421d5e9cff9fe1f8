//! The terminal that the library's engine believes it has.
//!
//! ClickHouse's local mode keeps its listeners alive safely only while it waits at an interactive prompt
//! (otherwise it installs an error handler that ends the process when a client cuts a request short). So
//! its standard input is a pseudo-terminal. What is typed there runs as its account `default`; end of input
//! ends the engine. Everything it says, there and on its standard output, is read on, so that it never
//! waits for a reader; the last of it is kept for a message when it dies.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as Socket;
use std::process::{Command, Stdio};

use rustix::fs::OFlags;
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use tokio::io::AsyncReadExt as _;
use tokio::net::{UnixStream, unix::pipe};

/// How much of what the engine says last is kept, bytes.
const KEPT: usize = 16 << 10;

/// The supervisor's end.
pub struct Console {
    keyboard: OwnedFd,
    screen: pipe::Receiver,
    output: UnixStream,
    said: Vec<u8>,
    screen_ended: bool,
    output_ended: bool,
}

impl Console {
    /// Opens a terminal and makes it `command`'s standard input; its standard output and error go into one
    /// socket. (Not a pipe: that opens again under `/proc/self/fd`, and whoever may use the function `file()` would
    /// take from it what is ours, or wait there for ever.)
    ///
    /// # Errors
    /// No pseudo-terminal can be had (no `/dev/pts`), or no socket.
    pub fn attach(command: &mut Command) -> io::Result<Self> {
        let master = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        rustix::pty::grantpt(&master)?;
        rustix::pty::unlockpt(&master)?;
        let name = rustix::pty::ptsname(&master, Vec::new())?;
        let slave = rustix::fs::open(
            name.as_c_str(),
            OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )?;
        // Raw even while a statement runs, when the prompt gives the terminal back: there the kernel would take
        // an end of input for itself (VEOF, termios(3)), and the engine would never see it.
        let mut attributes = rustix::termios::tcgetattr(&slave)?;
        attributes.make_raw();
        rustix::termios::tcsetattr(&slave, rustix::termios::OptionalActions::Now, &attributes)?;
        // Wide enough that a typed statement needs no second line.
        rustix::termios::tcsetwinsize(
            &slave,
            Winsize { ws_row: 50, ws_col: 400, ws_xpixel: 0, ws_ypixel: 0 },
        )?;
        rustix::fs::fcntl_setfl(&master, rustix::fs::fcntl_getfl(&master)? | OFlags::NONBLOCK)?;
        let (output, engines) = Socket::pair()?;
        output.set_nonblocking(true)?;
        let engines = OwnedFd::from(engines);
        command.stdin(Stdio::from(slave)).stdout(engines.try_clone()?).stderr(engines);
        Ok(Self {
            keyboard: master.try_clone()?,
            // A terminal is read like a pipe.
            screen: pipe::Receiver::from_owned_fd_unchecked(master)?,
            output: UnixStream::from_std(output)?,
            said: Vec::new(),
            screen_ended: false,
            output_ended: false,
        })
    }

    /// Types `text`; `\r` runs a statement, `\u{4}` at its prompt ends the engine.
    ///
    /// # Errors
    /// The engine has ended, or does not read.
    pub fn type_in(&self, text: &str) -> io::Result<()> {
        let written = rustix::io::write(&self.keyboard, text.as_bytes())?;
        if written == text.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    /// Reads a piece of what the engine says; never returns once it has ended. Safe to drop at any await.
    pub async fn read_on(&mut self) {
        let mut screen = [0; 4096];
        let mut output = [0; 4096];
        tokio::select! {
            count = read(&self.screen, &mut screen), if !self.screen_ended => match count {
                // A terminal whose other side is closed reads as EIO.
                Ok(0) | Err(_) => self.screen_ended = true,
                Ok(count) => self.keep(&screen[..count]),
            },
            count = self.output.read(&mut output), if !self.output_ended => match count {
                Ok(0) | Err(_) => self.output_ended = true,
                Ok(count) => self.keep(&output[..count]),
            },
            else => std::future::pending().await,
        }
    }

    fn keep(&mut self, piece: &[u8]) {
        self.said.extend_from_slice(piece);
        let surplus = self.said.len().saturating_sub(KEPT);
        self.said.drain(..surplus);
    }

    /// Reads what is left of an engine that has ended, and gives the last that it said, without the
    /// terminal's control sequences.
    pub async fn last_words(&mut self) -> String {
        let rest = async {
            while !(self.screen_ended && self.output_ended) {
                self.read_on().await;
            }
        };
        let _ = tokio::time::timeout(std::time::Duration::from_millis(500), rest).await;
        self.said()
    }

    /// The last that the engine said so far.
    #[must_use]
    pub fn said(&self) -> String {
        plain(&String::from_utf8_lossy(&self.said))
    }
}

async fn read(pipe: &pipe::Receiver, piece: &mut [u8]) -> io::Result<usize> {
    loop {
        pipe.readable().await?;
        match pipe.try_read(piece) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            count => return count,
        }
    }
}

/// `text` without control sequences (ECMA-48, 5.4) and empty lines.
fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' => {
                if characters.next() == Some('[') {
                    let _ = characters.by_ref().find(|c| ('@'..='~').contains(c));
                }
            }
            '\n' => out.push('\n'),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    #[test]
    fn control_sequences_are_not_words() {
        assert_eq!(super::plain("\u{1b}[?2004h\u{1b}[1G:) x\r\n\r\n\u{1b}[0mCode: 1\r\n"), ":) x\nCode: 1");
        assert_eq!(super::plain("\u{1b}"), "");
    }
}
