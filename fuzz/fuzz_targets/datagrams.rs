//! What an attacker on the link can send to either end of the tunnel: nothing panics, nothing changed is
//! opened, nobody roams, and the session carries afterwards.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|script: &[u8]| tunnel::test_pair::attack(script));
