//! Where the programs are that tests, demo and benchmarks start.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

/// Other binaries than our own build's, e.g. of an installation.
const BIN_DIR: &str = "HYBRID_STORAGE_BIN_DIR";

/// The folder our own executable stands in (`target/debug`), or `HYBRID_STORAGE_BIN_DIR`.
pub fn dir() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os(BIN_DIR).filter(|v| !v.is_empty()) {
        return Ok(PathBuf::from(dir));
    }
    let exe = std::env::current_exe().context("find our own executable")?;
    let dir = exe.parent().context("our executable has no folder")?;
    // Test executables stand one level deeper.
    let dir = if dir.ends_with("deps") { dir.parent().context("target folder")? } else { dir };
    Ok(dir.to_owned())
}

/// Path of one binary; an error when it was not built.
pub fn path(name: &str) -> Result<PathBuf> {
    let path = dir()?.join(name);
    ensure!(path.is_file(), "{} is not built: run `cargo xtask build`", path.display());
    Ok(path)
}
