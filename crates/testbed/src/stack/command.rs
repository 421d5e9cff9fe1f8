//! `cargo xtask stack up|status|down`: a stack in the background.

use std::path::Path;

use anyhow::{Context, Result};

use super::{GRACE, Info, Link, Options, Record, Role, Stack};
use crate::{market, process};

/// Starts a stack over `link` in `dir` and leaves it running, with the eight hot
/// tables made (an existing table stays as it is).
pub async fn up(dir: &Path, link: Link) -> Result<Info> {
    link.possible()?;
    std::fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
    let dir = dir.canonicalize()?;
    let mut options = Options { detached: true, ..market::options(dir) };
    options.config.link = link;
    let mut stack = Stack::engines(options).await?;
    market::tables::create_hot(&stack.hot()?).await.context("make the eight hot tables")?;
    stack.daemons().await?;
    let info = stack.leave();
    Ok(info)
}

/// The stack of `dir`, with pid 0 where a process does not run.
pub fn status(dir: &Path) -> Result<Info> {
    let dir = dir.canonicalize().with_context(|| format!("no folder {}", dir.display()))?;
    let record = Record::read(&dir)?.with_context(|| format!("no stack was started in {}", dir.display()))?;
    Ok(record.info(&dir))
}

/// Stops the stack of `dir`; its data stay.
pub fn down(dir: &Path) -> Result<Info> {
    let dir = dir.canonicalize().with_context(|| format!("no folder {}", dir.display()))?;
    let record = Record::read(&dir)?.with_context(|| format!("no stack was started in {}", dir.display()))?;
    let daemons = Role::ALL.iter().rev().filter_map(|role| Some((role.name(), record.processes.get(role)?)));
    for (name, process) in daemons.chain(record.link.proxy.iter().map(|process| ("nginx", process))) {
        if !process::stop(*process, GRACE)? {
            eprintln!("{name} did not end by itself and was killed");
        }
    }
    record.link.remove()?;
    Ok(record.info(&dir))
}
