//! The repository's own commands as a library: the engine's download, a stack of two engines and two
//! daemons on loopback, market data, the demo and the benchmarks. The black-box tests stand on the
//! same stack.

pub mod bench;
pub mod binaries;
pub mod check;
pub mod clients;
pub mod demo;
pub mod engine;
pub mod lab;
pub mod market;
pub mod progress;
pub mod stack;
