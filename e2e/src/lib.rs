//! Black-box tests: the real binaries on loopback, judged from outside by the testbed's oracle.
//!
//! [`matrix`] kills every process at every point; [`ssh`] and [`test_ca`] are what tests of links through
//! somebody else's programs need.

pub mod matrix;
pub mod ssh;
pub mod test_ca;
