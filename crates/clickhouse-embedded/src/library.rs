//! Where the engine's library is.

use std::path::{Path, PathBuf};

/// The pinned version, as the npm package names it.
const VERSION: &str = "26.7.3-stable.1";
/// What fills the cache.
pub const FETCH_COMMAND: &str = "cargo xtask fetch-engine";

/// No library in any of the places.
#[derive(Debug, thiserror::Error)]
#[error(
    "no libchdb: {tried}; run `{FETCH_COMMAND}`, or name the file by --libchdb or LIBCHDB_PATH, or a ClickHouse by --clickhouse"
)]
pub struct NotFound {
    tried: String,
    /// Somebody named the file: looking elsewhere would not be what they asked for.
    pub named: bool,
}

/// The library's path: `given` (`--libchdb`), else `LIBCHDB_PATH`, else the cache. A place that is named
/// and holds no file is an error, not a reason to look further.
///
/// # Errors
/// [`NotFound`], with what was tried.
pub fn find(given: Option<&Path>) -> Result<PathBuf, NotFound> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let named = given
        .map(|path| ("--libchdb", path.to_owned()))
        .or_else(|| set("LIBCHDB_PATH").map(|path| ("LIBCHDB_PATH", path)));
    let is_named = named.is_some();
    let Some((source, path)) = named.or_else(|| cached(set).map(|path| ("the cache", path))) else {
        return Err(NotFound { tried: "neither HOME nor XDG_CACHE_HOME is set".into(), named: false });
    };
    if path.is_file() {
        return Ok(path);
    }
    Err(NotFound { tried: format!("{source} names {}, which is no file", path.display()), named: is_named })
}

fn cached(set: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")))?;
    Some(cache.join("hybrid-storage").join("libchdb").join(VERSION).join("libchdb.so"))
}
