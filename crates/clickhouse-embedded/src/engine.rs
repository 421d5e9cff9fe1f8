//! The engine: one libchdb over one folder, many connections, and a way to kill a statement.
//!
//! A connection costs 0.15 ms, so every request gets a fresh one; only sessions keep theirs. One
//! connection stays open as long as the process, or the engine would stop between requests; it is the one
//! that kills statements. A statement is known by a tag of ours, carried by a setting that means nothing in
//! an engine without a cluster (the library ignores `query_id`, and `log_comment` belongs to the caller).

use std::ffi::CString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{FlockOperation, flock};

use crate::chdb::{Chdb, RawConnection};
use crate::failure::{Failure, code};

/// The setting that carries a statement's tag.
pub const TAG_SETTING: &str = "cluster_for_parallel_replicas";

/// The three folders that the process may write.
#[derive(Debug, Clone)]
pub struct Folders {
    /// Tables.
    pub data: PathBuf,
    /// What `file()` sees.
    pub user_files: PathBuf,
    /// Pipes and spilled answers; emptied at start.
    pub tmp: PathBuf,
    /// Held as long as any clone lives.
    _lock: Arc<File>,
}

impl Folders {
    /// Makes the folders under `root`, and clears what a crash left in the temporary one.
    ///
    /// # Errors
    /// What the file system says.
    pub fn create(root: &Path) -> std::io::Result<Self> {
        std::fs::create_dir_all(root)?;
        let root = root.canonicalize()?;
        let lock = File::create(root.join("lock"))?;
        // Held until the process ends, before anything of another's is touched.
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            let text = "another clickhouse-embedded works in this folder";
            std::io::Error::new(std::io::ErrorKind::ResourceBusy, text)
        })?;
        let folders = Self {
            _lock: Arc::new(lock),
            data: root.join("data"),
            user_files: root.join("user_files"),
            tmp: root.join("tmp"),
        };
        if folders.tmp.exists() {
            std::fs::remove_dir_all(&folders.tmp)?;
        }
        for folder in [&folders.data, &folders.user_files, &folders.tmp] {
            std::fs::create_dir_all(folder)?;
        }
        Ok(folders)
    }
}

/// The running engine.
pub struct Engine {
    chdb: Chdb,
    arguments: Vec<CString>,
    folders: Folders,
    killer: Mutex<Option<RawConnection>>,
    timezone: String,
}

impl Engine {
    /// Starts the engine over `folders`, using at most `memory_limit_bytes` for all queries together.
    ///
    /// # Errors
    /// When the engine refuses to start: a folder of another version, a damaged table, no memory.
    pub fn start(chdb: Chdb, folders: Folders, memory_limit_bytes: u64) -> anyhow::Result<Self> {
        let caches = memory_limit_bytes / 16;
        let arguments = [
            format!("--path={}", folders.data.display()),
            format!("--user_files_path={}", folders.user_files.display()),
            format!("--max_server_memory_usage={memory_limit_bytes}"),
            format!("--mark_cache_size={caches}"),
            format!("--index_mark_cache_size={}", caches / 4),
            format!("--primary_index_cache_size={caches}"),
            "--uncompressed_cache_size=0".into(),
            format!("--mmap_cache_size={}", 64),
            "--max_thread_pool_size=1000".into(),
        ]
        .into_iter()
        .map(CString::new)
        .collect::<Result<Vec<_>, _>>()?;
        let Some(mut killer) = chdb.connect(&arguments) else {
            anyhow::bail!("the engine refused to start over {}", folders.data.display());
        };
        let timezone =
            killer.query(b"SELECT timezone()", "TabSeparatedRaw", &[]).map_err(anyhow::Error::msg)?;
        let timezone = String::from_utf8_lossy(timezone.bytes()).trim().to_owned();
        Ok(Self { chdb, arguments, folders, killer: Mutex::new(Some(killer)), timezone })
    }

    /// Opens a connection of its own.
    ///
    /// # Errors
    /// 1002 when the engine refuses.
    pub fn connect(&self) -> Result<RawConnection, Failure> {
        self.chdb
            .connect(&self.arguments)
            .ok_or_else(|| Failure::new(code::UNKNOWN_EXCEPTION, "the engine opens no more connections"))
    }

    /// The folders that the engine works in.
    #[must_use]
    pub fn folders(&self) -> &Folders {
        &self.folders
    }

    /// The engine's time zone, for `X-ClickHouse-Timezone`.
    #[must_use]
    pub fn timezone(&self) -> &str {
        &self.timezone
    }

    /// Asks the engine to end the statement tagged `tag`; returns before it has ended.
    pub fn kill(&self, tag: &str) {
        let sql = format!("KILL QUERY WHERE Settings['{TAG_SETTING}'] = {} ASYNC", literal(tag));
        let mut killer = self.killer.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(connection) = killer.as_mut() else { return };
        if let Err(error) = connection.query(sql.as_bytes(), "Null", &[]) {
            tracing::warn!(%error, "a statement could not be killed");
        }
    }

    /// Closes the last connection and stops the engine. Returns whether it stopped cleanly.
    pub fn stop(&self) -> bool {
        drop(self.killer.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.chdb.shutdown()
    }
}

/// `text` as a string literal of SQL.
#[must_use]
pub fn literal(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('\'');
    for character in text.chars() {
        match character {
            '\'' => quoted.push_str("\\'"),
            '\\' => quoted.push_str("\\\\"),
            '\0' => quoted.push_str("\\0"),
            _ => quoted.push(character),
        }
    }
    quoted.push('\'');
    quoted
}

/// `name` as a quoted identifier of SQL.
#[must_use]
pub fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('\\', "\\\\").replace('`', "\\`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes() {
        assert_eq!(literal("a'\\b"), "'a\\'\\\\b'");
        assert_eq!(identifier("a`b\\"), "`a\\`b\\\\`");
    }
}
