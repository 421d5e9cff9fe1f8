//! Disks that can be filled: a tmpfs of a few megabytes in the place of a folder of the stack's.
//!
//! Mounting needs root; [`possible`] says why not. A disk is unmounted when it is dropped, also by a test that
//! fails: it must be dropped after the processes that use it, so it is made before the stack.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use testbed::stack::{Link, StackConfig};

/// Whether disks can be mounted here.
///
/// # Errors
/// Why not.
pub fn possible() -> Result<()> {
    let dir = tempfile::tempdir()?;
    SmallDisk::mount(&dir.path().join("disk"), 1).map(drop)
}

/// Configures a stack that has room on them.
pub fn fits(config: &mut StackConfig) {
    config.link = Link::Direct;
    config.timeout_s = 5;
    config.batch_rows = 1_000;
    config.service_min_free = "1MiB".to_owned();
    config.gateway_min_free = "1MiB".to_owned();
}

/// The disks of a stack, by the folder of the stack's that each stands in the place of.
#[derive(Debug, Default)]
pub struct Disks(Vec<(&'static str, SmallDisk)>);

impl Disks {
    /// Everything that a stack keeps, each on a disk of its own: the service's catalog and spool, the gateway's journal
    /// and chunks, and both engines.
    ///
    /// # Errors
    /// What the system says.
    pub fn under(stack: &Path) -> Result<Self> {
        let mut disks = Self::default();
        for (folder, mib) in [
            ("service", 64),
            ("service/spool", 64),
            ("gateway", 64),
            ("gateway/spool", 64),
            ("hot", 512),
            ("cold", 512),
        ] {
            disks.0.push((folder, SmallDisk::mount(&stack.join(folder), mib)?));
        }
        Ok(disks)
    }

    /// The one in the place of this folder.
    ///
    /// # Errors
    /// There is none.
    pub fn get(&self, folder: &str) -> Result<&SmallDisk> {
        let found = self.0.iter().find(|(name, _)| *name == folder);
        found.map(|(_, disk)| disk).with_context(|| format!("no disk {folder}"))
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        // A disk in a disk goes first.
        while self.0.pop().is_some() {}
    }
}

/// One disk.
#[derive(Debug)]
pub struct SmallDisk {
    at: PathBuf,
}

impl SmallDisk {
    /// Mounts an empty one of `mib` MiB at the folder, which is made.
    ///
    /// # Errors
    /// What the system says.
    pub fn mount(at: &Path, mib: u32) -> Result<Self> {
        fs::create_dir_all(at).with_context(|| format!("make {}", at.display()))?;
        let size = format!("size={mib}m,mode=0700");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "hybrid-storage-test"]).arg(at))?;
        Ok(Self { at: at.to_owned() })
    }

    /// Its number, by which a file says where it lies.
    ///
    /// # Errors
    /// What the system says.
    pub fn device(&self) -> Result<u64> {
        Ok(fs::metadata(&self.at)?.dev())
    }

    /// Fills it to the last byte with a file, which goes with what is returned.
    ///
    /// # Errors
    /// When it cannot be filled.
    pub fn fill(&self) -> Result<Filling> {
        let filling = Filling { path: self.at.join("filling") };
        let mut file = File::create(&filling.path)?;
        // In ever smaller pieces: what is left must not be enough for anything.
        for piece in [1 << 20, 1 << 12, 1] {
            let bytes = vec![0; piece];
            loop {
                match file.write(&bytes) {
                    Ok(0) => break,
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => return Err(error).context("fill a disk"),
                }
            }
        }
        Ok(filling)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, should something still stand in it.
        if let Err(error) = run(Command::new("umount").arg("-l").arg(&self.at)) {
            eprintln!("{error:#}");
        }
    }
}

/// The file that fills a disk; dropping it makes room.
#[derive(Debug)]
pub struct Filling {
    path: PathBuf,
}

impl Drop for Filling {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
