//! A network of our own on one machine: namespaces, lines between them, and the ends of a tunnel.
//!
//! Traffic stays inside namespaces that this code made; they are gone when their owner is dropped.

pub mod cpu;
pub mod impair;
pub mod namespace;
pub mod nginx;
pub mod pair;
pub mod rekey;
pub mod tool;
pub mod tunnel_endpoint;
