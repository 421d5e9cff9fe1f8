//! Named points at which a test may stop a process, to kill it there.
//!
//! Without the feature `enabled` every call compiles to nothing. With it, and with
//! `STORAGE_FAULT_DIR` set, a process that reaches the point `p` looks for the file `p` in that
//! folder. If it is there, the process renames it to `p.reached` and waits until that file is gone
//! (at most [`MAX_PAUSE`]): time for the test to `kill -9` whichever process it likes and then to
//! let the others go on. A file `skip.NAME` switches off the proof called NAME ([`Skip`]): the oracle
//! must turn red then, or it proves nothing.
//!
//! A point is a member of [`Point`], so that tests visit [`Point::ALL`] and none is left out.

mod point;
mod skip;

use std::time::Duration;

pub use point::{Daemon, Moment, Point, Step};
pub use skip::Skip;

/// Longest a point holds a process when nobody releases it.
pub const MAX_PAUSE: Duration = Duration::from_secs(60);

/// Reach a point.
pub async fn reach(point: Point) {
    #[cfg(feature = "enabled")]
    armed::pause(point.name()).await;
    #[cfg(not(feature = "enabled"))]
    let _ = point;
}

/// Whether the test asked for a proof to be skipped. Always `false` in a release build.
#[must_use]
pub fn skips(proof: Skip) -> bool {
    #[cfg(feature = "enabled")]
    return armed::dir().is_some_and(|dir| dir.join(proof.file()).exists());
    #[cfg(not(feature = "enabled"))]
    {
        let _ = proof;
        false
    }
}

#[cfg(feature = "enabled")]
mod armed {
    use std::{path::PathBuf, sync::OnceLock, time::Duration};

    /// The folder of `STORAGE_FAULT_DIR`, read once.
    pub(super) fn dir() -> Option<&'static PathBuf> {
        static DIR: OnceLock<Option<PathBuf>> = OnceLock::new();
        DIR.get_or_init(|| std::env::var_os("STORAGE_FAULT_DIR").map(PathBuf::from)).as_ref()
    }

    pub(super) async fn pause(name: &str) {
        let Some(dir) = dir() else { return };
        let reached = dir.join(format!("{name}.reached"));
        // The rename decides: of several tasks at the same point exactly one is held.
        if std::fs::rename(dir.join(name), &reached).is_err() {
            return;
        }
        let deadline = tokio::time::Instant::now() + super::MAX_PAUSE;
        while reached.exists() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
