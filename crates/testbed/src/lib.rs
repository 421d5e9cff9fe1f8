//! What tests, demo and benchmarks stand on: real engines and daemons on one machine.
//!
//! [`stack`] starts two engines and two daemons on loopback, [`engine`] one engine alone; [`lab`] has lines
//! and networks of our own between them, [`market`] rows to fill them with, [`clients`] an outsider's view.
//! [`oracle`] writes rows and asks for them back all the time, [`faults`] stops a process at a named point
//! so that it (or another) can be killed there, [`fixture`] is a stack with the oracle's tables, and
//! [`logs`] finds warnings that nobody expected.
//!
//! The programs are those of the last build (`cargo xtask build`), beside the caller's own executable; or
//! those of the folder `HYBRID_STORAGE_BIN_DIR` names. Whatever is started ends when its owner is dropped.

pub mod binaries;
pub mod clients;
pub mod engine;
pub mod expected_rows;
pub mod faults;
pub mod fixture;
pub mod lab;
pub mod logs;
pub mod market;
pub mod oracle;
mod port;
pub mod process;
pub mod progress;
pub mod stack;
pub mod wait;
pub mod wire;
