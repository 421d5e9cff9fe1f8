//! Programs of others that the lab and a stack use, when they are there.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};

/// Where Debian keeps what an ordinary user's `PATH` does not name.
const SYSTEM: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

/// Path of `program`; `package` is the Debian package that brings it.
///
/// # Errors
/// When it is not installed: the error names the package.
pub fn find(program: &str, package: &str) -> Result<PathBuf> {
    find_in(&std::env::var_os("PATH").unwrap_or_default(), program, package)
}

fn find_in(path: &OsString, program: &str, package: &str) -> Result<PathBuf> {
    let folders = std::env::split_paths(path).chain(SYSTEM.iter().map(PathBuf::from));
    match folders.map(|folder| folder.join(program)).find(|path| executable(path)) {
        Some(path) => Ok(path),
        None => bail!("{program} is not installed (Debian: {package})"),
    }
}

fn executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_names_its_package() {
        let error = find("hs-no-such-program", "hs-package").unwrap_err().to_string();
        assert_eq!(error, "hs-no-such-program is not installed (Debian: hs-package)");
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("hs-text"), "").unwrap();
        assert!(find_in(&dir.path().into(), "hs-text", "x").is_err(), "a file that cannot be run");
        assert!(find("sh", "dash").is_ok());
    }
}
