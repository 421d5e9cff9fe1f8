//! Black-box tests: the real binaries on loopback, judged from outside by the testbed's oracle.
//!
//! [`matrix`] kills every process at every point; [`ssh`] and [`test_ca`] are what tests of links through
//! somebody else's programs need; [`small_disk`] can be filled, and [`waiting`] sees what moves say of it.

pub mod broken_disk;
pub mod matrix;
pub mod small_disk;
pub mod ssh;
pub mod test_ca;
pub mod waiting;
