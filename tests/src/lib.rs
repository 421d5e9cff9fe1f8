//! Black-box tests: the real binaries on loopback, judged from outside.
//!
//! [`oracle`] writes rows and asks for them back, all the time; [`faults`] stops a process at a named
//! point so that it (or another) can be killed there; [`logs`] finds warnings nobody expected.

pub mod authority;
pub mod faults;
pub mod logs;
pub mod matrix;
pub mod oracle;
pub mod scene;
pub mod ssh;
pub mod truth;
