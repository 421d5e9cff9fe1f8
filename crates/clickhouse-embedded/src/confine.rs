//! Confinement: what the engine may touch on the file system, enforced by Landlock
//! (<https://docs.kernel.org/userspace-api/landlock.html>).
//!
//! ClickHouse's grants decide which accounts may use `file()`, dictionaries, backups and the other ways from
//! SQL to files. No grant holds the scalar function `file()`, and `clickhouse local`, which the library is,
//! does not shut it into a folder as a server does. So the kernel does: after [`enter`] the calling thread,
//! and every thread and program it starts later, reads and writes only the engine's own folders, reads the
//! library, the C library and a few files that ClickHouse's accounting and name resolution need. The
//! network stays. It cannot be undone.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible as _, PathBeneath, PathFd, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, RulesetStatus,
};

use crate::folders::Folders;
use crate::program::Program;

/// What the engine reads outside its folders: memory and processor accounting, names of hosts, its time
/// zone, certificates of those it calls.
const READABLE: [&str; 17] = [
    "/proc/self/statm",
    "/proc/self/status",
    "/proc/meminfo",
    "/proc/cpuinfo",
    "/proc/stat",
    "/sys/fs/cgroup",
    "/sys/devices/system/cpu",
    "/dev/urandom",
    "/etc/localtime",
    "/etc/timezone",
    "/usr/share/zoneinfo",
    "/etc/hosts",
    "/etc/resolv.conf",
    "/etc/nsswitch.conf",
    "/etc/services",
    "/etc/ssl",
    "/usr/share/ca-certificates",
];
/// Its threads' accounting, for the sake of speed: ClickHouse looks there with every thread of every query, and
/// each look that fails is an exception with a stack trace (half a millisecond of a `SELECT 1`). What else can be
/// read there is the command line and where memory, mounts and sockets are: no row and no secret, since nothing of
/// the supervisor's environment is passed on.
const THREADS: &str = "/proc/self/task";
/// ClickHouse keeps three files of [`THREADS`] open for each of its threads, of which a busy engine has hundreds.
/// Where fewer files than this may be open, tables need them more.
const FILES_FOR_THREADS: u64 = 8192;
/// Where the C library and its like are.
const LIBRARIES: [&str; 4] = ["/lib", "/lib64", "/usr/lib", "/usr/lib64"];

/// Confines this thread and those it will start to `folders` and what `program` needs to run.
///
/// A kernel without Landlock confines nothing; that is said on standard error.
///
/// # Errors
/// When the kernel has Landlock and refuses the rules.
pub fn enter(folders: &Folders, program: &Program) -> anyhow::Result<()> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let own = read
        | AccessFs::WriteFile
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::MakeSym
        | AccessFs::Refer
        | AccessFs::Truncate;
    let run = AccessFs::ReadFile | AccessFs::Execute;
    let mut rules: Vec<(PathBuf, BitFlags<AccessFs>)> = Vec::new();
    for folder in [&folders.data, &folders.user_files, &folders.run] {
        rules.push((folder.clone(), own));
    }
    // The log has other callers' texts, and the engine only writes it.
    rules.push((folders.log.clone(), own & !AccessFs::ReadFile));
    rules.push((program.file().to_owned(), run));
    rules.extend(LIBRARIES.map(|folder| (folder.into(), run | AccessFs::ReadDir)));
    rules.extend(READABLE.map(|path| (path.into(), read)));
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    if files.is_none_or(|files| files >= FILES_FOR_THREADS) {
        rules.push((THREADS.into(), read));
    }
    rules.push(("/dev/null".into(), AccessFs::ReadFile | AccessFs::WriteFile));
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ABI::V5))?
        .create()?;
    for (path, access) in rules {
        // What this machine lacks needs no rule.
        let Ok(handle) = PathFd::new(&path) else { continue };
        ruleset = ruleset.add_rule(PathBeneath::new(handle, of_its_kind(&path, access)))?;
    }
    if ruleset.restrict_self()?.ruleset == RulesetStatus::NotEnforced {
        eprintln!(
            "this kernel has no Landlock: every account that may SELECT reads, by the function file(), whatever \
             the engine's system user may read; run it as a user of its own that owns nothing else"
        );
    }
    Ok(())
}

/// A file has no folder's rights.
fn of_its_kind(path: &Path, access: BitFlags<AccessFs>) -> BitFlags<AccessFs> {
    if path.is_dir() { access } else { access & AccessFs::from_file(ABI::V5) }
}
