//! What is fuzzed: one function for each target, which panics when a promise is broken.
//!
//! `fuzz_targets/` hands them to libFuzzer (nightly), `src/bin/mutate.rs` feeds them without it (stable).

mod decoder;
mod native_reader;
mod wg_quick;

pub use decoder::decoder;
pub use native_reader::native_reader;
pub use wg_quick::wg_quick;

/// What an attacker on the link can send to either end of the tunnel: nothing panics, nothing changed is
/// opened, nobody roams, and the session carries afterwards.
pub fn datagrams(script: &[u8]) {
    tunnel::test_pair::attack(script);
}
