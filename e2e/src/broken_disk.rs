//! A disk that fails: calls on files of one disk come back with EIO, as they do from a dying one, or not at all.
//!
//! A small library (`broken_disk/shim.c`) is compiled and preloaded into daemons and engines. It stands between them
//! and the C library's reads, writes and syncs, and asks a control file whether to fail, or to be
//! stuck.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use testbed::wait::eventually;

use crate::small_disk::SmallDisk;

/// What is to happen to calls on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Reading fails.
    Reads = 1,
    /// Writing fails.
    Writes = 2,
    /// `fsync` and `fdatasync` fail.
    Syncs = 4,
    /// Reading files of an engine's parts does not come back until it is over.
    StuckReads = 1 << 8,
    /// Writing does not.
    StuckWrites = 2 << 8,
}

/// The compiled library and its control file.
#[derive(Debug)]
pub struct Shim {
    etc: PathBuf,
    control: File,
}

impl Shim {
    /// Compiles the library into the folder; nothing fails yet.
    ///
    /// # Errors
    /// What the compiler or the system says.
    pub fn build(dir: &Path) -> Result<Self> {
        let (source, library, etc) = (dir.join("shim.c"), dir.join("shim.so"), dir.join("etc"));
        let path = dir.join("shim.control");
        fs::write(&source, include_str!("broken_disk/shim.c"))?;
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O2", "-o"]).arg(&library).arg(&source);
        compiler.arg(format!("-DCONTROL={path:?}"));
        let output = compiler.output().context("run cc")?;
        ensure!(output.status.success(), "cc: {}", String::from_utf8_lossy(&output.stderr));
        fs::create_dir_all(&etc)?;
        fs::write(etc.join("ld.so.preload"), library.to_string_lossy().as_bytes())?;
        let control = File::options().create(true).truncate(true).read(true).write(true).open(&path)?;
        control.set_len(16)?;
        Ok(Self { etc, control })
    }

    /// What starts a process so that disks can fail under it: in a mount namespace of its own, where every program
    /// has the library preloaded, also one whose environment is cleared on the way.
    pub fn starter(&self) -> Vec<String> {
        const START: &str =
            "mount -t overlay -o lowerdir=\"$1\":/etc hybrid-storage-test /etc && shift && exec \"$@\"";
        let etc = self.etc.to_string_lossy().into_owned();
        ["unshare", "--mount", "sh", "-c", START, "start", &etc].map(str::to_owned).to_vec()
    }

    /// From now on this befalls the disk, until what is returned is dropped.
    ///
    /// # Errors
    /// What the system says.
    pub fn strike(&self, disk: &SmallDisk, what: Fault) -> Result<Struck<'_>> {
        self.control.write_all_at(&disk.device()?.to_ne_bytes(), 0)?;
        self.control.write_all_at(&0_u32.to_ne_bytes(), 12)?;
        self.control.write_all_at(&(what as u32).to_ne_bytes(), 8)?;
        Ok(Struck { shim: self })
    }
}

/// A disk that something befalls; dropping it mends the disk.
#[derive(Debug)]
pub struct Struck<'a> {
    shim: &'a Shim,
}

impl Struck<'_> {
    /// Until a call was befallen.
    ///
    /// # Errors
    /// None was in time.
    pub async fn felt(&self) -> Result<()> {
        eventually("a call on the disk fails or is stuck", async || (self.calls().ok()? > 0).then_some(()))
            .await
    }

    /// How many calls were befallen.
    ///
    /// # Errors
    /// What the system says.
    pub fn calls(&self) -> Result<u32> {
        let mut count = [0; 4];
        self.shim.control.read_exact_at(&mut count, 12)?;
        Ok(u32::from_ne_bytes(count))
    }
}

impl Drop for Struck<'_> {
    fn drop(&mut self) {
        let _ = self.shim.control.write_all_at(&0_u32.to_ne_bytes(), 8);
    }
}
