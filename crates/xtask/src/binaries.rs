//! The daemons' binaries: how they are built, and where they then are.
//!
//! Everything is built with one set of features, so that demo, bench and tests share one build.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};

/// Features of every build this repository runs: the daemons can be stopped at named points, which
/// the crash matrix needs. Release builds leave them out.
pub const FEATURES: &str = "storage-service/fault-injection,storage-gateway/fault-injection";

/// The cargo that runs us, or the one on the path.
pub fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Other binaries than our own build's, e.g. of an installation: nothing is built then.
const BIN_DIR: &str = "HYBRID_STORAGE_BIN_DIR";

/// Builds the binaries a stack needs, unless `HYBRID_STORAGE_BIN_DIR` names a folder that has them.
pub fn build() -> Result<()> {
    match given_dir() {
        Some(_) => Ok(()),
        None => cargo_build("--bins"),
    }
}

/// Builds the binaries and the tests, as a test run needs them: what tests ask of shared crates
/// changes how those are built, so that building in one go builds them once.
pub fn build_with_tests() -> Result<()> {
    cargo_build("--all-targets")
}

fn cargo_build(targets: &str) -> Result<()> {
    let status = cargo()
        .args(["build", "--workspace", targets, "--features", FEATURES])
        .status()
        .context("run cargo build")?;
    ensure!(status.success(), "cargo build failed");
    Ok(())
}

/// The folder our own executable stands in (`target/debug`), or `HYBRID_STORAGE_BIN_DIR`.
pub fn dir() -> Result<PathBuf> {
    if let Some(dir) = given_dir() {
        return Ok(dir);
    }
    let exe = std::env::current_exe().context("find our own executable")?;
    let dir = exe.parent().context("our executable has no folder")?;
    // Test executables stand one level deeper.
    let dir = if dir.ends_with("deps") { dir.parent().context("target folder")? } else { dir };
    Ok(dir.to_owned())
}

fn given_dir() -> Option<PathBuf> {
    std::env::var_os(BIN_DIR).filter(|v| !v.is_empty()).map(PathBuf::from)
}

/// Path of one binary; an error when it was not built.
pub fn path(name: &str) -> Result<PathBuf> {
    let path = dir()?.join(name);
    ensure!(
        path.is_file(),
        "{} is not built: run `cargo build --workspace --bins --features {FEATURES}` (or `cargo xtask test`)",
        path.display()
    );
    Ok(path)
}
