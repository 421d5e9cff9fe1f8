//! Every error of a configuration file at once, each with its line and key path.

use std::{fmt, path::PathBuf};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Line in the file, from 1; `None` when it is not about a place in the file.
    pub line: Option<u64>,
    /// Key path, e.g. `hot_storage.nodes[1]`; empty when the whole file is meant.
    pub path: String,
    /// What is wrong and what to do about it.
    pub message: String,
}

/// Everything that is wrong with one file, in the order of its lines.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors {
    /// The file.
    pub file: PathBuf,
    /// Never empty.
    pub errors: Vec<ConfigError>,
}

impl fmt::Display for ConfigErrors {
    /// One line each: `file:line: key.path: problem (what to do)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, error) in self.errors.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}", self.file.display())?;
            if let Some(line) = error.line {
                write!(f, ":{line}")?;
            }
            f.write_str(": ")?;
            if !error.path.is_empty() {
                write!(f, "{}: ", error.path)?;
            }
            f.write_str(&error.message)?;
        }
        Ok(())
    }
}
