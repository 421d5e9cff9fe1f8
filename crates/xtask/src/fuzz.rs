//! The fuzz targets for some seconds each, on the toolchain that everything else is compiled with: a driver
//! in `fuzz/` feeds them (`fuzz/README.md`); coverage takes cargo-fuzz and nightly.

use anyhow::{Result, ensure};

use crate::cargo;

/// How long each target is fed.
const SECONDS: &str = "8";

/// Whether they can be compiled here: `fuzz/` is a workspace of its own, with its own lock file.
///
/// # Errors
/// Why not.
pub fn possible() -> Result<()> {
    let fetch = ["fetch", "--quiet", "--locked", "--manifest-path", "fuzz/Cargo.toml"];
    let fetched =
        cargo::cargo().args(fetch).current_dir(cargo::ROOT).status().is_ok_and(|status| status.success());
    ensure!(fetched, "what they stand on cannot be fetched, or fuzz/Cargo.lock is out of date");
    Ok(())
}

/// Compiles and runs them.
///
/// # Errors
/// When one fails; its input is named.
pub fn run() -> Result<()> {
    let driver = ["run", "--locked", "--manifest-path", "fuzz/Cargo.toml", "--target-dir", "target/fuzz"];
    let only = ["--no-default-features", "--bin", "mutate", "--", SECONDS];
    // Some of what is fuzzed is there for tests and fuzzing only.
    cargo::run(
        cargo::cargo().args(driver).args(only).current_dir(cargo::ROOT).env("RUSTFLAGS", "--cfg fuzzing"),
    )
}
