//! `cargo xtask stack up|status|down`: a stack in the background.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result};

use super::{Info, Options, Record, Role, Stack, process};
use crate::{binaries, engine, market};

/// Fetches the engine, builds, starts a stack in `dir` and leaves it running, with the eight hot
/// tables made (an existing table stays as it is).
pub async fn up(dir: &Path) -> Result<Info> {
    tokio::task::spawn_blocking(|| engine::ensure_installed().map(drop).and_then(|()| binaries::build()))
        .await??;
    std::fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
    let dir = dir.canonicalize()?;
    let mut stack = Stack::engines(Options { detached: true, ..Options::new(dir) }).await?;
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
    for role in Role::ALL.into_iter().rev() {
        if let Some(process) = record.processes.get(&role) {
            let clean = process::stop(*process, Duration::from_secs(20))?;
            if !clean {
                eprintln!("{} did not end by itself and was killed", role.name());
            }
        }
    }
    Ok(record.info(&dir))
}
