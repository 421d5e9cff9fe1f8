//! Runs cargo so that somebody who waits always sees what for.
//!
//! On a terminal cargo draws its own bar. Where there is none (a pipe, a build log) it would be silent as
//! long as one crate takes; there its bar is read, and said again as a line when nothing was printed for
//! some seconds.
//!
//! All commands share one build: the whole workspace with [`FEATURES`]. Cargo's own variables of the run
//! that started us are taken out of its environment, since build scripts that look at them would be run
//! again, and all that stands on them be compiled again, whenever cargo is called another way.

use std::{
    io::Read,
    process::{Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    time::Instant,
};

use anyhow::{Context, Result, bail};

use crate::progress::{SILENCE, on_terminal};

/// Features of every build this repository runs: the daemons can be stopped at named points, which
/// the crash matrix needs. Release builds leave them out.
pub const FEATURES: &str = "storage-service/fault-injection,storage-gateway/fault-injection";

/// The repository's folder.
pub const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// The cargo that runs us, or the one on the path.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        let of_the_run = name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
        if of_the_run || name == "LD_LIBRARY_PATH" {
            command.env_remove(&*name);
        }
    }
    command
}

/// `cargo subcommand` (one word or two) over the whole workspace with the features of every build.
pub fn workspace(subcommand: &str) -> Command {
    let mut command = cargo();
    command.args(subcommand.split(' ')).args(["--workspace", "--features", FEATURES]);
    command
}

/// Builds every program of the workspace.
///
/// # Errors
/// When cargo fails.
pub fn build() -> Result<()> {
    eprintln!("building the daemons and what starts them (the first time this takes some minutes)");
    // The example makes it a build with the features of tests, which then need no other.
    run(workspace("build").args(["--bins", "--example", "stack"]))
}

/// Runs a cargo command; its output is shown.
///
/// # Errors
/// When it cannot be started or fails.
pub fn run(command: &mut Command) -> Result<()> {
    let shown = format!("{command:?}");
    let status = if on_terminal() {
        command.status().with_context(|| format!("run {shown}"))?
    } else {
        // The bar that is read below.
        command.env("CARGO_TERM_PROGRESS_WHEN", "always").env("CARGO_TERM_PROGRESS_WIDTH", "100");
        let mut child = command.stderr(Stdio::piped()).spawn().with_context(|| format!("run {shown}"))?;
        let stderr = child.stderr.take().context("cargo's stderr")?;
        let (said, heard) = mpsc::sync_channel(64);
        let reader = std::thread::spawn(move || pieces(stderr, &said));
        repeat(&heard);
        let _ = reader.join();
        child.wait().context("wait for cargo")?
    };
    if !status.success() {
        bail!("{shown} ended with {status}");
    }
    Ok(())
}

/// What cargo says: a line, or a state of its bar (which ends in a carriage return).
enum Said {
    Line(String),
    Bar(String),
}

fn pieces(mut from: impl Read, to: &mpsc::SyncSender<Said>) {
    let (mut piece, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        for byte in &buffer[..count] {
            let said = match byte {
                b'\n' => Said::Line(text(&mut piece)),
                b'\r' => Said::Bar(text(&mut piece)),
                byte => {
                    piece.push(*byte);
                    continue;
                }
            };
            if to.send(said).is_err() {
                return;
            }
        }
    }
    if !piece.is_empty() {
        let _ = to.send(Said::Line(text(&mut piece)));
    }
}

/// A piece without the code by which a bar is wiped away.
fn text(piece: &mut Vec<u8>) -> String {
    let text = String::from_utf8_lossy(piece).replace("\x1b[K", "");
    piece.clear();
    text
}

/// Prints lines as they come, and the bar's last state whenever nothing came for [`SILENCE`].
fn repeat(heard: &mpsc::Receiver<Said>) {
    let started = Instant::now();
    let (mut bar, mut printed) = (String::new(), Instant::now());
    loop {
        match heard.recv_timeout(SILENCE.saturating_sub(printed.elapsed())) {
            Ok(Said::Line(line)) => eprintln!("{line}"),
            Ok(Said::Bar(state)) => {
                bar = state;
                if printed.elapsed() < SILENCE {
                    continue;
                }
                eprintln!("  … {} ({} s)", bar.trim(), started.elapsed().as_secs());
            }
            Err(RecvTimeoutError::Timeout) => {
                let state = if bar.trim().is_empty() { "at work" } else { bar.trim() };
                eprintln!("  … {state} ({} s)", started.elapsed().as_secs());
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
        printed = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_states_of_the_bar_are_told_apart() {
        let (said, heard) = mpsc::sync_channel(8);
        pieces(&b"   Compiling a v1\n  Building [=> ] 1/2: a\r\x1b[K   Compiling b v1\nend"[..], &said);
        drop(said);
        let all: Vec<String> = heard
            .iter()
            .map(|said| match said {
                Said::Line(line) => line,
                Said::Bar(state) => format!("bar {state}"),
            })
            .collect();
        assert_eq!(all, ["   Compiling a v1", "bar   Building [=> ] 1/2: a", "   Compiling b v1", "end"]);
    }

    #[test]
    fn the_run_that_started_us_is_not_passed_on() {
        let command = workspace("build");
        assert!(command.get_envs().all(|(name, value)| name != "CARGO_MANIFEST_DIR" || value.is_none()));
        // Set by the test runner as `cargo run` sets it.
        if std::env::var_os("CARGO_MANIFEST_DIR").is_some() {
            assert!(command.get_envs().any(|(name, value)| name == "CARGO_MANIFEST_DIR" && value.is_none()));
        }
    }
}
