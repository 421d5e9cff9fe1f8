//! What keeps the two copies honest beside the moves themselves: the guard against a TTL that deletes unarchived
//! rows.

mod guard;

pub use guard::{TtlVerdict, judge_ttl};
