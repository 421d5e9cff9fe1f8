//! Confinement: what the process may touch on the file system, enforced by Landlock.
//!
//! SQL reaches files in many ways (`file()`, `FROM 'path'`, `ENGINE = File`, dictionaries, backups,
//! `executable()`), and libchdb, made for the user's own machine, allows them all. So the kernel forbids:
//! after [`enter`] the calling thread, and every thread it starts later, reads and writes only the engine's
//! three folders, reads the library and a few files of `/proc` and `/sys` that the engine's memory
//! accounting watches, and executes nothing. It cannot be undone.
//!
//! It must run before the engine or the runtime start threads, and after the library is loaded.
//! `url()` therefore cannot read `/etc/hosts` or `/etc/resolv.conf`: it dials addresses, not names.
//!
//! Where the kernel has no Landlock, [`refuse_files`] refuses by their names the functions and engines that
//! reach files; that is a fence, not a wall, and the log says so.

use std::path::Path;

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible as _, PathBeneath, PathFd, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, RulesetStatus,
};

use crate::engine::Folders;
use crate::failure::{Failure, code};
use crate::statement::lexer::{Kind, Lexer};

/// What the engine reads outside its folders: memory and processor accounting, its own time zone.
const READABLE: [&str; 7] = [
    "/proc/self/statm",
    "/proc/self/status",
    "/proc/meminfo",
    "/proc/cpuinfo",
    "/dev/null",
    "/dev/urandom",
    "/sys/fs/cgroup",
];

/// Who keeps the engine in its folders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confinement {
    /// The kernel.
    Kernel,
    /// Only [`refuse_files`].
    NamesOnly,
}

/// Confines this thread and those it will start to `folders` and the library at `library`.
///
/// # Errors
/// When the kernel has Landlock and refuses the rules.
pub fn enter(folders: &Folders, library: &Path) -> anyhow::Result<Confinement> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let own = read
        | AccessFs::WriteFile
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::MakeSym
        | AccessFs::MakeFifo
        | AccessFs::Refer
        | AccessFs::Truncate;
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ABI::V5))?
        .create()?;
    let mut ruleset = ruleset;
    for folder in [&folders.data, &folders.user_files, &folders.tmp] {
        ruleset = ruleset.add_rule(PathBeneath::new(PathFd::new(folder)?, own))?;
    }
    ruleset =
        ruleset.add_rule(PathBeneath::new(PathFd::new(library)?, AccessFs::ReadFile | AccessFs::Execute))?;
    for path in READABLE {
        // What this machine lacks needs no rule.
        let Ok(handle) = PathFd::new(path) else { continue };
        let access: BitFlags<AccessFs> =
            if Path::new(path).is_dir() { read } else { AccessFs::ReadFile.into() };
        ruleset = ruleset.add_rule(PathBeneath::new(handle, access))?;
    }
    let status = ruleset.restrict_self()?;
    if status.ruleset == RulesetStatus::NotEnforced {
        tracing::warn!(
            "this kernel has no Landlock: functions that reach files are refused by their names, which is less"
        );
        return Ok(Confinement::NamesOnly);
    }
    Ok(Confinement::Kernel)
}

/// Functions and engines whose arguments name files of this machine.
const FILE_WORDS: [&str; 20] = [
    "file",
    "fileCluster",
    "executable",
    "executablePool",
    "sqlite",
    "filesystem",
    "icebergLocal",
    "icebergLocalCluster",
    "deltaLakeLocal",
    "deltaLakeLocalCluster",
    "paimonLocal",
    "paimonLocalCluster",
    "hudi",
    "disk",
    "local",
    "loadFile",
    "library",
    "url",
    "backup",
    "restore",
];

/// Refuses a statement that names a function or engine of [`FILE_WORDS`], or a table whose name is a path.
///
/// # Errors
/// 497 (ACCESS_DENIED).
pub fn refuse_files(text: &[u8]) -> Result<(), Failure> {
    let mut tokens = Lexer::new(text).peekable();
    let mut first = true;
    while let Some(token) = tokens.next() {
        let calls = tokens.peek().is_some_and(|next| next.is_symbol(b'('));
        let word = FILE_WORDS.iter().find(|word| token.is(text, word) && !is_url(word, text, token.end));
        let statement = first && word.is_some_and(|word| matches!(*word, "backup" | "restore"));
        let path = token.kind == Kind::Quoted && text[token.start..token.end].contains(&b'/');
        first = false;
        if word.is_some() && (calls || statement) || path {
            let what = String::from_utf8_lossy(&text[token.start..token.end]).into_owned();
            return Err(Failure::new(
                code::ACCESS_DENIED,
                format!(
                    "{what} would reach files outside the engine's folders, and this kernel cannot forbid that"
                ),
            ));
        }
    }
    Ok(())
}

/// `url('http…')` reaches no file; `url('file:…')` does.
fn is_url(word: &str, text: &[u8], end: usize) -> bool {
    word == "url"
        && !text[end..]
            .iter()
            .take(64)
            .copied()
            .collect::<Vec<u8>>()
            .to_ascii_lowercase()
            .windows(5)
            .any(|w| w == b"file:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_refused_by_name() {
        for sql in [
            "SELECT file('/etc/hostname')",
            "SELECT * FROM File ('x', CSV)",
            "SELECT * FROM `/etc/hostname`",
            "CREATE TABLE t (a Int8) ENGINE = Executable('x', TSV)",
            "SELECT * FROM url('file:///etc/hostname', LineAsString)",
            "BACKUP TABLE t TO Disk('d', 'x')",
        ] {
            assert_eq!(refuse_files(sql.as_bytes()).unwrap_err().code, 497, "{sql}");
        }
        for sql in [
            "SELECT file FROM t",
            "SELECT 'file(1)'",
            "SELECT * FROM url('http://127.0.0.1/', CSV)",
            "SELECT `a b`",
        ] {
            refuse_files(sql.as_bytes()).unwrap();
        }
    }
}
