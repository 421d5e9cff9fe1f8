//! Fetches the engine: libchdb, the shared library that `clickhouse-embedded` serves.
//!
//! The library comes out of an npm package, through whatever registry npm is configured with, and is
//! believed only for its SHA-256. It is unpacked beside its final place and renamed there, so that a
//! reader finds either nothing or the whole file; a marker written after it says that it was hashed
//! once. A lock file keeps two fetchers apart: the second waits and then finds the work done. A crash
//! leaves at most a temporary folder, which the next fetch removes.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context, Result, bail, ensure};
use indicatif::ProgressBar;
use sha2::{Digest, Sha256};

use crate::progress;

/// Version of the npm package that carries the library.
pub const VERSION: &str = "26.7.3-stable.1";
/// SHA-256 of `package/libchdb.so` in the x86-64 package.
const SHA256_X86_64: &str = "36ad4e999882821ef13cf2d0f52c93f48e6ee1b4498b35a201c23ce4b8d15bf5";
/// The one file of the package that is kept.
const MEMBER: &str = "package/libchdb.so";
/// Its size is about 570 MB; a file far beyond that is not it.
const MAX_BYTES: u64 = 2 << 30;

/// The package of this machine and the hash its library must have.
fn package() -> Result<(&'static str, &'static str)> {
    if cfg!(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu")) {
        return Ok(("@chdb/lib-linux-x64-gnu", SHA256_X86_64));
    }
    if cfg!(all(target_os = "linux", target_arch = "aarch64", target_env = "gnu")) {
        bail!(
            "the arm64 package @chdb/lib-linux-arm64-gnu {VERSION} has no SHA-256 on record here, so it is not \
             fetched unproven: obtain it yourself and set LIBCHDB_PATH to its libchdb.so"
        );
    }
    bail!(
        "there is no engine package for this machine (Linux with glibc on x86-64 or arm64): set LIBCHDB_PATH to a libchdb.so"
    )
}

/// Where the library of this version lives once fetched.
pub fn cached_path() -> Result<PathBuf> {
    let cache = match std::env::var_os("XDG_CACHE_HOME").filter(|v| !v.is_empty()) {
        Some(dir) => PathBuf::from(dir),
        None => {
            std::env::home_dir().context("neither XDG_CACHE_HOME nor a home folder is known")?.join(".cache")
        }
    };
    Ok(cache.join("hybrid-storage/libchdb").join(VERSION).join("libchdb.so"))
}

/// The library to use: `LIBCHDB_PATH` when set, else the cached one, `None` when neither is there.
pub fn installed() -> Result<Option<PathBuf>> {
    if let Some(path) = std::env::var_os("LIBCHDB_PATH").filter(|v| !v.is_empty()) {
        let path = PathBuf::from(path);
        ensure!(path.is_file(), "LIBCHDB_PATH is set to {}, which is not a file", path.display());
        return Ok(Some(path));
    }
    let path = cached_path()?;
    Ok(verified(&path).then_some(path))
}

/// The library, fetched if need be.
pub fn ensure_installed() -> Result<PathBuf> {
    match installed()? {
        Some(path) => Ok(path),
        None => fetch(),
    }
}

/// Fetches the library into the cache; does nothing when it is there and was proven once.
pub fn fetch() -> Result<PathBuf> {
    let target = cached_path()?;
    let dir = target.parent().context("the cache path has no folder")?;
    fs::create_dir_all(dir).with_context(|| format!("make the cache folder {}", dir.display()))?;
    let lock = File::create(dir.join("fetch.lock")).context("open the fetch lock")?;
    lock.lock().context("wait for another fetch to end")?;
    if verified(&target) {
        return Ok(target);
    }
    let (package, sha256) = package()?;
    if target.is_file() && hash_file(&target)? == sha256 {
        mark(&target, sha256)?;
        return Ok(target);
    }
    let started = Instant::now();
    let work =
        tempfile::Builder::new().prefix("fetch-").tempdir_in(dir).context("make a folder to unpack in")?;
    let archive = npm_pack(package, work.path())?;
    let unpacked = work.path().join("libchdb.so");
    let found = unpack(&archive, &unpacked)?;
    ensure!(
        found == sha256,
        "libchdb.so of {package} {VERSION} has SHA-256 {found}, expected {sha256}: not installed"
    );
    File::open(&unpacked)?.sync_all().context("sync the library to disk")?;
    fs::rename(&unpacked, &target).context("move the library into the cache")?;
    File::open(dir)?.sync_all().context("sync the cache folder")?;
    mark(&target, sha256)?;
    eprintln!("engine ready: {} ({:.0} s)", target.display(), started.elapsed().as_secs_f64());
    Ok(target)
}

