//! What keeps the two copies honest beside the moves themselves: the guard against a TTL that deletes unarchived
//! rows, and the note on a snapshot that says to which move it belongs.

mod guard;
mod snapshot_note;

pub use guard::{TtlVerdict, judge_ttl};
pub use snapshot_note::SnapshotNote;
