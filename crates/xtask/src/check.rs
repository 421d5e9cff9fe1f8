//! `cargo xtask test`: everything, from formatting to end to end; `--quick`: what needs no engine.
//!
//! The first step that fails ends the run. A step whose tool is not on the machine is either done
//! another way (`cargo test` for nextest) or named as skipped in the last line, never silently.

use std::{
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result};

use crate::{
    cargo::{cargo, run, workspace},
    engine, fuzz,
    progress::log,
};

/// What the tests are asked for.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// Formatting, lints and unit tests only: no engine, no processes, a minute or two.
    #[arg(long, conflicts_with_all = ["crash_matrix", "only_tests"])]
    quick: bool,
    /// Run the whole crash matrix (every victim at every point) and nothing else after the build.
    #[arg(long)]
    crash_matrix: bool,
    /// Leave out formatting, lints, licences and documentation.
    #[arg(long)]
    only_tests: bool,
    /// These tests only, after the build: a filter of nextest, as `package(storage-gateway)` or `test(move)`.
    #[arg(long, value_name = "FILTER", conflicts_with_all = ["quick", "crash_matrix"])]
    only: Option<String>,
}

/// Set for the end-to-end tests: run the whole matrix instead of its subset.
const WHOLE_MATRIX: &str = "CRASH_MATRIX";

/// What ran, for the last line.
#[derive(Default)]
struct Summary {
    done: Vec<String>,
    skipped: Vec<String>,
}

/// Runs the steps; an error names the first that failed.
pub fn all(arguments: &Arguments) -> Result<()> {
    let started = Instant::now();
    let mut summary = Summary::default();
    match arguments {
        Arguments { quick: true, .. } => quick(&mut summary)?,
        Arguments { crash_matrix: true, .. } => {
            build(&mut summary)?;
            summary.step("crash matrix", crash_matrix)?;
        }
        Arguments { only: Some(filter), .. } => {
            build(&mut summary)?;
            summary.step("tests", || run(workspace("nextest run").args(["-E", filter])))?;
        }
        Arguments { only_tests, .. } => {
            if !only_tests {
                static_checks(&mut summary)?;
            }
            build(&mut summary)?;
            tests(&mut summary)?;
            fuzz_targets(&mut summary)?;
        }
    }
    let skipped = if summary.skipped.is_empty() { "nothing".to_owned() } else { summary.skipped.join("; ") };
    log(format!(
        "ran in {:.0} s: {}; skipped: {skipped}",
        started.elapsed().as_secs_f64(),
        summary.done.join(", ")
    ));
    Ok(())
}

impl Summary {
    fn step(&mut self, name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
        let started = Instant::now();
        log(format!("── {name}"));
        work().with_context(|| format!("{name} failed"))?;
        self.done.push(format!("{name} ({:.0} s)", started.elapsed().as_secs_f64()));
        Ok(())
    }

    fn skip(&mut self, name: &str, why: &str) {
        log(format!("── {name}: skipped, {why}"));
        self.skipped.push(format!("{name} ({why})"));
    }
}

/// The engine, and every program and test in one build.
fn build(summary: &mut Summary) -> Result<()> {
    summary.step("engine", || engine::ensure_installed().map(drop))?;
    summary.step("build", || run(workspace("build").arg("--all-targets")))
}

fn quick(summary: &mut Summary) -> Result<()> {
    formatting(summary)?;
    clippy(summary)?;
    if has(&["nextest", "--version"]) {
        summary.step("unit tests", || run(workspace("nextest run").args(["--lib", "--bins"])))
    } else {
        summary.step("unit tests (cargo test: nextest is not installed)", || {
            run(workspace("test").args(["--lib", "--bins"]))
        })
    }
}

fn formatting(summary: &mut Summary) -> Result<()> {
    summary.step("formatting", || run(cargo().args(["fmt", "--all", "--check"])))
}

fn clippy(summary: &mut Summary) -> Result<()> {
    summary.step("clippy", || run(workspace("clippy").args(["--all-targets", "--", "-D", "warnings"])))
}

fn static_checks(summary: &mut Summary) -> Result<()> {
    formatting(summary)?;
    clippy(summary)?;
    if has(&["deny", "--version"]) {
        let mut checks = vec!["bans", "licenses", "sources"];
        if succeeds(cargo().args(["deny", "fetch", "db"])) {
            checks.push("advisories");
        } else {
            summary.skip("advisories", "their database cannot be fetched from here");
        }
        summary.step("cargo deny", || run(cargo().args(["deny", "check"]).args(&checks)))?;
    } else {
        summary.skip("cargo deny", "it is not installed");
    }
    summary
        .step("documentation", || run(workspace("doc").arg("--no-deps").env("RUSTDOCFLAGS", "-D warnings")))
}

fn tests(summary: &mut Summary) -> Result<()> {
    if !succeeds(Command::new("python3").args(["-m", "venv", "--help"])) {
        summary.skip("the Python client's test", "python3 with venv is not installed");
    }
    if has(&["nextest", "--version"]) {
        summary.step("tests", || run(&mut workspace("nextest run")))?;
        summary.step("doc tests", || run(workspace("test").arg("--doc")))
    } else {
        // One test at a time: without nextest nothing else keeps stacks from crowding each other.
        summary.step("tests and doc tests (cargo test: nextest is not installed)", || {
            run(workspace("test").args(["--", "--test-threads=1"]))
        })
    }
}

fn crash_matrix() -> Result<()> {
    let only = ["--test", "crash_matrix", "--", "whole", "--nocapture"];
    run(workspace("test").args(only).env(WHOLE_MATRIX, "1"))
}

fn fuzz_targets(summary: &mut Summary) -> Result<()> {
    match fuzz::possible() {
        Ok(()) => summary.step("fuzz targets", fuzz::run),
        Err(why) => {
            summary.skip("fuzz targets", &format!("{why:#}"));
            Ok(())
        }
    }
}

fn has(arguments: &[&str]) -> bool {
    succeeds(cargo().args(arguments))
}

fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}
