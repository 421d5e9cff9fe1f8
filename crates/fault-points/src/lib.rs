//! Named points at which a test may stop a process, to kill it there.
//!
//! Without the feature `enabled` every call compiles to nothing. With it, and with
//! `STORAGE_FAULT_DIR` set, a process that reaches the point `p` looks for the file `p` in that
//! folder. If it is there, the process renames it to `p.reached` and waits until that file is gone
//! (at most [`MAX_PAUSE`]): time for the test to `kill -9` whichever process it likes and then to
//! let the others go on. A file `skip.NAME` switches off the proof called NAME: the oracle must
//! turn red then, or it proves nothing.

use std::time::Duration;

/// Longest a point holds a process when nobody releases it.
pub const MAX_PAUSE: Duration = Duration::from_secs(60);

/// Reach the point `name` (lower-case words joined by dots, e.g. `move.fence.after_effect`).
pub async fn reach(name: &str) {
    #[cfg(feature = "enabled")]
    armed::pause(name).await;
    #[cfg(not(feature = "enabled"))]
    let _ = name;
}

/// Whether the test asked for the proof called `name` to be skipped. Always `false` in a release build.
#[must_use]
pub fn skips(name: &str) -> bool {
    #[cfg(feature = "enabled")]
    return armed::dir().is_some_and(|dir| dir.join(format!("skip.{name}")).exists());
    #[cfg(not(feature = "enabled"))]
    {
        let _ = name;
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
