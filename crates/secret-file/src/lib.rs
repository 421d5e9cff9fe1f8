//! Secrets in files: read only when nobody else can read them, written anew and durably. The one place of the
//! project that opens a file with a key, a password or a token in it.

mod read;
mod write;

pub use read::{Refusal, read, read_bytes, read_token};
pub use write::{WriteError, write};
