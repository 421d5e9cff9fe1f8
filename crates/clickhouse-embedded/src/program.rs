//! Which program the engine is.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use crate::library;
use crate::processor;

/// The engine's program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// This libchdb, loaded into the child.
    Library(PathBuf),
    /// This `clickhouse`, run as `clickhouse server`.
    Server(PathBuf),
}

impl Program {
    /// The program that `clickhouse` names; else the library (`libchdb`, $LIBCHDB_PATH, the cache); else,
    /// where no library was named and none is cached, a `clickhouse` of $PATH.
    ///
    /// # Errors
    /// Neither is there, or the processor cannot run the library.
    pub fn find(clickhouse: Option<&Path>, libchdb: Option<&Path>) -> anyhow::Result<Self> {
        if let Some(program) = clickhouse {
            let program =
                program.canonicalize().with_context(|| format!("--clickhouse {}", program.display()))?;
            ensure!(program.is_file(), "--clickhouse {} is no file", program.display());
            return Ok(Self::Server(program));
        }
        match library::find(libchdb) {
            Ok(library) => {
                processor::check()?;
                Ok(Self::Library(library.canonicalize().with_context(|| library.display().to_string())?))
            }
            Err(error) if error.named => Err(error.into()),
            Err(error) => match on_path(std::env::var_os("PATH").as_deref()) {
                Some(program) => Ok(Self::Server(program)),
                None => Err(error.into()),
            },
        }
    }

    /// The file that runs.
    #[must_use]
    pub fn file(&self) -> &Path {
        match self {
            Self::Library(file) | Self::Server(file) => file,
        }
    }
}

fn on_path(path: Option<&OsStr>) -> Option<PathBuf> {
    std::env::split_paths(path?)
        .map(|folder| folder.join("clickhouse"))
        .find(|program| program.is_file())
        .and_then(|program| program.canonicalize().ok())
}
