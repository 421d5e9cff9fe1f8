//! What keeps the two copies honest: the guard against a TTL that deletes unarchived rows, the second
//! proof before anything is dropped, and the rebuilding of a lost catalog.

mod guard;
mod rebuild;
mod reprove;
mod snapshot_note;

pub use guard::{TtlVerdict, judge_ttl};
pub use rebuild::{Rebuild, rebuild};
pub use reprove::reprove;
pub use snapshot_note::SnapshotNote;
