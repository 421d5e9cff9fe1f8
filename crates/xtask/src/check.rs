//! `cargo xtask test`: everything, from formatting to end to end.
//!
//! The first step that fails ends the run. A step whose tool is not on the machine is either done
//! another way (`cargo test` for nextest) or named as skipped in the last line, never silently.

use std::{
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, bail};

use crate::{
    binaries::{self, FEATURES, cargo},
    engine,
    progress::say,
};

/// What the tests are asked for.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// Run the whole crash matrix (every victim at every point) and nothing else after the build.
    #[arg(long)]
    pub crash_matrix: bool,
    /// Leave out formatting, lints, licences and documentation.
    #[arg(long)]
    pub only_tests: bool,
}

/// Set for the tests: run the whole matrix instead of its subset.
pub const WHOLE_MATRIX: &str = "CRASH_MATRIX";

/// What ran, for the last line.
#[derive(Default)]
struct Ran {
    done: Vec<String>,
    skipped: Vec<String>,
}

/// Runs the steps; an error names the first that failed.
pub fn run(arguments: &Arguments) -> Result<()> {
    let started = Instant::now();
    let mut ran = Ran::default();
    let whole = arguments.crash_matrix;
    if !arguments.only_tests && !whole {
        static_checks(&mut ran)?;
    }
    ran.step("engine", || engine::ensure_installed().map(drop))?;
    ran.step("build", binaries::build_with_tests)?;
    if whole {
        ran.step("crash matrix", crash_matrix)?;
    } else {
        tests(&mut ran)?;
    }
    let skipped = if ran.skipped.is_empty() { "nothing".to_owned() } else { ran.skipped.join("; ") };
    say(format!(
        "ran in {:.0} s: {}; skipped: {skipped}",
        started.elapsed().as_secs_f64(),
        ran.done.join(", ")
    ));
    Ok(())
}

impl Ran {
    fn step(&mut self, name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
        let started = Instant::now();
        say(format!("── {name}"));
        work().with_context(|| format!("{name} failed"))?;
        self.done.push(format!("{name} ({:.0} s)", started.elapsed().as_secs_f64()));
        Ok(())
    }

    fn skip(&mut self, name: &str, why: &str) {
        say(format!("── {name}: skipped, {why}"));
        self.skipped.push(format!("{name} ({why})"));
    }
}

fn static_checks(ran: &mut Ran) -> Result<()> {
    ran.step("formatting", || succeed(cargo().args(["fmt", "--all", "--check"])))?;
    ran.step("clippy", || {
        succeed(cargo().args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--features",
            FEATURES,
            "--",
            "-D",
            "warnings",
        ]))
    })?;
    if has(&["deny", "--version"]) {
        let mut checks = vec!["bans", "licenses", "sources"];
        if succeed(cargo().args(["deny", "fetch", "db"]).stdout(Stdio::null()).stderr(Stdio::null())).is_ok()
        {
            checks.push("advisories");
        } else {
            ran.skip("advisories", "their database cannot be fetched from here");
        }
        ran.step("cargo deny", || succeed(cargo().args(["deny", "check"]).args(&checks)))?;
    } else {
        ran.skip("cargo deny", "it is not installed");
    }
    ran.step("documentation", || {
        succeed(
            cargo()
                .args(["doc", "--workspace", "--no-deps", "--features", FEATURES])
                .env("RUSTDOCFLAGS", "-D warnings"),
        )
    })
}

fn tests(ran: &mut Ran) -> Result<()> {
    let venv = succeed(
        Command::new("python3").args(["-m", "venv", "--help"]).stdout(Stdio::null()).stderr(Stdio::null()),
    );
    if venv.is_err() {
        ran.skip("the Python client's test", "python3 with venv is not installed");
    }
    if has(&["nextest", "--version"]) {
        ran.step("tests", || {
            succeed(cargo().args(["nextest", "run", "--workspace", "--features", FEATURES]))
        })?;
        ran.step("doc tests", || {
            succeed(cargo().args(["test", "--workspace", "--doc", "--features", FEATURES]))
        })
    } else {
        // One test at a time: without nextest nothing else keeps stacks from crowding each other.
        ran.step("tests and doc tests (cargo test: nextest is not installed)", || {
            succeed(cargo().args(["test", "--workspace", "--features", FEATURES, "--", "--test-threads=1"]))
        })
    }
}

fn crash_matrix() -> Result<()> {
    // The workspace's flags, so that nothing is built again.
    let build = [
        "test",
        "--workspace",
        "--features",
        FEATURES,
        "--test",
        "crash_matrix",
        "--",
        "whole",
        "--nocapture",
    ];
    succeed(cargo().args(build).env(WHOLE_MATRIX, "1"))
}

fn has(arguments: &[&str]) -> bool {
    succeed(cargo().args(arguments).stdout(Stdio::null()).stderr(Stdio::null())).is_ok()
}

fn succeed(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("run {:?}", command.get_program()))?;
    if !status.success() {
        bail!("{:?} ended with {status}", command);
    }
    Ok(())
}
