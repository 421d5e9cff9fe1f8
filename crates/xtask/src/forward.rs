//! Hands a command on to one of the programs that the build makes.
//!
//! The program takes this one's place (exec), so that it gets the terminal's signals itself and its exit
//! code is the command's.

use std::{ffi::OsString, os::unix::process::CommandExt as _, path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};

use crate::cargo;

/// Other binaries than our own build's, e.g. of an installation: no daemon is built then.
const BIN_DIR: &str = "HYBRID_STORAGE_BIN_DIR";

/// Builds and becomes `program`, with `command` and then `arguments` on its command line.
///
/// # Errors
/// What failed before that; it does not return otherwise.
pub fn to(program: &str, command: &[&str], arguments: &[OsString]) -> Result<()> {
    if std::env::var_os(BIN_DIR).is_none_or(|dir| dir.is_empty()) {
        cargo::build()?;
    }
    let path = built(program)?;
    let error = Command::new(&path).args(command).args(arguments).exec();
    Err(error).with_context(|| format!("start {}", path.display()))
}

/// The program in the build's folder, which stands beside the folder of our own profile.
fn built(program: &str) -> Result<PathBuf> {
    let exe = std::env::current_exe().context("find our own executable")?;
    let target = exe.ancestors().nth(2).context("our executable has no target folder")?;
    let path = target.join("debug").join(program);
    ensure!(path.is_file(), "{} is not built: run `cargo xtask build`", path.display());
    Ok(path)
}
