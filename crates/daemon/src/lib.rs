//! What storage-service and storage-gateway do alike, once: both are the same process around
//! different rooms.
//!
//! | module | what it decides |
//! |---|---|
//! | [`CommandLine`] | how a daemon is started, and what its program does besides ([`Command`]) |
//! | [`log`] | where its log goes and how a line looks; [`spawn_blocking`]: threads that keep a line's ids |
//! | [`spawn_background`] | work that everything else goes before |
//! | [`Exit`] | what its exit code means |
//! | [`run`] | its life: start, wait for a signal or a death, drain, leave |
//! | [`listen`] | how many may be connected, and how long each may keep us waiting |
//! | [`body`] | request bodies within a size and a time; [`drained`]: the ones nobody read |
//! | [`bearer`] | who may call |
//! | [`disk`] | files that survive a power cut; one process to a folder |
//! | [`sqlite`] | opening a journal: versions, and what happens to a damaged file |
//!
//! Knows nothing of batches, moves and queries. A wait in here has a deadline, and state outlives the
//! process only in [`disk`] and [`sqlite`], whose heads tell what a crash leaves.

mod background;
pub mod bearer;
pub mod body;
mod command;
mod command_line;
mod connection;
pub mod disk;
mod drained;
mod exit;
pub mod listen;
pub mod log;
mod run;
pub mod sqlite;

pub use background::spawn_background;
pub use command::Command;
pub use command_line::CommandLine;
pub use drained::drained;
pub use exit::Exit;
pub use log::spawn_blocking;
pub use run::{Tasks, run};