/// Downloads the package with npm, which knows its registry, proxy and certificates.
fn npm_pack(package: &str, into: &Path) -> Result<PathBuf> {
    let waiting = progress::Waiting::new(&format!("downloading {package} {VERSION} with npm (about 180 MB)"));
    let output = Command::new("npm")
        .args(["pack", "--silent", "--ignore-scripts", "--pack-destination"])
        .arg(into)
        .arg(format!("{package}@{VERSION}"))
        .current_dir(into)
        .output()
        .context("run npm: it must be installed to fetch the engine (or set LIBCHDB_PATH)")?;
    drop(waiting);
    ensure!(
        output.status.success(),
        "npm pack {package}@{VERSION} failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let name = String::from_utf8_lossy(&output.stdout);
    let name = name.lines().last().unwrap_or_default().trim();
    ensure!(!name.is_empty() && !name.contains('/'), "npm pack named no archive: {name:?}");
    Ok(into.join(name))
}

/// Unpacks the library and returns its SHA-256 as hex.
fn unpack(archive: &Path, to: &Path) -> Result<String> {
    let file = File::open(archive).with_context(|| format!("open {}", archive.display()))?;
    let bar = progress::bytes(file.metadata()?.len(), "unpacking the engine");
    let reader = flate2::read::GzDecoder::new(bar.wrap_read(file));
    let mut tar = tar::Archive::new(reader);
    for entry in tar.entries().context("read the package")? {
        let entry = entry.context("read the package")?;
        if entry.path()?.as_os_str() != MEMBER {
            continue;
        }
        ensure!(entry.size() <= MAX_BYTES, "{MEMBER} claims {} bytes", entry.size());
        let mut out = File::create(to).context("create the library's file")?;
        let hash = copy_hashed(entry, &mut out)?;
        bar.finish_and_clear();
        return Ok(hash);
    }
    bail!("the package holds no {MEMBER}")
}

fn copy_hashed(mut from: impl Read, to: &mut impl Write) -> Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = from.read(&mut buffer).context("unpack the library")?;
        if n == 0 {
            return Ok(hex::encode(hasher.finalize()));
        }
        hasher.update(&buffer[..n]);
        to.write_all(&buffer[..n]).context("write the library")?;
    }
}

fn hash_file(path: &Path) -> Result<String> {
    let file = File::open(path)?;
    let bar: ProgressBar = progress::bytes(file.metadata()?.len(), "checking the engine");
    let hash = copy_hashed(bar.wrap_read(file), &mut io::sink());
    bar.finish_and_clear();
    hash
}

/// The marker says: a file of this size had the right hash.
fn marker(library: &Path) -> PathBuf {
    library.with_extension("so.verified")
}

fn mark(library: &Path, sha256: &str) -> Result<()> {
    let bytes = fs::metadata(library)?.len();
    fs::write(marker(library), format!("{sha256} {bytes}\n")).context("write the marker")
}

fn verified(library: &Path) -> bool {
    let Ok((_, sha256)) = package() else { return false };
    let Ok(metadata) = fs::metadata(library) else { return false };
    fs::read_to_string(marker(library))
        .is_ok_and(|text| text.trim() == format!("{sha256} {}", metadata.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(dir: &Path, name: &str, bytes: &[u8]) -> PathBuf {
        let path = dir.join("package.tgz");
        let gz = flate2::write::GzEncoder::new(File::create(&path).unwrap(), flate2::Compression::fast());
        let mut tar = tar::Builder::new(gz);
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append_data(&mut header, name, bytes).unwrap();
        tar.into_inner().unwrap().finish().unwrap();
        path
    }

    #[test]
    fn the_library_is_unpacked_and_hashed() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("out");
        let hash = unpack(&archive(dir.path(), MEMBER, b"abc"), &to).unwrap();
        assert_eq!(hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(fs::read(to).unwrap(), b"abc");
    }

    #[test]
    fn a_package_without_the_library_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let error =
            unpack(&archive(dir.path(), "package/other.so", b"abc"), &dir.path().join("out")).unwrap_err();
        assert!(format!("{error:#}").contains("holds no package/libchdb.so"), "{error:#}");
    }

    #[test]
    fn a_marker_of_another_size_proves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let library = dir.path().join("libchdb.so");
        fs::write(&library, b"abc").unwrap();
        mark(&library, SHA256_X86_64).unwrap();
        assert_eq!(verified(&library), package().is_ok());
        fs::write(&library, b"abcd").unwrap();
        assert!(!verified(&library));
    }
}
