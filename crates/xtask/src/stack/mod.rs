//! A stack.
pub mod process;
